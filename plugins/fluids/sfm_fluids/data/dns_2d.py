"""Direct numerical simulation of an ensemble of turbulent flows at one viscosity, with its budget.

Used by the datasets' `build.py`: the ensemble's members differ in force and initial field, run as
one batch, and are sampled at equal times through a `Filter`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sfm_fluids.data.quality import BACKWARD, Budget, Quality, equation_residual
from sfm_fluids.flows.members import Member, curl_of_force, initial_vorticity
from sfm_fluids.periodic import vorticity_equation as solver
from sfm_fluids.spectral import grid_2d as spectral
from sfm_fluids.spectral.filters import Filter
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


class _Ensemble:
    """The members of a case as one batch, and the worst of what their snapshots show."""

    def __init__(self, case: Case, coarse: Grid, width: float) -> None:
        self.case = case
        self.grid = grid = Grid(case.points, case.points)
        self.coarsen = Filter(grid, coarse, width)
        omega = torch.stack([initial_vorticity(m, grid) for m in case.members])
        force = torch.fft.rfft2(torch.stack([curl_of_force(m, grid) for m in case.members]))
        self.budget = Budget(case.viscosity, case.dt, case.members, grid, force)
        self.filtered_force = self.coarsen(torch.fft.irfft2(force, s=grid.shape))
        real = getattr(torch, case.precision)
        self.hat = solver.to_spectrum(omega.to(real), grid)
        self.force_hat = force.to(self.hat.dtype)
        self.mean = torch.zeros(len(omega), 2, dtype=real)
        self.drag = torch.tensor([m.drag for m in case.members], dtype=torch.float64)
        self.viscosity = torch.tensor(case.viscosity, dtype=torch.float64)
        self.courant, self.residual, self.divergence = torch.zeros(
            3, len(omega), dtype=torch.float64
        )
        self.done = 0
        self.budget(0, self.hat)

    def advance(self, steps: int) -> Sequence[Tensor]:
        """Take the steps; the modes of the last few."""
        recent = _Recent(self.budget, self.done, steps)
        with torch.no_grad():
            self.hat, self.mean = solver.integrate(
                self.hat,
                self.mean,
                grid=self.grid,
                viscosity=self.viscosity,
                drag=self.drag,
                forcing_hat=self.force_hat,
                dt=self.case.dt,
                steps=steps,
                monitor=recent,
            )
        self.done += steps
        return recent.states

    def snapshot(self, recent: Sequence[Tensor]) -> tuple[Tensor, Tensor, float]:
        """Filtered velocity (B, 2, H, W), stress (B, 2, 2, H, W), and the largest speed."""
        case, grid, coarse = self.case, self.grid, self.coarsen.coarse
        velocity = spectral.velocity(self.vorticity(), grid)
        speed = velocity.square().sum(1).amax((-2, -1)).sqrt()
        self.courant = torch.maximum(self.courant, speed * case.dt / grid.spacing[0])
        resolved, stress = self.coarsen(velocity), self.coarsen.stress(velocity)
        error = spectral.divergence(resolved, coarse).abs().amax((-2, -1))
        self.divergence = torch.maximum(self.divergence, error)
        if len(recent) == len(BACKWARD):
            omegas = [self.coarsen(solver.to_field(h, grid)) for h in recent]
            residual = equation_residual(
                omegas, case.dt, stress, self.filtered_force, self.viscosity, self.drag, coarse
            )
            self.residual = torch.maximum(self.residual, residual)
        return resolved, stress, float(speed.max())

    def vorticity(self) -> Tensor:
        """(B, H, W) float64."""
        return solver.to_field(self.hat.to(torch.complex128), self.grid)

    def quality(self, spin_up: int) -> Iterator[Quality]:
        """Of each member, from the steps after the spin-up."""
        case = self.case
        rows = torch.stack(self.budget.rows)[spin_up // self.budget.stride :]
        enstrophy_loss = 2 * case.viscosity * rows[..., 3, :].amax(0)
        length = (case.viscosity**3 / enstrophy_loss) ** (1 / 6)
        budget = self.budget.residual()
        _, spectrum = spectral.energy_spectrum(self.vorticity(), self.grid)
        k_max = (case.points - 1) // 3
        for index, member in enumerate(case.members):
            yield Quality(
                member,
                rms_velocity=float((2 * rows[:, 0, index].mean()).sqrt()),
                kmax_dissipation_length=float(k_max * length[index]),
                spectrum_tail=float(spectrum[index, k_max] / spectrum[index].max()),
                budget_residual=float(budget[index]),
                max_divergence=float(self.divergence[index]),
                courant=float(self.courant[index]),
                equation_residual=float(self.residual[index]),
            )


def run(
    case: Case, coarse: Grid, width: float, log: Callable[[str], None] = lambda text: None
) -> Iterator[Snapshot | Quality]:
    """Simulate an ensemble; yields snapshots in order of time, then one `Quality` per member.

    Raises:
        RunError: the flow became infinite.
    """
    ensemble = _Ensemble(case, coarse, width)
    spin_up, between = (round(time / case.dt) for time in (case.spin_up, case.interval))
    for number in range(case.snapshots):
        recent = ensemble.advance(between if number else spin_up)
        resolved, stress, speed = ensemble.snapshot(recent)
        time = ensemble.done * case.dt
        log(f"nu={case.viscosity} t={time:.2f} max speed {speed:.2f}")
        for member, velocity, tau in zip(case.members, resolved, stress, strict=True):
            yield Snapshot(member, number, time, velocity.numpy(), tau.numpy())
    yield from ensemble.quality(spin_up)
