"""The dataset `hydrogen-1d`: which molecules, their exact energies and densities, table rows.

One file per molecule goes to a work folder, so that a build may be stopped and started again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfm.data.atomic import atomic
from sfm.data.storage import GROUP, ID, SPLIT, TYPES, Column, positions_column
from sfm_dft.data.specs import EXACT_1D
from sfm_dft.ladder.exact import GroundState, one_electron, two_electrons
from sfm_dft.ladder.full_ci import full_ci, natural_basis
from sfm_dft.ladder.grid import kinetic_bands, points
from sfm_dft.ladder.lda import ExponentialLDA
from sfm_dft.ladder.molecules import Molecules, build
from sfm_dft.ladder.problem import Problem

POINTS, DX, ORDER = 513, 0.08, 4
AMPLITUDE, RANGE = 1.071295, 2.385345
ORBITALS = (14, 18)  # of full CI; the label is the last, the first shows what is left

TRAIN: dict[str, tuple[float, ...]] = {"H2": (0.96, 5.44)}
VALIDATION: dict[str, tuple[float, ...]] = {  # H2 and H4: the published ones
    "H2": (1.68, 2.96, 4.4, 5.52),
    "H4": (1.84, 2.64, 3.28, 5.04),
    "H2-H2": (1.28, 2.72, 5.44),
}


def _steps(first: float, last: float, step: float) -> tuple[float, ...]:
    return tuple(round(first + i * step, 2) for i in range(round((last - first) / step) + 1))


SEPARATIONS: dict[str, tuple[float, ...]] = {
    "H": (0.0,),
    "H2": tuple(sorted((*_steps(0.32, 6.08, 0.16), 6.0, *VALIDATION["H2"]))),
    "H2+": _steps(0.64, 8.32, 0.32),
    "H2-H2": (0.96, 1.28, 1.44, 1.92, 2.4, 2.72, 3.04, 3.52, 4.0, 4.96, 5.44, 6.08),
    "H4": tuple(
        sorted(
            (0.96, 1.28, 1.6, 1.92, 2.08, 2.24, 2.56, 3.04, 3.36, 3.52, 4.0, 4.8, 5.92)
            + VALIDATION["H4"]
        )
    ),
}


@dataclass(frozen=True)
class Task:
    """One molecule."""

    name: str
    separation: float

    @property
    def id(self) -> str:
        return f"{self.name}/{self.separation:.2f}"

    @property
    def split(self) -> str:
        for split, chosen in (("train", TRAIN), ("validation", VALIDATION)):
            if self.separation in chosen.get(self.name, ()):
                return split
        return "test"

    @property
    def molecules(self) -> Molecules:
        return build(self.name, self.separation)


def tasks() -> list[Task]:
    """All molecules of the dataset, in its order."""
    return [Task(name, r) for name, separations in SEPARATIONS.items() for r in separations]


def problem_of(molecules: Molecules, *, size: int = POINTS, dx: float = DX) -> Problem:
    """The Hamiltonian of one molecule with the exponential interaction."""
    one = Molecules(
        molecules.positions.reshape(1, -1),
        molecules.charges.reshape(1, -1),
        molecules.electrons.reshape(1),
    )
    strength, length = (torch.tensor(v, dtype=torch.float64) for v in (AMPLITUDE, RANGE))
    bands = kinetic_bands(size, dx, ORDER)
    x = points(size, dx)
    return Problem(one, x, dx, bands, "exponential", strength, length, ExponentialLDA())


def solve(molecules: Molecules) -> tuple[GroundState, dict[str, float]]:
    """The exact ground state, and energies in smaller orbital sets where it is full CI."""
    problem = problem_of(molecules)
    electrons = int(molecules.electrons)
    if electrons == 1:
        return one_electron(problem), {}
    if electrons == 2:
        return two_electrons(problem, order=ORDER, tolerance=3e-7), {}
    basis = natural_basis(problem, order=ORDER)
    by_size = {size: full_ci(problem, basis, size) for size in ORBITALS}
    return by_size[ORBITALS[-1]], {f"full CI in {k}": g.energy for k, g in by_size.items()}


def label(task: Task, work: Path) -> Path:
    """Solve one molecule into `work`, or leave it if it is there."""
    path = work / (task.id.replace("/", "_") + ".json")
    if not path.exists():
        state, smaller = solve(task.molecules)
        nuclear = float(problem_of(task.molecules).nuclear[0])
        labels = {
            "energy": state.energy + nuclear,
            "density": state.density.tolist(),
            "residual": state.residual,
            "natural": state.natural[:8].tolist(),
            "smaller": {name: energy + nuclear for name, energy in smaller.items()},
        }
        with atomic(path) as scratch:
            scratch.write_text(json.dumps(labels), encoding="utf-8")
    return path


def columns() -> list[Column]:
    """Columns of the table."""
    labelled = partial(Column, role="label", level=EXACT_1D, dtype="float64")
    return [
        ID,
        SPLIT,
        GROUP,
        positions_column("bohr", "float64"),
        TYPES,
        Column("charge", "e", "condition"),
        Column("separation", "bohr", "condition", dtype="float64"),
        labelled("energy_1d", "hartree"),
        labelled("density_1d", "1/bohr", shape=(POINTS,)),
    ]


def row(task: Task, labels: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the table."""
    molecules = task.molecules
    atoms = len(molecules.positions)
    positions = np.zeros((atoms, 3))
    positions[:, 0] = molecules.positions.numpy()
    return {
        "id": task.id,
        "split": task.split,
        "group": task.id,
        "positions[bohr]": positions,
        "types[1]": np.ones(atoms, dtype=np.int16),
        "charge[e]": float(atoms - int(molecules.electrons)),
        "separation[bohr]": task.separation,
        f"energy_1d[hartree]@{EXACT_1D}": labels["energy"],
        f"density_1d[1/bohr]@{EXACT_1D}": np.asarray(labels["density"]),
    }


def rows(work: Path) -> Iterator[dict[str, Any]]:
    """Rows of all molecules that are solved."""
    for task in tasks():
        path = work / (task.id.replace("/", "_") + ".json")
        if path.exists():
            yield row(task, json.loads(path.read_text(encoding="utf-8")))
