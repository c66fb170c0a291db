"""Training a closure through the solver: runs from filtered snapshots of the bundled sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Through
from sfm.simulate.through import placement
from sfm_fluids import box
from sfm_fluids.flows.bundled import COARSE, FILTER_WIDTH, filtered_curl, member_of
from sfm_fluids.flows.trajectories import trajectories
from sfm_fluids.spectral.filters import Filter
from sfm_fluids.spectral.grid_2d import velocity as velocity_of
from sfm_fluids.spectral.grid_2d import vorticity

if TYPE_CHECKING:
    from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D


class Rollouts(Through):
    """Runs of `fluids/navier-stokes-2d` from a filtered snapshot, compared with the later ones.

    The loss of a run is the mean over its later snapshots of |u - u_exact| / |u_exact|, for the
    vorticity (or the velocity), where u_exact is the filtered direct simulation. Small losses e are
    related to the correlation rho of the two by 1 - rho = e^2 / 2 (derived here, for fields of zero
    mean and one size).

    A closure with an attribute `filter_ratio` of 0 belongs to a sharp cut-off: the Gaussian of the
    data is then taken off the start (it drops no mode that the grid keeps) and put on the results.

    Args:
        solver: whose runs they are.
        snapshots: later snapshots of a run; those of `turbulence-2d` are 0.25 apart.
        dt: step of the coarse solver; divides that interval.
        closure_every: `step` or `stage`, see the simulator.
        compare: `vorticity`, which weighs small scales, or `velocity`.
        settings: further settings of the simulator.

    Raises:
        InputError: a wrong option.
    """

    def __init__(
        self,
        solver: type[NavierStokes2D],
        *,
        snapshots: int = 2,
        dt: float = 0.05,
        closure_every: str = "step",
        compare: str = "vorticity",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if snapshots < 1:
            raise InputError(f"snapshots={snapshots}: a run is compared with at least one")
        if compare not in ("vorticity", "velocity"):
            raise InputError(f"compare='{compare}' is not 'vorticity' or 'velocity'")
        self.solver = solver
        self.snapshots, self.dt, self.compare = snapshots, dt, compare
        self.options = {"closure_every": closure_every, **(settings or {})}

    def windows(self, samples: Sequence[Sample]) -> list[tuple[int, ...]]:
        """Every run of consecutive snapshots of one trajectory.

        Snapshots that are further apart than the closest two of all samples have lost one between
        them, where the samples are a subset; no run bridges that.

        Raises:
            InputError: samples of another dataset or grid, or dt does not divide the interval.
        """
        for sample in samples:
            _check(sample)
        index = {sample.id: number for number, sample in enumerate(samples)}
        groups = list(trajectories(samples).values())
        gaps = [np.diff([s.conditions["time"] for s in group]) for group in groups]
        interval = min((float(g.min()) for g in gaps if len(g)), default=0.0)
        runs = []
        for group, gap in zip(groups, gaps, strict=True):
            numbers = [index[s.id] for s in group]
            for first in range(len(group) - self.snapshots):
                last = first + self.snapshots
                if gap[first:last].max() < 1.001 * interval:
                    self.steps(interval, group[first].id)
                    runs.append(tuple(numbers[first : last + 1]))
        return runs

    def steps(self, interval: float, where: str) -> int:
        """Steps of the solver between two snapshots.

        Raises:
            InputError: dt does not divide the time between them.
        """
        steps = interval / self.dt
        if abs(steps - round(steps)) > 1e-3 or steps < 0.5:
            raise InputError(
                f"{where}: dt={self.dt} does not divide the time to the next snapshot, "
                f"{interval:.6g}"
            )
        return round(steps)

    def losses(
        self, closure: nn.Module | None, windows: Sequence[Sequence[Sample]]
    ) -> Float[Tensor, " n"]:
        """(n,), one per run."""
        starts = [w[0] for w in windows]
        dtype, device = placement(closure)
        spacing = COARSE.isotropic_spacing
        data = Filter(COARSE, COARSE, FILTER_WIDTH)
        sharp = getattr(closure, "filter_ratio", FILTER_WIDTH / spacing) == 0.0
        velocity = torch.stack([_velocities(w) for w in windows]).to(device)
        force = torch.stack([filtered_curl(member_of(s.id)) for s in starts])
        steps = self.steps(interval_of(windows), starts[0].id)
        simulator = self.solver(
            height=COARSE.height,
            width=COARSE.width,
            viscosity=_conditions(starts, "viscosity"),
            drag=_conditions(starts, "drag"),
            dt=self.dt,
            closure=closure,
            force_curl=data.undo(force) if sharp else force,
            dtype=dtype,
            **self.options,
        ).to(device)
        for parameter in simulator.parameters(recurse=False):
            parameter.requires_grad_(False)
        start = velocity[:, 0]
        state = simulator.from_velocity(data.undo(start) if sharp else start)
        total = torch.zeros(len(windows), dtype=dtype, device=device)
        for number in range(1, self.snapshots + 1):
            state = simulator(state, steps)
            omega = data(state.vorticity) if sharp else state.vorticity
            exact = vorticity(velocity[:, number], COARSE).to(dtype)
            if self.compare == "velocity":
                omega, exact = (velocity_of(f, COARSE).flatten(1, 2) for f in (omega, exact))
            error = (omega - exact).flatten(1).norm(dim=1)
            total = total + error / exact.flatten(1).norm(dim=1)
        return total / self.snapshots


def _velocities(window: Sequence[Sample]) -> Tensor:
    return torch.from_numpy(np.stack([s.fields["velocity"] for s in window])).double()


def _conditions(samples: Sequence[Sample], name: str) -> Tensor:
    return torch.tensor([s.conditions[name] for s in samples], dtype=torch.float64)


def interval_of(windows: Sequence[Sequence[Sample]]) -> float:
    """Time between the snapshots of all runs.

    Raises:
        InputError: it is not the same for all of them.
    """
    gaps = np.concatenate([np.diff([s.conditions["time"] for s in w]) for w in windows])
    if np.ptp(gaps) > 1e-3 * gaps.min():
        raise InputError(
            f"runs with snapshots {gaps.min():.4g} and {gaps.max():.4g} apart cannot be compared "
            "as one batch; take samples of one interval"
        )
    return float(gaps[0])


def _check(sample: Sample) -> None:
    shape = sample.fields["velocity"].shape if "velocity" in sample.fields else ()
    if shape != (2, *COARSE.shape):
        raise InputError(f"{sample.id}: velocity {shape}, where a run takes (2, 32, 32)")
    box.check_periodic(sample, 2, "a run")
    for axis, length in box.lengths(sample, 2).items():
        if abs(length / COARSE.length_x - 1) > box.SAME:
            raise InputError(
                f"{sample.id}: length_{axis} is {length:.6g}, where a run takes a box of 2 pi"
            )
    for name in ("time", "viscosity", "drag"):
        if name not in sample.conditions:
            raise InputError(f"{sample.id}: no condition '{name}', which a run needs")
    member_of(sample.id)
