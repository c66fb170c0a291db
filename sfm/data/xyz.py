"""Text of XYZ files as people write it, turned into what ASE reads.

Rows: symbols `D` and `T`, atomic numbers as symbols, Fortran exponents (`1.0D-01`). Comment lines
that state charge and multiplicity otherwise than `key=value`: two whole numbers (`0 3`), a JSON
object, `charge: 1`, `charge 1`. Every row keeps its line number, so messages stay right.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.data.conditions import length_factor, meaning
from sfm.data.elements import SYMBOLS
from sfm.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

HYDROGENS = {"d": 2.01410177812, "t": 3.01604928199}  # amu, AME2020
PLAIN = "species:S:1:pos:R:3"
_PAIR = re.compile(r"([+-]?\d+)[\s,]+(\d+)")
_COLON = re.compile(r"([A-Za-z_][\w+-]*)\s*:\s*([^\s,;]+)")
_WORD = re.compile(r"([A-Za-z_]{3,}[\w+-]*)\s+([+-]?\d+)(?=$|[\s,;])")
_GLUED = re.compile(r"([A-Za-z_][\w+-]*)\s*=\s*\"?([^\s\"=]*[,;])")
_VOIGT = re.compile(r"\b(stress|virial)\s*=\s*([\"'{\[])([^\"'}\]]*)([\"'}\]])")
_FORTRAN = re.compile(r"(?<=[\d.])[dD](?=[+-]?\d)")


@dataclass
class Frame:
    """What the text of a frame says that ASE has no place for while it reads."""

    masses: dict[int, float] = field(default_factory=dict)


def read_xyz(path: str | Path) -> Iterator[Atoms]:
    """The frames of an XYZ or extended XYZ file, positions and cell in angstrom.

    Raises:
        InputError: an unknown unit of length, or labels beside a unit of length other than
            angstrom.
        Exception: whatever ASE raises of a damaged file.
    """
    from ase.io.extxyz import read_xyz as ase_read

    path = Path(path)
    lines, frames = normalised(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ase_read(io.StringIO("\n".join(lines) + "\n"), index=slice(None))
        for number, atoms in enumerate(found):
            where = f"{path}, frame {number + 1}"
            if number < len(frames) and frames[number].masses:
                masses = atoms.get_masses()
                masses[list(frames[number].masses)] = list(frames[number].masses.values())
                atoms.set_masses(masses)
            _to_angstrom(atoms, where)
            yield atoms


def _to_angstrom(atoms: Atoms, where: str) -> None:
    scale = length_factor(atoms.info, where)
    if scale == 1.0:
        return
    if atoms.calc is not None:
        raise InputError(
            f"{where}: units of length other than angstrom beside energies or forces, whose units "
            "nothing states; write everything in eV and angstrom"
        )
    atoms.set_cell(atoms.cell.array * scale)
    atoms.positions = atoms.positions * scale


def normalised(path: Path) -> tuple[list[str], list[Frame]]:
    """The lines of a file as ASE reads them, and what else each frame says.

    What is not understood stays as it is.

    Raises:
        InputError: a condition whose value ends in a comma or semicolon.
    """
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    frames: list[Frame] = []
    start = 0
    while start < len(lines):
        count = lines[start].strip()
        if not count.isdigit() or start + 2 + int(count) > len(lines):
            break
        comment = lines[start + 1]
        try:
            lines[start + 1] = plain_comment(comment)
        except InputError as error:
            raise InputError(f"{path}, line {start + 2}: {error}") from None
        frame = Frame()
        columns = _columns(lines[start + 1])
        for atom in range(int(count)):
            row = start + 2 + atom
            lines[row] = _row(lines[row], columns, atom, frame)
        frames.append(frame)
        start += 2 + int(count)
    return lines, frames


def plain_comment(comment: str) -> str:
    """A comment line whose conditions are `key=value`.

    >>> plain_comment("0 3"), plain_comment("charge: 1 spin: 1")
    ('charge=0 multiplicity=3', 'charge=1 spin=1')

    Raises:
        InputError: a condition whose value ends in a comma or semicolon.
    """
    text = comment.strip()
    if pair := _PAIR.fullmatch(text):
        return f"charge={pair[1]} multiplicity={pair[2]}"
    if text.startswith("{"):
        try:
            stated = json.loads(text)
        except json.JSONDecodeError:
            return comment
        return _assignments(stated) if isinstance(stated, dict) else comment
    if "=" in text:
        for key, value in _GLUED.findall(text):
            if meaning(key):
                raise InputError(f"{key}={value} is not a number; separate the keys by spaces")
        return _VOIGT.sub(_full, comment)
    found = {k: v for k, v in _COLON.findall(text) if meaning(k)}
    found = found or {k: v for k, v in _WORD.findall(text) if meaning(k) in ("charge", "spin")}
    return _assignments(found) if found else comment


def _full(match: re.Match[str]) -> str:
    """Stress or virial of nine numbers, of six in Voigt's order xx yy zz yz xz xy."""
    words = match[3].replace(",", " ").split()
    if len(words) != 6:
        return match[0]
    xx, yy, zz, yz, xz, xy = words
    return f'{match[1]}="{xx} {xy} {xz} {xy} {yy} {yz} {xz} {yz} {zz}"'


def _assignments(stated: dict[str, Any]) -> str:
    from ase.io.extxyz import key_val_dict_to_str

    return key_val_dict_to_str(
        {k: np.array(v) if isinstance(v, list) else v for k, v in stated.items()}
    )


def _columns(comment: str) -> tuple[int, frozenset[int]] | None:
    """Index of the symbols' column, and all columns that hold text or truth values."""
    match = re.search(r"Properties\s*=\s*\"?([^\s\"]+)", comment)
    words = (match[1] if match else PLAIN).split(":")
    symbols, others, at = None, set(), 0
    for name, kind, width in zip(words[::3], words[1::3], words[2::3], strict=False):
        if not width.isdigit() or len(width) > 4:
            return None
        if name == "species":
            symbols = at
        if kind in ("S", "L"):
            others |= set(range(at, at + int(width)))
        at += int(width)
    return None if symbols is None else (symbols, frozenset(others))


def _row(text: str, columns: tuple[int, frozenset[int]] | None, atom: int, frame: Frame) -> str:
    words = text.split()
    if columns is None or len(words) <= columns[0]:
        return text
    place, others = columns
    symbol = words[place]
    if symbol.lower() in HYDROGENS:
        frame.masses[atom] = HYDROGENS[symbol.lower()]
        words[place] = "H"
    elif symbol.isdigit() and 0 < int(symbol) < len(SYMBOLS):
        words[place] = SYMBOLS[int(symbol)]
    for index, word in enumerate(words):
        if index not in others:
            words[index] = _FORTRAN.sub("e", word)
    return text if words == text.split() else " ".join(words)
