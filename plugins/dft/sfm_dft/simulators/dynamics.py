"""Nuclei that move on a Kohn-Sham energy surface, differentiable from end to end.

    m_A d2R_A/dt2 = F_A(R; theta)       velocity Verlet, constant energy (Born and Oppenheimer)

Every step solves the self-consistent field at its geometry. An observable of the trajectory is
differentiable in the initial state, in every parameter of the functional and in the weights of a
learned one: the backward pass goes through the steps in reverse, and at each one a single response
(`hessian.curvature`) turns the gradient by the forces into gradients by positions and parameters.
Only positions and density matrices of the steps are kept; integrals are made again.

Units: angstrom, fs, amu, eV.

Reference: Swope, Andersen, Berens, Wilson, J. Chem. Phys. 76, 637 (1982).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from sfm.autograd import Function
from sfm.constants import ACCELERATION, LIGHT
from sfm.data.rigid import say_not_kept
from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.units import factor
from sfm_dft.gradients.forces import forces
from sfm_dft.hessian.curvature import Curvature
from sfm_dft.hessian.vibrations import atomic_masses
from sfm_dft.scf.diis import Orbitals, finish, nearest_idempotent, start_state
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.occupation import entropy_energy
from sfm_dft.simulators.kohn_sham import KohnSham


class Surface:
    """Energy and forces of one molecule as functions of its positions, by a `KohnSham` simulator.

    The next self-consistent field starts from the last density; at the simulator's `tolerance` the
    result does not depend on it. Forces are good to about that tolerance, and so are gradients:
    1e-9 serves long trajectories. Masses (isotopes) and fixed coordinates are the sample's.
    """

    def __init__(self, simulator: KohnSham, sample: Sample) -> None:
        self.simulator, self.sample = simulator, sample
        say_not_kept(sample, f"{simulator.part}'s dynamics")
        self.numbers = torch.as_tensor(sample.types).to(simulator.exchange_scale.device)
        device = self.numbers.device
        self.masses = atomic_masses(self.numbers)
        if sample.masses is not None:
            self.masses = torch.as_tensor(sample.masses, dtype=torch.float64).to(device)
        fixed = np.zeros((len(sample.types), 3)) if sample.fixed is None else sample.fixed
        self.free = torch.as_tensor(1.0 - np.asarray(fixed, dtype=np.float64)).to(device)
        self._last: Tensor | None = None

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energy () in eV and forces (A, 3) in eV/angstrom at positions (A, 3) in angstrom.

        Differentiable once, in the positions and in the simulator's parameters.

        Raises:
            RunError: the self-consistent field does not converge.
        """
        parameters = [p for p in self.simulator.parameters() if p.requires_grad]
        energy, force = _Point.apply(self, positions, *parameters)
        return energy, force

    def solve(
        self,
        positions: Float[Tensor, "A 3"],
        density_matrix: Float[Tensor, "1 s n n"] | None = None,
    ) -> tuple[EnergyFunctional, Orbitals]:
        """The energy functional at positions (A, 3), angstrom, and its self-consistent solution."""
        simulator = self.simulator
        start = self._last if density_matrix is None else density_matrix
        state = simulator.state(self.sample.replace(positions=positions.detach().cpu().numpy()))
        if start is not None:
            # else orbitals that symmetry determines would count as self-consistent although
            # they are not normalised any more
            nearby = nearest_idempotent(state.system, start)
            state = replace(state, scf=start_state(state.system, nearby))
        state = simulator(state, simulator.max_cycles)
        if not state.converged:
            raise RunError(
                f"{simulator.part}: not self-consistent at a step of the dynamics (residual "
                f"{float(state.scf.residual.max()):.1e} hartree); take a smaller time step or "
                "raise max_cycles"
            )
        energy = simulator.energy_functional(state)
        solution = finish(energy, state.scf, smearing=simulator.smearing)
        self._last = solution.density_matrix
        return energy, solution

    def free_energy(self, energy: EnergyFunctional, solution: Orbitals) -> Float[Tensor, ""]:
        """Energy () in hartree, at fixed density; with smearing the free energy."""
        total = energy.total(solution.density_matrix)[0]
        if self.simulator.smearing > 0.0:
            entropy = entropy_energy(solution.filling, self.simulator.smearing)
            total = total + energy.system.share * entropy.sum()
        return total


class _Point(Function):
    @staticmethod
    def forward(
        ctx: Any, surface: Surface, positions: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        energy, solution = surface.solve(positions)
        value = surface.free_energy(energy, solution) * factor("hartree", "eV")
        force = forces(energy, solution.density_matrix) * factor("hartree/bohr", "eV/angstrom")
        ctx.surface, ctx.parameters = surface, parameters
        ctx.save_for_backward(positions, solution.density_matrix, force)
        return value, force

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_energy: Tensor, by_forces: Tensor) -> tuple[Tensor | None, ...]:
        positions, density, force = ctx.saved_tensors
        surface, parameters = ctx.surface, ctx.parameters
        back = -by_energy * force
        slopes = [torch.zeros_like(p) for p in parameters]
        with torch.enable_grad():
            energy, solution = surface.solve(positions, density)
            if bool(by_energy != 0):
                value = surface.free_energy(energy, solution) * factor("hartree", "eV")
                for slope, x in zip(slopes, _slopes(value, parameters), strict=True):
                    slope += by_energy * x
        if bool(by_forces.any()):
            curvature = Curvature(energy, solution, smearing=surface.simulator.smearing)
            motion = curvature.move(by_forces)
            along, *rest = curvature.along(motion, parameters)
            unit = factor("hartree/bohr", "eV/angstrom")
            back = back - along * unit * factor("angstrom", "bohr")
            for slope, x in zip(slopes, rest, strict=True):
                slope -= unit * x
        return (None, back, *slopes)


def _slopes(value: Tensor, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)


@dataclass(frozen=True)
class Path:
    """A trajectory of T steps after the first state.

    times: (T + 1,) fs. positions: (T + 1, A, 3) angstrom. velocities: the same, angstrom/fs.
    potential, kinetic: (T + 1,) eV. masses: (A,) amu.
    """

    times: Float[Tensor, " T"]
    positions: Float[Tensor, "T A 3"]
    velocities: Float[Tensor, "T A 3"]
    potential: Float[Tensor, " T"]
    kinetic: Float[Tensor, " T"]
    masses: Float[Tensor, " A"]

    def bond(self, first: int, second: int) -> Float[Tensor, " T"]:
        """Distance (T + 1,) of two atoms, angstrom."""
        length: Tensor = (self.positions[:, first] - self.positions[:, second]).norm(dim=1)
        return length

    @property
    def drift(self) -> float:
        """Largest change of the total energy from its first value, eV."""
        total = (self.potential + self.kinetic).detach()
        return float((total - total[0]).abs().max())


def move(
    surface: Surface,
    positions: Float[Tensor, " ..."],
    velocities: Float[Tensor, " ..."] | None = None,
    *,
    dt: float = 0.25,
    steps: int = 100,
) -> Path:
    """Newton's equations from a state, by velocity Verlet.

    Args:
        positions: (A, 3) angstrom. velocities: (A, 3) angstrom/fs; None takes the sample's, or
            starts at rest. What the sample fixes does not move.
        dt: fs; with hydrogens 0.25 keeps the energy of a vibration to about 1e-3 of it.
        steps: how many.

    Raises:
        InputError: shapes that do not fit the molecule, or a time step that is not positive.
        RunError: a self-consistent field that does not converge.
    """
    shape = (len(surface.numbers), 3)
    if velocities is None:
        stated = surface.sample.velocities
        velocities = torch.zeros_like(positions)
        if stated is not None:
            velocities = torch.as_tensor(stated, dtype=positions.dtype).to(positions.device)
    if positions.shape != shape or velocities.shape != shape:
        raise InputError(
            f"dynamics: positions {tuple(positions.shape)} and velocities "
            f"{tuple(velocities.shape)} must be {shape} for {shape[0]} atoms"
        )
    if not dt > 0 or steps < 0:
        raise InputError(f"dynamics: dt={dt} fs must be positive and steps={steps} not negative")
    masses, free = surface.masses[:, None], surface.free
    velocities = free * velocities
    energy, pull = surface(positions)
    record = [(positions, velocities, energy)]
    for _ in range(steps):
        half = velocities + (0.5 * dt * ACCELERATION) * free * pull / masses
        positions = positions + dt * half
        energy, pull = surface(positions)
        velocities = half + (0.5 * dt * ACCELERATION) * free * pull / masses
        record.append((positions, velocities, energy))
    where, speed, potential = (torch.stack(column) for column in zip(*record, strict=True))
    return Path(
        times=dt * torch.arange(steps + 1, dtype=torch.float64, device=positions.device),
        positions=where,
        velocities=speed,
        potential=potential,
        kinetic=0.5 * (masses * speed.square()).sum((1, 2)) / ACCELERATION,
        masses=surface.masses,
    )


def frequency(signal: Float[Tensor, " T"], dt: float) -> Float[Tensor, ""]:
    """Wavenumber () in cm^-1 of a signal (T,) that is one oscillation about a constant.

    Equally spaced values of a + b cos(w t + c) obey x_(n+1) + x_(n-1) = 2 cos(w dt) x_n + const;
    the slope is fitted by least squares. Some periods suffice, and less than one does if there is
    no noise; anharmonicity shifts the result with the amplitude.
    """
    middle, ends = signal[1:-1], signal[2:] + signal[:-2]
    centred = middle - middle.mean()
    slope = (centred * ends).sum() / centred.square().sum()
    return torch.acos((0.5 * slope).clamp(-1.0, 1.0)) / (2.0 * math.pi * LIGHT * dt)


def spectrum(path: Path, *, padding: int = 8) -> tuple[Float[Tensor, " F"], Float[Tensor, " F"]]:
    """Wavenumbers (F,) in cm^-1 and the power (F,) of the mass-weighted velocities.

    Hann's window; ``padding`` times as many zeros interpolate between its frequencies.
    """
    count = len(path.times)
    values = (path.velocities * path.masses.sqrt()[:, None]).flatten(1)
    dtype, device = torch.float64, values.device
    window = torch.hann_window(count, periodic=False, dtype=dtype, device=device)
    values = values * window[:, None]
    dt = float(path.times[1] - path.times[0])
    transform = torch.fft.rfft(values, n=padding * count, dim=0)
    wavenumbers = torch.fft.rfftfreq(padding * count, dt, dtype=dtype, device=device) / LIGHT
    return wavenumbers, (transform.real.square() + transform.imag.square()).sum(1)


def peak(
    wavenumbers: Float[Tensor, " F"], power: Float[Tensor, " F"], low: float, high: float
) -> Float[Tensor, ""]:
    """Mean wavenumber () of the power between two wavenumbers, cm^-1; differentiable."""
    inside = (wavenumbers >= low) & (wavenumbers <= high)
    if not bool(inside.any()):
        raise InputError(
            f"no frequency of the spectrum lies between {low} and {high} cm^-1; run longer"
        )
    share = power[inside]
    return (wavenumbers[inside] * share).sum() / share.sum()
