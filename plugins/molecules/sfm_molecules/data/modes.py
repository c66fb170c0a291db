"""Normal modes in files that viewers animate."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Float, Int
from numpy import ndarray


def write_modes(
    path: Path,
    *,
    types: Int[ndarray, " n"],
    positions: Float[ndarray, "n 3"],
    frequencies: Float[ndarray, " K"],
    modes: Float[ndarray, "K n 3"],
) -> None:
    """One frame of extended XYZ for each mode, with `frequency` in cm^-1 and the array `mode`.

    Args:
        types: (n,) atomic numbers. positions: (n, 3) angstrom.
        frequencies: (K,) cm^-1.
        modes: (K, n, 3); written with the length 1.
    """
    from ase import Atoms
    from ase.io import write

    frames = []
    for frequency, mode in zip(frequencies, modes, strict=True):
        atoms = Atoms(types, positions, info={"frequency": float(frequency)})
        atoms.set_array("mode", mode / (mode**2).sum() ** 0.5)
        frames.append(atoms)
    write(str(path), frames, format="extxyz")
