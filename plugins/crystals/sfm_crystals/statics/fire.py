"""FIRE, the fast inertial relaxation engine, for a batch of cells: atoms and lattice together.

E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006). Coordinates are the atoms' displacements and
the strain times a length a = n^(1/2) (V/n)^(1/3) that makes both equally stiff, as in S. Sheppard
et al. and ase's cell filters. The step works in units of a stiffness k0, so that its time step is a
pure number. It is a pure function and can be differentiated.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm_crystals.cells import Cells

START, LARGEST_STEP, LARGEST_MOVE = 0.2, 0.7, 0.2
GROW, SHRINK, ALPHA, ALPHA_SHRINK, PATIENCE = 1.1, 0.5, 0.1, 0.99, 5
TINY = 1e-30


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
        return self.iteration

    def replace(self, **changes: Any) -> LatticeState:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)

    @staticmethod
    def at_rest(cells: Cells) -> LatticeState:
        """Start from `cells` with no velocity."""
        one = torch.ones_like(cells.cell[:, 0, 0])
        return LatticeState(
            positions=cells.positions,
            types=cells.types,
            cell=cells.cell,
            system=cells.system,
            free=cells.free,
            samples=cells.samples,
            velocity=torch.zeros_like(cells.positions),
            strain_velocity=torch.zeros_like(cells.cell),
            step=START * one,
            alpha=ALPHA * one,
            downhill=0 * one,
            iteration=0 * one,
        )


def strain_length(cells: Cells) -> Float[Tensor, " S"]:
    """(S,) angstrom, the length by which strains are multiplied."""
    count = cells.counts().to(cells.cell.dtype)
    return count.sqrt() * (cells.volume() / count) ** (1 / 3)


def fire_step(
    state: LatticeState, force: Float[Tensor, "N 3"], strain_force: Float[Tensor, "S 3 3"]
) -> LatticeState:
    """One step.

    Args:
        state: where to start.
        force: (N, 3) angstrom, forces over k0.
        strain_force: (S, 3, 3) angstrom, minus dH/dstrain over (a k0).
    """

    def dot(x: Tensor, y: Tensor, p: Tensor, q: Tensor) -> Tensor:
        atoms = system_sum((x * y).sum(1), state.system, state.n_systems)
        return atoms + (p * q).sum((1, 2))

    def atoms(value: Tensor) -> Tensor:
        return value[state.system].unsqueeze(1)

    def strains(value: Tensor) -> Tensor:
        return value[:, None, None]

    v, w = state.velocity, state.strain_velocity
    good = dot(force, v, strain_force, w) > 0
    speed = (dot(v, v, w, w) + TINY).sqrt()
    size = (dot(force, force, strain_force, strain_force) + TINY).sqrt()
    keep = torch.where(good, 1 - state.alpha, 0.0)
    turn = torch.where(good, state.alpha * speed / size, 0.0)
    downhill = torch.where(good, state.downhill + 1, 0.0)
    patient = downhill > PATIENCE
    faster = torch.where(patient, (state.step * GROW).clamp(max=LARGEST_STEP), state.step)
    uphill = ~good & (state.iteration > 0)
    step = torch.where(uphill, state.step * SHRINK, faster)
    alpha = torch.where(good, torch.where(patient, state.alpha * ALPHA_SHRINK, state.alpha), ALPHA)

    v = atoms(keep) * v + atoms(turn + step) * force
    w = strains(keep) * w + strains(turn + step) * strain_force
    move = step * (dot(v, v, w, w) + TINY).sqrt()
    shorten = step * (LARGEST_MOVE * state.counts().sqrt() / move).clamp(max=1.0)
    length = strain_length(state)
    moved = state.deformed(atoms(shorten) * v, strains(shorten / length) * w)
    return state.replace(
        positions=moved.positions,
        cell=moved.cell,
        velocity=v,
        strain_velocity=w,
        step=step,
        alpha=alpha,
        downhill=downhill,
        iteration=state.iteration + 1,
    )
