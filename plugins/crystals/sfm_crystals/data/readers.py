"""Crystals from files: POSCAR through pymatgen, everything else through ase; CIF is in `cif`.

Every mistake in a file is one line that names the file and the row.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.frames import read_frames
from sfm.data.rows import row, rows_left_out
from sfm.data.sample import Sample
from sfm.data.tagged_json import read_tagged
from sfm.data.xyz import first_line
from sfm.errors import InputError, WrongDomain
from sfm_crystals.data.converters import LABELS, from_ase, from_entry, from_pymatgen


def read_poscar(path: str | Path) -> list[Sample]:
    """The structure of a POSCAR or CONTCAR file of VASP 5 (with a line of element symbols).

    Raises:
        InputError: missing, unreadable, truncated, an unknown element, zero volume.
    """
    from pymatgen.io.vasp import Poscar

    path = _existing(path)
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if reason := _poscar_bound(text):
        raise InputError(f"{path}: not a readable POSCAR file ({reason})")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            poscar = Poscar.from_str(text)
        except Exception as error:
            raise InputError(
                f"{path}: not a readable POSCAR file ({_poscar_reason(path) or first_line(error)})"
            ) from None
    (sample,) = _samples(path, [poscar.structure], from_pymatgen)
    if poscar.velocities is not None and np.any(poscar.velocities):
        sample = sample.replace(velocities=np.asarray(poscar.velocities, dtype=np.float64))
    return [sample]


def read_json(path: str | Path) -> list[Sample]:
    """Structures and computed entries of pymatgen (see `sfm.data.tagged_json`).

    Raises:
        InputError: missing, no JSON, or an object that pymatgen cannot read; the object is named.
        WrongDomain: an object of another class.
    """
    from pymatgen.core import Structure
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    converters = {
        "Structure": lambda item: from_pymatgen(Structure.from_dict(item)),
        "ComputedStructureEntry": lambda item: from_entry(ComputedStructureEntry.from_dict(item)),
    }
    return read_tagged(_existing(path), converters, LABELS)


def read_vasprun(path: str | Path) -> list[Sample]:
    """Every ionic step of a vasprun.xml, with energy (sigma -> 0), forces and stress.

    Raises:
        InputError: missing, another XML file, damaged.
    """
    return _read_vasp(path, "vasp-xml")


def read_outcar(path: str | Path) -> list[Sample]:
    """Every ionic step of an OUTCAR, as `read_vasprun`.

    Raises:
        InputError: missing or damaged.
    """
    return _read_vasp(path, "vasp-out")


def _read_vasp(path: str | Path, format: str) -> list[Sample]:
    path = _existing(path)
    with path.open("rb") as file:
        head = file.read(4096)
    if format == "vasp-xml" and b"<modeling" not in head:
        raise InputError(f"{path}: of XML files only VASP's vasprun.xml is read")
    frames = list(read_frames(path, format=format))
    return _samples(path, [atoms for _, atoms in frames], from_ase)


def read_ase(path: str | Path) -> list[Sample]:
    """All periodic systems of a file that ase reads, with energy, forces and stress as labels.

    Raises:
        WrongDomain: nothing in it is periodic.
        InputError: missing, unreadable, truncated, an unknown element, a NaN, zero volume.
    """
    path = _existing(path)
    frames = list(read_frames(path))
    if frames and not any(atoms.pbc.any() for _, atoms in frames):
        raise WrongDomain(f"{path}: periodic along no lattice vector, so it is not a crystal")
    numbers = [int(where.rpartition(" ")[2]) for where, _ in frames]
    return _samples(path, [atoms for _, atoms in frames], from_ase, numbers)


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


def _samples(
    path: Path, items: list[Any], convert: Any, numbers: Sequence[int] = ()
) -> list[Sample]:
    if not items and not rows_left_out():
        raise InputError(f"{path}: holds no structure")
    samples = []
    for number, item in zip(numbers or range(1, len(items) + 1), items, strict=True):
        name = path.name if len(items) == 1 else f"{path.name}#{number}"
        with row():
            try:
                samples.append(convert(item, name=name))
            except InputError as error:
                said = str(error)
                where = str(path.parent / said) if said.startswith(name) else said
                raise type(error)(where) from None
    return samples


def _poscar_bound(text: str) -> str | None:
    """Refuse numbers of atoms that the file cannot hold before room is made for them."""
    lines = text.splitlines()
    for line in lines[5:7]:
        counts = line.split()
        if counts and all(c.isascii() and c.isdigit() for c in counts):
            total = sum(int(c[:15]) for c in counts)
            if total > len(lines):
                return f"truncated: {len(lines)} rows where {total} atoms are announced"
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
