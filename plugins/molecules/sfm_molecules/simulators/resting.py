"""Simulators of molecules at rest: the way down, and the minimum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.rigid import say_not_kept
from sfm.data.sample import Sample
from sfm.errors import InputError, OutsideError, RunError
from sfm.model.guard import searching
from sfm.simulate import dispersion
from sfm.simulate.base import Parameter, Setting, Trajectory
from sfm.simulate.dynamics.files import SUFFIXES, write_trajectory
from sfm.simulate.dynamics.particles import Particles, particles_of
from sfm.simulate.dynamics.simulator import SEED
from sfm.simulate.statics.basin import response
from sfm.simulate.statics.descent import MINIMISER, Descent
from sfm.simulate.statics.fire import LARGEST_MOVE, Inertia, fire_step
from sfm.simulate.statics.lbfgs import Pairs, lbfgs_step
from sfm.simulate.statics.open_basin import OpenBasin
from sfm_molecules.simulators import classical

STIFFNESS = 50.0  # eV/angstrom^2, a bond of an organic molecule
STIFFNESS_OF_PAIRS = 57.1  # curvature of Lennard-Jones at its minimum, in epsilon / sigma^2
NEAR = 1e-3  # of the stiffness times an angstrom: where Newton's method takes over
TOLERANCE = Setting(
    "tolerance", 1e-6, unit="eV/angstrom", summary="largest force of a relaxed molecule"
)
MAX_STEPS = Setting("max_steps", 3000, summary="steps that the relaxation may take")
PARAMETERS: tuple[Parameter, ...] = (*classical.PARAMETERS, *classical.GFN1)
SETTINGS = (
    classical.POTENTIAL_AT_REST,
    *dispersion.SETTINGS,
    classical.MOLECULE,
    SEED,
    TOLERANCE,
    MAX_STEPS,
    MINIMISER,
)
CITATIONS = (
    *classical.CITATIONS,
    "doi:10.1021/acs.jctc.7b00118",
    "doi:10.1103/PhysRevLett.97.170201",
)


class _Moving(NamedTuple):
    """Positions (N, 3) angstrom on their way down."""

    positions: Tensor
    memory: Inertia | Pairs


class Resting(classical.Classical):
    """A simulator whose step relaxes molecules, and whose answer belongs to the minimum.

    More steps change nothing. The answer follows the parameters of the potential and the closure,
    through the relaxed geometry too, and not the geometry that the search began with. A subclass
    has `PARAMETERS` and `SETTINGS` among its own.

    Raises:
        InputError: a tolerance that is not positive.
    """

    time_unit: ClassVar[str] = "1"
    closure_quantity: ClassVar[str | None] = "energy"
    default_steps: ClassVar[int] = 1
    writes_to: ClassVar[tuple[str, ...] | None] = SUFFIXES

    tolerance: float
    max_steps: int
    minimiser: str

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if not self.tolerance > 0 or self.max_steps < 1:
            raise InputError(
                f"{self.part}: tolerance={self.tolerance} eV/angstrom, max_steps={self.max_steps}: "
                "above 0, 1 or more"
            )

    # ------------------------------------------------------------------ states

    def state(self, sample: Sample | Sequence[Sample] | None = None) -> Particles:
        """Positions of a sample (or of several, as a batch), at rest.

        Masses, fixed coordinates, charge and spin are the sample's.

        Raises:
            InputError: a periodic sample, or a molecule that the force field cannot treat.
        """
        samples = self.settled(sample)
        for one in samples:
            say_not_kept(one, self.part)
        still = [one.replace(velocities=None) for one in samples]
        state = particles_of(still, self.dtype, temperature=0.0, seed=0, at_rest=False)
        return Particles(*(tensor.to(self.epsilon.device) for tensor in state))

    def _energy(self, state: Particles) -> Any:
        """(S,) eV of positions (N, 3), for the atoms of a state."""
        return lambda x: self.potential_energy(state.systems._replace(positions=x))

    def _differentiable(self, *tensors: Tensor) -> bool:
        """Whether anybody will differentiate what comes from these."""
        inputs = (*tensors, *self.parameters())
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)

    def energy_and_forces(
        self, state: Particles
    ) -> tuple[Float[Tensor, " S"], Float[Tensor, "N 3"]]:
        """(S,) eV and (N, 3) eV/angstrom, those on fixed atoms too; differentiable."""
        keep = self._differentiable(state.positions)
        with torch.enable_grad():
            x = state.positions
            if not (keep and x.requires_grad):
                x = x.detach().requires_grad_()
            energy = self._energy(state)(x)
            (slope,) = torch.autograd.grad(
                energy.sum(), x, create_graph=keep, materialize_grads=True
            )
        return (energy, -slope) if keep else (energy.detach(), -slope)

    def residual(self, state: Particles) -> float:
        """Largest component of the force that is free to act, eV/angstrom."""
        with torch.no_grad():
            return float((self.energy_and_forces(state)[1] * state.free).abs().max())

    # ------------------------------------------------------------------ the minimum

    def _stiffness(self) -> float:
        """Curvature of a bond, eV/angstrom^2: the scale of the steps."""
        if self.classical == "lennard-jones":
            return STIFFNESS_OF_PAIRS * float((self.epsilon / self.sigma**2).detach())
        return STIFFNESS

    def relax(self, state: Particles) -> Particles:
        """The nearest minimum: FIRE or L-BFGS, then Newton's method; fixed coordinates stay.

        The result follows the parameters of the simulator, its potential and its closure under
        first-order differentiation, by the implicit function theorem
        (`sfm.simulate.statics.basin`).

        Raises:
            RunError: no minimum within `max_steps`, or the molecule came apart.
            OutsideError: the closure refuses the molecule that is to be relaxed.
        """
        with torch.no_grad():
            self.potential_energy(state.systems)  # what the closure refuses is no search's fault
            with searching():
                basin = self._search(state)
            try:
                self.potential_energy(state.systems._replace(positions=basin.positions))
            except OutsideError as error:
                raise RunError(f"{self.part}: the relaxation collapsed: {error}") from None
        places = torch.where(state.free, basin.positions, state.positions)
        if self._differentiable(places):
            basin = OpenBasin(basin.potential, places, state.system, state.free)
            places = places + response(basin)
        still = torch.zeros_like(state.velocities)
        return state._replace(positions=places, velocities=still, step=state.step + 1)

    def _search(self, state: Particles) -> OpenBasin:
        energy, stiffness = self._energy(state), self._stiffness()
        counts = torch.bincount(state.system)
        largest = LARGEST_MOVE * counts.to(state.positions).sqrt()

        def forces(x: Tensor) -> Tensor:
            here = state._replace(positions=x)
            return self.energy_and_forces(here)[1] * state.free

        def descend(moving: _Moving, steps: int) -> _Moving:
            for _ in range(steps):
                drive = forces(moving.positions) / stiffness
                memory = moving.memory
                if isinstance(memory, Pairs):
                    memory, move = lbfgs_step(memory, drive, state.system, largest)
                else:
                    memory, move = fire_step(memory, drive, state.system, largest)
                moving = _Moving(moving.positions + move, memory)
            return moving

        def at_rest(x: Tensor) -> _Moving:
            lbfgs = self.minimiser == "lbfgs"
            return _Moving(x, Pairs.none(x) if lbfgs else Inertia.at_rest(x, len(counts)))

        def check(moving: _Moving) -> None:
            if not bool(torch.isfinite(moving.positions).all()):
                raise RunError(f"{self.part}: positions are not finite: the molecule came apart")

        descent = Descent(
            descend=descend,
            residual=lambda moving: float(forces(moving.positions).abs().max()),
            around=lambda moving: OpenBasin(energy, moving.positions, state.system, state.free),
            state=lambda basin: at_rest(basin.positions),
            check=check,
        )
        return descent.minimum(
            at_rest(state.positions.detach()),
            near=NEAR * stiffness,
            tolerance=self.tolerance,
            max_steps=self.max_steps,
            part=self.part,
        )

    def forward(self, state: Particles, steps: int = 1) -> Particles:
        """The relaxed molecules (0 steps: `state` itself).

        Raises:
            RunError: no minimum is reached; see `relax`.
        """
        return self.relax(state) if steps else state

    def time(self, state: Particles) -> float:
        """How often it was relaxed."""
        return float(state.step)

    def converged(self, state: Particles) -> bool:
        """Whether nothing pulls harder than `tolerance`."""
        return self.residual(state) <= self.tolerance

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """Frames with energy and forces, `.extxyz` or `.xyz`."""
        if path.suffix.lower() not in SUFFIXES:
            super().write(trajectory, path)
        seen = [self.energy_and_forces(state) for state in trajectory.states]
        labels = {
            "energy": torch.stack([energy for energy, _ in seen]),
            "forces": torch.stack([forces for _, forces in seen]),
        }
        write_trajectory(
            Trajectory(trajectory.times, "1", trajectory.states, labels, trajectory.units),
            path,
            domain="molecules",
        )
