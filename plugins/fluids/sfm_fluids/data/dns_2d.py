"""Direct numerical simulation of an ensemble of turbulent flows at one viscosity, with its budget.

Used by the datasets' `build.py`: the ensemble's members differ in force and initial field, run as
one batch, and are sampled at equal times through a `Filter`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sfm_fluids.data.quality import BACKWARD, Budget, Quality, equation_residual
from sfm_fluids.flows.members import Member, curl_of_force, initial_vorticity
from sfm_fluids.periodic import vorticity_equation as solver
from sfm_fluids.spectral import grid_2d as spectral
from sfm_fluids.spectral.filter_2d import Filter
from sfm_fluids.spectral.grid_2d import Grid


@dataclass(frozen=True)
class Case:
    """An ensemble. Times in units where the box is 2 pi and the force's amplitude is 1.

    `precision` is that of the integration: float32 for the bundled runs at Re >= 1000 (256^2
    points), else float64. Filtering and budgets are float64 in any case.
    """

    viscosity: float
    points: int
    dt: float
    spin_up: float
    interval: float
    snapshots: int
    members: tuple[Member, ...]
    precision: str = "float64"

    @property
    def reynolds(self) -> float:
        """Nominal Reynolds number U L / nu with U = L = 1."""
        return 1.0 / self.viscosity


@dataclass(frozen=True)
class Snapshot:
    """Filtered flow of one member at one time: velocity (2, H, W), stress (2, 2, H, W)."""

    member: Member
    number: int
    time: float
    velocity: np.ndarray
    stress: np.ndarray


class _Recent:
    """Passes each step on to the budget and keeps the last few of a stretch of `steps`."""

    def __init__(self, budget: Budget, start: int, steps: int) -> None:
        self.budget, self.start, self.steps = budget, start, steps
        self.states: list[Tensor] = []

    def __call__(self, step: int, hat: Tensor) -> None:
        self.budget(self.start + step, hat)
        if step > self.steps - len(BACKWARD):
            self.states.append(hat.to(torch.complex128))


def run(
    case: Case, coarse: Grid, width: float, log: Callable[[str], None] = lambda text: None
) -> Iterator[Snapshot | Quality]:
    """Simulate an ensemble; yields snapshots in order of time, then one `Quality` per member.

    Raises:
        RunError: the flow became infinite.
    """
    grid = Grid(case.points, case.points)
    coarsen = Filter(grid, coarse, width)
    members = case.members
    omega = torch.stack([initial_vorticity(m, grid) for m in members])
    forcing_hat = torch.fft.rfft2(torch.stack([curl_of_force(m, grid) for m in members]))
    budget = Budget(case.viscosity, case.dt, members, grid, forcing_hat)
    filtered_force = coarsen(torch.fft.irfft2(forcing_hat, s=grid.shape))
    real = getattr(torch, case.precision)
    hat = solver.to_spectrum(omega.to(real), grid)
    forcing_hat = forcing_hat.to(hat.dtype)
    mean = torch.zeros(len(members), 2, dtype=real)
    budget(0, hat)
    drag = torch.tensor([m.drag for m in members], dtype=torch.float64)
    viscosity = torch.tensor(case.viscosity, dtype=torch.float64)
    courant = torch.zeros(len(members), dtype=torch.float64)
    worst_residual = torch.zeros(len(members), dtype=torch.float64)
    worst_divergence = torch.zeros(len(members), dtype=torch.float64)
    spin_up = round(case.spin_up / case.dt)
    between = round(case.interval / case.dt)
    done = 0
    for number in range(case.snapshots):
        steps = spin_up if number == 0 else between
        recent = _Recent(budget, done, steps)
        with torch.no_grad():
            hat, mean = solver.integrate(
                hat,
                mean,
                grid=grid,
                viscosity=viscosity,
                drag=drag,
                forcing_hat=forcing_hat,
                dt=case.dt,
                steps=steps,
                monitor=recent,
            )
        done += steps
        velocity = spectral.velocity(solver.to_field(hat.to(torch.complex128), grid), grid)
        speed = velocity.square().sum(1).amax((-2, -1)).sqrt()
        courant = torch.maximum(courant, speed * case.dt / grid.spacing[0])
        resolved, stress = coarsen(velocity), coarsen.stress(velocity)
        error = spectral.divergence(resolved, coarse).abs().amax((-2, -1))
        worst_divergence = torch.maximum(worst_divergence, error)
        if len(recent.states) == len(BACKWARD):
            omegas = [coarsen(solver.to_field(h, grid)) for h in recent.states]
            found = equation_residual(
                omegas, case.dt, stress, filtered_force, viscosity, drag, coarse
            )
            worst_residual = torch.maximum(worst_residual, found)
        log(f"nu={case.viscosity} t={done * case.dt:.2f} max speed {speed.max():.2f}")
        for index, member in enumerate(members):
            yield Snapshot(
                member, number, done * case.dt, resolved[index].numpy(), stress[index].numpy()
            )
    rows = torch.stack(budget.rows)
    enstrophy_loss = 2 * case.viscosity * rows[spin_up // budget.stride :, 3].amax(0)
    length = (case.viscosity**3 / enstrophy_loss) ** (1 / 6)
    residual = budget.residual()
    _, spectrum = spectral.energy_spectrum(solver.to_field(hat.to(torch.complex128), grid), grid)
    k_max = (case.points - 1) // 3
    for index, member in enumerate(members):
        yield Quality(
            member,
            rms_velocity=float((2 * rows[spin_up // budget.stride :, 0, index].mean()).sqrt()),
            kmax_dissipation_length=float(k_max * length[index]),
            spectrum_tail=float(spectrum[index, k_max] / spectrum[index].max()),
            budget_residual=float(residual[index]),
            max_divergence=float(worst_divergence[index]),
            courant=float(courant[index]),
            equation_residual=float(worst_residual[index]),
        )
