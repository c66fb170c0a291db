"""Simulators of cells that relax: the enthalpy, the way down, and the minimum."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.elements import SYMBOLS
from sfm.data.sample import Sample
from sfm.errors import OutsideError, RunError
from sfm.model.guard import searching
from sfm.simulate.base import Parameter, Setting, Simulator, Trajectory
from sfm.simulate.dynamics.particles import free_of, system_of
from sfm.simulate.statics.basin import response
from sfm.simulate.statics.descent import Descent, NotRelaxed
from sfm.simulate.statics.lbfgs import Pairs, lbfgs_step
from sfm_crystals.cells import Cells, bonds, derivatives
from sfm_crystals.constants import GPA
from sfm_crystals.data.writers import write_state
from sfm_crystals.simulators import classical
from sfm_crystals.statics.fire import (
    LatticeState,
    coordinates,
    displaced,
    fire_step,
    strain_length,
)
from sfm_crystals.statics.fixed_point import CELL_MODES, CellBasin

STIFFNESS = 57.1  # curvature of Lennard-Jones at its minimum, in epsilon / sigma^2
LARGEST_GROWTH = 4.0  # in volume; a cell that grows more is called broken
SMALLEST = 0.4  # in volume; a cell that shrinks to less has collapsed,
SQUEEZED = 20.0  # unless more GPa than this press on it
RELAXED = 1e-4  # eV/angstrom; a run of `forward` that ends below it has converged
TYPICAL_STIFFNESS = 10.0  # eV/angstrom^2, a bond of a typical inorganic crystal
PRESSURE = Parameter("pressure", "GPa", 0.0, -100.0, 1000.0, "external pressure")
RELAX_CELL = Setting("relax_cell", "full", CELL_MODES, summary="what the lattice may do")
RELAX_ATOMS = Setting(
    "relax_atoms", True, (True, False), summary="whether atoms move inside the cell"
)
TOLERANCE = Setting(
    "tolerance", 1e-9, unit="eV/angstrom", summary="largest force of a relaxed cell"
)
MAX_STEPS = Setting("max_steps", 3000, summary="steps that `relax` may take")


class _Moving(NamedTuple):
    """Cells on their way down; of L-BFGS, what it remembers."""

    cells: LatticeState
    pairs: Pairs | None


class Relaxing(classical.Classical, Simulator):
    """A simulator whose states are cells with an enthalpy, E + P V by definition, that can relax.

    A subclass has `TOLERANCE` and `MAX_STEPS` among its settings; `PRESSURE` among its parameters,
    and `RELAX_CELL` and `RELAX_ATOMS` among its settings, where its user may choose.
    """

    time_unit: ClassVar[str] = "1"
    closure_quantity: ClassVar[str | None] = "energy"
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg", ".jpg")
    writes_to: ClassVar[tuple[str, ...] | None] = (".extxyz", ".xyz", ".cif", ".vasp", ".traj")

    relax_cell: str = "full"
    relax_atoms: bool = True
    minimiser: str = "fire"
    tolerance: float
    max_steps: int

    def __init__(self, *, closure: nn.Module | None = None, **values: Any) -> None:
        super().__init__(closure=closure, **self.set_up(closure, values))
        self.load(values)

    def usual_crystal(self) -> Sample:
        """What `state` takes if there is no sample, at rest or nearly."""
        return self.known_crystal()

    def enthalpy(self, cells: Cells) -> Float[Tensor, " S"]:
        """(S,) E + P V in eV, with the external pressure P."""
        return self.energy(cells) + self._pressure() * cells.volume()

    def _pressure(self) -> Tensor:
        """() eV/angstrom^3."""
        given = getattr(self, "pressure", None)
        return torch.zeros_like(self.epsilon) if given is None else given / GPA

    def _differentiable(self, cells: Cells) -> bool:
        """Whether anybody will differentiate what comes from these cells."""
        inputs = (cells.positions, cells.cell, *self.parameters())
        return torch.is_grad_enabled() and any(t.requires_grad for t in inputs)

    def _derivatives(self, cells: Cells) -> tuple[Tensor, Tensor, Tensor]:
        return derivatives(self.energy, cells, create_graph=self._differentiable(cells))

    # --- states -------------------------------------------------------------------------------

    def state(self, sample: Sample | None = None) -> LatticeState:
        """From a sample, or the known case: the potential's own crystal (`usual_crystal`)."""
        return self.batch([self.usual_crystal() if sample is None else sample])

    def batch(self, samples: list[Sample]) -> LatticeState:
        """Several samples as one state."""
        self.check(samples)
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
        return LatticeState.at_rest(cells)

    # --- iteration ----------------------------------------------------------------------------

    def _stiffness(self) -> Tensor:
        """Curvature of a bond, eV/angstrom^2: the scale of the first steps."""
        if self.potential in ("lennard-jones", "stillinger-weber"):
            return STIFFNESS * self.epsilon / self.sigma**2
        return self.epsilon.new_tensor(TYPICAL_STIFFNESS)

    def _drive(self, cells: Cells, mode: str | None) -> tuple[Tensor, Tensor]:
        """-dH/du (N, 3) and -dH/dq (S, 3, 3), eV/angstrom, without the frozen parts."""
        _, forces, stress = self._derivatives(cells)
        identity = torch.eye(3, dtype=stress.dtype, device=stress.device)
        excess = (stress + self._pressure() * identity) * cells.volume()[:, None, None]
        drive = -excess / strain_length(cells)[:, None, None]
        mode = self.relax_cell if mode is None else mode
        if mode == "volume":
            drive = drive.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * identity
        elif mode == "fixed":
            drive = torch.zeros_like(drive)
        return (cells.moving(forces) if self.relax_atoms else torch.zeros_like(forces)), drive

    def downhill(self, state: LatticeState, steps: int, mode: str | None = None) -> LatticeState:
        """`steps` steps of FIRE; differentiable as such, step by step.

        Args:
            state: where to start.
            steps: how many.
            mode: what the lattice may do, if not what `relax_cell` says.
        """
        for _ in range(steps):
            forces, strain_forces = self._drive(state, mode)
            k0 = self._stiffness()
            state = fire_step(state, forces / k0, strain_forces / k0)
        return state

    def residual(self, cells: Cells, mode: str | None = None) -> float:
        """Largest component of the gradient of the enthalpy that is free to act, eV/angstrom."""
        with torch.no_grad():
            forces, strain_forces = self._drive(cells, mode)
            return float(torch.cat([forces.flatten(), strain_forces.flatten()]).abs().max())

    def relax(self, state: Cells, mode: str | None = None) -> LatticeState:
        """The nearest minimum of the enthalpy: FIRE or L-BFGS, then Newton's method.

        What the lattice may do is `mode`, or what `relax_cell` says.

        The result follows the parameters of the simulator, its potential and its closure under
        first-order differentiation, by the implicit function theorem
        (`sfm.simulate.statics.basin`).

        Raises:
            RunError: no minimum within `max_steps`, or the cells ran away or collapsed.
            OutsideError: the closure refuses the cells that are to be relaxed.
        """
        with torch.no_grad():
            self.energy(state)  # what the closure refuses is no relaxation's fault
            with searching():
                basin = self._search(state, mode)
            self._refuse_collapse(basin.cells)
        fixed = (mode or self.relax_cell) == "fixed"
        if not (self._differentiable(basin.cells) or (fixed and self._differentiable(state))):
            return LatticeState.at_rest(basin.cells)
        if fixed and state.cell.requires_grad:
            basin = basin.within(state.cell)
        return LatticeState.at_rest(basin.at(response(basin)))

    def _search(self, state: Cells, mode: str | None) -> CellBasin:
        descent = Descent(
            descend=lambda moving, steps: self._down(moving, steps, mode),
            residual=lambda moving: self.residual(moving.cells, mode),
            around=lambda moving: CellBasin(
                self.enthalpy, moving.cells, mode or self.relax_cell, self.relax_atoms
            ),
            state=lambda basin: self._at_rest(basin.cells),
            check=lambda moving: self._check_volume(moving.cells, state),
        )
        try:
            return descent.minimum(
                self._at_rest(state.detached()),
                near=1e-2 * float(self._stiffness().detach()),  # about 0.01 angstrom away
                tolerance=self.tolerance,
                max_steps=self.max_steps,
                part=self.part,
            )
        except NotRelaxed as error:
            self._refuse_collapse(error.state.cells)
            raise

    def _at_rest(self, cells: Cells) -> _Moving:
        if self.minimiser == "fire":
            return _Moving(LatticeState.at_rest(cells), None)
        rows = torch.cat([cells.positions, cells.cell.reshape(-1, 3)])
        return _Moving(LatticeState.at_rest(cells), Pairs.none(rows))

    def _down(self, moving: _Moving, steps: int, mode: str | None) -> _Moving:
        """`steps` steps of FIRE, or of L-BFGS in displacements and scaled strains."""
        cells, pairs = moving
        if pairs is None:
            return _Moving(self.downhill(cells, steps, mode), None)
        k0, (system, largest) = self._stiffness(), coordinates(cells)
        for _ in range(steps):
            forces, strain_forces = self._drive(cells, mode)
            drive = torch.cat([forces, strain_forces.reshape(-1, 3)]) / k0
            pairs, move = lbfgs_step(pairs, drive, system, largest)
            cells = LatticeState.at_rest(displaced(cells, move))
        return _Moving(cells, pairs)

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
        squeezed = float(self._pressure().detach()) * GPA > SQUEEZED
        if not squeezed and bool((change < SMALLEST).any()):
            worst = int(change.argmin())
            count = int(cells.counts()[worst])
            volumes = [float(c.volume()[worst]) / count for c in (start, cells)]
            raise RunError(
                f"{self.part}: the relaxation collapsed: from {volumes[0]:.3g} to "
                f"{volumes[1]:.3g} angstrom^3 per atom, {_closest(cells, worst)}; the energy has "
                "no minimum near the cell that was given"
            )

    # --- files --------------------------------------------------------------------------------

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """The last cells with energy, forces and stress, in what ase knows by the suffix."""
        state = trajectory.states[-1]
        energy, forces, stress = derivatives(self.energy, state)
        labels = {"energy": energy, "forces": forces, "stress": stress}
        write_state(state, labels, path, part=self.part)


def _closest(cells: Cells, which: int) -> str:
    """`Ti-Ti 1.93 angstrom apart`: the closest pair of a cell."""
    pairs = bonds(cells, 5.0)
    length = pairs.vectors.norm(dim=1)
    mine = cells.system[pairs.receiver] == which
    pair = int(torch.where(mine, length, torch.inf).argmin())
    z = sorted(SYMBOLS[int(cells.types[k[pair]])] for k in (pairs.sender, pairs.receiver))
    return f"{'-'.join(z)} {float(length[pair]):.3g} angstrom apart"
