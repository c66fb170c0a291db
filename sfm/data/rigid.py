"""Bonds that keep their lengths: what an `ase.Atoms` says of them, and of which images they are."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning

if TYPE_CHECKING:
    from ase import Atoms

KEYS = ("rigid_pairs", "rigid_lengths")  # in extended XYZ and in `Atoms.info`


def nearest_shifts(
    positions: Float[np.ndarray, "n 3"],
    pairs: Int[np.ndarray, "m 2"],
    cell: Float[np.ndarray, "3 3"] | None,
    pbc: Bool[np.ndarray, " 3"],
) -> Float[np.ndarray, "m 3"]:
    """(m, 3) lattice vectors that lead to the image of each second atom that is nearest its first.

    Args:
        positions: (n, 3) in any unit of length, that of cell (3, 3).
        pairs: (m, 2) indices. pbc: (3,) periodic along each lattice vector.
    """
    from ase.geometry import find_mic

    if cell is None or not np.any(pbc) or not len(pairs):
        return np.zeros((len(pairs), 3))
    direct = positions[pairs[:, 1]] - positions[pairs[:, 0]]
    nearest, _ = find_mic(direct, cell, pbc)
    full = cell + np.diag(~np.any(cell, axis=1)).astype(np.float64)
    shifts: np.ndarray = np.rint((nearest - direct) @ np.linalg.inv(full))
    return shifts


def lengths_of(sample: Sample, pairs: Int[np.ndarray, "m 2"]) -> Float[np.ndarray, " m"]:
    """(m,) distances of `pairs` (m, 2) of a sample, of the nearest images, in its length unit."""
    shifts = nearest_shifts(sample.positions, pairs, sample.cell, sample.pbc)
    away = sample.positions[pairs[:, 1]] - sample.positions[pairs[:, 0]]
    if sample.cell is not None:
        away = away + shifts @ sample.cell
    return np.asarray(np.linalg.norm(away, axis=1))


def with_rigid(sample: Sample, pairs: Int[np.ndarray, "m 2"]) -> Sample:
    """The sample with the distances of `pairs` (m, 2), its length unit, kept as they are, too."""
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    known = set()
    if sample.rigid_pairs is not None:
        known = {tuple(sorted(pair)) for pair in sample.rigid_pairs.tolist()}
    pairs = pairs[[tuple(sorted(pair)) not in known for pair in pairs.tolist()]]
    if not len(pairs):
        return sample
    lengths = lengths_of(sample, pairs)
    if sample.rigid_pairs is not None and sample.rigid_lengths is not None:
        pairs = np.concatenate([sample.rigid_pairs, pairs])
        lengths = np.concatenate([sample.rigid_lengths, lengths])
    return sample.replace(rigid_pairs=pairs, rigid_lengths=lengths)


def say_not_kept(sample: Sample, part: str) -> None:
    """One line where a sample states bonds that `part` does not keep."""
    if sample.rigid_pairs is not None and len(sample.rigid_pairs):
        warnings.warn(
            f"{sample.id}: {part} does not keep the lengths of bonds that the sample states "
            f"({len(sample.rigid_pairs)}); molecular dynamics of molecules and crystals does",
            InputWarning,
            stacklevel=3,
        )


def stated_bonds(
    atoms: Atoms, name: str
) -> tuple[Int[np.ndarray, "m 2"], Float[np.ndarray, " m"]] | None:
    """Pairs (m, 2) and lengths (m,) angstrom of `FixBondLengths`, `FixInternals` and `info`.

    Angles and sums of bonds that `FixInternals` fixes are warned of: nothing keeps them.

    Raises:
        InputError: `info` states pairs without lengths, or no numbers.
    """
    from ase.constraints import FixBondLengths, FixInternals

    bonds = _in_info(atoms, name)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixBondLengths):
            lengths = constraint.bondlengths
            lengths = [None] * len(constraint.pairs) if lengths is None else lengths
            bonds += zip(constraint.pairs, lengths, strict=True)
        elif isinstance(constraint, FixInternals):
            bonds += [(pair, length) for length, pair in constraint.bonds]
            if any((constraint.angles, constraint.dihedrals, constraint.bondcombos)):
                warnings.warn(
                    f"{name}: angles, dihedrals and sums of bonds of FixInternals are not kept; "
                    "only its bonds are",
                    InputWarning,
                    stacklevel=2,
                )
    kept: dict[tuple[int, int], float] = {}
    for pair, length in bonds:
        i, j = sorted(int(k) % len(atoms) for k in pair)
        if length is None:
            length = atoms.get_distance(i, j, mic=bool(atoms.pbc.any()))
        kept.setdefault((i, j), float(length))
    if not kept:
        return None
    return np.array(list(kept), dtype=np.int64), np.array(list(kept.values()))


def _in_info(atoms: Atoms, name: str) -> list[tuple[Any, Any]]:
    """Pairs and their lengths, as `KEYS` state them."""
    pairs, lengths = (atoms.info.get(key) for key in KEYS)
    if pairs is None and lengths is None:
        return []
    try:
        # ASE reads nine numbers as a matrix by columns
        numbers = np.asarray(lengths, dtype=np.float64).ravel(order="F")
        return list(zip(np.asarray(pairs, np.int64).reshape(-1, 2), numbers, strict=True))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {' and '.join(KEYS)} do not fit: {error}") from None
