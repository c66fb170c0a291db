"""What an `ase.Atoms` says besides elements, positions and cell: conditions, masses, constraints.

The readers of every plugin and the calculator ask here, so that one object means one thing.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Num

from sfm.data.conditions import bare, is_moment, read_conditions
from sfm.data.rigid import KEYS, stated_bonds
from sfm.data.sample import Sample
from sfm.data.stated import stated_numbers
from sfm.errors import InputError, InputWarning
from sfm.units import factor

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Said:
    """What a sample takes over from an `ase.Atoms`; None where nothing is stated.

    Attributes:
        conditions: `charge` and `spin`, where stated.
        masses: (n,) amu.
        fixed: (n, 3) whether an atom's Cartesian coordinate must not change.
        velocities: (n, 3) angstrom/fs.
        rigid_pairs: (m, 2) atoms whose distance must not change.
        rigid_lengths: (m,) angstrom, these distances.
    """

    conditions: dict[str, float]
    masses: np.ndarray | None = None
    fixed: np.ndarray | None = None
    velocities: np.ndarray | None = None
    rigid_pairs: np.ndarray | None = None
    rigid_lengths: np.ndarray | None = None

    def changes(self) -> dict[str, Any]:
        """The same as arguments of `Sample`."""
        return dict(vars(self))


def said(atoms: Atoms, name: str) -> Said:
    """Charge, spin, masses, constraints and velocities that `atoms` states.

    Charge and spin come from `info`, whatever they are called (`sfm.data.conditions`), from
    initial charges and magnetic moments, and from the total moment of a stored calculation.

    Velocities are the momenta over the masses, or a column `velocities` whose unit `info` states.

    Raises:
        InputError: as `read_conditions`; atoms fixed along lattice vectors that are no Cartesian
            axes; a unit that is none of velocities.
    """
    bonds = stated_bonds(atoms, name) or (None, None)
    return Said(
        conditions=conditions(atoms, name),
        masses=atoms.get_masses() if atoms.has("masses") else None,
        fixed=_fixed(atoms, name),
        velocities=_velocities(atoms, name),
        rigid_pairs=bonds[0],
        rigid_lengths=bonds[1],
    )


def conditions(atoms: Atoms, name: str) -> dict[str, float]:
    """Charge and spin alone; see `said`."""
    stated: dict[str, Any] = dict(atoms.info)
    charges, moments = atoms.arrays.get("initial_charges"), _collinear(atoms)
    if atoms.pbc.any():
        # the moment of a crystal is a result, often no whole number, and no condition
        stated = {k: v for k, v in stated.items() if not is_moment(k)}
        moments = None
    else:
        results = getattr(atoms.calc, "results", None) or {}
        if results.get("magmom"):
            stated.setdefault("magmom", results["magmom"])
    return read_conditions(stated, atoms.numbers, name, charges=charges, moments=moments)


def stored_labels(
    atoms: Atoms, names: Collection[str], name: str
) -> dict[str, Float[np.ndarray, " ..."]]:
    """The stored results of `atoms` that are among `names`, in ASE's units; nothing is computed.

    `energy` is (), `dipole` (3,), `forces` (n, 3), `charges` (n,), `stress` (3, 3).

    Raises:
        InputError: text, a wrong shape, or a value that is not finite.
    """
    results = getattr(atoms.calc, "results", None) or {}
    shapes = {"energy": (), "dipole": (3,), "forces": (len(atoms), 3), "charges": (len(atoms),)}
    labels = {}
    for key in names:
        if results.get(key) is None:
            continue
        try:
            value = np.asarray(results[key], dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"{name}: {key}={results[key]} is not a number") from None
        if key == "stress":
            value = _symmetric(value)
        shape = (3, 3) if key == "stress" else shapes.get(key, value.shape)
        if value.shape != shape:
            count = "one number" if shape == () else f"shape {shape}"
            raise InputError(f"{name}: {key} has shape {value.shape}, not {count}")
        if not np.isfinite(value).all():
            where = tuple(int(i) + 1 for i in np.argwhere(~np.isfinite(np.atleast_1d(value)))[0])
            raise InputError(f"{name}: {key} holds a value that is not a finite number, at {where}")
        labels[key] = value
    return labels


# of ASE and its readers, or without a meaning for a model
_ARRAYS = [
    "numbers",
    "positions",
    "momenta",
    "masses",
    "tags",
    "id",
    "initial_charges",
    "initial_magmoms",
    "bfactor",
    "residuenumbers",
]
_VELOCITIES = ("v", "vel", "velo", "velocity", "velocities")
_VELOCITY_UNITS = tuple(f"{v}{u}" for v in _VELOCITIES[1:] for u in ("unit", "units"))
_INFO = [
    *KEYS,
    "level",
    "id",
    "key_value_pairs",
    "data",
    "unit_cell",
    "spacegroup",
    "residuenumbers",
]


def extras(atoms: Atoms, used: Collection[str]) -> dict[str, Num[np.ndarray, " ..."]]:
    """The other numbers that `atoms` states, by name: of `info`, per atom, and results.

    Arrays of any shape, in whatever unit `atoms` has them, as `sfm.data.stated` takes them.

    Args:
        atoms: any.
        used: results that are labels already.
    """
    results = getattr(atoms.calc, "results", None) or {}
    pairs = atoms.info.get("key_value_pairs")
    moving = velocity_column(atoms)
    taken = {moving[0]} if moving else set()
    if moving:
        taken |= {k for k in atoms.info if bare(k) in _VELOCITY_UNITS}
    stated = {
        **{k: v for k, v in atoms.arrays.items() if k not in _ARRAYS},
        **(pairs if isinstance(pairs, dict) else {}),
        **{k: v for k, v in atoms.info.items() if k not in _INFO},
        **{k: v for k, v in results.items() if k not in used and v is not None},
    }
    if np.all(atoms.arrays.get("occupancy", 1) == 1):  # of a PDB file: every atom is there
        taken.add("occupancy")
    stated = {k: v for k, v in stated.items() if k not in taken}
    return stated_numbers(stated)


def _symmetric(stress: np.ndarray) -> np.ndarray:
    """A stress (3, 3), of Voigt's six or of nine numbers."""
    if stress.shape == (6,):
        from ase.stress import voigt_6_to_full_3x3_stress

        full: np.ndarray = voigt_6_to_full_3x3_stress(stress)
        return full
    return stress.reshape(3, 3) if stress.shape == (9,) else stress


def write_to(atoms: Atoms, sample: Sample) -> None:
    """Put a sample's conditions, masses, constraints and velocities into `atoms`."""
    from ase import units
    from ase.constraints import FixAtoms, FixBondLengths, FixCartesian

    for key, value in sample.conditions.items():
        atoms.info[key] = int(value) if float(value).is_integer() else float(value)
    if sample.masses is not None:
        atoms.set_masses(sample.masses)
    if sample.velocities is not None:
        atoms.set_velocities(sample.velocities / units.fs)
    constraints: list[Any] = []
    if sample.fixed is not None and sample.fixed.any():
        whole = sample.fixed.all(1)
        constraints += [FixAtoms(mask=whole)] if whole.any() else []
        for index in np.flatnonzero(sample.fixed.any(1) & ~whole):
            constraints.append(FixCartesian([int(index)], mask=tuple(sample.fixed[index])))
    if sample.rigid_pairs is not None and sample.rigid_lengths is not None:
        pairs, lengths = sample.rigid_pairs, sample.rigid_lengths
        constraints.append(FixBondLengths(pairs, bondlengths=lengths))
        # for files that keep no such constraint, or not its lengths
        atoms.info |= zip(KEYS, (pairs.ravel(), lengths), strict=True)
    if constraints:
        atoms.set_constraint(constraints)


def along_axes(
    fixed: Bool[np.ndarray, "n 3"], cell: Float[np.ndarray, "3 3"], name: str
) -> Bool[np.ndarray, "n 3"]:
    """Masks of fixed Cartesian coordinates (n, 3), from those of coordinates along lattice vectors.

    Args:
        fixed: (n, 3) boolean.
        cell: (3, 3) lattice vectors as rows, in any unit of length.
        name: of the system, for messages.

    Raises:
        InputError: an atom is fixed along some lattice vectors only, and they are no Cartesian
            axes.
    """
    partly = fixed.any(1) & ~fixed.all(1)
    if not partly.any():
        return fixed
    lengths = np.linalg.norm(cell, axis=1)
    if np.abs(cell - np.diag(np.diag(cell))).max() > 1e-6 * lengths.max():
        raise InputError(
            f"{name}: atom {int(np.flatnonzero(partly)[0]) + 1} is fixed along some lattice "
            "vectors, which are no Cartesian axes; fix it along all three or none"
        )
    return fixed


def _collinear(atoms: Atoms) -> np.ndarray | None:
    moments = atoms.arrays.get("initial_magmoms")
    if moments is None or moments.ndim == 1:
        return moments
    return np.array([np.linalg.norm(moments.sum(0))])  # of vectors, the length of the sum


def _velocities(atoms: Atoms, name: str) -> np.ndarray | None:
    from ase import units

    column = velocity_column(atoms)
    if column is not None:
        key, unit = column
        value = np.asarray(atoms.arrays[key], dtype=np.float64)
        try:
            scale = factor(unit, "angstrom/fs")
        except InputError as error:
            raise InputError(f"{name}: {key}: {error}") from None
        if value.shape != (len(atoms), 3):
            raise InputError(f"{name}: {key} has shape {value.shape}, not ({len(atoms)}, 3)")
        return value * scale
    if not atoms.has("momenta") or not np.any(atoms.get_momenta()):
        return None
    return np.asarray(atoms.get_velocities() * units.fs, dtype=np.float64)


def velocity_column(atoms: Atoms) -> tuple[str, str] | None:
    """Name and unit of a column of velocities; None where no unit is stated for one."""
    units = [str(v) for k, v in atoms.info.items() if bare(k) in _VELOCITY_UNITS]
    keys = [k for k in atoms.arrays if bare(k) in _VELOCITIES]
    return (keys[0], units[0]) if keys and units else None


def _fixed(atoms: Atoms, name: str) -> np.ndarray | None:
    from ase.constraints import (
        FixAtoms,
        FixBondLengths,
        FixCartesian,
        FixInternals,
        FixScaled,
    )

    fixed = np.zeros((len(atoms), 3), dtype=bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            fixed[constraint.index] = True
        elif isinstance(constraint, FixCartesian):
            fixed[constraint.index] |= constraint.mask
        elif isinstance(constraint, FixScaled):
            scaled = np.zeros_like(fixed)
            scaled[constraint.index] = constraint.mask
            fixed |= along_axes(scaled, np.asarray(atoms.cell.array), name)
        elif not isinstance(constraint, (FixBondLengths, FixInternals)):  # see `stated_bonds`
            warnings.warn(
                f"{name}: constraint {type(constraint).__name__} is not kept; only fixed atoms, "
                "coordinates and bonds are",
                InputWarning,
                stacklevel=2,
            )
    return fixed if fixed.any() else None
