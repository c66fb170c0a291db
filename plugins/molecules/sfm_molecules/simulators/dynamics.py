"""The simulator of this plugin: differentiable molecular dynamics."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning, RunError
from sfm.quantity import ENERGY, FORCES, Quantity
from sfm.simulate.base import Observations, Parameter, Setting, Simulator, Trajectory
from sfm.simulate.rollout import rollout
from sfm.simulate.step import AutogradStep
from sfm_molecules.constants import BOLTZMANN
from sfm_molecules.data.writers import write_extxyz
from sfm_molecules.figures import plot_energies
from sfm_molecules.geometry.conformers import geometry
from sfm_molecules.geometry.embedding import embed
from sfm_molecules.geometry.topology import molecule_from_geometry
from sfm_molecules.potentials import lennard_jones
from sfm_molecules.potentials.uff import UniversalForceField
from sfm_molecules.quantities import (
    CONSERVED_ENERGY,
    KINETIC_TEMPERATURE,
    NUCLEAR_KINETIC_ENERGY,
)
from sfm_molecules.simulators import integrate
from sfm_molecules.simulators.observations import predict_observations, read_observations

ARGON = 18


class Molecules(NamedTuple):
    """A batch of S systems of moving atoms, N in all, stored one after another.

    positions (N, 3) angstrom; velocities (N, 3) angstrom/fs; types (N,) atomic numbers; masses
    (N, 1) amu; system (N,) index of each atom's system; step, the number of steps done; time in fs;
    charge (S,) e; spin (S,) number of unpaired electrons; free (N, 3), whether a coordinate may
    change.
    """

    positions: Tensor
    velocities: Tensor
    types: Tensor
    masses: Tensor
    system: Tensor
    step: Tensor
    time: Tensor
    charge: Tensor
    spin: Tensor
    free: Tensor

    @property
    def conditions(self) -> dict[str, Tensor]:
        """What an energy may depend on besides elements and positions, (S,) each."""
        return {"charge": self.charge, "spin": self.spin}


class MolecularDynamics(Simulator):
    """Newton's or Langevin's equations for atoms on a classical or learned energy surface.

        m_i d2x_i/dt2 = -dE/dx_i                                              (ensemble nve)
        m_i dv_i = -dE/dx_i dt - g m_i v_i dt + sqrt(2 g m_i k_B T) dW_i      (ensemble langevin)

    E is the classical potential plus the closure's energy, whichever there are. `potential=auto`
    is the closure alone if one is given, `lennard-jones` for argon, else `uff`. `uff` is the
    universal force field (bonds, angles, torsions, inversions, van der Waals; no electrostatics);
    `lennard-jones`, 4 epsilon ((sigma/r)^12 - (sigma/r)^6) over all pairs; `none`, only the
    closure. A closure is a module from positions (N, 3), types (N,) and system (N,) to energies
    (S,) in eV; one with an attribute `conditions` (names: charge, spin) also gets the keyword
    `conditions`, those of each system by name, (S,). Boundaries are open. Time steps: velocity
    Verlet, or BAOAB.

    A sample's masses (isotopes), fixed atoms or coordinates, and velocities are taken over: what
    is fixed does not move, and a sample without velocities gets thermal ones. Charge and spin reach
    the closure; the classical potentials have no use for them and say so.

    Units: angstrom, fs, amu, eV, kelvin.

    Good values: `dt` 0.5 fs with hydrogens (a C-H bond vibrates in 11 fs), 2 fs without, 10 fs for
    argon. `friction` 0.01/fs thermalises in about 0.1 ps, 0.001/fs disturbs dynamics little. Argon:
    epsilon = 119.8 k_B, sigma = 3.405 angstrom (the defaults). No bond breaks in UFF, and its
    energies of reaction mean nothing.

    Without a sample, `state()` is the molecule of the setting `molecule`, and for `lennard-jones`
    the icosahedral cluster of 13 argon atoms (solid below about 35 K). With one, the bonds that UFF
    needs are perceived from the geometry, which has to be near a minimum.

    Gradients flow through rollouts to epsilon, sigma, friction, temperature, the closure's
    parameters and the initial state; each step is recomputed in the backward pass
    (`recompute=True`, memory of one state per step). Second derivatives keep the graph of all steps
    either way.

    Limits: no periodic cell (use `crystals/...`), no constraints but fixed atoms and coordinates,
    no electrostatics beyond what the closure has. `langevin` draws its noise from `seed` and the
    step number, so a state determines its future.

    Sources: UFF: Rappé et al. (1992). Velocity Verlet: Swope et al. (1982). BAOAB: Leimkuhler and
    Matthews (2013). Argon: Rahman (1964).
    """

    part: ClassVar[str] = "molecules/molecular-dynamics"
    summary: ClassVar[str] = "molecular dynamics on UFF, Lennard-Jones or a learned energy"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "epsilon", "eV", lennard_jones.ARGON_EPSILON, 1e-6, 1.0, "well depth of lennard-jones"
        ),
        Parameter(
            "sigma",
            "angstrom",
            lennard_jones.ARGON_SIGMA,
            0.5,
            10.0,
            "zero of the lennard-jones energy of a pair",
        ),
        Parameter("friction", "1/fs", 0.01, 0.0, 1.0, "g of langevin; 0.001 to 0.1"),
        Parameter(
            "temperature", "kelvin", 300.0, 0.0, 1e4, "of initial velocities and of langevin's bath"
        ),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting(
            "potential",
            "auto",
            ("auto", "uff", "lennard-jones", "none"),
            summary="classical part of the energy; a closure is added to it",
        ),
        Setting("ensemble", "nve", ("nve", "langevin"), summary="Newton's or Langevin's equations"),
        Setting("dt", 0.5, unit="fs", summary="time step; 0.5 with hydrogens, 10 for argon"),
        Setting("molecule", "CCO", summary="SMILES of the molecule if no sample is given"),
        Setting("seed", 0, summary="of initial velocities and noise"),
        Setting("recompute", True, (True, False), summary="recompute steps in the backward pass"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        ENERGY,
        FORCES,
        NUCLEAR_KINETIC_ENERGY,
        CONSERVED_ENERGY,
        KINETIC_TEMPERATURE,
    )
    time_unit: ClassVar[str] = "fs"
    closure_quantity: ClassVar[str | None] = "energy"
    citations: ClassVar[tuple[str, ...]] = (
        "doi:10.1021/ja00051a040",
        "doi:10.1063/1.442716",
        "doi:10.1093/amrx/abs010",
        "doi:10.1103/PhysRev.136.A405",
    )
    default_steps: ClassVar[int] = 500
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg", ".jpg")
    writes_to: ClassVar[tuple[str, ...] | None] = (".extxyz", ".xyz")
    order: ClassVar[tuple[str, int] | None] = ("dt", 2)
    conserved: ClassVar[Mapping[str, float]] = {"conserved_energy": 1e-3}

    potential: str
    ensemble: str
    dt: float
    molecule: str
    seed: int
    recompute: bool
    epsilon: Tensor
    sigma: Tensor
    friction: Tensor
    temperature: Tensor

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.potential == "none" and self.closure is None:
            raise InputError(
                f"{self.part}: potential=none needs a closure; give one, or set potential=uff "
                "or potential=lennard-jones"
            )
        if not self.dt > 0:
            raise InputError(f"{self.part}: dt={self.dt} fs must be positive")
        self.field: UniversalForceField | None = None
        # what `auto` means; without a closure it depends on the atoms, so `state` decides
        automatic = "none" if self.closure is not None else None
        self.classical = automatic if self.potential == "auto" else self.potential

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[MolecularDynamics, Molecules]:
        """Thirteen argon atoms, so that every parameter matters."""
        argon = {"potential": "lennard-jones", "dt": 10.0, "temperature": 20.0}
        simulator = cls(**{**argon, **values})
        return simulator, simulator.state()

    # ------------------------------------------------------------------ states

    def state(self, sample: Sample | Sequence[Sample] | None = None) -> Molecules:
        """Positions of a sample (or of several, as a batch), with its velocities or thermal ones.

        Masses, fixed coordinates, charge and spin are the sample's. With `uff` it also sets up the
        force field for these molecules.

        Raises:
            InputError: a periodic sample, or a molecule that UFF cannot treat.
        """
        if sample is None:
            samples = [self._known_case()]
        else:
            samples = [sample] if isinstance(sample, Sample) else list(sample)
        for one in samples:
            if one.pbc.any():
                raise InputError(
                    f"{one.id}: {self.part} has open boundaries; use a simulator of crystals for "
                    "a periodic cell"
                )
        if self.potential == "auto" and self.closure is None:
            argon = all((one.types == ARGON).all() for one in samples)
            self.classical = "lennard-jones" if argon else "uff"
        counts = torch.tensor([len(one.types) for one in samples])
        system = torch.repeat_interleave(torch.arange(len(samples)), counts)
        types = torch.from_numpy(np.concatenate([one.types for one in samples]))
        positions = torch.from_numpy(np.concatenate([one.positions for one in samples]))
        masses = torch.cat([_masses(one) for one in samples]).to(self.dtype)
        free = torch.cat([_free(one) for one in samples])
        if self.classical == "uff":
            self.field = UniversalForceField([self._bonded(one) for one in samples])
        self._say_unused(samples)
        generator = torch.Generator().manual_seed(self.seed)
        kelvin = float(self.temperature.detach())
        velocities = integrate.thermal_velocities(masses, system, kelvin, generator, free)
        for index, one in enumerate(samples):
            if one.velocities is not None:
                own = torch.from_numpy(one.velocities).to(self.dtype)
                velocities[system == index] = own * free[system == index]
        device = self.epsilon.device
        state = Molecules(
            positions.to(self.dtype),
            velocities,
            types,
            masses,
            system,
            torch.zeros((), dtype=torch.long),
            torch.zeros((), dtype=self.dtype),
            torch.tensor([one.conditions.get("charge", 0.0) for one in samples]).to(self.dtype),
            torch.tensor([one.conditions.get("spin", 0.0) for one in samples]).to(self.dtype),
            free,
        )
        return Molecules(*(tensor.to(device) for tensor in state))

    def _say_unused(self, samples: Sequence[Sample]) -> None:
        """One line on charge and spin where no part of the energy depends on them."""
        used = getattr(self.closure, "conditions", ())
        names = [
            name
            for name in ("charge", "spin")
            if name not in used and any(one.conditions.get(name) for one in samples)
        ]
        if names:
            what = f"potential={self.classical}" if self.closure is None else "this closure"
            warnings.warn(
                f"{samples[0].id}: {' and '.join(names)} of the sample do not enter the energy of "
                f"{what}",
                InputWarning,
                stacklevel=3,
            )

    def _known_case(self) -> Sample:
        if self.classical == "lennard-jones":
            positions = lennard_jones.icosahedron(float(self.sigma.detach()))
            types = np.full(len(positions), ARGON)
            return Sample(id="Ar13", domain="molecules", positions=positions, types=types)
        types, positions = geometry(embed(self.molecule, seed=self.seed))
        return Sample(id=self.molecule, domain="molecules", positions=positions, types=types)

    def _bonded(self, sample: Sample) -> Any:
        """The sample's molecule; that of the setting `molecule` if it is this one."""
        if sample.id == self.molecule:
            named = embed(self.molecule, seed=self.seed, relax=False)
            if np.array_equal(geometry(named)[0], sample.types):
                return named
        charge = int(sample.conditions.get("charge", 0))
        return molecule_from_geometry(sample.types, sample.positions, charge=charge, name=sample.id)

    # ------------------------------------------------------------------ energy and forces

    def energy(
        self,
        positions: Tensor,
        types: Tensor,
        system: Tensor,
        conditions: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Potential energies (S,) in eV at `positions` (N, 3).

        `conditions` are charge and spin of each system, (S,), zero if None.

        Raises:
            InputError: UFF was not set up for these atoms; call `state` first.
        """
        parts = []
        if self.classical == "lennard-jones":
            parts.append(lennard_jones.energy(positions, system, self.epsilon, self.sigma))
        elif self.classical != "none":
            if self.field is None:
                raise InputError(f"{self.part}: make the state with `state(sample)` first")
            parts.append(self.field.to(positions.device)(positions, types, system))
        if self.closure is not None:
            known = getattr(self.closure, "conditions", ())
            given = {"conditions": conditions} if known and conditions is not None else {}
            parts.append(self.closure(positions, types, system, **given).to(positions.dtype))
        return torch.stack(parts).sum(0)

    def energy_and_forces(
        self,
        positions: Tensor,
        types: Tensor,
        system: Tensor,
        conditions: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Potential energies (S,) in eV and forces -dE/dx (N, 3) in eV/angstrom.

        Differentiable where gradients are recorded. Forces on fixed atoms are there, too.
        """
        surface = partial(self.energy, types=types, system=system, conditions=conditions)
        with torch.set_grad_enabled(self._recording(positions)):
            return _slope(surface, positions)

    def _recording(self, *tensors: Tensor) -> bool:
        """Whether anybody could ask for a gradient of what is computed now."""
        inputs = (*tensors, *self.parameters())
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)

    # ------------------------------------------------------------------ time

    def forward(self, state: Molecules, steps: int = 1) -> Molecules:
        """The state after `steps` time steps.

        Raises:
            RunError: positions are no longer finite.
        """
        named = dict(self.named_parameters())
        recording = self._recording(state.positions, state.velocities, state.masses)
        others = (state.masses, *named.values())
        with torch.set_grad_enabled(recording):
            surface = partial(
                self.energy, types=state.types, system=state.system, conditions=state.conditions
            )
            forces = state.free * _slope(surface, state.positions)[1]
            velocities = state.free * state.velocities
            moving: tuple[Tensor, ...] = (state.positions, velocities, forces)
            first, advance = int(state.step), partial(self._advance, state, list(named))
            if self.recompute and recording:
                moving = rollout(AutogradStep(advance), moving, others, steps, first=first)
            else:
                for number in range(first, first + steps):
                    moving = advance(moving, number)
        if not bool(torch.isfinite(moving[0]).all()):
            raise RunError(
                f"{self.part}: positions are not finite after {int(state.step) + steps} steps; "
                f"use a smaller dt (now {self.dt} fs) or check the starting geometry"
            )
        return state._replace(
            positions=moving[0],
            velocities=moving[1],
            step=state.step + steps,
            time=state.time + steps * self.dt,
        )

    def _advance(
        self,
        state: Molecules,
        names: Sequence[str],
        moving: Sequence[Tensor],
        number: int,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        """Step `number` from `moving` = positions, velocities, forces.

        `parameters` are masses and those of `names`; none for the state's and the simulator's own.
        """
        table: dict[str, Tensor] = dict(self.named_parameters())
        masses = state.masses
        surface: Callable[[Tensor], Tensor] = partial(
            self.energy, types=state.types, system=state.system, conditions=state.conditions
        )
        if parameters:
            masses, *values = parameters
            table = dict(zip(names, values, strict=True))
            surface = partial(_Surface(self), table, state.types, state.system, state.conditions)

        def field(positions: Tensor) -> Tensor:
            return state.free * _slope(surface, positions)[1]

        x, v, f = moving
        if self.ensemble == "nve":
            return integrate.verlet_step(x, v, f, masses, self.dt, field)
        generator = torch.Generator().manual_seed((self.seed + 1) * 1_000_003 + number)
        noise = torch.randn(state.positions.shape, generator=generator, dtype=torch.float64)
        return integrate.langevin_step(
            x,
            v,
            f,
            masses,
            self.dt,
            field,
            friction=table["friction"],
            temperature=table["temperature"],
            noise=state.free * noise.to(state.positions),
        )

    # ------------------------------------------------------------------ what is seen

    def observe(self, state: Molecules) -> dict[str, Tensor]:
        """Energies and temperature of each system (S,), forces on each atom (N, 3)."""
        energy, forces = self.energy_and_forces(
            state.positions, state.types, state.system, state.conditions
        )
        per_atom = integrate.kinetic_energy(state.velocities, state.masses)
        kinetic = torch.zeros_like(energy).index_add(0, state.system, per_atom)
        moves = torch.zeros_like(energy).index_add(0, state.system, state.free.sum(1).to(energy))
        return {
            "energy": energy,
            "forces": forces,
            "nuclear_kinetic_energy": kinetic,
            "conserved_energy": energy + kinetic,
            "kinetic_temperature": 2 * kinetic / (moves.clamp_min(1.0) * BOLTZMANN),
        }

    def run(self, state: Molecules, steps: int, *, every: int | None = None) -> Trajectory:
        """As `Simulator.run`; warns where the conserved energy drifts."""
        trajectory = super().run(state, steps, every=every)
        if self.ensemble != "nve":
            return trajectory
        conserved = trajectory.observables["conserved_energy"].detach()
        kinetic = trajectory.observables["nuclear_kinetic_energy"].detach()
        drift = float((conserved - conserved[0]).abs().max())
        if drift <= 0.05 * float(kinetic.mean()):
            return trajectory
        text = f"the conserved energy changed by {drift:.2g} eV; use a smaller dt than {self.dt} fs"
        return dataclasses.replace(trajectory, warnings=(*trajectory.warnings, text))

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Energies against time, of each system."""
        plot_energies(trajectory, path)

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """Frames with energy, forces and velocities, `.extxyz` or `.xyz`."""
        if path.suffix.lower() not in (".extxyz", ".xyz"):
            super().write(trajectory, path)
        write_extxyz(trajectory, path)

    # ------------------------------------------------------------------ fitting

    def read_observations(self, path: Path) -> Observations:
        """Frames with energies and forces, or a trajectory with times and velocities.

        See `sfm_molecules.data.trajectories.read_frames` for the files.
        """
        return read_observations(self, path)

    def predict_observations(self, observations: Observations) -> dict[str, Tensor]:
        """Energies (T,) and forces (T, n, 3) of the frames, or positions (T - 1, n, 3) at times."""
        return predict_observations(self, observations)


class _Surface:
    """The energy of a simulator as a function of its parameters too."""

    def __init__(self, simulator: MolecularDynamics) -> None:
        self.module = _EnergyOf(simulator)

    def __call__(
        self,
        table: dict[str, Tensor],
        types: Tensor,
        system: Tensor,
        conditions: Mapping[str, Tensor],
        positions: Tensor,
    ) -> Tensor:
        values = {f"simulator.{name}": value for name, value in table.items()}
        inputs = (positions, types, system, conditions)
        return torch.func.functional_call(self.module, values, inputs)


class _EnergyOf(nn.Module):
    """`simulator.energy` as the forward method, which `torch.func.functional_call` needs."""

    def __init__(self, simulator: MolecularDynamics) -> None:
        super().__init__()
        self.simulator = simulator

    def forward(
        self,
        positions: Tensor,
        types: Tensor,
        system: Tensor,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        return self.simulator.energy(positions, types, system, conditions)


def _slope(surface: Callable[[Tensor], Tensor], positions: Tensor) -> tuple[Tensor, Tensor]:
    """Energies and minus their gradient; recorded only if the caller records."""
    recording = torch.is_grad_enabled()
    with torch.enable_grad():
        x = positions if recording else positions.detach()
        x = x if x.requires_grad else x.detach().requires_grad_()
        energy = surface(x)
        (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=recording)
    return (energy, -gradient) if recording else (energy.detach(), -gradient.detach())


def _masses(sample: Sample) -> Tensor:
    """(n, 1) amu: the sample's own, or standard atomic weights."""
    from ase.data import atomic_masses

    if (sample.types < 1).any():
        raise InputError("molecular dynamics needs atoms; a type of 0 has no mass")
    masses = sample.masses if sample.masses is not None else atomic_masses[sample.types]
    return torch.from_numpy(np.array(masses, dtype=np.float64)).unsqueeze(1)


def _free(sample: Sample) -> Tensor:
    """(n, 3) false for what is fixed, true elsewhere."""
    if sample.fixed is None:
        return torch.ones(len(sample.types), 3, dtype=torch.bool)
    return torch.from_numpy(~sample.fixed)
