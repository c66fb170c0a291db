"""The molecular-dynamics simulator that plugins complete with potentials."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.constants import BOLTZMANN
from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.errors import InputError, RunError
from sfm.quantity import (
    CONSERVED_ENERGY,
    ENERGY,
    FORCES,
    KINETIC_TEMPERATURE,
    NUCLEAR_KINETIC_ENERGY,
    Quantity,
)
from sfm.simulate.base import Parameter, Setting, Simulator, Trajectory
from sfm.simulate.dynamics.ensembles import ISOBARIC, OPEN, THERMAL, Bath, Ensemble
from sfm.simulate.dynamics.files import SUFFIXES, write_trajectory
from sfm.simulate.dynamics.motion import Motion
from sfm.simulate.dynamics.particles import Particles, particles_of
from sfm.simulate.rollout import rollout

FRICTION = Parameter("friction", "1/fs", 0.01, 0.0, 1.0, "g of langevin; 0.001 to 0.1")
TEMPERATURE = Parameter(
    "temperature", "kelvin", 300.0, 0.0, 1e4, "of initial velocities and of a thermostat's bath"
)
THERMOSTAT_TIME = Parameter(
    "thermostat_time",
    "fs",
    100.0,
    1.0,
    1e6,
    "tau of nose-hoover and velocity-rescaling, 50 to 1000",
)
RECOMPUTE = Setting(
    "recompute", True, (True, False), summary="recompute steps in the backward pass"
)
SEED = Setting("seed", 0, summary="of initial velocities and noise")
ENSEMBLE = Setting("ensemble", "nve", OPEN, summary="what is constant, and how: see above")
CITATIONS = (
    "doi:10.1063/1.442716",  # velocity Verlet
    "doi:10.1093/amrx/abs010",  # BAOAB
    "doi:10.1080/00268979600100761",  # Nose-Hoover chain
    "doi:10.1063/1.2408420",  # stochastic velocity rescaling
    "doi:10.1016/0021-9991(83)90014-1",  # RATTLE
)
WARN_DRIFT = 0.05  # of the kinetic energy


class Dynamics(Simulator):
    """Newton's equations for particles, alone or in a bath.

    A subclass gives `state` and `potential_energy`, or `evaluate` where it knows forces in closed
    form; parameters `temperature`, `friction` and `thermostat_time`; settings `ensemble`, `dt`,
    `seed` and `recompute`.

    Class attributes:
        resting: ensembles in which three coordinates of a free system of several particles are
            taken to be those of its momentum, which is zero; the others count all.
    """

    resting: ClassVar[tuple[str, ...]] = ("nve", *THERMAL)
    time_unit: ClassVar[str] = "fs"
    writes_to: ClassVar[tuple[str, ...] | None] = SUFFIXES
    closure_quantity: ClassVar[str | None] = "energy"
    observables: ClassVar[tuple[Quantity, ...]] = (
        ENERGY,
        FORCES,
        NUCLEAR_KINETIC_ENERGY,
        CONSERVED_ENERGY,
        KINETIC_TEMPERATURE,
    )

    ensemble: str
    dt: float
    seed: int
    recompute: bool
    friction: Float[Tensor, ""]
    temperature: Float[Tensor, ""]
    thermostat_time: Float[Tensor, ""]

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if not self.dt > 0:
            raise InputError(f"{self.part}: dt={self.dt} fs must be positive")
        if self.ensemble in THERMAL and not float(self.temperature.detach()) > 0:
            raise InputError(f"{self.part}: ensemble={self.ensemble} needs a temperature above 0")

    def particles(self, samples: Sequence[Sample]) -> Particles:
        """The samples as the state of this ensemble, with their velocities or thermal ones.

        Raises:
            InputError: a type that is no element, bonds to be kept that are not independent, or
                fixed atoms or bonds where the ensemble would not keep them.
        """
        state = particles_of(
            samples,
            self.dtype,
            temperature=float(self.temperature.detach()),
            seed=self.seed,
            at_rest=self.ensemble in self.resting,
        )
        self._check_kept(state)
        return Particles(*(tensor.to(self.temperature.device) for tensor in state))

    def _check_kept(self, state: Particles) -> None:
        """Refuses what scaling with the cell would not leave as it is to stay."""
        if self.ensemble not in ISOBARIC:
            return
        if not bool(state.free.all()):
            raise InputError(
                f"{self.part}: some atoms are fixed, which {self.ensemble} would move; use nve"
            )
        if len(state.rigid_pairs):
            raise InputError(
                f"{self.part}: {self.ensemble} scales bonds that are to keep their lengths; use "
                "velocity-rescaling or langevin"
            )

    # ------------------------------------------------------------------ energy and forces

    @abstractmethod
    def potential_energy(self, systems: Systems) -> Float[Tensor, " S"]:
        """(S,) eV; differentiable in positions and cells."""

    def evaluate(
        self, systems: Systems, virial: bool
    ) -> tuple[Float[Tensor, " S"], Float[Tensor, "N 3"], Float[Tensor, "S 3 3"]]:
        """Energies (S,) eV, forces (N, 3) eV/angstrom, virials (S, 3, 3) eV.

        A virial is minus dE/dstrain, symmetric; zero unless `virial`. Differentiable where
        gradients are recorded.
        """
        recording = torch.is_grad_enabled()
        with torch.enable_grad():
            x, cell = systems.positions, systems.cell
            x = x if recording and x.requires_grad else x.detach().requires_grad_()
            variables, moved = [x], systems._replace(positions=x)
            if virial:
                strain = torch.zeros_like(cell, requires_grad=True)
                places = x + (x.unsqueeze(1) @ strain[systems.system]).squeeze(1)
                moved = moved._replace(positions=places, cell=cell + cell @ strain)
                variables.append(strain)
            energy = self.potential_energy(moved)
            slopes = torch.autograd.grad(
                energy.sum(), variables, create_graph=recording, materialize_grads=True
            )
        energy = energy if recording else energy.detach()
        work = -0.5 * (slopes[1] + slopes[1].mT) if virial else torch.zeros_like(cell)
        return energy, -slopes[0], work

    def _recording(self, *tensors: Tensor) -> bool:
        """Whether anybody could ask for a gradient of what is computed now."""
        inputs = (*tensors, *self.parameters())
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)

    # ------------------------------------------------------------------ time

    def motion_of(self, state: Particles) -> Ensemble:
        """The ensemble of these particles.

        Raises:
            InputError: fixed atoms or bonds that it would not keep.
        """
        self._check_kept(state)
        return Ensemble.of(
            self.ensemble,
            self.dt,
            self.seed,
            state.system,
            state.free,
            at_rest=self.ensemble in self.resting,
            rigid=state.rigid,
        )

    def bath(self, table: Mapping[str, Float[Tensor, " ..."]]) -> Bath:
        """The surroundings that parameters in `table`, () each, describe; eV/angstrom^3."""
        none = torch.zeros_like(table["temperature"])
        return Bath(table["temperature"], table["friction"], table["thermostat_time"], none, none)

    def forward(self, state: Particles, steps: int = 1) -> Particles:
        """The state after `steps` time steps.

        Raises:
            RunError: positions are no longer finite, or bonds cannot be put back.
        """
        parameters = dict(self.named_parameters())
        ensemble = self.motion_of(state)
        runner = _Evaluated(self)
        given = (state.masses, state.charge, state.spin)

        def advance(
            m: Motion, n: int, masses: Tensor, charge: Tensor, spin: Tensor, *values: Tensor
        ) -> Motion:
            table = dict(zip(parameters, values, strict=True))
            changed = {k: v for k, v in table.items() if v is not parameters[k]}
            conditions = {"charge": charge, "spin": spin}

            def field(positions: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
                systems = Systems(positions, cell, state.types, state.system, conditions)
                arguments = (systems, ensemble.needs_virial)
                if changed:
                    named = {f"simulator.{k}": v for k, v in changed.items()}
                    evaluated = torch.func.functional_call(runner, named, arguments)
                else:
                    evaluated = runner(*arguments)
                return state.free * evaluated[1], evaluated[2]

            if n < 0:  # the start: forces, and no step
                forces, virial = field(m.positions, m.cell)
                return m._replace(forces=forces, virial=virial)
            return ensemble.step(m, n, masses, self.bath(table), field)

        tensors = (*given, *parameters.values())
        moving = (state.positions, state.velocities, state.cell, state.chain, state.heat)
        with torch.set_grad_enabled(self._recording(*moving, *given)):
            m = _motion(state)._replace(velocities=state.free * state.velocities)
            first = int(state.step)
            if steps:
                m = rollout(advance, m, tensors, 1, first=-1, recompute=self.recompute)
                m = rollout(advance, m, tensors, steps, first=first, recompute=self.recompute)
        if not bool(torch.isfinite(m.positions).all()):
            raise RunError(
                f"{self.part}: positions are not finite after {first + steps} steps; "
                f"use a smaller dt (now {self.dt} fs) or check the starting geometry"
            )
        return state._replace(
            positions=m.positions,
            velocities=m.velocities,
            step=state.step + steps,
            time=state.time + steps * self.dt,
            cell=m.cell,
            chain=m.chain,
            heat=m.heat,
        )

    # ------------------------------------------------------------------ what is seen

    def observe(self, state: Particles) -> dict[str, Float[Tensor, "_ ..."]]:
        """Energies and temperature of each system (S,), forces on each atom (N, 3)."""
        return self.seen(state, virial=False)[0]

    def seen(
        self, state: Particles, *, virial: bool
    ) -> tuple[dict[str, Float[Tensor, "_ ..."]], Float[Tensor, "S 3 3"]]:
        """`observe` of every system, and virials (S, 3, 3) eV where asked for."""
        places = (state.positions, state.cell, state.masses, state.velocities)
        with torch.set_grad_enabled(self._recording(*places)):
            energy, forces, work = self.evaluate(state.systems, virial)
            ensemble = self.motion_of(state)
            kinetic = ensemble.kinetic(state.velocities, state.masses)
            values = {
                "energy": energy,
                "forces": forces,
                "nuclear_kinetic_energy": kinetic,
                "kinetic_temperature": 2 * kinetic / (ensemble.degrees.to(kinetic) * BOLTZMANN),
            }
            if self.ensemble not in ISOBARIC:
                bath = self.bath(dict(self.named_parameters()))
                stored = ensemble.stored(_motion(state), bath)
                values["conserved_energy"] = energy + kinetic + stored
        return values, work

    def run(self, state: Particles, steps: int, *, every: int | None = None) -> Trajectory:
        """As `Simulator.run`; warns where the conserved energy drifts."""
        trajectory = super().run(state, steps, every=every)
        if "conserved_energy" not in trajectory.observables:
            return trajectory
        conserved = trajectory.observables["conserved_energy"].detach()
        kinetic = trajectory.observables["nuclear_kinetic_energy"].detach()
        drift = float((conserved - conserved[0]).abs().max())
        if drift <= WARN_DRIFT * float(kinetic.mean()):
            return trajectory
        text = f"the conserved energy changed by {drift:.2g} eV; use a smaller dt than {self.dt} fs"
        return dataclasses.replace(trajectory, warnings=(*trajectory.warnings, text))

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """Frames with time, cell, energy, forces and velocities, `.extxyz` or `.xyz`."""
        if path.suffix.lower() not in SUFFIXES:
            super().write(trajectory, path)
        write_trajectory(trajectory, path, domain=self.part.split("/")[0])


def _motion(state: Particles) -> Motion:
    """Without forces, which are not known yet."""
    none, still = torch.zeros_like(state.positions), torch.zeros_like(state.cell)
    return Motion(
        state.positions, state.velocities, none, still, state.cell, state.chain, state.heat
    )


class _Evaluated(nn.Module):
    """`simulator.evaluate` as the forward method, which `torch.func.functional_call` needs."""

    def __init__(self, simulator: Dynamics) -> None:
        super().__init__()
        self.simulator = simulator

    def forward(self, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        return self.simulator.evaluate(*arguments)
