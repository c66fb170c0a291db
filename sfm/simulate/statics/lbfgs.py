"""L-BFGS for a batch of systems: quasi-Newton steps from the last changes of forces.

    d = H F,   H from pairs (s_k, y_k) of the last moves s and changes y of -F, two loops

Every system has pairs of its own; there is no line search, so that a step costs one evaluation of
the forces, but a longest move. A pair without positive curvature is left out, and a direction that
is not downhill forgets all pairs. J. Nocedal, Math. Comput. 35, 773 (1980); D. C. Liu, J. Nocedal,
Math. Program. 45, 503 (1989).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.simulate.statics.per_system import TINY, PerSystem

MEMORY = 20  # pairs
FIRST = 0.2  # of the force over k0: how far the first step goes
CURVED = 1e-8  # relative: s . y of a pair that counts


class Pairs(NamedTuple):
    """What L-BFGS remembers; everything over a stiffness k0, so in angstrom.

    Attributes:
        moves: (m, R, 3) angstrom, s of the last steps, the newest last; zeros where none counts.
        changes: (m, R, 3) angstrom, y.
        force: (R, 3) before the last step.
        move: (R, 3) the last step; zero at the start.
    """

    moves: Float[Tensor, "m R 3"]
    changes: Float[Tensor, "m R 3"]
    force: Float[Tensor, "R 3"]
    move: Float[Tensor, "R 3"]

    @staticmethod
    def none(rows: Float[Tensor, "R 3"]) -> Pairs:
        """At the start: of coordinates (R, 3) angstrom."""
        empty, zero = rows.new_zeros(MEMORY, *rows.shape), torch.zeros_like(rows)
        return Pairs(empty, empty, zero, zero)


@torch.no_grad()
def lbfgs_step(
    state: Pairs,
    force: Float[Tensor, "R 3"],
    system: Int[Tensor, " R"],
    largest: Float[Tensor, " S"],
) -> tuple[Pairs, Float[Tensor, "R 3"]]:
    """One step: what to remember, and how the coordinates (R, 3) move, angstrom.

    Args:
        state: from the step before.
        force: (R, 3) angstrom, forces over k0.
        system: (R,) index of each row's system.
        largest: (S,) angstrom, the longest that all of a system may move, root of the sum of
            squares.
    """
    each = PerSystem(system, largest)
    dot, rows = each.dot, each.rows
    s, y = state.move, state.force - force
    curved = dot(s, y) > CURVED * (dot(s, s) * dot(y, y)).sqrt() + TINY
    keep = rows(curved)
    moves = torch.cat([state.moves[1:], (s * keep)[None]])
    changes = torch.cat([state.changes[1:], (y * keep)[None]])
    step = _direction(moves, changes, force, each)
    downhill = rows(dot(step, force) > 0)
    step = torch.where(downhill, step, FIRST * force)
    moves, changes = moves * downhill, changes * downhill
    move = rows(each.shortened(each.norm(step))) * step
    return Pairs(moves, changes, force, move), move


def _direction(moves: Tensor, changes: Tensor, force: Tensor, each: PerSystem) -> Tensor:
    """(R, 3) H F by the two loops; FIRST F where a system has no pair."""
    dot, rows = each.dot, each.rows
    q, scale, amounts = force, None, []
    for s, y in zip(moves.flip(0), changes.flip(0), strict=True):
        curvature, size = dot(s, y), dot(y, y)
        counts = curvature > 0
        inverse = torch.where(counts, 1 / curvature.clamp(min=TINY), 0.0)
        amount = inverse * dot(s, q)
        q = q - rows(amount) * y
        amounts.append((amount, inverse))
        newest = torch.where(counts, curvature / size.clamp(min=TINY), 0.0)
        scale = newest if scale is None else torch.where(scale > 0, scale, newest)
    assert scale is not None
    z: Tensor = rows(torch.where(scale > 0, scale, FIRST)) * q
    for (amount, inverse), s, y in zip(reversed(amounts), moves, changes, strict=True):
        z = z + rows(amount - inverse * dot(y, z)) * s
    return z
