"""How long any closure could follow a flow: what a coarse state knows of the flow at its start.

A solver on a coarse grid starts from the modes that the grid keeps. Two experiments bound what a
subgrid closure can add to it:

- `start_run`: a solver on a fine grid starts from the coarse grid's modes and nothing else. All
  later subgrid stress is then computed, not modelled; what it loses is what the start did not say.
  A closure is told no more, so it cannot be expected to last longer.
- `exact_stress_run`: the coarse solver is fed, at each of its steps, the exact subgrid stress of
  the flow that it is to follow, with an error of a given size. No closure knows that stress; the
  run says how exact one has to be.

After J. A. Langford and R. D. Moser, J. Fluid Mech. 398, 321 (1999): the best closure is a mean
over the flows that share the coarse state, and their spread is the error that none can undercut.

Any consistent system of units.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm_fluids.evaluation.decorrelation import Protocol, Run, follow, simulator
from sfm_fluids.periodic.flow_state import FlowState
from sfm_fluids.spectral.filters import Filter
from sfm_fluids.spectral.grid_2d import Grid, velocity


def refined(field: Float[Tensor, "*B h w"], coarse: Grid, fine: Grid) -> Float[Tensor, "*B H W"]:
    """The same Fourier modes on a finer grid; those of the coarse grid's 2/3 rule alone."""
    hat = torch.fft.rfft2(field, norm="forward") * coarse.dealias_mask(device=field.device)
    rows = torch.fft.fftfreq(coarse.height, 1 / coarse.height).round().long() % fine.height
    wide = hat.new_zeros(*hat.shape[:-2], fine.height, fine.width // 2 + 1)
    wide[..., rows.to(hat.device), : hat.shape[-1]] = hat
    values: Tensor = torch.fft.irfft2(wide, s=fine.shape, norm="forward")
    return values


def start_run(protocol: Protocol, kept: int, points: int, dt: float, *, flows: int = 1) -> Run:
    """The solver on `points` from the modes that a grid of `kept` points keeps.

    Args:
        protocol: what is followed.
        kept: points of the coarse grid along a side.
        points: of the fine one.
        dt: time step.
        flows: M; with more than one, the mean of M runs is compared, that start with the small
            scales of other flows and other times of the reference, shifted at random. It comes
            nearer to the mean over all flows that share the coarse state.
    """
    low, grid = Grid(kept, kept), Grid(points, points)
    source = protocol.reference.on(grid)
    exact = protocol.windows(source)[0]
    cut = Filter(grid, low, 0.0)
    base = refined(cut(exact), low, grid)
    sim = simulator(protocol, grid, dt)
    steps = round(protocol.reference.case.interval / dt)
    finish = Filter(grid, protocol.compare, protocol.width)
    generator = torch.Generator().manual_seed(0)
    starts = [base]
    if flows > 1:
        starts = []
        for _ in range(flows):
            other = source[torch.randint(len(source), (len(base),), generator=generator)]
            which = torch.randint(source.shape[1], (len(base),), generator=generator)
            borrowed = other[torch.arange(len(base)), which]
            small = borrowed - refined(cut(borrowed), low, grid)
            # a shift along x alone keeps the flow's statistics: the force depends on y
            along = int(torch.randint(points, (), generator=generator))
            starts.append(base + small.roll(along, -1))
    states = [sim.from_velocity(velocity(omega, grid)) for omega in starts]
    return follow(
        protocol,
        states,
        lambda now, number: [sim(state, steps) for state in now],
        lambda now: finish(torch.stack([state.vorticity for state in now]).mean(0)),
    )


class GivenStress(nn.Module):
    """A closure that returns the stress that it was given last."""

    tau: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("tau", torch.zeros(()), persistent=False)

    def forward(
        self, velocity: Float[Tensor, "B 2 H W"], spacing: float
    ) -> Float[Tensor, "B 2 2 H W"]:
        return self.tau.to(velocity).expand(*velocity.shape[:1], 2, 2, *velocity.shape[2:])


def exact_stress_run(
    protocol: Protocol, points: int, dt: float, *, error: float = 0.0, fine: int = 128
) -> Run:
    """The solver on `points` with the exact stress of the flow that it follows, once a step.

    The sharp cut-off's stress, of a solver on `fine` points that runs beside it from the exact
    start. With `error` e, e times the stress of another flow of the protocol is added, scaled to
    the same root mean square: a relative error of e with a stress's own spectrum. The cost is that
    of both solvers.
    """
    coarse, grid = Grid(points, points), Grid(fine, fine)
    given, cut = GivenStress(), Filter(grid, coarse, 0.0)
    sim = simulator(protocol, coarse, dt, closure=given, closure_every="step")
    truth = simulator(protocol, grid, dt / math.ceil(dt * fine / 2))
    steps = round(protocol.reference.case.interval / dt)
    finish = Filter(coarse, protocol.compare, protocol.width)
    exact = protocol.windows(protocol.reference.on(grid))[0]

    def step(pair: tuple[FlowState, FlowState]) -> tuple[FlowState, FlowState]:
        state, true = pair
        tau = cut.stress(velocity(true.vorticity, grid))
        if error:
            other = tau.roll(1, 0)
            size = [x.square().mean((-4, -3, -2, -1), keepdim=True).sqrt() for x in (tau, other)]
            tau = tau + error * size[0] / size[1] * other
        given.tau = tau
        return sim(state, 1), truth(true, round(dt / truth.dt))

    def advance(pair: tuple[FlowState, FlowState], number: int) -> tuple[FlowState, FlowState]:
        for _ in range(steps):
            pair = step(pair)
        return pair

    start = tuple(
        s.from_velocity(velocity(w, g))
        for s, w, g in ((sim, cut(exact), coarse), (truth, exact, grid))
    )
    return follow(protocol, (start[0], start[1]), advance, lambda pair: finish(pair[0].vorticity))
