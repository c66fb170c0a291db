"""The dimer method: from near a minimum, or anywhere, to a saddle point, without a final state.

    F' = F - 2 (F . n) n  where the curvature C = n . K n is negative,   F' = -(F . n) n  elsewhere

n is the softest mode: up along it, down along all others. G. Henkelman, H. Jonsson, J. Chem. Phys.
111, 7010 (1999). A dimer turns by the difference of the forces on its two images; here it has no
length, and K n is a Hessian-vector product. Of the plane of n and the rotational force the turn of
lowest curvature is taken at once, as in A. Heyden, A. T. Bell, F. J. Keil, J. Chem. Phys. 123,
224101 (2005), and the turn before is a third direction, which makes it converge faster than
linearly, as the conjugate directions of J. Kaestner, P. Sherwood, J. Chem. Phys. 128, 014106
(2008) do: A. V. Knyazev, SIAM J. Sci. Comput. 23, 517 (2001).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.simulate.statics.basin import Basin, Product
from sfm.simulate.statics.fire import Inertia, fire_step

TINY = 1e-30
PARALLEL = 1e-10  # relative: directions of which one adds nothing


class Mode(NamedTuple):
    """A direction and its curvature.

    Attributes:
        direction: (rows, 3), of length 1.
        curvature: () eV/angstrom^2.
    """

    direction: Float[Tensor, "rows 3"]
    curvature: Float[Tensor, ""]


class Climb(NamedTuple):
    """What the dimer remembers from step to step.

    Attributes:
        mode: the softest one, as far as it is known.
        inertia: of FIRE.
    """

    mode: Mode
    inertia: Inertia

    @staticmethod
    def start(direction: Float[Tensor, "rows 3"]) -> Climb:
        """At rest; `direction` (rows, 3) of any length is the first guess of the softest mode."""
        mode = Mode(direction, direction.new_zeros(()))
        return Climb(mode, Inertia.at_rest(direction, 1))


@torch.no_grad()
def softest(
    product: Product,
    guess: Float[Tensor, "rows 3"],
    project: Callable[[Float[Tensor, "rows 3"]], Float[Tensor, "rows 3"]],
    *,
    turns: int,
    tolerance: float,
) -> Mode:
    """The mode of lowest curvature that turning from a guess leads to.

    Args:
        product: v -> K v, (rows, 3) eV/angstrom.
        guess: (rows, 3), any length but zero.
        project: takes away what does not count, as `Basin.project`.
        turns: at most so many products besides the first.
        tolerance: length of K n - C n at the end, eV/angstrom^2.
    """
    n = project(guess)
    n = n / n.norm().clamp_min(TINY)
    kn = project(product(n))
    before: list[tuple[Tensor, Tensor]] = []
    for _ in range(turns):
        curvature = (n * kn).sum()
        turn = kn - curvature * n  # minus the rotational force
        if float(turn.norm()) <= tolerance:
            break
        turn = turn / turn.norm()
        ways = torch.stack([n, turn, *(way for way, _ in before)])
        images = torch.stack([kn, project(product(turn)), *(image for _, image in before)])
        weights = _lowest(ways.flatten(1), images.flatten(1))[:, None, None]
        along, image = (weights[1:] * ways[1:]).sum(0), (weights[1:] * images[1:]).sum(0)
        n, kn = (weights * ways).sum(0), (weights * images).sum(0)
        n, kn = n / n.norm(), kn / n.norm()
        before = [(along, image)]
    return Mode(n, (n * kn).sum())


def _lowest(ways: Tensor, images: Tensor) -> Tensor:
    """(m,) weights of rows v_i whose sum has the lowest curvature, given rows K v_i, (m, d)."""
    sizes, axes = torch.linalg.eigh(ways @ ways.mT)
    keep = sizes > PARALLEL * sizes[-1]
    whiten = axes[:, keep] / sizes[keep].sqrt()
    matrix = whiten.mT @ (ways @ images.mT) @ whiten
    _, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.mT))
    weights: Tensor = whiten @ vectors[:, 0]
    return weights


def climb_step(
    basin: Basin,
    climb: Climb,
    *,
    stiffness: float,
    largest: Float[Tensor, ""],
    turns: int,
    valley: bool = False,
) -> tuple[Float[Tensor, "rows 3"], Climb]:
    """How the coordinates (rows, 3) move, angstrom, and what to remember.

    Args:
        basin: one system, around its place.
        climb: from the step before.
        stiffness: k0 of FIRE, eV/angstrom^2.
        largest: () angstrom, that all of it may move.
        turns: of the dimer, at most.
        valley: see `upward`.
    """
    g, product = basin.gradient()
    mode = softest(
        product, climb.mode.direction, basin.project, turns=turns, tolerance=1e-3 * stiffness
    )
    pull = upward(-basin.project(g.detach()), mode, valley=valley)
    system = torch.zeros(len(pull), dtype=torch.long, device=pull.device)
    inertia, move = fire_step(climb.inertia, pull / stiffness, system, largest.reshape(1))
    return move, Climb(mode, inertia)


def upward(
    force: Float[Tensor, "rows 3"], mode: Mode, *, valley: bool = False
) -> Float[Tensor, "rows 3"]:
    """F' (rows, 3) eV/angstrom of the force F and the softest mode.

    Args:
        force: F, (rows, 3) eV/angstrom.
        mode: the softest one.
        valley: go down all other modes where the curvature is positive, too. Stiff bonds then stay
            at rest, and the way is the valley's; without it, it leaves a round basin sooner.
    """
    n, curvature = mode
    along = (force * n).sum() * n
    return torch.where(
        (curvature < 0) | force.new_tensor(valley, dtype=torch.bool), force - 2 * along, -along
    )
