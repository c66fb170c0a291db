"""From a density functional to how a molecule moves, and back by one gradient.

OMP_NUM_THREADS=1 python recipes/dft_dynamics.py [--molecules H2 H2O] [--steps N] [--out FOLDER]
    [--functional PBE] [--learned NAME] [--check]

Runs molecular dynamics on Kohn-Sham forces, and prints mean bond length and vibration frequency
with their derivatives by the functional: the scale of its exchange energy and, with `--learned`,
the weights of a published functional (`sfm-xc-gga`, a folder or a Hub id). `--check` compares
derivatives with differences of whole trajectories, four more of them. 300 steps of H2 take some
minutes of one core, of H2O a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path as File
from typing import Any

import numpy as np
import torch
from sfm_dft.simulators.dynamics import Path, Surface, frequency, move, peak, spectrum
from sfm_dft.simulators.kohn_sham import KohnSham
from sfm_dft.xc import FUNCTIONALS, Functional
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import one_line_errors

# angstrom, stretched a little from where they rest; fs
MOLECULES = {
    "H2": (np.array([1, 1]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.78]]), 0.25),
    "H2O": (
        np.array([8, 1, 1]),
        np.array([[0.0, 0.0, 0.1173], [0.0, 0.79, -0.47], [0.0, -0.79, -0.47]]),
        0.4,
    ),
}
STRETCH = (2800.0, 4800.0)  # cm^-1, where a spectrum is searched for O-H stretches


def observables(name: str, path: Path, dt: float) -> dict[str, Tensor]:
    """Mean bond length in angstrom and vibration frequency in cm^-1."""
    bond = path.bond(0, 1)
    if name == "H2":
        return {"bond_length": bond.mean(), "frequency": frequency(bond, dt)}
    where, power = spectrum(path)
    return {"bond_length": bond.mean(), "frequency": peak(where, power, *STRETCH)}


def one(name: str, closure: Functional | None, options: argparse.Namespace) -> dict[str, Any]:
    """Trajectory, observables and gradients of one molecule."""
    numbers, positions, dt = MOLECULES[name]
    simulator = KohnSham(
        functional="none" if closure is not None else options.functional,
        closure=closure,
        basis=options.basis,
        grid_level=options.grid_level,
        tolerance=1e-10,
    )
    sample = Sample(id=name, domain="dft", types=numbers, positions=positions)
    surface, start = Surface(simulator, sample), torch.tensor(positions)
    parameters: dict[str, Tensor] = {"exchange_scale": simulator.exchange_scale}
    if closure is not None:
        parameters = dict(closure.named_parameters())
    ways = {k: _way(p, seed) for seed, (k, p) in enumerate(parameters.items())}

    def run() -> tuple[Path, dict[str, Tensor]]:
        path = move(surface, start, dt=dt, steps=options.steps)
        return path, observables(name, path, dt)

    began = time.perf_counter()
    path, values = run()
    middle = time.perf_counter()
    row: dict[str, Any] = {"molecule": name, "steps": options.steps, "dt_fs": dt}
    row |= {key: value.item() for key, value in values.items()}
    row["drift_meV"] = 1e3 * path.drift
    slopes = {
        key: torch.autograd.grad(value, list(parameters.values()), retain_graph=True)
        for key, value in values.items()
    }
    for key, columns in slopes.items():
        # of one parameter its derivative, of many the derivative along a random direction
        along = sum((g * ways[p]).sum() for p, g in zip(parameters, columns, strict=True))
        row[f"{key}_slope"] = float(along)
    row["seconds"] = round(middle - began, 1)
    row["seconds_backward"] = round(time.perf_counter() - middle, 1)
    if options.check:
        row |= {f"{k}_difference": v for k, v in _differences(run, parameters, ways).items()}
    if options.out:
        np.savez(
            options.out / f"{name}.npz",
            times=path.times,
            positions=path.positions.detach(),
            potential=path.potential.detach(),
            kinetic=path.kinetic.detach(),
        )
    return row


def _way(parameter: Tensor, seed: int) -> Tensor:
    if parameter.dim() == 0:
        return torch.ones_like(parameter)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def _differences(
    run: Callable[[], tuple[Path, dict[str, Tensor]]],
    parameters: dict[str, Tensor],
    ways: dict[str, Tensor],
    step: float = 1e-3,
) -> dict[str, float]:
    """Fourth-order differences of the observables along the ways, a trajectory for each point."""
    original = {name: p.detach().clone() for name, p in parameters.items()}
    total: dict[str, float] = {}
    with torch.no_grad():
        for k, weight in ((2, -1.0), (1, 8.0), (-1, -8.0), (-2, 1.0)):
            for name, p in parameters.items():
                p.copy_(original[name] + k * step * ways[name])
            for key, value in run()[1].items():
                total[key] = total.get(key, 0.0) + weight * float(value) / (12.0 * step)
        for name, p in parameters.items():
            p.copy_(original[name])
    return total


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecules", nargs="+", choices=list(MOLECULES), default=list(MOLECULES))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--functional", choices=list(FUNCTIONALS), default="PBE")
    parser.add_argument("--learned", help="folder or Hub id of a learned functional, the whole xc")
    parser.add_argument("--basis", default="6-31g")
    parser.add_argument("--grid-level", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="differences of whole trajectories")
    parser.add_argument("--out", type=File, help="folder for trajectories and the table")
    options = parser.parse_args(argv)
    closure = None
    if options.learned:
        from sfm_dft.neural.saving import load

        closure = load(options.learned).requires_grad_(True)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in options.molecules:
        rows.append(one(name, closure, options))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    text = json.dumps(rows, indent=1)
    print(text)
    if options.out:
        (options.out / "table.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
