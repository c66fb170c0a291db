"""Time to decorrelation: how long a coarse simulation follows a reference, and at what cost.

Both are filtered to one comparison grid; rho(t) is the correlation of their vorticities. A flow is
lost when rho falls below 0.95. Errors grow exponentially, so the time of the crossing is found by
linear interpolation of log(1 - rho), and times at unmeasured costs by linear interpolation of the
time in log(cost). The protocol is that of D. Kochkov et al., PNAS 118, e2101784118 (2021).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_fluids.evaluation.fields import correlation
from sfm_fluids.evaluation.reference import Reference
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.spectral.filters import Filter
from sfm_fluids.spectral.grid_2d import Grid, velocity

THRESHOLD = 0.95


def decorrelation_time(
    times: Float[np.ndarray, " T"],
    correlations: Float[np.ndarray, "T B"],
    threshold: float = THRESHOLD,
) -> Float[np.ndarray, " B"]:
    """First time at which each curve is below `threshold`.

    Args:
        times: (T,) growing, the first the start.
        correlations: (T, B); anything that is not finite counts as lost.
        threshold: of the correlation.

    Returns:
        (B,); the last time for curves that stay above.
    """
    rho = np.where(np.isfinite(correlations), correlations, -1.0)
    lost_at = np.full(rho.shape[1], times[-1], dtype=np.float64)
    for index, curve in enumerate(rho.T):
        below = np.flatnonzero(curve < threshold)
        if not len(below):
            continue
        n = int(below[0])
        if n == 0:
            lost_at[index] = times[0]
            continue
        before, after = (np.log(max(1 - curve[i], 1e-12)) for i in (n - 1, n))
        part = (np.log(1 - threshold) - before) / max(after - before, 1e-12)
        lost_at[index] = times[n - 1] + np.clip(part, 0, 1) * (times[n] - times[n - 1])
    return lost_at


@dataclass(frozen=True)
class Run:
    """One simulated ensemble beside its reference.

    Attributes:
        times: (T,) since the start.
        correlation: (T, B).
        cost: CPU seconds per unit of time and flow.
        last: (B, H, W), vorticity at the end on the comparison grid.
    """

    times: Float[np.ndarray, " T"]
    correlation: Float[np.ndarray, "T B"]
    cost: float
    last: Float[Tensor, "B H W"]

    @property
    def decorrelation(self) -> Float[np.ndarray, " B"]:
        """(B,) times to decorrelation."""
        return decorrelation_time(self.times, self.correlation)


@dataclass(frozen=True)
class Protocol:
    """Which flows, from when, for how long, and where they are compared.

    Attributes:
        reference: the exact flows.
        starts: indices of its samples from which runs start; each start gives one flow per member.
        samples: how many samples later a run ends.
        compare: the comparison grid.
        width: of the Gaussian filter to it.
    """

    reference: Reference
    starts: tuple[int, ...]
    samples: int
    compare: Grid
    width: float

    def __post_init__(self) -> None:
        if max(self.starts) + self.samples >= len(self.reference.times):
            raise InputError(
                f"a start at sample {max(self.starts)} leaves fewer than {self.samples} samples"
            )

    def windows(self, fields: Shaped[Tensor, "T B ..."]) -> Shaped[Tensor, "n flows ..."]:
        """(T, B, ...) of the reference -> (samples + 1, starts * B, ...)."""
        return torch.cat([fields[s : s + self.samples + 1] for s in self.starts], dim=1)

    def exact(self) -> Float[Tensor, "n flows H W"]:
        """(n + 1, flows, H, W): filtered vorticity on the comparison grid, n is `samples`."""
        return self.windows(self.reference.on(self.compare, self.width))


State = TypeVar("State")


@torch.no_grad()
def follow(
    protocol: Protocol,
    start: State,
    advance: Callable[[State, int], State],
    to_compare: Callable[[State], Float[Tensor, "B H W"]],
) -> Run:
    """Run beside the reference.

    Args:
        protocol: what to follow.
        start: any batched state.
        advance: (state, number of the sample) -> state one sampling interval later.
        to_compare: state -> vorticity (B, H, W) on the comparison grid.
    """
    exact, state, seconds = protocol.exact(), start, 0.0
    rho = [correlation(to_compare(state).double(), exact[0])]
    for number in range(protocol.samples):
        began = time.process_time()
        state = advance(state, number)
        seconds += time.process_time() - began
        rho.append(correlation(to_compare(state).double(), exact[number + 1]))
    interval = protocol.reference.case.interval
    flows = exact.shape[1]
    return Run(
        interval * np.arange(protocol.samples + 1),
        torch.stack(rho).numpy(),
        seconds / (flows * protocol.samples * interval),
        to_compare(state),
    )


def simulator(
    protocol: Protocol,
    grid: Grid,
    dt: float,
    *,
    width: float = 0.0,
    closure: nn.Module | None = None,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> NavierStokes2D:
    """The pseudo-spectral solver of the protocol's flows on `grid`.

    Raises:
        InputError: dt does not divide the reference's sampling interval.
    """
    case = protocol.reference.case
    steps = case.interval / dt
    if abs(steps - round(steps)) > 1e-9:
        raise InputError(f"dt={dt} does not divide the sampling interval {case.interval}")
    drag = torch.tensor([m.drag for m in case.members], dtype=torch.float64)
    force = protocol.reference.force(grid, width)
    return NavierStokes2D(
        height=grid.height,
        width=grid.width,
        viscosity=case.viscosity,
        drag=drag.repeat(len(protocol.starts)),
        dt=dt,
        closure=closure,
        force_curl=force.repeat(len(protocol.starts), 1, 1),
        dtype=dtype,
        **options,
    )


def spectral_run(
    protocol: Protocol,
    points: int,
    dt: float,
    *,
    width: float = 0.0,
    closure: nn.Module | None = None,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Run:
    """The pseudo-spectral solver beside the reference.

    Args:
        protocol: what to follow.
        points: of the solver's grid along a side.
        dt: its time step.
        width: of the Gaussian filter that the solver's own variables went through: that of the
            closure for a large-eddy simulation, 0 for a plain coarse simulation of the unfiltered
            flow (its results are filtered before they are compared).
        closure: subgrid model, if any.
        dtype: precision.
        options: more settings of `NavierStokes2D`.
    """
    grid = Grid(points, points)
    sim = simulator(protocol, grid, dt, width=width, closure=closure, dtype=dtype, **options)
    omega = protocol.windows(protocol.reference.on(grid, width))[0]
    steps = round(protocol.reference.case.interval / dt)
    rest = (max(protocol.width**2 - width**2, 0.0)) ** 0.5
    finish = Filter(grid, protocol.compare, rest)
    return follow(
        protocol,
        sim.from_velocity(velocity(omega, grid)),
        lambda state, number: sim(state, steps),
        lambda state: finish(state.vorticity),
    )


def at_equal_cost(cost: float, costs: Sequence[float], times: Sequence[float]) -> float:
    """Time to decorrelation that the baseline of several grids reaches at `cost`.

    Linear in log(cost) between the grids, and beyond them along the nearest pair.
    """
    order = np.argsort(costs)
    x, y = np.log(np.asarray(costs))[order], np.asarray(times)[order]
    n = int(np.clip(np.searchsorted(x, np.log(cost)), 1, len(x) - 1))
    slope = (y[n] - y[n - 1]) / (x[n] - x[n - 1])
    return float(y[n - 1] + slope * (np.log(cost) - x[n - 1]))
