"""What a theory beneath a model is worth: few GFN2-xTB labels above UFF, GFN1-xTB, and nothing.

    python benchmarks/baselines.py --out baselines.jsonl

Each run is a model of the size of sfm-tiny with random first weights, trained on the same systems
for the same steps; a row of the file for each, written as it ends. Systems are those of the bundled
`molecules/molecules-xtb` with at most `--atoms` atoms for which UFF has bonds and types; training
and test systems come from the dataset's own splits. GFN1-xTB needs dxtb (extra `tight-binding`).
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from json_lines import append

import sfm
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.recipe import FinetuneRecipe, Goal
from sfm.train.evaluate import evaluate
from sfm.train.remainder import Remainder, standing, without_theory
from sfm.train.scratch import scratch_model
from sfm.train.sources import open_source
from sfm.train.tasks import TaskData
from sfm.train.theory import section_of, theories_of

ENCODER, LEVEL = "molecules/atoms", "GFN2-xTB"
THEORIES = {"none": None, "uff": "uff", "gfn1": "tight-binding"}


def chosen(base: FoundationModel, split: Any, n: int, atoms: int) -> list[Any]:
    """`n` systems of a split that UFF is for, in a random order."""
    systems: list[Any] = []
    for index in np.random.default_rng(0).permutation(len(split)):
        sample = split[int(index)]
        if len(systems) == n:
            break
        if len(sample.types) > atoms or not {"energy", "forces"} <= set(sample.labels):
            continue
        try:
            without_theory(base, ENCODER, sample)
        except InputError:
            continue
        systems.append(sample)
    return systems


def task_of(options: argparse.Namespace, base: FoundationModel) -> TaskData:
    """Energies and forces of the chosen systems."""
    source = open_source("molecules/molecules-xtb")
    present = [(LEVEL, "energy"), (LEVEL, "forces")]
    goals = {"energy": Goal(weight=1.0), "forces": Goal(weight=10.0)}
    task = source.task(ENCODER, present, goals=goals)
    above = without(base)
    above.stand_on(theories_of(above, task, section_of("uff", "molecules")))
    counts = {"train": options.train, "validation": options.train // 5, "test": options.test}
    splits: dict[str, Any] = {
        name: chosen(above, task.split(name), n, options.atoms) for name, n in counts.items()
    }
    return dataclasses.replace(task, **splits)


def without(base: FoundationModel) -> FoundationModel:
    """The model as one that has learned nothing: only its sizes are used."""
    model = FoundationModel(dataclasses.replace(base.config, targets=()))
    return model.eval()


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One for each theory and seed."""
    base = sfm.load("sfm-tiny")
    task = task_of(options, base)
    empty = without(base)
    for name in options.theories:
        began = time.process_time()
        text = THEORIES[name]
        section = None if text is None else section_of(text, "molecules")
        beneath = theories_of(empty, task, section)
        _, learned, _ = standing(empty, task, beneath)
        if isinstance(learned.test, Remainder):
            list(learned.test)
        theory_seconds = time.process_time() - began
        for seed in range(options.seeds):
            yield {
                "theory": name,
                "seed": seed,
                "train": len(task.train),
                "test": len(task.test),
                "theory CPU s": round(theory_seconds, 1),
                **run(empty, learned, task, beneath, seed, options),
            }


def run(
    base: FoundationModel,
    learned: TaskData,
    task: TaskData,
    beneath: Any,
    seed: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Errors of one model on the test systems; with `--sum` those of the sum, through its door."""
    began = time.process_time()
    training = {"steps": options.steps, "tokens_per_batch": options.tokens, "seed": seed,
                "validate_every": options.steps, "loggers": []}  # fmt: skip
    recipe = FinetuneRecipe.model_validate({"training": training})
    with tempfile.TemporaryDirectory() as scratch:
        model = scratch_model(learned, base, recipe, Path(scratch))
    seconds = time.process_time() - began
    errors = evaluate(model, learned, split="test", max_samples=None)
    result: dict[str, Any] = {"training CPU s": round(seconds, 1)}
    for quantity in ("energy", "forces"):
        metric = errors.of(quantity, LEVEL, ENCODER)
        per_atom = metric.mae_per_token if quantity == "energy" else metric.mae
        simple = metric.baseline_mae_per_token if quantity == "energy" else metric.baseline_mae
        result[quantity] = per_atom
        result[f"{quantity}, theory and composition alone"] = simple
    if options.sum and seed == 0:
        model.stand_on(beneath)
        metric = evaluate(model, task, split="test", max_samples=options.sum).of(
            "forces", LEVEL, ENCODER
        )
        result[f"forces of the sum, {metric.n} numbers"] = metric.mae
    return result


def main() -> None:
    """Write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=300, help="training systems")
    parser.add_argument("--test", type=int, default=150, help="test systems")
    parser.add_argument("--atoms", type=int, default=20, help="largest system")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--tokens", type=int, default=512, help="atoms in a batch")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sum", type=int, default=0, help="also ask so many systems for the sum")
    parser.add_argument("--theories", nargs="+", choices=tuple(THEORIES), default=list(THEORIES))
    options = parser.parse_args()
    append(options.out, rows(options))


if __name__ == "__main__":
    main()
