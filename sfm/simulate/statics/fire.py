"""FIRE, the fast inertial relaxation engine, for a batch of systems.

E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006). The step works in units of a stiffness k0, so
that its time step is a pure number. It is a pure function and can be differentiated.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.simulate.statics.per_system import PerSystem

START, LARGEST_STEP, LARGEST_MOVE = 0.2, 0.7, 0.2  # the last in angstrom, of an atom in the mean
GROW, SHRINK, ALPHA, ALPHA_SHRINK, PATIENCE = 1.1, 0.5, 0.1, 0.99, 5


class Inertia(NamedTuple):
    """What FIRE remembers from step to step.

    Attributes:
        velocity: (R, 3) of the coordinates, R rows of three.
        step: (S,) time step.
        alpha: (S,) mixing of velocity and force.
        downhill: (S,) steps since the last uphill one.
        iteration: (S,) steps done.
    """

    velocity: Float[Tensor, "R 3"]
    step: Float[Tensor, " S"]
    alpha: Float[Tensor, " S"]
    downhill: Float[Tensor, " S"]
    iteration: Float[Tensor, " S"]

    @staticmethod
    def at_rest(rows: Float[Tensor, "R 3"], count: int) -> Inertia:
        """No velocity: of coordinates (R, 3) angstrom in `count` systems."""
        one = rows.new_ones(count)
        return Inertia(torch.zeros_like(rows), START * one, ALPHA * one, 0 * one, 0 * one)


def fire_step(
    state: Inertia,
    force: Float[Tensor, "R 3"],
    system: Int[Tensor, " R"],
    largest: Float[Tensor, " S"],
) -> tuple[Inertia, Float[Tensor, "R 3"]]:
    """One step: the new state, and how the coordinates (R, 3) move, angstrom.

    Args:
        state: before the step.
        force: (R, 3) angstrom, forces over k0.
        system: (R,) index of each row's system.
        largest: (S,) angstrom, the longest that all of a system may move, root of the sum of
            squares.
    """
    each = PerSystem(system, largest)
    v = state.velocity
    good = each.dot(force, v) > 0
    speed, size = each.norm(v), each.norm(force)
    keep = torch.where(good, 1 - state.alpha, 0.0)
    turn = torch.where(good, state.alpha * speed / size, 0.0)
    downhill = torch.where(good, state.downhill + 1, 0.0)
    patient = downhill > PATIENCE
    faster = torch.where(patient, (state.step * GROW).clamp(max=LARGEST_STEP), state.step)
    uphill = ~good & (state.iteration > 0)
    step = torch.where(uphill, state.step * SHRINK, faster)
    alpha = torch.where(good, torch.where(patient, state.alpha * ALPHA_SHRINK, state.alpha), ALPHA)
    v = each.rows(keep) * v + each.rows(turn + step) * force
    shorten = step * each.shortened(step * each.norm(v))
    return Inertia(v, step, alpha, downhill, state.iteration + 1), each.rows(shorten) * v
