"""Train the plain closures of the fluids plugin: a few CPU minutes each, on one core.

python recipes/fluids_closures.py [NAME ...] [--out FOLDER] [--list]

These are no foundation models, so no recipe file fits them: each is a class, its options, and
stages of training on `fluids/turbulence-2d` (a priori on the stress, then through 1, 4, 8 snapshots
of the solver, 0.25 apart). A file of it goes into the solver with
`sfm_fluids.learned.training.load(path)`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sfm_fluids.data.specs import TURBULENCE_2D
from sfm_fluids.learned.training import CLOSURES, StressErrors, fit, save
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from torch import nn

from sfm.data.storage import open_dataset
from sfm.errors import one_line_errors


@dataclass(frozen=True)
class Stage:
    """`snapshots` 0 is a priori; else runs that long through the solver."""

    snapshots: int
    steps: int
    lr: float
    runs: int = 12


@dataclass(frozen=True)
class Plan:
    """One closure: class, options, stages, and the smallest Reynolds number it sees."""

    kind: str
    stages: tuple[Stage, ...]
    options: dict[str, Any] = field(default_factory=dict)
    min_reynolds: float = 0.0


THROUGH = (Stage(1, 60, 0.02), Stage(4, 120, 0.015))
PLANS = {
    # the algebraic form with 1, 2 and 3 filtered gradients
    "local-1": Plan(
        "LocalClosure",
        (Stage(1, 60, 0.02), Stage(4, 100, 0.02)),
        {"scales": 1, "hidden": 0},
        400,
    ),
    "local": Plan("LocalClosure", THROUGH, {"scales": 2, "hidden": 0}),
    "local-3": Plan(
        "LocalClosure", (*THROUGH, Stage(8, 80, 0.008)), {"scales": 3, "hidden": 0}, 400
    ),
    "local-a-priori": Plan("LocalClosure", (Stage(0, 400, 0.02),), {"scales": 2, "hidden": 0}),
    "local-perceptron": Plan(
        "LocalClosure",
        (Stage(1, 60, 3e-3), Stage(4, 120, 3e-3)),
        {"scales": 2, "hidden": 16},
    ),
    # interpolation in fluids/finite-volume-2d
    "interpolation": Plan(
        "LearnedInterpolation",
        (Stage(1, 60, 5e-3, 4),),
        {"layers": 3, "channels": 24},
        400,
    ),
    "convolutional": Plan(
        "ConvolutionalClosure",
        (Stage(0, 300, 3e-3), Stage(1, 60, 2e-3), Stage(4, 100, 2e-3, 8)),
        {"layers": 4, "channels": 16},
    ),
}


def train(name: str, *, log: Any = print) -> nn.Module:
    """The trained closure `name` of `PLANS`; the same on every call."""
    plan = PLANS[name]
    samples = [
        s
        for s in open_dataset(TURBULENCE_2D.folder, split="train", length_unit="1")
        if s.conditions["reynolds"] >= plan.min_reynolds
    ]
    closure = CLOSURES[plan.kind](**plan.options)
    for number, stage in enumerate(plan.stages):
        through: Any = StressErrors()
        if stage.snapshots:
            if plan.kind == "LearnedInterpolation":
                from sfm_fluids.evaluation.finite_volume import FiniteVolumeRollouts

                through = FiniteVolumeRollouts(snapshots=stage.snapshots)
            else:
                through = NavierStokes2D.through(
                    snapshots=stage.snapshots, settings={"recompute": False}
                )
        began = time.process_time()
        fit(
            closure,
            through,
            samples,
            steps=stage.steps,
            runs=stage.runs,
            lr=stage.lr,
            seed=number,
            log=partial(_line, log, f"{name}, stage {number + 1}"),
        )
        log(f"{name}, stage {number + 1}: {time.process_time() - began:.0f} CPU seconds")
    return closure.eval().requires_grad_(False)


def _line(log: Any, where: str, text: str) -> None:
    log(f"{where}: {text}")


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(PLANS), help="default: all")
    parser.add_argument("--out", type=Path, default=Path("fluids-closures"))
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.list:
        print("\n".join(PLANS))
        return 0
    unknown = [n for n in arguments.names if n not in PLANS]
    if unknown:
        parser.error(f"no closure {', '.join(unknown)} (known: {', '.join(PLANS)})")
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        save(
            train(name, log=lambda text: print(text, file=sys.stderr)),
            arguments.out / f"{name}.safetensors",
        )
        print(arguments.out / f"{name}.safetensors")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
