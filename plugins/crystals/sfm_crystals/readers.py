"""Crystals from files: CIF and POSCAR through pymatgen, everything else through ase.

Every mistake in a file is one line that names the file and the row.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from sfm.data.readers import WrongDomain
from sfm.data.sample import Sample
from sfm.data.xyz import read_xyz
from sfm.errors import InputError
from sfm_crystals.converters import from_atoms, from_structure

XYZ = (".xyz", ".extxyz")


def read_cif(path: str | Path) -> list[Sample]:
    """All structures of a CIF file.

    Raises:
        InputError: missing, unreadable, partly occupied, an unknown element, zero volume.
    """
    from pymatgen.io.cif import CifParser

    path = _existing(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            structures = CifParser(path, occupancy_tolerance=1.0).parse_structures(
                primitive=False, check_occu=False, on_error="raise"
            )
        except Exception as error:
            raise InputError(f"{path}: not a readable CIF file ({_first_line(error)})") from None
    return _samples(path, structures, from_structure)


def read_poscar(path: str | Path) -> list[Sample]:
    """The structure of a POSCAR or CONTCAR file of VASP 5 (with a line of element symbols).

    Raises:
        InputError: missing, unreadable, truncated, an unknown element, zero volume.
    """
    from pymatgen.io.vasp import Poscar

    path = _existing(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            structure = Poscar.from_str(path.read_text(), read_velocities=False).structure
        except Exception as error:
            raise InputError(
                f"{path}: not a readable POSCAR file ({_poscar_reason(path) or _first_line(error)})"
            ) from None
    return _samples(path, [structure], from_structure)


def read_ase(path: str | Path) -> list[Sample]:
    """All periodic systems of a file that ase reads, with energy, forces and stress as labels.

    Raises:
        WrongDomain: nothing in it is periodic.
        InputError: missing, unreadable, truncated, an unknown element, a NaN, zero volume.
    """
    from ase.io import read

    path = _existing(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            xyz = path.suffix.lower() in XYZ
            frames = list(read_xyz(path)) if xyz else read(path, index=":")
        except InputError:
            raise
        except Exception as error:
            reason = _xyz_reason(path) if path.suffix.lower() in XYZ else None
            raise InputError(
                f"{path}: ase cannot read it ({reason or _first_line(error)})"
            ) from None
    frames = frames if isinstance(frames, list) else [frames]
    if frames and not any(atoms.pbc.any() for atoms in frames):
        raise WrongDomain(f"{path}: periodic along no lattice vector, so it is not a crystal")
    return _samples(path, frames, from_atoms)


def read_labelled(path: str | Path) -> list[Sample]:
    """As `read_ase`, where every system must have a label.

    Raises:
        InputError: a system without energy, forces and stress.
    """
    samples = read_ase(path)
    for sample in samples:
        if not sample.labels:
            raise InputError(
                f"{sample.id}: no energy, forces or stress; write them into the extxyz file as "
                "ase does"
            )
    return samples


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return path


def _samples(path: Path, items: list[Any], convert: Any) -> list[Sample]:
    if not items:
        raise InputError(f"{path}: holds no structure")
    samples = []
    for number, item in enumerate(items, 1):
        name = path.name if len(items) == 1 else f"{path.name}#{number}"
        try:
            samples.append(convert(item, name=name))
        except InputError as error:
            where = str(path.parent / str(error)) if str(error).startswith(name) else str(error)
            raise type(error)(where) from None
    return samples


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _xyz_reason(path: Path) -> str | None:
    """The first row of an xyz file that cannot be right."""
    from ase.data import atomic_numbers

    lines = path.read_text(errors="replace").splitlines()
    row = 0
    while row < len(lines) and lines[row].strip():
        if not lines[row].strip().isdigit():
            return f"row {row + 1}: '{lines[row].strip()[:30]}' is not a number of atoms"
        count = int(lines[row])
        for atom in range(row + 2, row + 2 + count):
            if atom >= len(lines):
                return f"truncated: {len(lines)} rows where {row + 2 + count} are announced"
            words = lines[atom].split()
            if len(words) < 4:
                return f"row {atom + 1}: {len(words)} columns, needs element, x, y, z"
            if words[0] not in atomic_numbers and not words[0].isdigit():
                return f"row {atom + 1}, column 1: unknown element '{words[0]}'"
            for column in (1, 2, 3):
                try:
                    float(words[column])
                except ValueError:
                    return f"row {atom + 1}, column {column + 1}: '{words[column]}' is no number"
        row += 2 + count
    return None


def _poscar_reason(path: Path) -> str | None:
    """What is wrong with the head or the length of a POSCAR file."""
    from ase.data import atomic_numbers

    lines = path.read_text(errors="replace").splitlines()
    if len(lines) < 8:
        return f"truncated: {len(lines)} rows, needs at least 8"
    for symbol in lines[5].split():
        if symbol.split("_")[0] not in atomic_numbers and not symbol.isdigit():
            return f"row 6: unknown element '{symbol}'"
    counts = lines[6].split()
    if counts and all(c.isdigit() for c in counts):
        start = 9 if lines[7].strip()[:1].lower() == "s" else 8
        needed = start + sum(map(int, counts))
        if len(lines) < needed:
            return f"truncated: {len(lines)} rows where {needed} are announced"
        for row in range(start, needed):
            for column, word in enumerate(lines[row].split()[:3], 1):
                try:
                    float(word)
                except ValueError:
                    return f"row {row + 1}, column {column}: '{word}' is no number"
    return None
