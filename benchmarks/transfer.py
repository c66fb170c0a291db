"""Learning from few labels: fine-tuning beside training from nothing and simple rivals.

Of each row (`transfer_rows.py`) and seed, whole groups of relatives go to the test side; a hundred
labels of the rest are learned from, chosen modes by their own leave-one-out errors. Everything is
judged by the mean absolute error on the same test systems. `scratch` is the same trunk, new,
trained on the same labels; `random weights` is the better of ridge and gp on the features of such a
trunk.

    python benchmarks/run.py --only transfer                  all rows
    python benchmarks/run.py --only transfer,solubility       some
    python benchmarks/run.py --only transfer --rounds 5       five seeds
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from selection import chosen
from turns import say

NAMES = (
    "transfer",
    "polarizability",
    "hydration",
    "solubility",
    "formation",
    "bulk-modulus",
    "band-gap",
    "refractive-index",
    "atomisation",
)
LABELS, TESTED, STEPS, TOKENS = 100, 100, 120, 256
MODEL = "sfm-tiny"
SHOWN = ("ridge", "gp", "zero-shot")


class Run:
    """One run of all rows; `results` is what is written."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.seeds = options.rounds or (1 if options.quick else 3)
        self.rows = chosen(options.only, NAMES[1:])
        torch.set_num_threads(options.threads)
        self.results: dict[str, Any] = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": machine.describe(),
            "protocol": {
                "model": MODEL,
                "seeds": self.seeds,
                "labels": LABELS,
                "tested": TESTED,
                "steps": STEPS,
                "tokens": TOKENS,
            },
            "rows": [],
        }

    @property
    def measured(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.results["rows"])

    def __call__(self) -> dict[str, Any]:
        import transfer_rows

        import sfm

        base = sfm.load(MODEL)
        for row in transfer_rows.rows():
            if row.name not in self.rows:
                continue
            pairs = row.load()
            for seed in range(self.seeds):
                found = measure(base, row, pairs, seed)
                self.results["rows"].append(found)
                say(row.name, seed, {k: float(f"{v:.3g}") for k, v in found["mae"].items()})
        return self.results


def measure(base: Any, row: Any, pairs: Any, seed: int) -> dict[str, Any]:
    """Errors of all forms on one split."""
    from sfm.config import Target
    from sfm.train.build import new_model
    from sfm.train.selection import best_of, fit_all

    task = split(row, pairs, seed)
    target = Target(row.encoder, task.levels[0], row.quantity.name)
    began = time.process_time()
    grown, fits = fit_all(base, task, [target])
    best = best_of(fits[target], "auto", grown)
    seconds = time.process_time() - began
    shown = [f for f in fits[target] if f.form.rival or f.form.name in SHOWN or f is best]
    truth, said = answers(grown, task, target, shown)
    errors = {name: float(np.abs(p - truth).mean()) for name, (p, _) in said.items()}
    inside = {name: float((np.abs(p - truth) < 1.645 * s).mean()) for name, (p, s) in said.items()}
    errors["auto"], inside["auto"] = errors[best.form.name], inside[best.form.name]
    control, others = fit_all(new_model(base.config, seed).eval(), task, [target])
    plain = [f for f in others[target] if f.form.name in ("ridge", "gp")]
    _, random = answers(control, task, target, plain)
    errors["random weights"] = min(float(np.abs(p - truth).mean()) for p, _ in random.values())
    errors["scratch"] = from_scratch(base, task, seed)
    return {
        "row": row.name,
        "unit": row.quantity.unit,
        "seed": seed,
        "labels": len(task.train),
        "tested": len(truth),
        "mae": errors,
        "coverage": inside,
        "auto": best.form.name,
        # a semi-empirical theory is no simple rival; its error is in the table of numbers
        "rivals": [f.form.name for f in fits[target] if f.form.rival and f.form.name != "xtb"],
        "cpu_seconds": seconds,
    }


def split(row: Any, pairs: Any, seed: int) -> Any:
    """A task whose test systems share no group with its training systems."""
    from sfm.recipe import Goal
    from sfm.train.tasks import TaskData

    names = sorted({group for group, _ in pairs})
    order = np.random.default_rng([seed, len(names)]).permutation(len(names))
    wanted = min(TESTED, int(0.4 * len(pairs)))
    held: set[str] = set()
    size = {name: sum(g == name for g, _ in pairs) for name in names}
    for i in order:
        # a group that holds most of the data is for training
        if sum(size[n] for n in held) + size[names[i]] <= wanted:
            held.add(names[i])
    test = [s for g, s in pairs if g in held]
    rest = [s for g, s in pairs if g not in held]
    picked = np.random.default_rng([seed, len(rest)]).permutation(len(rest))
    train = [rest[i] for i in picked[: row.labels or LABELS]]
    level = str(train[0].level)
    return TaskData(
        name=row.name,
        domain=train[0].domain,
        encoder=row.encoder,
        levels=(level,),
        goals={row.quantity.name: Goal()},
        present=((level, row.quantity.name),),
        train=train,
        validation=[],
        test=test,
        definitions={row.quantity.name: row.quantity},
    )


def answers(model: Any, task: Any, target: Any, fits: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels of the test systems, and predictions and standard errors by form."""
    from sfm.train.closed_form import install

    truth = np.array([float(s.labels[target.quantity]) for s in task.test])
    said = {}
    for fitted in fits:
        found = install(model, [fitted]).predict(
            list(task.test), level=target.level, quantities=[target.quantity], extrapolate=True
        )
        keys = [next(iter(p.data)) for p in found]
        values = np.array([float(p.data[k]) for p, k in zip(found, keys, strict=True)])
        errors = np.array([p.uncertainty[k] for p, k in zip(found, keys, strict=True)])
        said[fitted.form.name] = (values, errors)
    return truth, said


def from_scratch(base: Any, task: Any, seed: int) -> float:
    """Error of the same trunk, new, trained on the same labels."""
    import dataclasses

    from sfm.recipe import FinetuneRecipe
    from sfm.train.evaluate import evaluate
    from sfm.train.scratch import scratch_model

    recipe = FinetuneRecipe()
    training = recipe.training.model_copy(
        update={
            "steps": STEPS,
            "tokens_per_batch": TOKENS,
            "edges_per_batch": 40 * TOKENS,
            "seed": seed,
            "validate_every": STEPS,
            "checkpoint_every": STEPS,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        quiet = dataclasses.replace(task, validation=task.train[:4])
        model = scratch_model(
            quiet, base, recipe.model_copy(update={"training": training}), Path(folder)
        )
    return evaluate(model, task, split="test").metrics[0].mae
