"""The simulator of this plugin: differentiable molecular dynamics."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.data.rigid import with_rigid
from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.errors import InputError, InputWarning
from sfm.simulate.base import Parameter, Setting
from sfm.simulate.dynamics.particles import Particles
from sfm.simulate.dynamics.simulator import (
    CITATIONS,
    ENSEMBLE,
    FRICTION,
    RECOMPUTE,
    SEED,
    TEMPERATURE,
    THERMOSTAT_TIME,
)
from sfm_molecules.geometry.conformers import geometry
from sfm_molecules.geometry.embedding import embed
from sfm_molecules.geometry.topology import bonds_of, molecule_from_geometry
from sfm_molecules.potentials import lennard_jones
from sfm_molecules.potentials.perceived import PerceivedForceField
from sfm_molecules.potentials.uff import UniversalForceField
from sfm_molecules.simulators.open_dynamics import OpenDynamics

ARGON = 18


class MolecularDynamics(OpenDynamics):
    """Newton's equations for atoms on a classical or learned energy surface, alone or in a bath.

        m_i d2x_i/dt2 = -dE/dx_i                                              (ensemble nve)
        m_i dv_i = -dE/dx_i dt - g m_i v_i dt + sqrt(2 g m_i k_B T) dW_i      (ensemble langevin)

    `nose-hoover` is a chain of three thermostats, deterministic; `velocity-rescaling` draws the
    kinetic energy from its canonical distribution within about `thermostat_time`. Both leave the
    momentum at zero, and count 3 n - 3 degrees of freedom; `nve` and `langevin` count all 3 n.

    E is the classical potential plus the closure's energy, whichever there are. `potential=auto`
    is the closure alone if one is given, `lennard-jones` for argon, else `uff`. `uff` is the
    universal force field (bonds, angles, torsions, inversions, van der Waals; no electrostatics);
    `lennard-jones`, 4 epsilon ((sigma/r)^12 - (sigma/r)^6) over all pairs; `none`, only the
    closure. A closure is a module from positions (N, 3), types (N,) and system (N,) to energies
    (S,) in eV; one with an attribute `conditions` (names: charge, spin) also gets the keyword
    `conditions`, those of each system by name, (S,). Boundaries are open. Time steps: velocity
    Verlet with the thermostat around it, or BAOAB.

    `constraints=hbonds` keeps the lengths of bonds of hydrogens, `allbonds` those of all bonds, as
    they are at the start, by RATTLE; so are bonds kept that a sample fixes (ASE's `FixBondLengths`,
    the bonds of `FixInternals`). They count for no degree of freedom.

    A sample's masses (isotopes), fixed atoms or coordinates, and velocities are taken over: what
    is fixed does not move, and a sample without velocities gets thermal ones. Charge and spin reach
    the closure; the classical potentials have no use for them and say so.

    Units: angstrom, fs, amu, eV, kelvin.

    Good values: `dt` 0.5 fs with hydrogens (a C-H bond vibrates in 11 fs), 1 fs with
    `constraints=hbonds`, 2 fs without hydrogens, 10 fs for argon. `friction` 0.01/fs thermalises in
    about 0.1 ps, 0.001/fs disturbs dynamics little. Argon: epsilon = 119.8 k_B, sigma = 3.405
    angstrom (the defaults). No bond breaks in UFF, and its energies of reaction mean nothing.

    Without a sample, `state()` is the molecule of the setting `molecule`, and for `lennard-jones`
    the icosahedral cluster of 13 argon atoms (solid below about 35 K). With one, the bonds that UFF
    needs are perceived from the geometry, which has to be near a minimum.

    Gradients flow through rollouts to epsilon, sigma, friction, temperature, the closure's
    parameters and the initial state; each step is recomputed in the backward pass
    (`recompute=True`, memory of one state per step). Second derivatives keep the graph of all steps
    either way.

    Limits: no periodic cell (`crystals/molecular-dynamics` has one), no constraints but fixed
    atoms, coordinates and lengths of bonds, no electrostatics beyond what the closure has. Noise
    comes from `seed` and the step number, so a state determines its future. Away from `langevin`
    nothing thermalises a molecule's rotation as a whole, and a chain of thermostats does not reach
    every state of a single harmonic molecule.

    Sources: UFF: Rappé et al. (1992). Velocity Verlet: Swope et al. (1982). BAOAB: Leimkuhler and
    Matthews (2013). Nose-Hoover chain: Martyna et al. (1996). Stochastic velocity rescaling: Bussi
    et al. (2007). Constraints: Ryckaert et al. (1977), Andersen (1983). Argon: Rahman (1964).
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
        FRICTION,
        TEMPERATURE,
        THERMOSTAT_TIME,
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting(
            "potential",
            "auto",
            ("auto", "uff", "lennard-jones", "none"),
            summary="classical part of the energy; a closure is added to it",
        ),
        ENSEMBLE,
        Setting("dt", 0.5, unit="fs", summary="time step; 0.5 with hydrogens, 10 for argon"),
        Setting(
            "constraints",
            "none",
            ("none", "hbonds", "allbonds"),
            summary="bonds that keep their lengths: none, those of hydrogens, all",
        ),
        Setting("molecule", "CCO", summary="SMILES of the molecule if no sample is given"),
        SEED,
        RECOMPUTE,
    )
    citations: ClassVar[tuple[str, ...]] = (
        "doi:10.1021/ja00051a040",
        *CITATIONS,
        "doi:10.1103/PhysRev.136.A405",
    )
    default_steps: ClassVar[int] = 500

    potential: str
    constraints: str
    epsilon: Tensor
    sigma: Tensor

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.potential == "none" and self.closure is None:
            raise InputError(
                f"{self.part}: potential=none needs a closure; give one, or set potential=uff "
                "or potential=lennard-jones"
            )
        self.field: UniversalForceField | None = None
        self.perceived = PerceivedForceField()
        # what `auto` means; without a closure it depends on the atoms, so `state` decides
        automatic = "none" if self.closure is not None else None
        self.classical = automatic if self.potential == "auto" else self.potential

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[MolecularDynamics, Particles]:
        """Thirteen argon atoms, so that every parameter matters."""
        argon = {"potential": "lennard-jones", "dt": 10.0, "temperature": 20.0}
        simulator = cls(**{**argon, **values})
        return simulator, simulator.state()

    # ------------------------------------------------------------------ states

    def state(self, sample: Sample | Sequence[Sample] | None = None) -> Particles:
        """Positions of a sample (or of several, as a batch), with its velocities or thermal ones.

        Masses, fixed coordinates, charge and spin are the sample's. With `uff` it also sets up the
        force field for these molecules.

        Raises:
            InputError: a periodic sample, a molecule that UFF cannot treat, or one whose bonds are
                to be constrained and cannot be told from its geometry.
        """
        if sample is None:
            samples = [self._known_case()]
        else:
            samples = [sample] if isinstance(sample, Sample) else list(sample)
        samples = self.without_cells(samples)
        if self.potential == "auto" and self.closure is None:
            argon = all((one.types == ARGON).all() for one in samples)
            self.classical = "lennard-jones" if argon else "uff"
        if self.classical == "uff" or self.constraints != "none":
            bonded = [self._bonded(one) for one in samples]
            if self.classical == "uff":
                self.field = UniversalForceField(bonded)
            if self.constraints != "none":
                hydrogens = self.constraints == "hbonds"
                kept = [bonds_of(one, hydrogens=hydrogens) for one in bonded]
                samples = [with_rigid(*both) for both in zip(samples, kept, strict=True)]
        self._say_unused(samples)
        return self.particles(samples)

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
        return self.named_molecule()

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
        positions: Float[Tensor, "N 3"],
        types: Int[Tensor, " N"],
        system: Int[Tensor, " N"],
        conditions: Mapping[str, Float[Tensor, " S"]] | None = None,
    ) -> Float[Tensor, " S"]:
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
            parts.append(self.learned(positions, types, system, conditions))
        return torch.stack(parts).sum(0)

    def potential_energy(self, systems: Systems) -> Float[Tensor, " S"]:
        """(S,) eV: `energy`; there is no cell."""
        return self.energy(systems.positions, systems.types, systems.system, systems.conditions)

    def baseline(self, systems: Systems) -> Float[Tensor, " S"]:
        """(S,) eV of `potential=uff` or `lennard-jones`, open systems.

        UFF's bonds are those of each geometry: the energy is smooth as long as no bond forms or
        breaks, and jumps there. Its terms are kept by bonding pattern.

        Raises:
            InputError: another potential, a cell, several kinds of atom with lennard-jones; with
                uff, a molecule whose bonds cannot be told or that it has no type for.
        """
        if self.classical not in ("lennard-jones", "uff"):
            raise InputError(f"{self.part}: a baseline is potential=uff or potential=lennard-jones")
        if bool(systems.cell.any()):
            raise InputError(f"{self.part}: has open boundaries, and no cell")
        if self.classical == "uff":
            return self.perceived(systems)
        if len(systems.types.unique()) > 1:
            raise InputError(f"{self.part}: lennard-jones is for one kind of atom")
        return self.energy(systems.positions, systems.types, systems.system)
