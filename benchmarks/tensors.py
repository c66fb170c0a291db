"""A hundred labels of dielectric tensors and elastic constants: sfm-tiny beside simple rivals.

    python benchmarks/tensors.py --out tensors.jsonl

Training and test systems are drawn from the splits of `crystals-dielectric` and
`crystals-stiffness`, with at most `--atoms` atoms in a cell. The rivals are the mean tensor's
isotropic part, and ridge regressions of the isotropic numbers on elemental descriptors of the
composition (penalty by leave-one-out errors). A row for each quantity and seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from json_lines import append

import sfm
from sfm.data.descriptors import describe
from sfm.data.isotropy import isotropic
from sfm.model import FoundationModel
from sfm.recipe import FinetuneRecipe, Goal
from sfm.registry import quantities
from sfm.train.evaluate import evaluate
from sfm.train.sources import open_source
from sfm.train.tasks import TaskData
from sfm.train.trained import train

CASES = {"dielectric": "crystals/crystals-dielectric",
         "elastic_constants": "crystals/crystals-stiffness"}  # fmt: skip
PENALTIES = 10.0 ** np.arange(-2, 4.5, 0.5)


def task_of(quantity: str, options: argparse.Namespace, seed: int) -> TaskData:
    """Training, validation and test systems of one seed."""
    source = open_source(CASES[quantity])
    present = [(v, q) for v, q in source.present if q == quantity]
    task = source.task("crystals/atoms", present, goals={quantity: Goal()})
    atoms = options.atoms
    return dataclasses.replace(
        task,
        train=_drawn(task.train, options.train, atoms, seed),
        validation=_drawn(task.validation, options.train // 5, atoms, seed),
        test=_drawn(task.test, options.test, atoms, 0),
    )


def _drawn(samples: Sequence[Any], n: int, atoms: int, seed: int) -> list[Any]:
    shuffled = (samples[int(i)] for i in np.random.default_rng(seed).permutation(len(samples)))
    return list(islice((s for s in shuffled if len(s.types) <= atoms), n))


def by_descriptors(task: TaskData, quantity: str) -> np.ndarray:
    """(test, dim) isotropic tensors of ridge regressions on elemental descriptors."""
    parts = isotropic(quantities()[quantity].irreps)
    assert parts is not None
    rows = [describe("crystals/elemental", s) for s in (*task.train, *task.test)]
    names = [k for k in rows[0] if all(np.isfinite(r.get(k, np.nan)) for r in rows)]
    x = np.array([[r[k] for k in names] for r in rows])
    n = len(task.train)
    x = (x - x[:n].mean(0)) / (x[:n].std(0) + 1e-9)
    y = np.array([np.asarray(s.labels[quantity]).ravel() for s in task.train]) @ parts.weights.T
    numbers = np.stack([_ridge(x[:n], column, x[n:]) for column in y.T], 1)
    return np.asarray(numbers @ parts.patterns)


def _ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    best: tuple[float, np.ndarray] | None = None
    mean = y.mean()
    for penalty in PENALTIES:
        inverse = np.linalg.inv(x @ x.T + penalty * np.eye(len(x)))
        dual = inverse @ (y - mean)
        left_out = float(np.abs(dual / np.diag(inverse)).mean())
        if best is None or left_out < best[0]:
            best = left_out, new @ (x.T @ dual) + mean
    assert best is not None
    return best[1]


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One for each quantity and seed."""
    base = sfm.load("sfm-tiny")
    for seed in range(options.seeds):
        for quantity in CASES:
            task = task_of(quantity, options, seed)
            yield {
                "quantity": quantity,
                "seed": seed,
                "train": len(task.train),
                "test": len(task.test),
                **errors(base, task, quantity, options, seed),
            }


def errors(
    base: FoundationModel, task: TaskData, quantity: str, options: argparse.Namespace, seed: int
) -> dict[str, Any]:
    """Mean absolute errors over all components, of the model and of its rivals."""
    began = time.process_time()
    training = {"steps": options.steps, "tokens_per_batch": options.tokens, "seed": seed,
                "validate_every": max(options.steps // 2, 1), "loggers": []}  # fmt: skip
    recipe = FinetuneRecipe.model_validate({"mode": "full", "training": training})
    with tempfile.TemporaryDirectory() as run:
        outcome = train(base, task, recipe, run=Path(run), resolved={}, log=False)
    metric = evaluate(outcome.model, task, split="test", max_samples=None).metrics[0]
    labels = np.array([np.asarray(s.labels[quantity]).ravel() for s in task.test])
    simple = by_descriptors(task, quantity)
    return {
        "model": metric.mae,
        "isotropic mean": metric.baseline_mae,
        "elemental descriptors": float(np.abs(simple - labels).mean()),
        **{f"model, {k}": v for k, v in metric.extra.items()},
        "CPU s": round(time.process_time() - began, 1),
    }


def main() -> None:
    """Write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=100)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--atoms", type=int, default=12, help="largest cell")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=256, help="atoms in a batch")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    append(options.out, rows(options))


if __name__ == "__main__":
    main()
