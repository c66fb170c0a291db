"""Training from scratch, tuned: the rival of the transfer benchmark at its best.

Of the training labels a fifth is held out, and the new trunk is trained on the rest at each
learning rate for up to `STEPS` steps; the rate and the number of steps of the lowest validation
loss are then used on all labels. Not part of `run.py`; what is there already is not done again.

    python benchmarks/transfer_scratch.py --seeds 2 [ROW ...]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).parent / "transfer_scratch.json"
RATES = (1e-3, 3e-3)
STEPS, EVERY, PATIENCE = 600, 50, 4
HELD_OUT = 0.2


def stored(path: Path = PATH) -> list[dict[str, Any]]:
    """What was measured: row, seed, error, and the rate and steps that were chosen."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def tuned(base: Any, task: Any, seed: int, tokens: int) -> dict[str, float]:
    """Mean absolute error on the test systems, and the rate and steps that were chosen."""
    from sfm.train.evaluate import evaluate

    order = np.random.default_rng([seed, 5]).permutation(len(task.train))
    held = round(HELD_OUT * len(order))
    part = dataclasses.replace(
        task,
        train=[task.train[i] for i in order[held:]],
        validation=[task.train[i] for i in order[:held]],
    )
    trials = []
    for rate in RATES:
        _, result = train(base, part, seed, tokens, rate, STEPS, PATIENCE)
        rows = [row for row in result.history if "validation/loss" in row]
        best = min(rows, key=lambda row: row["validation/loss"])
        trials.append((best["validation/loss"], rate, int(best["step"])))
    _, rate, steps = min(trials)
    whole = dataclasses.replace(task, validation=task.train[:4])
    model, _ = train(base, whole, seed, tokens, rate, steps, None)
    error = evaluate(model, task, split="test").metrics[0].mae
    return {"mae": float(error), "rate": rate, "steps": steps}


def train(
    base: Any, task: Any, seed: int, tokens: int, rate: float, steps: int, patience: int | None
) -> Any:
    """A new trunk of the base's size, trained on `task`; and its history."""
    from sfm.recipe import FinetuneRecipe, OptimizerSection
    from sfm.train.scratch import train_new

    recipe = FinetuneRecipe()
    settings = recipe.training.model_copy(
        update={
            "steps": steps,
            "tokens_per_batch": tokens,
            "edges_per_batch": 40 * tokens,
            "seed": seed,
            "validate_every": EVERY if patience else steps,
            "checkpoint_every": STEPS,
        }
    )
    optimizer = OptimizerSection(**{**recipe.optimizer.model_dump(), "lr": rate})
    with tempfile.TemporaryDirectory() as folder:
        return train_new(task, base, settings, optimizer, Path(folder), patience)


def main() -> int:
    """Adds to `PATH` what it lacks."""
    import torch
    import transfer
    import transfer_rows
    from turns import say

    import sfm

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="of transfer.py; default all")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = stored()
    base = sfm.load(transfer.MODEL)
    rows = [r for r in transfer_rows.rows() if not options.rows or r.name in options.rows]
    pairs = {row.name: row.pairs() for row in rows}
    for seed in range(options.seeds):
        for row in rows:
            if any((d["row"], d["seed"]) == (row.name, seed) for d in done):
                continue
            task, _, _ = transfer.split(row, pairs[row.name], seed, transfer.LABELS)
            result = tuned(base, task, seed, transfer.TOKENS)
            done.append({"row": row.name, "seed": seed, **result})
            PATH.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
            say(row.name, seed, result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
