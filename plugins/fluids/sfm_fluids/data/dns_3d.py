"""Direct numerical simulation of three-dimensional flows, filtered, with their budgets.

| kind | initial field | force |
|---|---|---|
| `taylor-green` | Taylor-Green vortex | none |
| `decaying` | random, E(k) ~ k^4 exp(-2 (k/3)^2), rms velocity 1 per component | none |
| `abc` | random, as `decaying` | 0.3 times the ABC flow of wavenumber 1 |
| `kolmogorov` | random, as `decaying` | (0.5 sin 2y, 0, 0) |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sfm_fluids.data.quality import BACKWARD
from sfm_fluids.periodic.navier_stokes_3d import FlowState3D, NavierStokes3D
from sfm_fluids.spectral.filters import Filter3D
from sfm_fluids.spectral.grid_3d import Grid3D, divergence, energy_spectrum, inner
from sfm_fluids.spectral.momentum_flux_3d import momentum_tendency
from sfm_fluids.spectral.transforms_3d import to_field

KINDS = ("taylor-green", "decaying", "abc", "kolmogorov")
FORCES: dict[str, dict[str, Any]] = {
    "abc": {"forcing": "abc", "forcing_wavenumber": 1, "forcing_amplitude": 0.3},
    "kolmogorov": {"forcing": "kolmogorov", "forcing_wavenumber": 2, "forcing_amplitude": 0.5},
}


@dataclass(frozen=True)
class Case3D:
    """One trajectory, in a cube of side 2 pi. float32 integration; budgets in float64.

    Attributes:
        kind: one of `KINDS`.
        viscosity: nu; 1 / nu is the nominal Reynolds number.
        seed: of the random initial field.
        points: grid points per side.
        dt: time step.
        spin_up: time before the first snapshot.
        interval: between snapshots.
        snapshots: how many.
    """

    kind: str
    viscosity: float
    seed: int
    points: int
    dt: float
    spin_up: float
    interval: float
    snapshots: int

    @property
    def name(self) -> str:
        return f"re{1 / self.viscosity:.0f}-{self.kind}-{self.seed}"

    def simulator(self, dtype: torch.dtype = torch.float32) -> NavierStokes3D:
        """The solver that runs it."""
        return NavierStokes3D(
            grid=self.points,
            viscosity=self.viscosity,
            dt=self.dt,
            initial="taylor-green" if self.kind == "taylor-green" else "random",
            seed=self.seed,
            dtype=dtype,
            **FORCES.get(self.kind, {}),
        )

    def start(self, simulator: NavierStokes3D) -> FlowState3D:
        """The initial state; random ones have an energy of 3/2."""
        state = simulator.state()
        if self.kind == "taylor-green":
            return state
        energy = 0.5 * inner(state.velocity_hat, state.velocity_hat, simulator.grid)
        gain = (1.5 / energy).sqrt().reshape(-1, 1, 1, 1, 1)
        return FlowState3D(state.velocity_hat * gain, state.time)


@dataclass(frozen=True)
class Snapshot3D:
    """Filtered flow: velocity (3, D, H, W), stress (3, 3, D, H, W)."""

    number: int
    time: float
    velocity: np.ndarray
    stress: np.ndarray


@dataclass
class Quality3D:
    """How well one trajectory was resolved; as `quality.Quality`.

    `kmax_kolmogorov_length` is the largest kept wavenumber times (nu^3 / epsilon)^(1/4), at the
    largest dissipation epsilon of the sampled time.
    """

    rms_velocity: float = 0.0
    kmax_kolmogorov_length: float = 0.0
    spectrum_tail: float = 0.0
    budget_residual: float = 0.0
    max_divergence: float = 0.0
    courant: float = 0.0
    equation_residual: float = 0.0


@dataclass
class _Budget:
    """Energy, power and loss at every step."""

    viscosity: float
    grid: Grid3D
    force: Tensor | None
    rows: list[tuple[float, float, float]] = field(default_factory=list)

    def __call__(self, hat: Tensor) -> None:
        hat = hat.to(torch.complex128)[0]
        loss = self.viscosity * self.grid.square_wavenumber() * hat
        power = 0.0 if self.force is None else float(inner(self.force, hat, self.grid))
        energy = 0.5 * float(inner(hat, hat, self.grid))
        self.rows.append((energy, power, float(inner(hat, loss, self.grid))))

    def residual(self, dt: float) -> float:
        """|change of E - integral of (power - loss)| / integral of loss; Simpson's rule."""
        from scipy.integrate import simpson

        energy, power, loss = np.array(self.rows).T
        gained = simpson(power - loss, dx=dt)
        return float(abs(energy[-1] - energy[0] - gained) / simpson(loss, dx=dt))


def run(
    case: Case3D, coarse: Grid3D, width: float, log: Callable[[str], None] = lambda text: None
) -> Iterator[Snapshot3D | Quality3D]:
    """Simulate one trajectory; yields its snapshots, then its quality.

    Raises:
        RunError: the flow became infinite.
    """
    simulator = case.simulator()
    state = case.start(simulator)
    coarsen = Filter3D(simulator.grid, coarse, width)
    force = simulator.force_hat
    if force is not None:
        amplitude = simulator.forcing_amplitude.detach()
        force = (amplitude * force).to(torch.complex128).reshape(3, *simulator.grid.spectral_shape)
    budget = _Budget(case.viscosity, simulator.grid, force)
    quality = Quality3D()
    recent: list[Tensor] = []
    between, spin_up = round(case.interval / case.dt), round(case.spin_up / case.dt)
    budget(state.velocity_hat)
    for step in range(1, spin_up + (case.snapshots - 1) * between + 1):
        with torch.no_grad():
            state = simulator(state, 1)
        budget(state.velocity_hat)
        hat = state.velocity_hat.to(torch.complex128)
        recent = [*recent, coarsen.spectrum(hat)][-len(BACKWARD) :]
        number, rest = divmod(step - spin_up, between)
        if number < 0 or rest:
            continue
        simulator.warnings(state)  # raises if the flow blew up
        resolved, stress = to_field(recent[-1], coarse), coarsen.stress(hat)
        residual = equation_residual(recent, case, stress, force, coarsen)
        quality.equation_residual = max(quality.equation_residual, residual)
        error = float(to_field(divergence(recent[-1], coarse), coarse).abs().max())
        quality.max_divergence = max(quality.max_divergence, error)
        speed = float(to_field(hat, simulator.grid).square().sum(1).max().sqrt())
        quality.courant = max(quality.courant, speed * case.dt / simulator.grid.spacing[0])
        log(f"{case.name} t={step * case.dt:.2f} max speed {speed:.2f}")
        yield Snapshot3D(number, step * case.dt, resolved[0].numpy(), stress[0].numpy())
    rows = np.array(budget.rows)[spin_up:]
    k_max = (case.points - 1) // 3
    length = (case.viscosity**3 / rows[:, 2].max()) ** 0.25
    _, spectrum = energy_spectrum(hat[0], simulator.grid)
    quality.rms_velocity = float(np.sqrt(2 * rows[:, 0].mean()))
    quality.kmax_kolmogorov_length = float(k_max * length)
    quality.spectrum_tail = float(spectrum[k_max] / spectrum.max())
    quality.budget_residual = budget.residual(case.dt)
    yield quality


def equation_residual(
    recent: list[Complex[Tensor, "*batch 3 kz ky kx"]],
    case: Case3D,
    stress: Float[Tensor, "*batch 3 3 D H W"],
    force: Complex[Tensor, "*#batch 3 fz fy fx"] | None,
    coarsen: Filter3D,
) -> float:
    """|d F[u]/dt - r| / |d F[u]/dt|, r the coarse solver's right-hand side with the stress.

    Spectra (..., 3, *spectral_shape) of the last time steps, stress (..., 3, 3, *grid), of the
    coarse grid.
    """
    grid = coarsen.coarse
    rate = torch.as_tensor(sum(w * h for w, h in zip(BACKWARD, recent, strict=True))) / case.dt
    right = momentum_tendency(recent[-1], grid, lambda velocity, spacing: stress)
    right = right - case.viscosity * grid.square_wavenumber() * recent[-1]
    if force is not None:
        right = right + coarsen.spectrum(force)
    return float((inner(rate - right, rate - right, grid) / inner(rate, rate, grid)).sqrt())
