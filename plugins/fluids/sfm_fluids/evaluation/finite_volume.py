"""The finite-volume solver beside a reference, and learned interpolation trained through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Through
from sfm.simulate.through import placement
from sfm_fluids.evaluation.decorrelation import Protocol, Run, follow
from sfm_fluids.flows.bundled import COARSE, FILTER_WIDTH
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.periodic.through import Rollouts, interval_of
from sfm_fluids.spectral.filters import Filter
from sfm_fluids.spectral.grid_2d import Grid, velocity, vorticity
from sfm_fluids.staggered.finite_volume_2d import FiniteVolume2D

KIND = "kolmogorov"


def kolmogorov_only(protocol: Protocol) -> Protocol:
    """The protocol without other flows: the finite-volume solver knows no other force.

    Raises:
        InputError: it has no Kolmogorov flow.
    """
    source = protocol.reference
    chosen = [n for n, m in enumerate(source.case.members) if m.kind == KIND]
    if not chosen:
        raise InputError("the reference has no Kolmogorov flow, which finite volumes need")
    case = replace(source.case, members=tuple(source.case.members[n] for n in chosen))
    return replace(
        protocol, reference=replace(source, case=case, vorticity=source.vorticity[:, chosen])
    )


def finite_volume_run(
    protocol: Protocol,
    points: int,
    dt: float,
    *,
    interpolation: nn.Module | None = None,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Run:
    """`fluids/finite-volume-2d` beside the reference; of Kolmogorov flows only.

    Vorticities are compared at the cells' corners, through the protocol's filter.
    """
    case, grid = protocol.reference.case, Grid(points, points)
    steps = case.interval / dt
    if abs(steps - round(steps)) > 1e-9:
        raise InputError(f"dt={dt} does not divide the sampling interval {case.interval}")
    if interpolation is not None:
        options["interpolation"] = interpolation
    solver = FiniteVolume2D(
        height=points,
        width=points,
        viscosity=case.viscosity,
        drag=case.members[0].drag,
        dt=dt,
        forcing_wavenumber=4,
        dtype=dtype,
        **options,
    )
    omega = protocol.windows(protocol.reference.on(grid))[0]
    finish = Filter(grid, protocol.compare, protocol.width)
    return follow(
        protocol,
        solver.from_velocity(velocity(omega, grid)),
        lambda state, number: solver(state, round(steps)),
        lambda state: finish(solver.observe(state)["vorticity"]),
    )


class FiniteVolumeRollouts(Through):
    """Runs of `fluids/finite-volume-2d` from snapshots of Kolmogorov flows.

    The data's Gaussian is taken off the start and put on the results. The loss is that of
    `sfm_fluids.periodic.through.Rollouts`; the "closure" is an interpolation.

    Args:
        snapshots: later snapshots of a run.
        dt: step of the solver; divides their interval.
        stepper: `rk3` or `euler`.
    """

    def __init__(self, *, snapshots: int = 1, dt: float = 0.03125, stepper: str = "rk3") -> None:
        self.rollouts = Rollouts(NavierStokes2D, snapshots=snapshots, dt=dt)
        self.snapshots, self.dt, self.stepper = snapshots, dt, stepper

    def windows(self, samples: Sequence[Sample]) -> list[tuple[int, ...]]:
        """Runs of consecutive snapshots of Kolmogorov flows."""
        indices = [n for n, s in enumerate(samples) if f"-{KIND}-" in s.id]
        runs = self.rollouts.windows([samples[n] for n in indices])
        return [tuple(indices[i] for i in window) for window in runs]

    def losses(
        self, closure: nn.Module | None, windows: Sequence[Sequence[Sample]]
    ) -> Float[Tensor, " n"]:
        data = Filter(COARSE, COARSE, FILTER_WIDTH)
        dtype, device = placement(closure)
        velocities = np.stack([[s.fields["velocity"] for s in w] for w in windows])
        exact = torch.from_numpy(velocities).double().to(device)
        steps = self.rollouts.steps(interval_of(windows), windows[0][0].id)
        solver = FiniteVolume2D(
            height=COARSE.height,
            width=COARSE.width,
            dt=self.dt,
            stepper=self.stepper,
            forcing_wavenumber=4,
            dtype=dtype,
            recompute=False,
            viscosity=_conditions(windows, "viscosity"),
            drag=_conditions(windows, "drag"),
            interpolation=closure,
        ).to(device)
        for parameter in solver.parameters(recurse=False):
            parameter.requires_grad_(False)
        state = solver.from_velocity(data.undo(exact[:, 0]).to(dtype))
        total = torch.zeros(len(windows), dtype=dtype, device=device)
        for number in range(1, self.snapshots + 1):
            state = solver(state, steps)
            omega = data(solver.observe(state)["vorticity"])
            target = vorticity(exact[:, number], COARSE).to(dtype)
            error = (omega - target).flatten(1).norm(dim=1)
            total = total + error / target.flatten(1).norm(dim=1)
        return total / self.snapshots


def _conditions(windows: Sequence[Sequence[Sample]], name: str) -> Tensor:
    values = [w[0].conditions[name] for w in windows]
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)
