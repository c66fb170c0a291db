"""`crystals/lattice`: differentiable lattice statics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.quantity import ENERGY, FORCES, STRESS, Quantity
from sfm.simulate.base import Observations, Parameter, Setting, Trajectory
from sfm.simulate.statics.descent import MINIMISER
from sfm_crystals.cells import Cells
from sfm_crystals.constants import GPA
from sfm_crystals.data.readers import read_labelled
from sfm_crystals.figures.statics import plot_relaxation
from sfm_crystals.quantities import PRESSURE, VOLUME
from sfm_crystals.simulators import classical, relaxing
from sfm_crystals.statics import elasticity, equation_of_state
from sfm_crystals.statics.fire import LatticeState


class LatticeStatics(relaxing.Relaxing):
    """Energy, forces and stress of periodic cells, and their relaxation.

    E(x, h) = E_classical(x, h) + E_closure(x, h);  f = -dE/dx;  sigma = (1/V) dE/dstrain, positive
    in tension. A step of `forward` is one step of FIRE down the enthalpy H = E + P V in atoms and
    lattice, and differentiates as such. `relax` goes to the fixed point dH/dx = 0, sigma = -P 1,
    and differentiates implicitly. `elastic_constants` and `equation_of_state` take relaxed cells.

    Classical energies: `lennard-jones`, sum over pairs of 4 eps [(sigma/r)^12 - (sigma/r)^6], one
    kind of atom; `stillinger-weber`, silicon with pairs and triplets (PRB 31, 5262, 1985); `none`.
    `auto` is `none` when there is a closure, since a model gives the whole energy, and
    `lennard-jones` when there is none.

    Good values: argon, epsilon 0.0104 eV, sigma 3.40 angstrom (the default): fcc, a = 5.26 angstrom
    with the default cutoff, 5.24 with a long one.
    Silicon, epsilon 2.1683 eV, sigma 2.0951 angstrom, three_body 21: diamond, a = 5.431 angstrom,
    -4.3366 eV/atom, C11 151.4, C12 76.4, C44 56.4 GPa.

    Units: eV, angstrom, GPa for pressure and elastic constants.

    Fixed atoms and coordinates of a sample do not move inside the cell; where the lattice changes
    they keep their fractional coordinates. Masses, charge and spin have no part in it and are
    written back.

    Limits: periodic in three directions; T = 0, no zero-point motion; the relaxation keeps the
    symmetry that it starts with and finds the nearest minimum; elastic constants at zero pressure.

    Example:
        >>> simulator = LatticeStatics(potential="stillinger-weber")
        >>> relaxed = simulator.relax(simulator.state())
        >>> round(float(relaxed.cell.detach()[0, 0, 0]), 3)
        5.431

    Raises:
        InputError: potential `none` without a closure; a cell that is not periodic.
    """

    part: ClassVar[str] = "crystals/lattice"
    summary: ClassVar[str] = "lattice statics: energy, stress, relaxation of cell and atoms"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (*classical.PARAMETERS, relaxing.PRESSURE)
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *classical.SETTINGS,
        relaxing.RELAX_CELL,
        relaxing.RELAX_ATOMS,
        relaxing.TOLERANCE,
        relaxing.MAX_STEPS,
        MINIMISER,
    )
    observables: ClassVar[tuple[Quantity, ...]] = (ENERGY, FORCES, STRESS, VOLUME, PRESSURE)
    default_steps: ClassVar[int] = 200
    citations: ClassVar[tuple[str, ...]] = (
        *classical.CITATIONS,
        "doi:10.1103/PhysRevLett.97.170201",
        "doi:10.1103/PhysRev.71.809",
    )

    def usual_crystal(self) -> Sample:
        """Stretched by 2 % and with one atom displaced, so that there is something to relax."""
        sample = super().usual_crystal()
        assert sample.cell is not None
        positions = 1.02 * sample.positions
        positions[0] += (0.10, 0.05, -0.07)
        return sample.replace(positions=positions, cell=1.02 * sample.cell)

    def forward(self, state: LatticeState, steps: int = 1) -> LatticeState:
        """`steps` steps of FIRE; differentiable as such, step by step."""
        return self.downhill(state, steps)

    def refuse_broken(self, state: Cells, start: Cells) -> None:
        """End a run whose cells fell apart or collapsed.

        Raises:
            RunError: the volume grew or shrank beyond what a crystal stands.
        """
        self._check_volume(state.detached(), start.detached())

    # --- observables --------------------------------------------------------------------------

    def observe(self, state: Cells) -> dict[str, Shaped[Tensor, " ..."]]:
        """Energy (S,), forces (N, 3), stress (S, 3, 3), volume (S,), pressure (S,) in GPa."""
        energy, forces, stress = self._derivatives(state)
        return {
            "energy": energy,
            "forces": forces,
            "stress": stress,
            "volume": state.volume(),
            "pressure": -stress.diagonal(dim1=1, dim2=2).mean(1) * GPA,
        }

    def elastic_constants(self, state: Cells, *, clamped: bool = False) -> Float[Tensor, "6 6"]:
        """(6, 6) GPa of one relaxed cell; see `sfm_crystals.statics.elasticity`.

        Raises:
            InputError: atoms are fixed, which the relaxation inside the strained cell would move.
        """
        if state.free is not None and not clamped:
            raise InputError(
                f"{self.part}: elastic constants relax the atoms, and some are fixed; free them, "
                "or take clamped=True"
            )
        return elasticity.elastic_constants(self.energy, state, clamped=clamped)

    def energy_volume(
        self, state: Cells, points: int = 11, width: float = 0.06
    ) -> tuple[Float[Tensor, " {points}"], Float[Tensor, " {points}"]]:
        """Volumes and energies (points,) of one cell stretched by up to ±`width` in length, with
        atoms at fixed fractional coordinates."""
        stretches = torch.linspace(-width, width, points, dtype=torch.float64).tolist()
        cells = [state.stretched(1 + stretch) for stretch in stretches]
        return torch.cat([c.volume() for c in cells]), torch.cat([self.energy(c) for c in cells])

    def equation_of_state(
        self, state: Cells, *, points: int = 11, width: float = 0.03
    ) -> equation_of_state.EquationOfState:
        """Birch-Murnaghan fit to `energy_volume`."""
        return equation_of_state.fit(*self.energy_volume(state, points, width))

    def run(self, state: Cells, steps: int, *, every: int | None = None) -> Trajectory:
        """As the base class; names settings of `relax` that were given and mean nothing here."""
        trajectory = super().run(state, steps, every=every)
        idle = [
            setting.name
            for setting in (relaxing.TOLERANCE, relaxing.MAX_STEPS, MINIMISER)
            if getattr(self, setting.name) != setting.default
        ]
        if not idle:
            return trajectory
        line = (
            f"{' and '.join(idle)}: of `relax` in Python; a run takes {steps} steps (--steps N) "
            f"and has converged below {relaxing.RELAXED:g} eV/angstrom"
        )
        return replace(trajectory, warnings=(*trajectory.warnings, line))

    def converged(self, state: Cells) -> bool:
        """Whether nothing pulls harder than `relaxing.RELAXED`; `relax` goes on to `tolerance`."""
        return self.residual(state) <= relaxing.RELAXED

    def result(self, trajectory: Trajectory) -> dict[str, Shaped[Tensor, " ..."]]:
        """The last record; without an axis of systems, if there is one system."""
        last = super().result(trajectory)
        if trajectory.states[-1].n_systems > 1:
            return last
        return {name: x if name == "forces" else x[0] for name, x in last.items()}

    def warnings(self, state: Cells) -> tuple[str, ...]:
        residual = self.residual(state)
        if residual <= relaxing.RELAXED:
            return ()
        return (
            f"not relaxed yet: the largest force is {residual:.2e} eV/angstrom; take more steps",
        )

    # --- files --------------------------------------------------------------------------------

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Energy and volume along the relaxation, and the energy-volume curve at its end."""
        plot_relaxation(self, trajectory, path)

    def read_observations(self, path: Path) -> Observations:
        """Cells with energies, forces or stresses from a file that ase reads (extxyz)."""
        samples = read_labelled(path)
        names = [n for n in ("energy", "forces", "stress") if all(n in s.labels for s in samples)]
        if not names:
            raise InputError(f"{path}: no energy, forces or stress that every cell has")
        values = {}
        for name in names:
            rows = [torch.tensor(s.labels[name], dtype=self.dtype) for s in samples]
            values[name] = torch.cat(rows) if name == "forces" else torch.stack(rows)
        units = {q.name: q.unit for q in (ENERGY, FORCES, STRESS) if q.name in names}
        return Observations(state=self.batch(samples), values=values, units=units)

    def predict_observations(self, observations: Observations) -> dict[str, Shaped[Tensor, " ..."]]:
        """Energy, forces and stress of the observed cells."""
        predicted = self.observe(observations.state)
        return {name: predicted[name] for name in observations.values}
