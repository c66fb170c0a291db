"""To a saddle point: the dimer method until it is near, then Newton's method."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import RunError
from sfm.progress import report
from sfm.simulate.statics.basin import AnyBasin, Basin, across_hessian, polish
from sfm.simulate.statics.dimer import Climb, Mode, climb_step, softest

LARGEST_MOVE = 0.1  # angstrom in a step, root of the sum of squares: a climb that runs gets lost
TURNS_AT_THE_END = 60  # for the softest mode of the saddle point


class ClimbSettings(NamedTuple):
    """How to climb.

    Attributes:
        stiffness: k0 of FIRE, eV/angstrom^2.
        turns: of the dimer in a step, at most.
        near: force at which Newton's method takes over, eV/angstrom.
        tolerance: largest force at the end, eV/angstrom.
        max_steps: of the dimer.
        part: the simulator, for messages.
    """

    stiffness: float
    turns: int
    near: float
    tolerance: float
    max_steps: int
    part: str


def saddle(
    basin: AnyBasin, direction: Float[Tensor, "rows 3"], settings: ClimbSettings
) -> tuple[AnyBasin, Mode]:
    """The basin around the saddle point that a climb comes to, and its softest mode.

    Where Newton's method comes to a place with a second negative mode, as it may from afar, the
    climb goes on.

    Args:
        basin: of one system, around where the climb begins.
        direction: (rows, 3) of any length, the first guess of the softest mode.
        settings: see there.

    Raises:
        RunError: no saddle point within the steps; or the climb left for infinity.
    """
    climb, near, done = Climb.start(direction), settings.near, 0
    largest = torch.full_like(direction[0, 0], LARGEST_MOVE)
    size, why = float("inf"), ""
    while done < settings.max_steps:
        move, climb = climb_step(
            basin,
            climb,
            stiffness=settings.stiffness,
            largest=largest,
            turns=settings.turns,
            valley=True,
        )
        done += 1
        basin = basin.around(move)
        report(f"{settings.part}: climb, step", done, settings.max_steps)
        size = float(basin.gradient()[0].detach().abs().max())
        if not size < float("inf"):
            raise RunError(f"{settings.part}: the climb came to forces that are not finite")
        if size > near or not float(climb.mode.curvature) < 0:
            continue
        rest, size = polish(basin, settings.tolerance, solve=across_hessian)
        modes = lowest_two(rest, climb.mode.direction, 1e-6 * settings.stiffness)
        if size <= settings.tolerance and float(modes[0].curvature) < 0 <= float(
            modes[1].curvature
        ):
            return rest, modes[0]
        if size <= settings.tolerance:
            why = ": it is at rest where a second mode is negative, or none is"
        near = 0.1 * min(near, float(basin.gradient()[0].detach().abs().max()))
    raise RunError(
        f"{settings.part}: no saddle point after {done} steps of the climb (largest force "
        f"{size:.2e} eV/angstrom, tolerance {settings.tolerance:.0e}{why}): start nearer to it, "
        "or raise max_steps"
    )


@torch.no_grad()
def lowest_two(basin: Basin, guess: Float[Tensor, "rows 3"], tolerance: float) -> tuple[Mode, Mode]:
    """The softest mode, and the softest of those across it.

    Args:
        basin: around a place of rest.
        guess: (rows, 3) of any length but zero, of the first.
        tolerance: of both, eV/angstrom^2; see `sfm.simulate.statics.dimer.softest`.
    """
    product = basin.gradient()[1]
    first = softest(product, guess, basin.project, turns=TURNS_AT_THE_END, tolerance=tolerance)
    n = first.direction

    def across(y: Tensor) -> Tensor:
        y = basin.project(y)
        return y - (y * n).sum() * n

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(n.shape, generator=generator, dtype=torch.float64).to(n)
    second = softest(product, start, across, turns=TURNS_AT_THE_END, tolerance=tolerance)
    return first, second
