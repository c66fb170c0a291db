"""Fock matrices of small molecules in a minimal basis: does the jointly trained trunk help?

OMP_NUM_THREADS=1 python recipes/fock_matrix.py [--steps N] [--seeds 0 1] [--few 64] [--out FOLDER]

Makes PBE/STO-3G Fock matrices for the geometries of `dft-small` (in the work folder, resumable),
trains the Fock module (see `sfm_dft.fock`) on the trunk of `sfm-tiny` and on one of the same size
with random weights, on the whole training split and on a few molecules of it, and writes the
errors on the test split, with those of what needs no training, to `results.json`. Molecules of the
test split are in no other split. About 5 minutes of one core for
the labels and as much for each seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sfm_dft.data.specs import DFT_SMALL, PBE
from sfm_dft.fock.baselines import DistanceAverage
from sfm_dft.fock.evaluation import evaluate
from sfm_dft.fock.labels import LEVEL, FockLabel, label_all
from sfm_dft.fock.model import FockModel
from sfm_dft.fock.training import FockTraining, example
from sfm_dft.model.single_context import single_context

import sfm
from sfm.data.labelling import note
from sfm.data.storage import open_dataset
from sfm.errors import one_line_errors
from sfm.train.report import hardware, versions, write_json

BASE, NAME = "sfm-tiny", "sfm-fock"


def labelled(split: str, folder: Path, most: int | None) -> list[FockLabel]:
    """Labels of one split of `dft-small`, in its order; of the first `most` samples."""
    data = open_dataset(DFT_SMALL.folder, split=split, level=PBE)
    return list(label_all(list(data)[:most], folder).values())


def trained(
    train: Sequence[FockLabel],
    validation: Sequence[FockLabel],
    *,
    pretrained: bool,
    aligned: bool,
    steps: int,
    seed: int,
) -> tuple[FockModel, list[dict[str, float]]]:
    """A model and its losses; `seed` draws the module's weights, a new trunk's, and the batches."""
    trunk = single_context(sfm.load(BASE), PBE, NAME, seed=None if pretrained else seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FockModel(trunk)
    training = FockTraining(model, [example(model, x) for x in train], aligned=aligned)
    held = [example(model, x) for x in validation]
    history = training.run(held, steps=steps, seed=seed)
    return model.eval(), history


def untrained(train: Sequence[FockLabel]) -> dict[str, Callable[[FockLabel], np.ndarray]]:
    """What needs no network, by name."""
    whole = DistanceAverage([(x.types, x.positions, x.fock) for x in train])
    rest = DistanceAverage([(x.types, x.positions, x.fock - x.start) for x in train])
    return {
        "zero": lambda x: np.zeros_like(x.fock),
        "superposed atomic potentials F0": lambda x: x.start,
        "average F by elements and distance": lambda x: whole.matrix(x.types, x.positions),
        "F0 + average F - F0": lambda x: x.start + rest.matrix(x.types, x.positions),
    }


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--few", type=int, default=64, help="training molecules of the small runs")
    parser.add_argument("--labels", type=Path, default=Path("runs/fock/labels"))
    parser.add_argument("--every", type=int, default=1, help="count cycles of every k-th molecule")
    parser.add_argument("--max-samples", type=int, help="of each split, for a trial")
    parser.add_argument("--out", type=Path, default=Path("runs/fock/results"))
    options = parser.parse_args(argv)
    began = time.perf_counter()
    splits = {
        split: labelled(split, options.labels, options.max_samples)
        for split in ("train", "validation", "test")
    }
    train, validation, test = splits.values()
    record: dict[str, Any] = {
        "level": LEVEL,
        "steps": options.steps,
        "cycles of every k-th": options.every,
        "molecules": {split: len(molecules) for split, molecules in splits.items()},
        "hardware": hardware("cpu"),
        "versions": versions(),
        "rows": [],
    }

    def add(name: str, values: dict[str, float], **more: Any) -> None:
        values = {k: v for k, v in values.items() if np.isfinite(v)}
        record["rows"].append({"name": name, **values, **more})
        write_json(options.out / "results.json", record)  # after each, as the next may be stopped
        note(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in values.items()))

    options.out.mkdir(parents=True, exist_ok=True)
    add("minao", {"cycles": float(np.mean([x.cycles for x in test[:: options.every]]))})
    # molecules stand in the split's order, by formula: every k-th is a fair few
    few = [train[i] for i in np.linspace(0, len(train) - 1, options.few).astype(int)]
    runs = [
        (
            f"{start}, {size}{'' if aligned else ', elements only'}",
            molecules,
            start == BASE,
            aligned,
        )
        for size, molecules, aligned in (
            ("all", train, True),
            ("few", few, True),
            ("all", train, False),
        )
        for start in (BASE, "scratch")
        if aligned or start == BASE
    ]
    for seed in options.seeds:
        for name, molecules, pretrained, aligned in runs:
            model, history = trained(
                molecules,
                validation,
                pretrained=pretrained,
                aligned=aligned,
                steps=options.steps,
                seed=seed,
            )
            model.save(options.out / f"{name}, seed {seed}".replace(", ", "_").replace(" ", "-"))
            errors = evaluate(
                lambda x, model=model: model.predict(x.types, x.positions, x.overlap, x.start),
                test,
                every=options.every,
            )
            add(name, errors, seed=seed, train=len(molecules), losses=history)
    for name, predict in untrained(train).items():
        add(name, evaluate(predict, test, every=options.every * (name != "zero")))
    record["time"] = time.perf_counter() - began
    write_json(options.out / "results.json", record)
    print(options.out / "results.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
