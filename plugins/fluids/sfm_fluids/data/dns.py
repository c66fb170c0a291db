"""Direct numerical simulation of an ensemble of turbulent flows at one viscosity, with its budget.

Used by the datasets' `build.py`: the ensemble's members differ in force and initial field, run as
one batch in float64, and are sampled at equal times through a `Filter`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sfm.errors import RunError

from ..periodic import grid as spectral
from ..periodic import vorticity as solver
from ..periodic.forcing import kolmogorov_curl, ring_curl
from ..periodic.grid import Grid
from .filtering import Filter


@dataclass(frozen=True)
class Member:
    """One trajectory: `kind` is `kolmogorov`, `ring` or `decaying`; `seed` draws phases."""

    kind: str
    seed: int

    @property
    def drag(self) -> float:
        return 0.0 if self.kind == "decaying" else 0.1


@dataclass(frozen=True)
class Case:
    """An ensemble. Times in units where the box is 2 pi and the force's amplitude is 1.

    `precision` is that of the integration; filtering and budgets are float64 in any case.
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


@dataclass(frozen=True)
class Quality:
    """How well one member was resolved."""

    member: Member
    rms_velocity: float
    kmax_dissipation_length: float
    spectrum_tail: float
    budget_residual: float
    max_divergence: float
    courant: float


def random_vorticity(grid: Grid, peak: float, rms_velocity: float, seed: int) -> Tensor:
    """(H, W) float64: random phases, E(k) ~ k^3 exp(-(k/peak)^2) up to k = 12; grid-independent."""
    generator = torch.Generator().manual_seed(seed)
    reach = 12
    phase = (
        2 * math.pi * torch.rand(2 * reach + 1, reach + 1, generator=generator, dtype=torch.float64)
    )
    ny = torch.arange(-reach, reach + 1, dtype=torch.float64)[:, None]
    nx = torch.arange(0, reach + 1, dtype=torch.float64)[None, :]
    k = torch.sqrt(nx**2 + ny**2)
    amplitude = k**2 * torch.exp(-0.5 * (k / peak) ** 2) * ((nx > 0) | (ny > 0)) * (k <= reach)
    hat = torch.zeros(grid.height, grid.width // 2 + 1, dtype=torch.complex128)
    rows = 2 * ny.abs().flatten() < grid.height
    columns = 2 * nx.flatten() < grid.width
    waves = torch.polar(amplitude, phase)[rows][:, columns]
    hat[ny.long().flatten()[rows] % grid.height, : waves.shape[1]] = waves
    omega = torch.fft.irfft2(hat, s=grid.shape)
    omega = omega - omega.mean()
    u = spectral.velocity(omega, grid)
    return omega * rms_velocity / u.square().sum(0).mean().sqrt()


def initial_vorticity(member: Member, grid: Grid) -> Tensor:
    """Vorticity (H, W), float64, that the member starts from."""
    if member.kind == "decaying":
        return random_vorticity(grid, 4.0, 2.0, member.seed)
    return random_vorticity(grid, 3.0, 1.5, member.seed)


def curl_of_force(member: Member, grid: Grid) -> Tensor:
    """Curl (H, W) of the member's force; zero for a decaying flow."""
    if member.kind == "kolmogorov":
        return kolmogorov_curl(grid, 4)
    if member.kind == "ring":
        return ring_curl(grid, 4.0, 0.75, torch.Generator().manual_seed(member.seed))
    return torch.zeros(grid.shape, dtype=torch.float64)


class _Budget:
    """Per-step energy, injection and dissipation of each member, from the half-spectrum."""

    def __init__(self, case: Case, grid: Grid, forcing_hat: Tensor) -> None:
        ky, kx = grid.wavenumbers()
        self.k2 = ky**2 + kx**2
        self.inverse = torch.where(self.k2 > 0, 1 / self.k2.clamp(min=1e-300), 0.0)
        weight = torch.full_like(kx, 2.0)
        weight[:, 0] = 1.0
        weight[:, -1] = 1.0
        self.weight = weight / grid.height**2 / grid.width**2
        self.forcing, self.case = forcing_hat, case
        self.drag = torch.tensor([m.drag for m in case.members], dtype=torch.float64)
        self.stride = max(1, int(0.0124 / case.dt))
        self.rows: list[Tensor] = []

    def __call__(self, done: int, hat: Tensor) -> None:
        if done % self.stride:
            return
        hat = hat.to(torch.complex128)
        square = hat.abs().square() * self.weight
        energy = 0.5 * (square * self.inverse).sum((-2, -1))
        enstrophy = 0.5 * square.sum((-2, -1))
        palinstrophy = 0.5 * (square * self.k2).sum((-2, -1))
        power = ((self.forcing.conj() * hat).real * self.weight * self.inverse).sum((-2, -1))
        loss = 2 * self.case.viscosity * enstrophy + 2 * self.drag * energy
        self.rows.append(torch.stack((energy, power, loss, palinstrophy)))
        if not torch.isfinite(energy).all():
            raise RunError(f"the flow at viscosity {self.case.viscosity} blew up: reduce dt")

    def residual(self) -> Tensor:
        """|change of E - integral of (power - loss)| / integral of loss; Simpson's rule."""
        rows = torch.stack(self.rows)
        if len(rows) % 2 == 0:
            rows = rows[:-1]
        weight = torch.full((len(rows), 1), 2.0, dtype=torch.float64)
        weight[1::2] = 4.0
        weight[0] = weight[-1] = 1.0
        weight = weight * self.case.dt * self.stride / 3
        gained = (weight * (rows[:, 1] - rows[:, 2])).sum(0)
        change = rows[-1, 0] - rows[0, 0]
        return (change - gained).abs() / (weight * rows[:, 2]).sum(0)


def _later(budget: _Budget, start: int, step: int, hat: Tensor) -> None:
    budget(start + step, hat)


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
    budget = _Budget(case, grid, forcing_hat)
    real = getattr(torch, case.precision)
    hat = solver.to_spectrum(omega.to(real), grid)
    forcing_hat = forcing_hat.to(hat.dtype)
    mean = torch.zeros(len(members), 2, dtype=real)
    budget(0, hat)
    drag = torch.tensor([m.drag for m in members], dtype=torch.float64)
    viscosity = torch.tensor(case.viscosity, dtype=torch.float64)
    courant = torch.zeros(len(members), dtype=torch.float64)
    worst_divergence = torch.zeros(len(members), dtype=torch.float64)
    spin_up = round(case.spin_up / case.dt)
    between = round(case.interval / case.dt)
    done = 0
    for number in range(case.snapshots):
        steps = spin_up if number == 0 else between
        monitor = partial(_later, budget, done)
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
                monitor=monitor,
            )
        done += steps
        velocity = spectral.velocity(solver.to_field(hat.to(torch.complex128), grid), grid)
        speed = velocity.square().sum(1).amax((-2, -1)).sqrt()
        courant = torch.maximum(courant, speed * case.dt / grid.spacing[0])
        resolved, stress = coarsen(velocity), coarsen.stress(velocity)
        error = spectral.divergence(resolved, coarse).abs().amax((-2, -1))
        worst_divergence = torch.maximum(worst_divergence, error)
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
        )
