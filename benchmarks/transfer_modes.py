"""The trained modes of fine-tuning beside each other: `head`, `lora`, `full`.

Errors and CPU seconds of `sfm-tiny` after the same steps on the rows of the transfer benchmark, and
what a step costs by the size of the model. Not part of `run.py`; what is there is not done again.

    python benchmarks/transfer_modes.py --seeds 2 [ROW ...]
    python benchmarks/transfer_modes.py cost
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

PATH = Path(__file__).parent / "transfer_modes.json"
MODES = ("head", "lora", "full")
ROWS = ("xtb-forces", "hydration", "polarizability", "bulk-modulus")
STEPS, TOKENS = 120, 256
# channels and layers of random trunks, and steps that are timed
SIZES = ((32, 2), (64, 3), (128, 4), (192, 4), (256, 4))
TIMED = 4


def stored(path: Path = PATH) -> dict[str, list[dict[str, Any]]]:
    """What was measured."""
    empty: dict[str, list[dict[str, Any]]] = {"errors": [], "cost": []}
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else empty


def recipe_of(mode: str, seed: int, steps: int) -> Any:
    """The default recipe of a mode, with so many small batches."""
    from sfm.recipe import FinetuneRecipe
    from sfm.train.trained import shorter

    recipe = shorter(FinetuneRecipe(), steps, TOKENS)
    settings = recipe.training.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"mode": mode, "training": settings})


def trained(base: Any, task: Any, mode: str, seed: int) -> tuple[Any, float, int]:
    """The model, CPU seconds, and the number of weights that moved."""
    from sfm.train.trained import train

    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(
            base, task, recipe_of(mode, seed, STEPS), run=Path(folder), resolved={}, log=False
        )
    return outcome.model, time.process_time() - began, outcome.counts["trainable"]


def tasks_of(name: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """The training task of a row, and what its errors are measured on, by name."""
    import transfer
    import transfer_fields
    import transfer_labels
    import transfer_rows

    from sfm.train.trained import without_split

    if name == "xtb-forces":
        drugs = {d: transfer_labels.conformers(d, 90) for d in ("paracetamol", "ibuprofen")}
        order = np.random.default_rng([seed, 90]).permutation(90)
        few = transfer_fields.CONFORMERS
        train = [frames[i] for frames in drugs.values() for i in order[:few]]
        test = [frames[i] for frames in drugs.values() for i in order[few : few + 15]]
        task = transfer_fields._task(name, "molecules/atoms", ("energy", "forces"), train, test)
        held = np.random.default_rng([seed, 91]).permutation(len(train))[: len(train) // 5]
        unseen = transfer_labels.conformers("naproxen", 40)[: transfer_fields.UNSEEN]
        return without_split(task, held.tolist()), {"same": test, "another": unseen}
    row = next(r for r in transfer_rows.rows() if r.name == name)
    task, _, _ = transfer.split(row, row.pairs(), seed, transfer.LABELS)
    return task, {}


def errors_of(model: Any, task: Any, judged: dict[str, Any]) -> dict[str, float]:
    """Mean absolute errors on test systems."""
    import transfer
    import transfer_fields

    if not judged:
        return {"mae": transfer.judged(model, task)[0]}
    off: dict[str, float] = {}
    for of, samples in judged.items():
        said = transfer_fields._force_errors(model, samples)
        off |= {f"{what}, {of}": said[what] for what in ("forces", "energy")}
    return off


def errors(names: list[str], seeds: int) -> Iterator[dict[str, Any]]:
    """One row per target, seed and mode."""
    import sfm

    base = sfm.load("sfm-tiny")
    there = {(r["row"], r["seed"], r["mode"]) for r in stored()["errors"]}
    for seed in range(seeds):
        for name in names:
            missing = [m for m in MODES if (name, seed, m) not in there]
            if not missing:
                continue
            task, judged = tasks_of(name, seed)
            for mode in missing:
                model, seconds, trainable = trained(base, task, mode, seed)
                yield {
                    "row": name,
                    "seed": seed,
                    "mode": mode,
                    "cpu_seconds": round(seconds, 1),
                    "trainable": trainable,
                    "mae": errors_of(model, task, judged),
                }


def costs() -> Iterator[dict[str, Any]]:
    """What a step costs on the forces of a molecule, by the size of a random trunk."""
    import dataclasses

    import sfm
    from sfm.config import ModelConfig
    from sfm.train.build import new_model

    config: ModelConfig = sfm.load("sfm-tiny").config
    task, _ = tasks_of("xtb-forces", 0)
    for channels, layers in SIZES:
        trunk = {**config.trunk, "channels": channels, "layers": layers}
        model = new_model(dataclasses.replace(config, trunk=trunk), 0).eval()
        for mode in MODES:
            yield {
                "channels": channels,
                "layers": layers,
                "mode": mode,
                **step_cost(model, task, mode),
            }


def step_cost(base: Any, task: Any, mode: str) -> dict[str, float]:
    """CPU seconds of a step, and the numbers of trainable and of all weights."""
    from sfm.train.data import MixedData
    from sfm.train.module import parameter_groups
    from sfm.train.objective import Objective
    from sfm.train.transfer import choose_trainable, grow

    recipe = recipe_of(mode, 0, 1)
    model, stresses = grow(base, task, 0)
    counts = choose_trainable(model, task, recipe, new_contexts=True)
    objective = Objective(model.train(), [task], stresses)
    stream = MixedData(model, [task], recipe.training).train_dataloader()
    batches = [stream.next_batch() for _ in range(TIMED + 1)]
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.0), lr=1e-6)
    seconds = []
    for batch in batches:
        began = time.process_time()
        objective(model, batch).total.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - began)
    return {**counts, "cpu_seconds": round(min(seconds[1:]), 4)}


def main() -> int:
    """Adds to `PATH` what it lacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}, or cost")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=PATH)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.rows or [*ROWS, "cost"]
    results = stored(options.out)
    if "cost" in names:
        results["cost"] = []
    for kind, rows in (
        ("cost", costs() if "cost" in names else iter(())),
        ("errors", errors([n for n in names if n != "cost"], options.seeds)),
    ):
        for row in rows:
            print(row, flush=True)
            results[kind].append(row)
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
