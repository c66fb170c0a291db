"""The simulator of this plugin: differentiable molecular dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from sfm.data.rigid import with_rigid
from sfm.data.sample import Sample
from sfm.simulate import dispersion
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
from sfm_molecules.geometry.topology import bonds_of
from sfm_molecules.simulators import classical
from sfm_molecules.simulators.open_dynamics import OpenDynamics


class MolecularDynamics(classical.Classical, OpenDynamics):
    """Newton's equations for atoms on a classical or learned energy surface, alone or in a bath.

        m_i d2x_i/dt2 = -dE/dx_i                                              (ensemble nve)
        m_i dv_i = -dE/dx_i dt - g m_i v_i dt + sqrt(2 g m_i k_B T) dW_i      (ensemble langevin)

    `nose-hoover` is a chain of three thermostats, deterministic; `velocity-rescaling` draws the
    kinetic energy from its canonical distribution within about `thermostat_time`. Both leave the
    momentum at zero, and count 3 n - 3 degrees of freedom; `nve` and `langevin` count all 3 n.

    E is the classical potential plus the closure's energy, whichever there are. `potential=auto` is
    the closure alone if one is given, `lennard-jones` for argon, else `uff`. `uff` is the universal
    force field (bonds, angles, torsions, inversions, van der Waals; no electrostatics), `mmff94`
    the Merck molecular force field of organic molecules, with charges, and `mmff94s` that with flat
    nitrogens; `lennard-jones`, 4 epsilon ((sigma/r)^12 - (sigma/r)^6) over all pairs; `none`, only
    the closure. A closure is a module from positions (N, 3), types (N,) and system (N,) to energies
    (S,) in eV; one with an attribute `conditions` (names: charge, spin) also gets the keyword
    `conditions`, those of each system by name, (S,). Boundaries are open. Time steps: velocity
    Verlet with the thermostat around it, or BAOAB.

    `constraints=hbonds` keeps the lengths of bonds of hydrogens, `allbonds` those of all bonds, as
    they are at the start, by RATTLE; so are bonds kept that a sample fixes (ASE's `FixBondLengths`,
    the bonds of `FixInternals`). They count for no degree of freedom.

    A sample's masses (isotopes), fixed atoms or coordinates, and velocities are taken over: what
    is fixed does not move, and a sample without velocities gets thermal ones. Charge and spin reach
    the closure, and the charge the charges of MMFF94; other potentials have no use for them and say
    so.

    Units: angstrom, fs, amu, eV, kelvin.

    Good values: `dt` 0.5 fs with hydrogens (a C-H bond vibrates in 11 fs), 1 fs with
    `constraints=hbonds`, 2 fs without hydrogens, 10 fs for argon. `friction` 0.01/fs thermalises in
    about 0.1 ps, 0.001/fs disturbs dynamics little. Argon: epsilon = 119.8 k_B, sigma = 3.405
    angstrom (the defaults). No bond breaks in a force field of bonds, and its energies of reaction
    mean nothing.

    Without a sample, `state()` is the molecule of the setting `molecule`, and for `lennard-jones`
    the icosahedral cluster of 13 argon atoms (solid below about 35 K). With one, the bonds that a
    force field needs are perceived from the geometry, which has to be near a minimum.

    Gradients flow through rollouts to epsilon, sigma, friction, temperature, the closure's
    parameters and the initial state; each step is recomputed in the backward pass
    (`recompute=True`, memory of one state per step). Second derivatives keep the graph of all steps
    either way.

    Limits: no periodic cell (`crystals/molecular-dynamics` has one), no constraints but fixed
    atoms, coordinates and lengths of bonds, no electrostatics beyond those of MMFF94 and the
    closure. Noise comes from `seed` and the step number, so a state determines its future. Away
    from `langevin` nothing thermalises a molecule's rotation as a whole, and a chain of thermostats
    does not reach every state of a single harmonic molecule.

    Sources: UFF: Rappé et al. (1992). MMFF94: Halgren (1996). Velocity Verlet: Swope et al. (1982).
    BAOAB: Leimkuhler and Matthews (2013). Nose-Hoover chain: Martyna et al. (1996). Stochastic
    velocity rescaling: Bussi et al. (2007). Constraints: Ryckaert et al. (1977), Andersen (1983).
    Argon: Rahman (1964).
    """

    part: ClassVar[str] = "molecules/molecular-dynamics"
    summary: ClassVar[str] = "molecular dynamics on UFF, MMFF94, Lennard-Jones or a model"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        *classical.PARAMETERS,
        FRICTION,
        TEMPERATURE,
        THERMOSTAT_TIME,
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        classical.POTENTIAL,
        *dispersion.SETTINGS,
        ENSEMBLE,
        Setting("dt", 0.5, unit="fs", summary="time step; 0.5 with hydrogens, 10 for argon"),
        Setting(
            "constraints",
            "none",
            ("none", "hbonds", "allbonds"),
            summary="bonds that keep their lengths: none, those of hydrogens, all",
        ),
        classical.MOLECULE,
        SEED,
        RECOMPUTE,
    )
    citations: ClassVar[tuple[str, ...]] = (*classical.CITATIONS, *CITATIONS)
    default_steps: ClassVar[int] = 500

    constraints: str

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[MolecularDynamics, Particles]:
        """Thirteen argon atoms, so that every parameter matters."""
        argon = {"potential": "lennard-jones", "dt": 10.0, "temperature": 20.0}
        simulator = cls(**{**argon, **values})
        return simulator, simulator.state()

    # ------------------------------------------------------------------ states

    def state(self, sample: Sample | Sequence[Sample] | None = None) -> Particles:
        """Positions of a sample (or of several, as a batch), with its velocities or thermal ones.

        Masses, fixed coordinates, charge and spin are the sample's. A force field of bonds is set
        up for these molecules.

        Raises:
            InputError: a periodic sample, a molecule that the force field cannot treat, or one
                whose bonds are to be constrained and cannot be told from its geometry.
        """
        samples = self.settled(sample)
        if self.constraints != "none":
            hydrogens = self.constraints == "hbonds"
            kept = [bonds_of(self.bonded(one), hydrogens=hydrogens) for one in samples]
            samples = [with_rigid(*both) for both in zip(samples, kept, strict=True)]
        return self.particles(samples)
