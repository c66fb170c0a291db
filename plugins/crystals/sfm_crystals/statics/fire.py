"""FIRE, the fast inertial relaxation engine, for a batch of cells: atoms and lattice together.

`sfm.simulate.statics.fire` has the steps. Coordinates are the atoms' displacements and the strain
times a length a = n^(1/2) (V/n)^(1/3) that makes both equally stiff, as in S. Sheppard et al. and
ase's cell filters.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.simulate.statics import fire
from sfm.simulate.statics.fire import LARGEST_MOVE, Inertia
from sfm_crystals.cells import Cells


@dataclass(frozen=True, kw_only=True, eq=False)
class LatticeState(Cells):
    """Cells on their way to a fixed point.

    Attributes:
        velocity: (N, 3) of the atoms.
        strain_velocity: (S, 3, 3) of the scaled strain.
        step: (S,) time step.
        alpha: (S,) mixing of velocity and force.
        downhill: (S,) steps since the last uphill one.
        iteration: (S,) steps done.
    """

    velocity: Float[Tensor, "N 3"]
    strain_velocity: Float[Tensor, "S 3 3"]
    step: Float[Tensor, " S"]
    alpha: Float[Tensor, " S"]
    downhill: Float[Tensor, " S"]
    iteration: Float[Tensor, " S"]

    @property
    def time(self) -> Float[Tensor, " S"]:
        """(S,) number of steps done."""
        return self.iteration

    def replace(self, **changes: Any) -> LatticeState:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)

    @staticmethod
    def at_rest(cells: Cells) -> LatticeState:
        """Start from `cells` with no velocity."""
        rest = Inertia.at_rest(cells.positions, cells.n_systems)
        return LatticeState(
            positions=cells.positions,
            types=cells.types,
            cell=cells.cell,
            system=cells.system,
            free=cells.free,
            samples=cells.samples,
            velocity=rest.velocity,
            strain_velocity=torch.zeros_like(cells.cell),
            step=rest.step,
            alpha=rest.alpha,
            downhill=rest.downhill,
            iteration=rest.iteration,
        )


def strain_length(cells: Cells) -> Float[Tensor, " S"]:
    """(S,) angstrom, the length by which strains are multiplied."""
    count = cells.counts().to(cells.cell.dtype)
    return count.sqrt() * (cells.volume() / count) ** (1 / 3)


def coordinates(cells: Cells) -> tuple[Int[Tensor, " R"], Float[Tensor, " S"]]:
    """Of atoms and scaled strains, N + 3 S rows: each one's system (R,), and how far a system may
    move (S,), angstrom."""
    strains = torch.arange(cells.n_systems, device=cells.system.device).repeat_interleave(3)
    largest = LARGEST_MOVE * cells.counts().to(cells.cell).sqrt()
    return torch.cat([cells.system, strains]), largest


def displaced(cells: Cells, move: Float[Tensor, "R 3"]) -> Cells:
    """The cells with their atoms and scaled strains moved, (N + 3 S, 3) angstrom."""
    n = len(cells.positions)
    return cells.deformed(
        move[:n], move[n:].reshape(-1, 3, 3) / strain_length(cells)[:, None, None]
    )


def fire_step(
    state: LatticeState, force: Float[Tensor, "N 3"], strain_force: Float[Tensor, "S 3 3"]
) -> LatticeState:
    """One step.

    Args:
        state: where to start.
        force: (N, 3) angstrom, forces over k0.
        strain_force: (S, 3, 3) angstrom, minus dH/dstrain over (a k0).
    """
    n = len(state.positions)
    velocity = torch.cat([state.velocity, state.strain_velocity.reshape(-1, 3)])
    after, move = fire.fire_step(
        Inertia(velocity, state.step, state.alpha, state.downhill, state.iteration),
        torch.cat([force, strain_force.reshape(-1, 3)]),
        *coordinates(state),
    )
    moved = displaced(state, move)
    return state.replace(
        positions=moved.positions,
        cell=moved.cell,
        velocity=after.velocity[:n],
        strain_velocity=after.velocity[n:].reshape(-1, 3, 3),
        step=after.step,
        alpha=after.alpha,
        downhill=after.downhill,
        iteration=after.iteration,
    )
