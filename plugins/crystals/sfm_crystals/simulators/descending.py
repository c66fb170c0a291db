"""Down from the saddle point of `crystals/transition-state`: the minima that it joins.

The place that the search came to is first made a saddle point to the tolerance of minima
(`sfm.simulate.statics.saddle`), for from a slope both ways down are one. The ways down are
relaxations, not the intrinsic path. Nothing here is differentiated.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.model.guard import searching
from sfm.simulate.statics.barriers import ASIDE
from sfm.simulate.statics.saddle import ClimbSettings, saddle
from sfm_crystals.cells import Cells
from sfm_crystals.statics.fire import LatticeState
from sfm_crystals.statics.fixed_point import CellBasin

if TYPE_CHECKING:
    from sfm_crystals.simulators.transition_state import TransitionState

NEAR = 1e-3  # of the stiffness times an angstrom: where Newton's method takes over


class Joined(NamedTuple):
    """The two minima below a saddle point, the one that lies nearer to the start first.

    Attributes:
        energies: (2,) eV, from the start.
        distances: (2,) angstrom, root mean square, of the first from the start, and of the second
            from the end; of a dimer, which has none, from the start too.
    """

    energies: Float[Tensor, " 2"]
    distances: Float[Tensor, " 2"]


def picked(cells: Cells, which: list[int]) -> Cells:
    """Some of the cells of a way, which all hold the same atoms, as a batch of their own."""
    count = cells.n_systems

    def rows(value: Tensor) -> Tensor:
        return value.detach().view(count, -1, *value.shape[1:])[which].flatten(0, 1)

    system = torch.arange(len(which), device=cells.system.device)
    return Cells(
        positions=rows(cells.positions),
        types=rows(cells.types),
        cell=cells.cell.detach()[which],
        system=system.repeat_interleave(len(cells.positions) // count),
        free=None if cells.free is None else rows(cells.free),
        samples=tuple(cells.samples[i] for i in which) if cells.samples else (),
    )


@torch.no_grad()
def joined(
    simulator: TransitionState, state: LatticeState, top: int, way: Float[Tensor, "n 3"]
) -> Joined:
    """The minima that a search's highest cell joins.

    Args:
        simulator: what the search was done with.
        state: where it ended, the start first; a band's end last.
        top: which of its cells is the saddle point, nearly.
        way: (n, 3), a direction without unit, along which it falls on both sides.

    Raises:
        RunError: there is no saddle point near, or a way down does not come to rest.
    """
    n, stiffness = len(way), float(simulator.stiffness_of_bonds())
    settings = ClimbSettings(
        stiffness=stiffness,
        turns=simulator.turns,
        near=NEAR * stiffness,
        tolerance=simulator.tolerance,
        max_steps=simulator.max_steps,
        part=simulator.part,
    )
    basin = CellBasin(simulator.energy, picked(state, [top]), "fixed", True)
    still = torch.zeros_like(state.cell[top])  # the lattice does not change
    with searching():
        place, mode = saddle(basin, torch.cat([way.detach(), still]), settings)
    aside = mode.direction[:n]
    aside = ASIDE * aside / aside.square().sum(1).max().sqrt()
    x = place.cells.positions
    sides = dataclasses.replace(
        picked(state, [top, top]), positions=torch.cat([x - aside, x + aside])
    )
    minima = simulator.relax(sides)
    start = picked(state, [0])
    energies = simulator.energy(minima) - simulator.energy(start)
    places = minima.positions.view(2, n, 3)
    ends = state.positions.detach().view(-1, n, 3)
    last = ends[0] if simulator.method == "dimer" else ends[-1]
    if apart(places[1], ends[0], start) < apart(places[0], ends[0], start):
        places, energies = places.flip(0), energies.flip(0)
    away = [apart(x, y, start) for x, y in zip(places, (ends[0], last), strict=True)]
    return Joined(energies, energies.new_tensor(away))


def apart(x: Float[Tensor, "n 3"], y: Float[Tensor, "n 3"], cell: Cells) -> float:
    """Angstrom, root mean square, between two places (n, 3) angstrom of the atoms of one cell.

    Each atom goes through the faces that are nearest; where nothing is fixed, the crystal may have
    slid as a whole.
    """
    inside = (x - y) @ torch.linalg.inv(cell.cell[0])
    between: Tensor = (inside - inside.round()) @ cell.cell[0]
    slid = between.mean(0).masked_fill(cell.pinned()[0], 0.0)
    return float((between - slid).square().sum(1).mean().sqrt())
