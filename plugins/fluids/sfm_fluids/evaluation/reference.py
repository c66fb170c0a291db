"""Reference flows for decorrelation studies: direct simulation, kept as low-pass Fourier modes.

A reference is sampled at equal times. Each sample keeps the modes that a grid of `kept` points
retains, so it can start a simulation on every grid up to that one, and be filtered to any.

Any consistent system of units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.atomic import atomic
from sfm.data.storage import cache_dir
from sfm.errors import InputError, RunError
from sfm_fluids.data.dns_2d import Case
from sfm_fluids.flows.members import curl_of_force, initial_vorticity
from sfm_fluids.periodic import vorticity_equation as solver
from sfm_fluids.spectral import grid_2d as spectral
from sfm_fluids.spectral.filters import Filter
from sfm_fluids.spectral.grid_2d import Grid


@dataclass(frozen=True)
class Reference:
    """Flows of one `Case`, sampled.

    Attributes:
        case: what was simulated: viscosity, grid, dt, members.
        grid: the grid of `kept` points.
        times: (T,), from 0 at the end of the spin-up.
        vorticity: (T, B, kept, kept) float32, one flow per member.
    """

    case: Case
    grid: Grid
    times: Float[np.ndarray, " T"]
    vorticity: Float[Tensor, "T B kept kept"]

    def on(self, grid: Grid, width: float = 0.0) -> Float[Tensor, "T B H W"]:
        """Vorticity (T, B, H, W) float64 on a coarser grid, through a Gaussian of `width`.

        With width 0 this is a sharp cut-off: all that the grid's 2/3 rule retains.
        """
        return Filter(self.grid, grid, width)(self.vorticity.double())

    def force(self, grid: Grid, width: float = 0.0) -> Float[Tensor, "B H W"]:
        """Curl (B, H, W) of the members' forces, through the same filter."""
        curl = torch.stack([curl_of_force(m, self.grid) for m in self.case.members])
        return Filter(self.grid, grid, width)(curl)


def reference(
    case: Case, kept: int = 128, *, log: Callable[[str], None] = lambda text: None
) -> Reference:
    """Simulate a case, or take it from the cache.

    Raises:
        InputError: the simulation is coarser than the grid to keep.
        RunError: the flow blew up.
    """
    if kept > case.points:
        raise InputError(f"a simulation on {case.points} points does not fill {kept}")
    key = hashlib.sha256(f"1|{case!r}|{kept}".encode()).hexdigest()[:24]
    stored = cache_dir() / "turbulence" / f"reference-{key}.npz"
    if not stored.is_file():
        with atomic(stored) as scratch:
            np.savez(scratch, vorticity=_simulate(case, Grid(kept, kept), log).numpy())
    with np.load(stored, allow_pickle=False) as file:
        vorticity = torch.from_numpy(file["vorticity"])
    times = case.interval * np.arange(case.snapshots)
    return Reference(case, Grid(kept, kept), times, vorticity)


@torch.no_grad()
def _simulate(case: Case, kept: Grid, log: Callable[[str], None]) -> Tensor:
    grid, real = Grid(case.points, case.points), getattr(torch, case.precision)
    keep = Filter(grid, kept, 0.0)
    hat = solver.to_spectrum(
        torch.stack([initial_vorticity(m, grid) for m in case.members]).to(real), grid
    )
    force = torch.fft.rfft2(torch.stack([curl_of_force(m, grid) for m in case.members]))
    mean = torch.zeros(len(hat), 2, dtype=real)
    drag = torch.tensor([m.drag for m in case.members], dtype=torch.float64)
    kept_fields = []
    for number in range(case.snapshots):
        steps = round((case.interval if number else case.spin_up) / case.dt)
        hat, mean = solver.integrate(
            hat,
            mean,
            grid=grid,
            viscosity=torch.tensor(case.viscosity, dtype=torch.float64),
            drag=drag,
            forcing_hat=force.to(hat.dtype),
            dt=case.dt,
            steps=steps,
        )
        kept_fields.append(keep(solver.to_field(hat, grid)).float())
        speed = float(spectral.velocity(kept_fields[-1], kept).abs().amax())
        log(f"t = {case.spin_up + number * case.interval:.2f}, largest velocity {speed:.2f}")
        if not torch.isfinite(kept_fields[-1]).all():
            raise RunError(f"the reference at viscosity {case.viscosity} blew up: reduce dt")
    return torch.stack(kept_fields)
