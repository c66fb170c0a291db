"""`crystals/molecular-dynamics`: crystals and liquids in periodic cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.constants import BOLTZMANN
from sfm.data.sample import Sample
from sfm.data.tokens import system_sum
from sfm.errors import InputError
from sfm.quantity import MEAN_SQUARE_DISPLACEMENT, RADIAL_DISTRIBUTION, Quantity
from sfm.simulate.base import Parameter, Setting, Trajectory
from sfm.simulate.dynamics import barostat
from sfm.simulate.dynamics.ensembles import ISOBARIC, PERIODIC, Bath
from sfm.simulate.dynamics.particles import Particles
from sfm.simulate.dynamics.simulator import (
    CITATIONS,
    FRICTION,
    RECOMPUTE,
    SEED,
    TEMPERATURE,
    THERMOSTAT_TIME,
)
from sfm.simulate.dynamics.structure import distances, radial_distribution
from sfm_crystals.constants import GPA
from sfm_crystals.data.prototypes import fcc, repeated
from sfm_crystals.figures.dynamics import plot_dynamics
from sfm_crystals.quantities import PRESSURE, VOLUME
from sfm_crystals.simulators import classical, moving


class MolecularDynamics(moving.Moving):
    """Newton's equations for the atoms of periodic cells, alone or in a bath.

        m_i d2x_i/dt2 = -dE/dx_i

    | ensemble | what is constant | how |
    | `nve` | volume, energy | velocity Verlet |
    | `langevin` | volume, temperature | friction and noise on every atom, BAOAB |
    | `nose-hoover` | volume, temperature | a chain of three thermostats, deterministic |
    | `velocity-rescaling` | volume, temperature | kinetic energy drawn from its distribution |
    | `npt` | pressure, temperature | stochastic cell rescaling, isotropic; velocity rescaling |
    | `npt-anisotropic` | pressure, temperature | the same, the cell's lengths and angles free |

    E is a classical potential plus the closure's energy: `lennard-jones`, one kind of atom, pairs
    switched off before `cutoff`; `stillinger-weber`, silicon; `none`. `auto` is `none` with a
    closure, else `lennard-jones`. Closed-form forces serve Lennard-Jones; pairs come from a list
    that is rebuilt when atoms have moved half of `skin`.

    Pressure has the momentum of the atoms in it: n k_B T / V, with the kinetic temperature, less a
    third of the trace of dE/dstrain / V. In both `npt` atoms and cell scale about the origin, and
    there is no mean-square displacement. `npt-anisotropic` is for solids: a liquid does not hold
    the shape of its cell, which becomes flat in the end.

    A sample's masses, fixed atoms or coordinates, and velocities are taken over; one without
    velocities gets thermal ones. `npt` and `npt-anisotropic` refuse fixed atoms. Bonds whose
    lengths a sample fixes (ASE's `FixBondLengths`, the bonds of `FixInternals`) keep them, by
    RATTLE, and count for no degree of freedom; both `npt` refuse them. `repeat` copies the cell
    along each lattice vector first. Without a sample: 108 atoms of argon on a lattice at the
    density of the liquid at 94.4 K (64 of silicon for `stillinger-weber`).

    Units: angstrom, fs, amu, eV, kelvin, GPa.

    Good values: argon (the defaults of `lennard-jones`) epsilon 0.0104 eV, sigma 3.40 angstrom,
    `dt` 10 fs, 94.4 K; silicon and most crystals `dt` 1 to 2 fs, 0.5 with hydrogens (the default is
    1). `thermostat_time` 100 fs thermalises; 1000 fs disturbs dynamics little. `barostat_time` at
    least ten times that of the thermostat's; only `compressibility` by `barostat_time` matters:
    2 per GPa for liquid argon, 0.01 for silicon. A lattice melts only if it is warm enough; a
    liquid wants 5 ps to forget it.

    Gradients flow through rollouts to epsilon, sigma, temperature, pressure, the bath's times, the
    closure's parameters, the initial state and cell; steps are recomputed in the backward pass
    (`recompute=True`). Noise follows from `seed` and the step's number.

    Limits: periodic in three directions; one kind of atom in classical potentials, no charges; one
    pressure, no stress, from outside; a chain of thermostats does not thermalise a harmonic crystal
    at low temperature evenly; the momentum of the whole is zero except in `langevin`, or where
    atoms are fixed, and is not counted among the degrees of freedom then.

    Sources: velocity Verlet: Swope et al. (1982). BAOAB: Leimkuhler and Matthews (2013).
    Nose-Hoover chain: Martyna et al. (1996). Velocity rescaling: Bussi et al. (2007). Cell
    rescaling: Bernetti and Bussi (2020); Del Tatto, Raiteri, Bernetti and Bussi (2022). Argon:
    Rahman (1964). Silicon: Stillinger, Weber (1985).

    Raises:
        InputError: potential `none` without a closure.
    """

    part: ClassVar[str] = "crystals/molecular-dynamics"
    summary: ClassVar[str] = "molecular dynamics of crystals and liquids in periodic cells"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        *classical.PARAMETERS,
        FRICTION,
        TEMPERATURE,
        THERMOSTAT_TIME,
        Parameter("pressure", "GPa", 0.0, -100.0, 1000.0, "of npt, npt-anisotropic"),
        Parameter(
            "compressibility", "1/GPa", 2.0, 1e-6, 1e4, "isothermal, roughly; argon 2, Si 0.01"
        ),
        Parameter("barostat_time", "fs", 1000.0, 1.0, 1e7, "tau of npt's volume"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *classical.SETTINGS,
        Setting("ensemble", "nve", PERIODIC, summary="what is constant, and how: see above"),
        moving.DT,
        moving.REPEAT,
        moving.SKIN,
        Setting("rdf_reach", 10.0, unit="angstrom", summary="how far radial_distribution looks"),
        Setting("rdf_points", 100, summary="distances of radial_distribution"),
        SEED,
        RECOMPUTE,
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        *moving.Moving.observables,
        PRESSURE,
        VOLUME,
        MEAN_SQUARE_DISPLACEMENT,
        RADIAL_DISTRIBUTION,
    )
    citations: ClassVar[tuple[str, ...]] = (
        *CITATIONS,
        "doi:10.1063/5.0020514",
        "doi:10.3390/app12031139",
        "doi:10.1103/PhysRev.136.A405",
        "doi:10.1103/PhysRevB.31.5262",
    )
    keeps_bonds: ClassVar[bool] = True
    default_steps: ClassVar[int] = 500
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg", ".jpg")
    order: ClassVar[tuple[str, int] | None] = ("dt", 2)
    conserved: ClassVar[Mapping[str, float]] = {"conserved_energy": 1e-3}

    rdf_reach: float
    rdf_points: int
    pressure: nn.Parameter
    compressibility: nn.Parameter
    barostat_time: nn.Parameter

    def __init__(self, *, closure: nn.Module | None = None, **values: Any) -> None:
        super().__init__(closure=closure, **values)
        if not self.rdf_reach > 0:
            raise InputError(f"{self.part}: rdf_reach={self.rdf_reach}: use more than 0")
        if self.rdf_points < 1:
            raise InputError(f"{self.part}: rdf_points={self.rdf_points}: use 1 or more")

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[MolecularDynamics, Particles]:
        """Four atoms of solid argon, of which each sees its own images, away from the lattice."""
        simulator = cls(**{"temperature": 20.0, "rdf_points": 20, "rdf_reach": 6.0, **values})
        sample = fcc(classical.ARGON, 5.3)
        moved = 0.05 * np.random.default_rng(0).standard_normal((4, 3))
        return simulator, simulator.state(sample.replace(positions=sample.positions + moved))

    # ------------------------------------------------------------------ states

    def state(self, sample: Sample | Sequence[Sample] | None = None) -> Particles:
        """From a sample (or several, as a batch), or argon or silicon; see above.

        Raises:
            InputError: a cell that is not periodic, several kinds of atom for a classical
                potential, or atoms or bonds that are fixed in `npt` or `npt-anisotropic`.
        """
        if sample is None:
            known = self.known_crystal(liquid=True)
            times = 3 if len(known.types) == 4 else 2
            samples = [repeated(known, times * self.repeat)]
        else:
            samples = self.cells_of(sample)
        return self.particles(samples)

    def bath(self, table: Mapping[str, Float[Tensor, " ..."]]) -> Bath:
        return (
            super()
            .bath(table)
            ._replace(
                pressure=table["pressure"] / GPA,
                barostat_rate=table["compressibility"] * GPA / table["barostat_time"],
            )
        )

    # ------------------------------------------------------------------ what is seen

    def observe(self, state: Particles) -> dict[str, Shaped[Tensor, " ..."]]:
        """Of each system (S,): energies, temperature, pressure in GPa, volume, mean-square
        displacement from the start; forces (N, 3); radial distribution (S, rdf_points)."""
        values, work = self.seen(state, virial=True)
        with torch.set_grad_enabled(self._recording(state.positions, state.cell)):
            count = len(state.cell)
            volume = barostat.volume(state.cell)
            atoms = system_sum(torch.ones_like(state.positions[:, 0]), state.system, count)
            ideal = atoms * BOLTZMANN * values["kinetic_temperature"]
            trace = work.diagonal(dim1=1, dim2=2).sum(1)
            values["pressure"] = GPA * (ideal + trace / 3) / volume
            values["volume"] = volume
            if self.ensemble not in ISOBARIC:
                moved = (state.positions - state.start).square().sum(1)
                values["mean_square_displacement"] = system_sum(moved, state.system, count) / atoms
            values["radial_distribution"] = radial_distribution(
                state.positions,
                state.cell,
                state.system,
                reach=self.rdf_reach,
                points=self.rdf_points,
                near=self.neighbours,
            )
        return values

    def stating(self) -> Mapping[str, Any]:
        """The distances of `radial_distribution`, angstrom."""
        return {"rdf_distances": distances(self.rdf_reach, self.rdf_points).numpy()}

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Energies, temperature and pressure, radial distribution, displacement or volume."""
        plot_dynamics(self, trajectory, path)
