"""`crystals/lattice`: differentiable lattice statics."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sfm.data.elements import SYMBOLS
from sfm.data.sample import Sample
from sfm.errors import InputError, OutsideError, RunError
from sfm.model.guard import searching
from sfm.progress import report
from sfm.quantity import ENERGY, FORCES, STRESS, Quantity
from sfm.simulate.base import Observations, Parameter, Setting, Simulator, Trajectory
from sfm.simulate.dynamics.particles import free_of, system_of
from sfm_crystals.cells import Cells, bonds, derivatives
from sfm_crystals.constants import GPA
from sfm_crystals.data.prototypes import diamond, fcc
from sfm_crystals.data.readers import read_labelled
from sfm_crystals.data.writers import write_state
from sfm_crystals.figures import plot_relaxation
from sfm_crystals.potentials.lennard_jones import lennard_jones
from sfm_crystals.potentials.stillinger_weber import stillinger_weber
from sfm_crystals.quantities import PRESSURE, VOLUME
from sfm_crystals.simulators.classical import (
    CUTOFF,
    EPSILON,
    POTENTIAL,
    SIGMA,
    SWITCH,
    THREE_BODY,
    with_potential,
)
from sfm_crystals.simulators.conditions import say_unused
from sfm_crystals.statics import elasticity, equation_of_state
from sfm_crystals.statics.fire import LatticeState, fire_step, strain_length
from sfm_crystals.statics.fixed_point import CELL_MODES, Basin, polish, respond

STIFFNESS = 57.1  # curvature of Lennard-Jones at its minimum, in epsilon / sigma^2
LARGEST_GROWTH = 4.0  # in volume; a cell that grows more is called broken
SMALLEST = 0.4  # in volume; a cell that shrinks to less has collapsed,
SQUEEZED = 20.0  # unless more GPa than this press on it
RELAXED = 1e-4  # eV/angstrom; a run of `forward` that ends below it has converged
CLOSURE_STIFFNESS = 10.0  # eV/angstrom^2, a bond of a typical inorganic crystal


class LatticeStatics(Simulator):
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
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        EPSILON,
        SIGMA,
        THREE_BODY,
        Parameter("pressure", "GPa", 0.0, -100.0, 1000.0, "external pressure"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        POTENTIAL,
        CUTOFF,
        SWITCH,
        Setting("relax_cell", "full", CELL_MODES, summary="what the lattice may do"),
        Setting("relax_atoms", True, (True, False), summary="whether atoms move inside the cell"),
        Setting("tolerance", 1e-9, unit="eV/angstrom", summary="largest force of a relaxed cell"),
        Setting("max_steps", 3000, summary="FIRE steps that `relax` may take"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (ENERGY, FORCES, STRESS, VOLUME, PRESSURE)
    time_unit: ClassVar[str] = "1"
    closure_quantity: ClassVar[str | None] = "energy"
    default_steps: ClassVar[int] = 200
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg", ".jpg")
    writes_to: ClassVar[tuple[str, ...] | None] = (".extxyz", ".xyz", ".cif", ".vasp", ".traj")
    citations: ClassVar[tuple[str, ...]] = (
        "doi:10.1103/PhysRevB.31.5262",
        "doi:10.1103/PhysRevLett.97.170201",
        "doi:10.1103/PhysRev.71.809",
    )

    potential: str
    cutoff: float
    switch: str
    relax_cell: str
    relax_atoms: bool
    tolerance: float
    max_steps: int
    epsilon: nn.Parameter
    sigma: nn.Parameter
    three_body: nn.Parameter
    pressure: nn.Parameter

    def __init__(self, *, closure: nn.Module | None = None, **values: Any) -> None:
        super().__init__(closure=closure, **with_potential(self.part, closure, values))
        if not self.cutoff > 1.2:
            raise InputError(
                f"{self.part}: cutoff={self.cutoff} sigma does not reach the nearest neighbours; "
                "use at least 1.2, usually 3"
            )

    # --- energy -------------------------------------------------------------------------------

    def energy(self, cells: Cells) -> Tensor:
        """(S,) potential energy in eV."""
        total = torch.zeros_like(cells.cell[:, 0, 0])
        if self.potential == "lennard-jones":
            total = lennard_jones(
                cells, self.epsilon, self.sigma, cutoff=self.cutoff, switch=self.switch
            )
        elif self.potential == "stillinger-weber":
            total = stillinger_weber(cells, self.epsilon, self.sigma, self.three_body)
        if self.closure is not None:
            closure = self.closure(cells.positions, cells.types, cells.cell, cells.system)
            total = total + closure.to(total.dtype)
        return total

    def enthalpy(self, cells: Cells) -> Tensor:
        """(S,) E + P V in eV, with the external pressure P."""
        return self.energy(cells) + self.pressure / GPA * cells.volume()

    def _differentiable(self, cells: Cells) -> bool:
        """Whether anybody will differentiate what comes from these cells."""
        inputs = (cells.positions, cells.cell, *self.parameters())
        return torch.is_grad_enabled() and any(t.requires_grad for t in inputs)

    def _derivatives(self, cells: Cells) -> tuple[Tensor, Tensor, Tensor]:
        return derivatives(self.energy, cells, create_graph=self._differentiable(cells))

    # --- states -------------------------------------------------------------------------------

    def state(self, sample: Sample | None = None) -> LatticeState:
        """From a sample, or: fcc argon (8-atom diamond silicon for stillinger-weber), stretched by
        2 % and with one atom displaced, so that there is something to relax."""
        if sample is None:
            return self._known_case()
        if sample.cell is None or not sample.pbc.all():
            raise InputError(
                f"{sample.id}: {self.part} needs a cell that is periodic in three directions; "
                "molecules/molecular-dynamics takes open systems"
            )
        return self.batch([sample])

    def batch(self, samples: list[Sample]) -> LatticeState:
        """Several samples as one state."""
        for s in samples:
            if s.cell is None or not s.pbc.all() or len(s.types) == 0:
                raise InputError(f"{s.id}: needs atoms in a cell periodic in three directions")
        device, free = self.epsilon.device, free_of(samples)
        cells = Cells(
            positions=torch.tensor(np.concatenate([s.positions for s in samples])).to(
                device, self.dtype
            ),
            types=torch.tensor(np.concatenate([s.types for s in samples])).to(device),
            cell=torch.tensor(np.stack([np.asarray(s.cell) for s in samples])).to(
                device, self.dtype
            ),
            system=system_of(samples).to(device),
            free=free.to(device, self.dtype) if not free.all() else None,
            samples=tuple(samples),
        )
        say_unused(self.part, samples, self.potential, self.closure)
        return LatticeState.at_rest(cells)

    def _known_case(self) -> LatticeState:
        if self.potential == "lennard-jones":
            sample = fcc(18, 1.02 * 1.5496 * float(self.sigma.detach()))
        else:
            sample = diamond(14, 1.02 * 5.431)
        positions = sample.positions.copy()
        positions[0] += (0.10, 0.05, -0.07)
        return self.batch([sample.replace(positions=positions)])

    # --- iteration ----------------------------------------------------------------------------

    def _stiffness(self) -> Tensor:
        if self.potential == "none":
            return self.epsilon.new_tensor(CLOSURE_STIFFNESS)
        return STIFFNESS * self.epsilon / self.sigma**2

    def _drive(self, cells: Cells) -> tuple[Tensor, Tensor]:
        """-dH/du (N, 3) and -dH/dq (S, 3, 3), eV/angstrom, without the frozen parts."""
        _, forces, stress = self._derivatives(cells)
        identity = torch.eye(3, dtype=stress.dtype, device=stress.device)
        excess = (stress + self.pressure / GPA * identity) * cells.volume()[:, None, None]
        drive = -excess / strain_length(cells)[:, None, None]
        if self.relax_cell == "volume":
            drive = drive.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * identity
        elif self.relax_cell == "fixed":
            drive = torch.zeros_like(drive)
        return (cells.moving(forces) if self.relax_atoms else torch.zeros_like(forces)), drive

    def forward(self, state: LatticeState, steps: int = 1) -> LatticeState:
        """`steps` steps of FIRE; differentiable as such, step by step."""
        for _ in range(steps):
            forces, strain_forces = self._drive(state)
            k0 = self._stiffness()
            state = fire_step(state, forces / k0, strain_forces / k0)
        return state

    def residual(self, cells: Cells) -> float:
        """Largest component of the gradient of the enthalpy that is free to act, eV/angstrom."""
        with torch.no_grad():
            forces, strain_forces = self._drive(cells)
            return float(torch.cat([forces.flatten(), strain_forces.flatten()]).abs().max())

    def relax(self, state: Cells) -> LatticeState:
        """The nearest minimum of the enthalpy: FIRE, then Newton's method.

        The result follows `epsilon`, `sigma`, `three_body`, `pressure` and the closure's parameters
        under first-order differentiation, by the implicit function theorem
        (`sfm_crystals.statics.fixed_point`).

        Raises:
            RunError: no minimum within `max_steps`, or the cells ran away or collapsed.
            OutsideError: the closure refuses the cells that are to be relaxed.
        """
        with torch.no_grad():
            self.energy(state)  # what the closure refuses is no relaxation's fault
            with searching():
                basin = self._search(state)
            self._refuse_collapse(basin.cells)
        relaxed = respond(basin) if self._differentiable(basin.cells) else basin.cells
        return LatticeState.at_rest(relaxed)

    def _search(self, state: Cells) -> Basin:
        cells, residual = state.detached(), float("inf")
        target = 1e-2 * float(self._stiffness().detach())  # eV/angstrom: about 0.01 angstrom away
        done = 0
        while done < self.max_steps:
            moving = LatticeState.at_rest(cells)
            while done < self.max_steps and self.residual(moving) > target:
                moving = self(moving, 10)
                done += 10
                report(f"{self.part}: relaxation, step", done, self.max_steps)
                self._check_volume(moving, state)
            basin = Basin(self.enthalpy, moving, self.relax_cell, self.relax_atoms)
            basin, residual = polish(basin, self.tolerance)
            self._check_volume(basin.cells, state)
            if residual <= self.tolerance:
                return basin
            cells, target = basin.cells, min(target, residual) * 0.1
        self._refuse_collapse(cells)
        raise RunError(
            f"{self.part}: not relaxed after {done} steps (largest force {residual:.2e} "
            f"eV/angstrom, tolerance {self.tolerance:.0e}); raise max_steps, or tolerance "
            "if the closure is in float32"
        )

    def _refuse_collapse(self, cells: Cells) -> None:
        """Whether the closure answers for the cells that its forces led to."""
        try:
            self.energy(cells)
        except OutsideError as error:
            raise RunError(f"{self.part}: the relaxation collapsed: {error}") from None

    def _check_volume(self, cells: Cells, start: Cells) -> None:
        change = cells.volume() / start.volume()
        if not bool((change < LARGEST_GROWTH).all()):
            raise RunError(
                f"{self.part}: the cell grew more than {LARGEST_GROWTH:g} times: nothing holds it "
                "together at this pressure and distance"
            )
        squeezed = float(self.pressure.detach()) > SQUEEZED
        if not squeezed and bool((change < SMALLEST).any()):
            worst = int(change.argmin())
            count = int(cells.counts()[worst])
            volumes = [float(c.volume()[worst]) / count for c in (start, cells)]
            raise RunError(
                f"{self.part}: the relaxation collapsed: from {volumes[0]:.3g} to "
                f"{volumes[1]:.3g} angstrom^3 per atom, {_closest(cells, worst)}; the energy has "
                "no minimum near the cell that was given"
            )

    # --- observables --------------------------------------------------------------------------

    def observe(self, state: Cells) -> dict[str, Tensor]:
        """Energy (S,), forces (N, 3), stress (S, 3, 3), volume (S,), pressure (S,) in GPa."""
        energy, forces, stress = self._derivatives(state)
        return {
            "energy": energy,
            "forces": forces,
            "stress": stress,
            "volume": state.volume(),
            "pressure": -stress.diagonal(dim1=1, dim2=2).mean(1) * GPA,
        }

    def elastic_constants(self, state: Cells, *, clamped: bool = False) -> Tensor:
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
    ) -> tuple[Tensor, Tensor]:
        """Volumes and energies (points,) of one cell stretched by up to ±`width` in length, with
        atoms at fixed fractional coordinates."""
        volumes, energies = [], []
        for stretch in torch.linspace(-width, width, points, dtype=state.cell.dtype):
            strain = stretch * torch.eye(3, dtype=state.cell.dtype).expand_as(state.cell)
            moved = state.deformed(torch.zeros_like(state.positions), strain.to(state.cell.device))
            volumes.append(moved.volume())
            energies.append(self.energy(moved))
        return torch.cat(volumes), torch.cat(energies)

    def equation_of_state(
        self, state: Cells, *, points: int = 11, width: float = 0.03
    ) -> equation_of_state.EquationOfState:
        """Birch-Murnaghan fit to `energy_volume`."""
        return equation_of_state.fit(*self.energy_volume(state, points, width))

    def converged(self, state: Cells) -> bool:
        """Whether nothing pulls harder than `RELAXED`; `relax` goes on to `tolerance`."""
        return self.residual(state) <= RELAXED

    def result(self, trajectory: Trajectory) -> dict[str, Tensor]:
        """The last record; without an axis of systems, if there is one system."""
        last = super().result(trajectory)
        if trajectory.states[-1].n_systems > 1:
            return last
        return {name: x if name == "forces" else x[0] for name, x in last.items()}

    def warnings(self, state: Cells) -> tuple[str, ...]:
        residual = self.residual(state)
        if residual <= RELAXED:
            return ()
        return (
            f"not relaxed yet: the largest force is {residual:.2e} eV/angstrom; take more steps",
        )

    # --- files --------------------------------------------------------------------------------

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Energy and volume along the relaxation, and the energy-volume curve at its end."""
        plot_relaxation(self, trajectory, path)

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """The last cells as `.extxyz`, `.cif`, `.vasp` and whatever ase knows by its suffix."""
        state = trajectory.states[-1]
        with torch.no_grad():
            observed = self.observe(state)
        write_state(state, observed, path, part=self.part)

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

    def predict_observations(self, observations: Observations) -> dict[str, Tensor]:
        """Energy, forces and stress of the observed cells."""
        predicted = self.observe(observations.state)
        return {name: predicted[name] for name in observations.values}


def _closest(cells: Cells, which: int) -> str:
    """`Ti-Ti 1.93 angstrom apart`: the closest pair of a cell."""
    pairs = bonds(cells, 5.0)
    length = pairs.vectors.norm(dim=1)
    mine = cells.system[pairs.receiver] == which
    pair = int(torch.where(mine, length, torch.inf).argmin())
    z = sorted(SYMBOLS[int(cells.types[k[pair]])] for k in (pairs.sender, pairs.receiver))
    return f"{'-'.join(z)} {float(length[pair]):.3g} angstrom apart"
