"""Learning from few labels: fine-tuning beside training from nothing and simple rivals.

Of each row (`transfer_rows.py`) and seed, whole groups of relatives go to the test side; a hundred
labels of the rest are learned from: by the closed form of the least errors on labels left out with
their relatives, or by training of all weights where `sfm finetune` would take it. Everything is
judged by the mean absolute error on the same test systems. `scratch` is the same trunk, new,
trained on the same labels; `random weights` is the better of ridge and gp on the features of such a
trunk. Features are computed once per system, whatever the number of seeds and labels. Forces and
fields are in `transfer_fields.py`.

    python benchmarks/run.py --only transfer                  all rows
    python benchmarks/run.py --only transfer,solubility       some
    python benchmarks/run.py --only transfer --rounds 5       five seeds
    python benchmarks/run.py --only transfer,curves           learning curves, 30 to 1,000 labels
    python benchmarks/run.py --only transfer,curves,hydration   of one row

Curves take hours: each measurement is kept in `transfer_curves.jsonl` of the folder of results, and
a run that is stopped goes on there.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import json_lines
import machine
import numpy as np
import torch
from selection import chosen, words
from turns import say

NUMBERS = (
    "polarizability",
    "hydration",
    "solubility",
    "formation",
    "bulk-modulus",
    "band-gap",
    "refractive-index",
    "atomisation",
    "hartree-fock-homo",
    "hartree-fock-energy",
)
FIELDS = ("xtb-forces", "subgrid-stress")
CURVES = "curves"
NAMES = ("transfer", *NUMBERS, *FIELDS, CURVES)
LABELS, TESTED, MOST, STEPS, TOKENS = 100, 100, 420, 120, 256
SIZES, CURVE_SEEDS, CURVE_MOST = (30, 100, 300, 1000), 2, 1400
KEPT = "transfer_curves.jsonl"
MODEL = "sfm-tiny"
TRIAL = (
    "on a third of them that is held out with its relatives (new quantities: by more than a "
    "standard error; known ones: or loses by less than three)"
)


class Run:
    """One run of the chosen rows; `results` is what is written."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.seeds = options.rounds or (1 if options.quick else 3)
        named = chosen(options.only, NAMES[1:])
        # curves are an option: whoever names nothing gets the table alone
        self.curves = CURVES in named and options.only is not None and CURVES in words(options.only)
        rows = [n for n in named if n != CURVES]
        self.rows = rows or [*NUMBERS, *FIELDS]
        self.kept = options.output / KEPT
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
                "trial": TRIAL,
            },
            "rows": [],
            "fields": [],
            "curves": [],
        }

    @property
    def measured(self) -> bool:
        """Whether there is anything to write."""
        return any(self.results[kind] for kind in ("rows", "fields", "curves"))

    def __call__(self) -> dict[str, Any]:
        import transfer_fields
        import transfer_peers
        import transfer_rows
        import transfer_scratch

        import sfm

        base = sfm.load(MODEL)
        for row in transfer_rows.rows():
            if row.name in self.rows:
                self._numbers(base, row)
        for name, measured in transfer_fields.ROWS.items():
            if name in self.rows and not self.curves:
                for seed in range(self.seeds):
                    rows = measured(base, seed, STEPS, TOKENS)
                    self.results["fields"] += rows
                    for one in rows:
                        say(name, seed, one["of"], rounded(one["mae"]))
        self.results["cpu_seconds"] = time.process_time()
        self.results["tuned"] = transfer_scratch.stored()
        self.results["peers"] = transfer_peers.stored()
        return self.results

    def _numbers(self, base: Any, row: Any) -> None:
        """One row of numbers per system: the table, or its learning curve."""
        if self.curves:
            if row.labels is None:  # few labels in all make no curve
                self.results["curves"] += kept(self.kept, base, row, SIZES, CURVE_SEEDS, CURVE_MOST)
            return
        for result in over_seeds(base, row, self.seeds):
            self.results["rows"].append(result)
            say(row.name, result["seed"], rounded(result["mae"]))


def kept(
    path: Path, base: Any, row: Any, sizes: Sequence[int], seeds: int, most: int
) -> list[dict[str, Any]]:
    """Measurements of one row with `sizes` labels, those that there are labels for.

    Args:
        path: of lines of JSON: what it holds of this model is not measured again, the rest is
            added as it comes.
        base: the model.
        row: what is learned.
        sizes: numbers of labels.
        seeds: how many splits of each.
        most: systems of the row, training and test.
    """
    weights = fingerprint(base)
    known = [one for one in json_lines.stored(path) if one["weights"] == weights]
    results = [one for one in known if one["row"] == row.name and one["asked"] in sizes
               and one["seed"] < seeds]  # fmt: skip
    done = {(one["asked"], one["seed"]) for one in results}
    missing = [(size, seed) for size in sizes for seed in range(seeds) if (size, seed) not in done]
    if missing:
        prepared = Prepared(base, row, controls=True, most=most)
        for size, seed in missing:
            if size > len(prepared.pairs) - min(TESTED, int(0.4 * len(prepared.pairs))):
                continue
            result = measure(prepared, base, seed, size, controls=True)
            results.append({"weights": weights, "asked": size, **result})
            json_lines.append(path, results[-1:])
            say(row.name, size, seed, result["auto"], rounded(result["mae"]))
    return [one for one in results if one["labels"] == one["asked"]]


def fingerprint(model: Any) -> str:
    """Of a model's weights."""
    state = sorted(model.state_dict().items())
    return hashlib.sha256(b"".join(v.numpy().tobytes() for _, v in state)).hexdigest()[:12]


def rounded(numbers: dict[str, float]) -> dict[str, float]:
    """Three digits, for the eye."""
    return {k: float(f"{v:.3g}") for k, v in numbers.items()}


def over_seeds(
    base: Any, row: Any, seeds: int, labels: int = LABELS, controls: bool = True
) -> Iterator[dict[str, Any]]:
    """Errors on each of the first `seeds` splits of a row; see `measure`."""
    prepared = Prepared(base, row, controls)
    for seed in range(seeds):
        yield measure(prepared, base, seed, labels, controls)


def measure(prepared: Any, base: Any, seed: int, labels: int, controls: bool) -> dict[str, Any]:
    """Errors of all forms on one split.

    Args:
        prepared: the row's systems with their features.
        base: the model.
        seed: of the split.
        labels: how many are learned from.
        controls: also train the model where that wins its trial, train a new trunk, and fit the
            features of a random one.
    """
    from sfm.train.closed_form import all_forms, answers
    from sfm.train.cross_fit import cross_fitted
    from sfm.train.selection import best_of

    row = prepared.row
    task, train, test = split(row, prepared.pairs, seed, labels)
    began = time.process_time()
    inputs = prepared.inputs.of(train)
    fits = cross_fitted(prepared.model, all_forms(prepared.model, inputs, known=prepared.known))
    best = best_of(fits, "auto", prepared.model)
    seconds = time.process_time() - began
    truth = prepared.inputs.labels[test]
    errors: dict[str, float] = {}
    inside: dict[str, float | None] = {}
    for fitted in fits:
        values, sigma = answers(prepared.model, fitted, prepared.inputs.of(test))
        off = (values - truth).abs()
        errors[fitted.form.name] = float(off.mean())
        inside[fitted.form.name] = float((off < 1.645 * sigma).double().mean())
    errors["closed"], inside["closed"] = errors[best.form.name], inside[best.form.name]
    errors["auto"], inside["auto"], mode = errors["closed"], inside["closed"], best.form.name
    spent = prepared.seconds * len(train) / len(prepared.pairs) + seconds
    if controls:
        began = time.process_time()
        if (model := trained(base, prepared.model, task, best, seed)) is not None:
            errors["auto"], inside["auto"] = judged(model, task)
            mode = "full"
        spent += time.process_time() - began
        plain = prepared.random.of(train)
        others = [f for f in all_forms(prepared.model, plain, known=False)
                  if f.form.name in ("ridge", "gp")]  # fmt: skip
        wrong = [(answers(prepared.model, f, prepared.random.of(test))[0] - truth).abs().mean()
                 for f in others]  # fmt: skip
        errors["random weights"] = float(min(wrong))
        errors["scratch"] = from_scratch(base, task, seed)
    return {
        "row": row.name,
        "unit": row.quantity.unit,
        "seed": seed,
        "labels": len(train),
        "tested": len(test),
        "mae": errors,
        "coverage": inside,
        "auto": mode,
        # a semi-empirical theory is no simple rival; its error is in the table of numbers
        "rivals": [f.form.name for f in fits if f.form.rival and f.form.name != "xtb"],
        "cpu_seconds": spent,
    }


def trained(base: Any, grown: Any, task: Any, best: Any, seed: int) -> Any:
    """The model after training all weights, where mode `auto` would choose that; else None."""
    from sfm.recipe import FinetuneRecipe
    from sfm.train.trial import trial

    recipe = FinetuneRecipe()
    training = recipe.training.model_copy(update={"seed": seed})
    recipe = recipe.model_copy(update={"training": training})
    _, _, winner = trial(base, grown, task, [best], recipe)
    if winner is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return winner.on_all(base, task, run=Path(folder), resolved={}, log=False).model


def judged(model: Any, task: Any) -> tuple[float, float | None]:
    """Mean absolute error on the test systems, and the share inside the 90 % intervals, if any."""
    (name,) = task.goals
    systems = [s.replace(labels={}) for s in task.test]
    said = model.predict(systems, level=task.levels[0], quantities=[name], extrapolate=True)
    off = np.array([abs(float(p[name]) - float(s.labels[name]))
                    for p, s in zip(said, task.test, strict=True)])  # fmt: skip
    if any(name not in p.uncertainty for p in said):
        return float(off.mean()), None
    sigma = np.array([p.uncertainty[name] for p in said])
    return float(off.mean()), float(np.mean(off < 1.645 * sigma))


class Prepared:
    """A row with everything that is computed once: features, descriptors, the nearest level.

    The nearest level is that of the first split's training labels.
    """

    def __init__(self, base: Any, row: Any, controls: bool, most: int = MOST) -> None:
        from sfm.config import Target
        from sfm.nn.kernel import SAID
        from sfm.train.build import new_model
        from sfm.train.closed_form import gather, with_levels
        from sfm.train.transfer import nearest_levels, said_anywhere

        self.row, self.pairs = row, row.pairs(most)
        task, _, _ = split(row, self.pairs, 0, LABELS)
        samples = [s for _, s in self.pairs]
        self.target = Target(row.encoder, task.levels[0], row.quantity.name)
        began = time.process_time()
        self.model = with_levels(base, task, nearest_levels(base, task))
        self.known = said_anywhere(base, self.target)
        self.inputs = gather(self.model, task, self.target, samples)
        self.seconds = time.process_time() - began
        if controls:
            other = with_levels(new_model(base.config, 0).eval(), task, {})
            plain = gather(other, task, self.target, samples, descriptors=False)
            raw = {k: v for k, v in self.inputs.raw.items() if k != SAID} | plain.raw
            self.random = dataclasses.replace(self.inputs, raw=raw)


def split(row: Any, pairs: Any, seed: int, labels: int) -> tuple[Any, list[int], list[int]]:
    """A task whose test systems share no group with its training systems, and both their rows."""
    from sfm.recipe import Goal
    from sfm.train.tasks import TaskData

    names = sorted({group for group, _ in pairs})
    order = np.random.default_rng([seed, len(names)]).permutation(len(names))
    most = min(TESTED, int(0.4 * len(pairs)))
    held: set[str] = set()
    size = {name: sum(g == name for g, _ in pairs) for name in names}
    for i in order:
        # a group that holds most of the data is for training
        if sum(size[n] for n in held) + size[names[i]] <= most:
            held.add(names[i])
    test = [i for i, (group, _) in enumerate(pairs) if group in held]
    rest = [i for i, (group, _) in enumerate(pairs) if group not in held]
    picked = np.random.default_rng([seed, len(rest)]).permutation(len(rest))
    rows = [rest[i] for i in picked[: min(row.labels or labels, labels)]]
    train = [pairs[i][1] for i in rows]
    level = str(train[0].level)
    task = TaskData(
        name=row.name,
        domain=train[0].domain,
        encoder=row.encoder,
        levels=(level,),
        goals={row.quantity.name: Goal()},
        present=((level, row.quantity.name),),
        train=train,
        validation=[],
        test=[pairs[i][1] for i in test],
        definitions={row.quantity.name: row.quantity},
    )
    return task, rows, test


def from_scratch(base: Any, task: Any, seed: int) -> float:
    """Error of the same trunk, new, trained on the same labels."""
    from transfer_scratch import train

    from sfm.train.evaluate import evaluate
    from sfm.train.scratch import SCRATCH_LEARNING_RATE

    quiet = dataclasses.replace(task, validation=task.train[:4])
    model, _ = train(base, quiet, seed, TOKENS, SCRATCH_LEARNING_RATE, STEPS, None)
    return float(evaluate(model, task, split="test").metrics[0].mae)
