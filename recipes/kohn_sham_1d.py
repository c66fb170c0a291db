"""Kohn-Sham equations as regulariser: functionals on a line from a few exact molecules.

OMP_NUM_THREADS=1 python recipes/kohn_sham_1d.py [--only METHOD ...] [--seeds 0 1 2] [--out FOLDER]

Trains functionals through self-consistency, and one on energies at exact densities without it;
writes the table, the curves and the weights. A seed stands for several starts, of which the
validation molecules choose one; test molecules choose nothing. Minutes on two cores.
No recipe file fits: a functional on a line is no foundation model.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfm_dft.ladder.benchmark import SPLITS, Curve, mixture, table, used
from sfm_dft.ladder.figures import plot_curves, plot_families
from sfm_dft.ladder.gauss_newton import train_by_least_squares
from sfm_dft.ladder.saving import KINDS, save
from sfm_dft.ladder.training import Fit, Labels, train_on_exact_densities
from torch import nn

from sfm.errors import InputError, RunError, one_line_errors

Row = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """Which functional learns from which molecules; through self-consistency or at fixed density.

    Attributes:
        points: grid points in training, the innermost ones; tests have all 513.
    """

    kind: str
    split: str
    points: int
    through: bool = True


METHODS: Mapping[str, Method] = {
    "global": Method("global", "two H2", 225),
    "local": Method("local", "two H2", 225),
    "global at exact densities": Method("global", "two H2", 225, through=False),
    "global from H2 and H4": Method("global", "H2 and H4", 289),
    "global from three families": Method("global", "three families", 337),
}
DEFAULT = ("global", "local", "global at exact densities")


def train(method: Method, functional: nn.Module, options: argparse.Namespace) -> Fit:
    split = SPLITS[method.split]

    def labels(geometries: Mapping[str, tuple[float, ...]]) -> Labels:
        return mixture(geometries).cropped(method.points)

    if not method.through:
        return train_on_exact_densities(functional, labels(split.train), steps=250)
    return train_by_least_squares(
        functional,
        labels(split.train),
        steps=options.steps,
        density_weight=options.density_weight,
        weight_decay=options.weight_decay,
        validation=labels(split.validation),
    )


def one(name: str, seed: int, options: argparse.Namespace) -> tuple[Row, dict[str, Curve]]:
    """Train from several starts, choose by validation, measure."""
    method, started = METHODS[name], time.perf_counter()
    restarts = options.restarts if method.through else 1
    tried: list[tuple[float, int, nn.Module, Fit]] = []
    for start in range(seed * restarts, (seed + 1) * restarts):
        functional = KINDS[method.kind](seed=start)
        try:
            fit = train(method, functional, options)
        except RunError as error:
            print(f"{name}, start {start}: {error}", file=sys.stderr, flush=True)
            continue
        tried.append((fit.validation, start, functional, fit))
    if not tried:
        raise RunError(f"{name}, seed {seed}: no start could be trained")
    _, start, functional, fit = min(tried, key=lambda attempt: attempt[:2])  # NaN: one start only
    seconds = time.perf_counter() - started
    curves = dict(table(functional))
    row = {
        "method": name,
        "seed": seed,
        "start": start,
        "loss": fit.losses[-1],
        "validation": [round(1e3 * score, 3) for score, *_ in tried] if method.through else None,
        "failures": sum(attempt.failures for *_, attempt in tried),
        "seconds": round(seconds, 1),
        **summaries(curves, method.split),
    }
    if options.out:
        path = options.out / f"{name.replace(' ', '-')}-{seed}.safetensors"
        info = {"split": method.split, "steps": options.steps, "seed": seed}
        save(functional, path, kind=method.kind, options={"seed": start}, **info)
    return row, curves


def summaries(curves: Mapping[str, Curve], split: str | None = None) -> dict[str, Any]:
    """Errors of each family, mHa, at geometries no method here has used.

    `H2 to 6`: the whole curve but what this one method was trained and chosen on.
    """
    errors: dict[str, Any] = {name: c.summary(without=used(name)) for name, c in curves.items()}
    separations: set[float] = set()
    if split is not None:
        parts = SPLITS[split]
        separations = {*parts.train.get("H2", ()), *parts.validation.get("H2", ())}
    errors["H2 to 6"] = curves["H2"].summary(6.0, separations)
    return errors


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--restarts", type=int, default=4, help="starts that make one seed")
    parser.add_argument("--steps", type=int, default=26, help="of Gauss and Newton's method")
    parser.add_argument("--weight-decay", type=float, default=1e-7)
    parser.add_argument("--density-weight", type=float, default=0.1)
    parser.add_argument("--only", nargs="+", choices=list(METHODS), default=list(DEFAULT))
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, help="folder for weights, table and plot")
    options = parser.parse_args(argv)
    return compare(options)


def check(options: argparse.Namespace) -> None:
    """One line instead of a failure in a worker, minutes later."""
    for name, value, least in (
        ("--restarts", options.restarts, 1),
        ("--steps", options.steps, 1),
        ("--workers", options.workers, 1),
        ("--seeds", min(options.seeds), 0),
        ("--weight-decay", options.weight_decay, 0),
        ("--density-weight", options.density_weight, 0),
    ):
        if not least <= value < float("inf"):
            raise InputError(f"{name} {value}: give a number, at least {least}")
    if options.out:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {options.out}: {error.strerror}; give a folder") from None


def compare(options: argparse.Namespace) -> int:
    """Train and measure every method and seed; write the table, weights and pictures."""
    check(options)
    started = time.perf_counter()
    lda = dict(table(None))
    rows: list[Row] = [{"method": "LDA", **summaries(lda)}]
    drawn: dict[str, dict[str, Curve]] = {"LDA": lda}
    tasks = [(name, seed) for name in options.only for seed in options.seeds]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=spawn) as pool:
        running = {pool.submit(one, name, seed, options): (name, seed) for name, seed in tasks}
        for future in as_completed(running):
            name, seed = running[future]
            try:
                row, curves = future.result()
            except RunError as error:
                row = {"method": name, "seed": seed, "error": str(error)}
            else:
                if seed == options.seeds[0]:
                    drawn[name] = curves
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    order = ["LDA", *METHODS]
    rows.sort(key=lambda row: (order.index(row["method"]), row.get("seed", 0)))
    print(json.dumps(rows, indent=1))
    print(f"{time.perf_counter() - started:.0f} s in all", file=sys.stderr)
    if options.out:
        (options.out / "table.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        shown = {name: drawn[name] for name in order if name in drawn}
        h2 = lda["H2"]
        lines = {name: family["H2"].energy for name, family in shown.items()}
        sets = {METHODS[name].split for name in shown if name in METHODS}
        trained = SPLITS[sets.pop()].train["H2"] if len(sets) == 1 else ()
        plot_curves(h2.separations, h2.exact, lines, options.out / "h2.png", trained=trained)
        plot_families(shown, options.out / "families.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
