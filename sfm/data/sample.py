"""`Sample`: one system as a dataset stores it. numpy only; no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sfm.errors import InputError

MAX_TYPE = 118


def _empty_positions() -> np.ndarray:
    return np.zeros((0, 3))


def _empty_types() -> np.ndarray:
    return np.zeros(0, dtype=np.int64)


def _open_boundaries() -> np.ndarray:
    return np.zeros(3, dtype=bool)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Sample:
    """One system, at one level of theory, in canonical units.

    Attributes:
        id: unique within its dataset; named in error messages.
        domain: `molecules`, `crystals`, `fluids`, `dft`, ...
        level: level of theory of the labels, None for an input without labels.
        dataset: name of the dataset that it comes from, if any.
        group: name of what must not be split, if known: molecule, parent crystal, trajectory.
        positions: (n, 3) float64, in the domain's length unit; (0, 3) for a pure field.
        types: (n,) int64, atomic numbers.
        cell: (3, 3) float64, rows are lattice vectors, or None.
        pbc: (3,) bool, periodic along each lattice vector.
        fields: input fields on a grid, by quantity name.
        conditions: numbers that describe the whole system: charge (e), spin (number of unpaired
            electrons), Reynolds number.
        masses: (n,) float64 amu, where they are not the elements' averages; else None.
        fixed: (n, 3) bool, Cartesian coordinates that relaxation and dynamics must not change; (n,)
            stands for whole atoms. None where all are free.
        velocities: (n, 3) float64 in the length unit per fs, where dynamics starts from them.
        rigid_pairs: (m, 2) int64, pairs of atoms (of the nearest images, where periodic) whose
            distance dynamics must not change; None where there are none.
        rigid_lengths: (m,) float64, these distances, in the length unit.
        labels: targets by quantity name, in the quantity's canonical unit. Missing ones are absent.
        extras: numbers that its file states under names that are no quantity's (`REF_energy`), as
            they stand there; `sfm.data.label_names` makes labels of them.

    Raises:
        InputError: positions, types or cell have the wrong shape or hold impossible values.
    """

    id: str
    domain: str
    level: str | None = None
    dataset: str | None = None
    positions: np.ndarray = field(default_factory=_empty_positions)
    types: np.ndarray = field(default_factory=_empty_types)
    cell: np.ndarray | None = None
    pbc: np.ndarray = field(default_factory=_open_boundaries)
    fields: Mapping[str, np.ndarray] = field(default_factory=dict)
    conditions: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    masses: np.ndarray | None = None
    fixed: np.ndarray | None = None
    velocities: np.ndarray | None = None
    rigid_pairs: np.ndarray | None = None
    rigid_lengths: np.ndarray | None = None
    group: str | None = None

    def __post_init__(self) -> None:  # noqa: C901
        put = object.__setattr__
        put(self, "positions", np.asarray(self.positions, dtype=np.float64))
        put(self, "types", np.asarray(self.types, dtype=np.int64))
        put(self, "pbc", np.broadcast_to(np.asarray(self.pbc, dtype=bool), (3,)))
        if self.positions.ndim != 2 or self.positions.shape[1] != 3:
            raise InputError(f"{self.id}: positions have shape {self.positions.shape}, not (n, 3)")
        if self.types.shape != (len(self.positions),):
            raise InputError(
                f"{self.id}: {len(self.positions)} positions but types of shape {self.types.shape}"
            )
        if len(self.types) and not (self.types.min() >= 0 and self.types.max() <= MAX_TYPE):
            bad = next(int(z) for z in self.types if not 0 <= z <= MAX_TYPE)
            raise InputError(f"{self.id}: unknown element with atomic number {bad}")
        if not np.isfinite(self.positions).all():
            row = int(np.argwhere(~np.isfinite(self.positions))[0, 0])
            raise InputError(f"{self.id}: the position of atom {row + 1} is not a finite number")
        if self.cell is not None:
            put(self, "cell", np.asarray(self.cell, dtype=np.float64))
            if self.cell.shape != (3, 3) or not np.isfinite(self.cell).all():
                raise InputError(f"{self.id}: the cell is not a finite 3 x 3 matrix")
            if self.pbc.all() and abs(np.linalg.det(self.cell)) < 1e-6:
                raise InputError(f"{self.id}: the cell has zero volume")
        elif self.pbc.any():
            raise InputError(f"{self.id}: periodic boundaries need a cell")
        self._check_atoms()
        for name, values in self.fields.items():
            if not np.isfinite(values).all():
                where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                raise InputError(f"{self.id}: field '{name}' is not finite at index {where}")

    def _check_atoms(self) -> None:
        """Shapes and values of what each atom may have besides its type and position."""
        put, n = object.__setattr__, len(self.types)
        if self.masses is not None:
            put(self, "masses", np.asarray(self.masses, dtype=np.float64))
            if self.masses.shape != (n,):
                raise InputError(f"{self.id}: masses have shape {self.masses.shape}, not ({n},)")
            good = np.isfinite(self.masses) & (self.masses > 0)
            if not good.all():
                row = int(np.flatnonzero(~good)[0])
                raise InputError(
                    f"{self.id}: the mass of atom {row + 1} is {self.masses[row]:g} amu, which is "
                    "not positive"
                )
        if self.fixed is not None:
            fixed = np.asarray(self.fixed, dtype=bool)
            fixed = np.repeat(fixed[:, None], 3, axis=1) if fixed.ndim == 1 else fixed
            if fixed.shape != (n, 3):
                raise InputError(f"{self.id}: fixed has shape {fixed.shape}, not ({n}, 3)")
            put(self, "fixed", fixed)
        if self.velocities is not None:
            put(self, "velocities", np.asarray(self.velocities, dtype=np.float64))
            if self.velocities.shape != (n, 3) or not np.isfinite(self.velocities).all():
                raise InputError(f"{self.id}: velocities are not ({n}, 3) finite numbers")
        if self.rigid_pairs is not None or self.rigid_lengths is not None:
            self._check_rigid()

    def _check_rigid(self) -> None:
        put, n = object.__setattr__, len(self.types)
        if self.rigid_pairs is None or self.rigid_lengths is None:
            raise InputError(f"{self.id}: rigid_pairs and rigid_lengths go together")
        pairs = np.asarray(self.rigid_pairs, dtype=np.int64).reshape(-1, 2)
        lengths = np.asarray(self.rigid_lengths, dtype=np.float64).reshape(-1)
        put(self, "rigid_pairs", pairs)
        put(self, "rigid_lengths", lengths)
        if len(lengths) != len(pairs):
            raise InputError(f"{self.id}: {len(pairs)} rigid_pairs, {len(lengths)} rigid_lengths")
        if len(pairs) and not (pairs.min() >= 0 and pairs.max() < n):
            raise InputError(f"{self.id}: rigid_pairs name atoms that are none of its {n}, from 0")
        if (pairs[:, 0] == pairs[:, 1]).any() or len(np.unique(np.sort(pairs, 1), axis=0)) < len(
            pairs
        ):
            raise InputError(f"{self.id}: a rigid pair is of one atom, or stands there twice")
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise InputError(f"{self.id}: rigid_lengths are not positive numbers")

    def __repr__(self) -> str:
        what = [f"{len(self.types)} atoms"] if len(self.types) else []
        what += [f"{name} {np.shape(values)}" for name, values in self.fields.items()]
        what += [f"{name}={value:g}" for name, value in self.conditions.items()]
        if self.labels:
            level = f" @ {self.level}" if self.level else ""
            what.append(f"labels {', '.join(self.labels)}{level}")
        return f"Sample({self.id!r}, {self.domain}: {', '.join(what)})"

    def replace(self, **changes: Any) -> Sample:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)
