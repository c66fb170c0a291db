"""What training in bfloat16 would cost: gradients of the recipe's tasks beside those in float32.

From the published weights, one batch of each task of `recipes/sfm-tiny.yaml`: the relative error of
its loss and of its gradient, and the cosine between gradients, with bfloat16 in the linear maps of
tokens (autocast), in the work on edges, in both, and for comparison of float32 to float64. The rest
(lifting, heads, references, losses) stays in float32. Not part of `run.py`.

    python benchmarks/precision.py
    python benchmarks/precision.py --curves 40          losses of so many steps from there
    python benchmarks/precision.py --curves 60 --new    and of a new model
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

PATH = Path(__file__).parent / "precision.json"
WAYS = ("maps", "edges", "maps and edges")
TOKENS = 512


@contextlib.contextmanager
def in_bfloat16(way: str) -> Iterator[None]:
    """Inside the block the trunk works in bfloat16 where `way` says."""
    import sfm.nn.trunk as trunk
    from sfm.nn.mixture import MixtureLinear

    density, forward = trunk.Density, MixtureLinear.forward

    class Edges:
        @staticmethod
        def apply(*inputs: Any) -> tuple[torch.Tensor, ...]:
            low = [x.bfloat16() if isinstance(x, torch.Tensor) else x for x in inputs]
            return tuple(out.float() for out in density.apply(*low))

    def mixed(self: Any, x: torch.Tensor, routing: Any) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return forward(self, x, routing).float()

    try:
        if "edges" in way:
            trunk.Density = Edges  # type: ignore[misc,assignment]
        if "maps" in way:
            MixtureLinear.forward = mixed  # type: ignore[method-assign,assignment]
        yield
    finally:
        trunk.Density = density  # type: ignore[misc]
        MixtureLinear.forward = forward  # type: ignore[method-assign]


def gradient(objective: Any, model: Any, batch: Any) -> tuple[float, torch.Tensor]:
    """The loss of a batch, and its gradient by all weights in float64."""
    model.zero_grad()
    total = objective(model, batch, step=0).total
    total.backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return float(total.detach()), torch.cat([p.flatten().double() for p in parts])


def compared(
    exact: tuple[float, torch.Tensor], other: tuple[float, torch.Tensor]
) -> dict[str, float]:
    """Relative errors of loss and gradient, and the cosine between the gradients."""
    (loss, g), (said, h) = exact, other
    return {
        "loss": abs(said / loss - 1),
        "gradient": float((h - g).norm() / g.norm()),
        "cosine": float(h @ g / (h.norm() * g.norm())),
    }


def measured() -> Iterator[dict[str, Any]]:
    """One row per task."""
    import sfm
    from sfm.data.bundled import recipes_dir
    from sfm.recipe import load
    from sfm.train.build import fit_normalisers
    from sfm.train.data import Tokenizer, pack
    from sfm.train.objective import Objective
    from sfm.train.tasks import open_tasks, subset

    few = ["training.max_samples=300", f"training.tokens_per_batch={TOKENS}"]
    recipe = load(recipes_dir() / "sfm-tiny.yaml", few)
    tasks = open_tasks(recipe)
    model = sfm.load("sfm-tiny").train()
    _, stresses = fit_normalisers(copy.deepcopy(model), tasks, contexts=())
    double = copy.deepcopy(model).double()
    for number, task in enumerate(tasks):
        batches = {}
        for name, one in (("plain", model), ("double", double)):
            tokenizer = Tokenizer(one, tasks, 1)
            items = [tokenizer.make(number, s) for s in subset(task.train, 60, 1)]
            batches[name] = pack(items, recipe.training, tokenizer.quantities)[0]
        objective = Objective(model, tasks, stresses)
        exact = gradient(objective, double, batches["double"])
        plain = gradient(objective, model, batches["plain"])
        row: dict[str, Any] = {
            "task": task.name,
            "encoder": task.encoder,
            "quantities": list(task.goals),
            "float32": compared(exact, plain),
        }
        for way in WAYS:
            with in_bfloat16(way):
                row[way] = compared(plain, gradient(objective, model, batches["plain"]))
        yield row


def curve(way: str, steps: int, new: bool) -> dict[str, Any]:
    """Losses of each step of the recipe, the last validation loss, and CPU seconds."""
    from sfm.data.bundled import recipes_dir
    from sfm.recipe import load
    from sfm.train.build import fit_normalisers, measure_neighbours, model_config, new_model
    from sfm.train.cover import cover
    from sfm.train.engine import fit
    from sfm.train.pretrain import probabilities
    from sfm.train.start import start_from
    from sfm.train.tasks import open_tasks

    training = {
        "steps": steps, "validate_every": 20, "validation_samples": 8, "log_every": 1,
        "checkpoint_every": 1000, "accelerator": "cpu", "max_samples": 300,
    }  # fmt: skip
    settings = [f"training.{name}={value}" for name, value in training.items()]
    settings.append("optimizer.warmup=5" if new else "optimizer.lr=5e-4")
    recipe = load(recipes_dir() / "sfm-tiny.yaml", settings)
    tasks = open_tasks(recipe)
    model = new_model(model_config(tasks, recipe.model, recipe.name), recipe.training.seed)
    cover(model, tasks)
    _, stresses = fit_normalisers(model, tasks)
    measure_neighbours(model, tasks)
    if not new:
        start_from(model, "sfm-tiny")
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder, in_bfloat16(way):
        result = fit(
            model, tasks, settings=recipe.training, optimizer=recipe.optimizer,
            stress_scales=stresses, run=Path(folder), recipe=recipe.to_dict(), title=way,
            probabilities=probabilities(recipe, tasks), log=False,
        )  # fmt: skip
    validations = [r["validation/loss"] for r in result.history if "validation/loss" in r]
    return {
        "way": way,
        "losses": [round(r["loss"], 3) for r in result.history if "loss" in r],
        "validation": round(validations[-1], 4) if validations else None,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def main() -> int:
    """Writes `PATH` and says the medians; with `--curves` says the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, metavar="STEPS")
    parser.add_argument("--new", action="store_true", help="curves of a new model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.curves:
        for way in ("float32", WAYS[-1]):
            print(json.dumps(curve(way, options.curves, options.new)), flush=True)
        return 0
    rows = []
    for row in measured():
        print(json.dumps(row), flush=True)
        rows.append(row)
        PATH.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    for way in ("float32", *WAYS):
        for key in ("loss", "gradient", "cosine"):
            values = sorted(row[way][key] for row in rows)
            print(f"{way:15} {key:9} {values[0]:9.2g} to {values[-1]:8.2g}, median "
                  f"{statistics.median(values):.2g}")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
