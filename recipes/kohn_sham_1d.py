"""Kohn-Sham equations as regulariser: functionals from two separations of H2 on a line.

OMP_NUM_THREADS=1 python recipes/kohn_sham_1d.py [--seeds 0 1 2] [--steps N] [--out FOLDER]

Trains a global and a local functional through self-consistency, and the global one on energies at
exact densities without it; writes the table, the curves and the weights. Minutes on two cores.
No recipe file fits: a functional on a line is no foundation model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sfm_dft.ladder.benchmark import Curve, labels_of, table
from sfm_dft.ladder.plotting import plot_curves
from sfm_dft.ladder.saving import KINDS, save
from sfm_dft.ladder.training import train_on_exact_densities, train_through

from sfm.errors import RunError

PLANS = {
    "global": ("global", True),
    "local": ("local", True),
    "global at exact densities": ("global", False),
}


def one(name: str, seed: int, options: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Train and measure one functional."""
    kind, through = PLANS[name]
    functional = KINDS[kind](seed=seed)
    _, labels = labels_of("H2", options.pair)
    chosen = options.validation
    started = time.perf_counter()
    if through:
        fit = train_through(
            functional,
            labels.cropped(257),
            steps=options.steps,
            density_weight=options.density_weight,
            weight_decay=options.weight_decay,
            validation=labels_of("H2", chosen)[1].cropped(257) if chosen else None,
        )
    else:
        fit = train_on_exact_densities(functional, labels.cropped(257), steps=options.steps)
    seconds = time.perf_counter() - started
    curves = table(functional)
    row = {
        "method": name,
        "seed": seed,
        "loss": min(fit.losses),
        "evaluations": len(fit.losses),
        "failures": fit.failures,
        "seconds": round(seconds, 1),
        **summaries(curves),
    }
    if options.out:
        slug = name.replace(" ", "-")
        info = {"pair": options.pair, "validation": chosen, "steps": options.steps, "seed": seed}
        path = options.out / f"{slug}-{seed}.safetensors"
        save(functional, path, kind=kind, options={"seed": seed}, **info)
    return row, curves


def summaries(curves: dict[str, Curve] | Any) -> dict[str, Any]:
    """Errors of each family, mHa; H2 also up to 6 bohr only."""
    found = {name: curve.summary() for name, curve in curves.items()}
    found["H2 to 6"] = curves["H2"].summary(6.0)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=250, help="evaluations of the loss")
    parser.add_argument("--pair", type=float, nargs="+", default=[0.96, 5.44], help="bohr")
    parser.add_argument(
        "--validation", type=float, nargs="*", default=[2.56, 3.84], help="bohr; choose the step"
    )
    parser.add_argument("--weight-decay", type=float, default=1e-8)
    parser.add_argument("--density-weight", type=float, default=0.03)
    parser.add_argument("--only", nargs="+", choices=list(PLANS), default=list(PLANS))
    parser.add_argument("--out", type=Path, help="folder for weights, table and plot")
    options = parser.parse_args(argv)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    lda = table(None)
    rows: list[dict[str, Any]] = [{"method": "LDA", **summaries(lda)}]
    drawn = {"LDA": lda["H2"].energy}
    for name in options.only:
        for seed in options.seeds:
            try:
                row, curves = one(name, seed, options)
            except RunError as error:
                row = {"method": name, "seed": seed, "error": str(error)}
            else:
                drawn.setdefault(name, curves["H2"].energy)
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    print(json.dumps(rows, indent=1))
    if options.out:
        (options.out / "table.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        h2 = lda["H2"]
        lines = {name: np.asarray(values) for name, values in drawn.items()}
        picture = options.out / "h2.png"
        plot_curves(h2.separations, h2.exact, lines, picture, trained=options.pair)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
