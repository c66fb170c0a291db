"""Text of XYZ files as people write it, turned into what ASE reads.

Rows: isotopes (`D`, `13C`), atomic numbers as symbols, Fortran exponents (`1.0D-01`). Comment lines
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
from sfm.data.isotopes import isotope
from sfm.data.rows import row
from sfm.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

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
    """The frames without their places in the file; see `xyz_frames`."""
    for _, atoms in xyz_frames(path):
        yield atoms


def xyz_frames(path: str | Path) -> Iterator[tuple[str, Atoms]]:
    """The frames of an XYZ or extended XYZ file: (`file, frame 3`, atoms), in angstrom.

    Raises:
        RowError: a damaged frame (row and column named), an unknown unit of length, or labels
            beside a unit of length other than angstrom. Where rows are left out, reading goes on
            with the next frame as long as the numbers of atoms are right.
    """
    path = Path(path)
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    start, number = 0, 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        number += 1
        where, atoms, end = f"{path}, frame {number}", None, len(lines)
        with row(where):
            end = _end(lines, start)
            atoms = _atoms(lines[start:end], start)
        start = end
        if atoms is not None:
            good = False
            with row():
                _to_angstrom(atoms, where)
                good = True
            if good:
                yield where, atoms


def _end(lines: list[str], start: int) -> int:
    """Index of the line behind the frame."""
    count = lines[start].strip()
    if not (count.isascii() and count.isdigit()):
        raise InputError(f"row {start + 1}: '{count[:30]}' is not a number of atoms")
    if len(count) > 12 or start + 2 + int(count) > len(lines):
        raise InputError(
            f"truncated: {len(lines)} rows where row {start + 1} announces {count[:12]} atoms"
        )
    end = start + 2 + int(count)
    while end < len(lines) and lines[end].lstrip().startswith("VEC"):
        end += 1
    return end


def _atoms(lines: list[str], start: int) -> Atoms:
    """What ASE reads of one frame, whose first line is row `start` + 1 of the file."""
    from ase.io.extxyz import read_xyz as ase_read

    frame = Frame()
    count = int(lines[0])
    comment = plain_comment(lines[1])
    columns = _columns(comment)
    rows = [_row(text, columns, atom, frame) for atom, text in enumerate(lines[2 : 2 + count])]
    _check_widths(comment, rows, start)
    text = "\n".join([lines[0], comment, *rows, *lines[2 + count :]]) + "\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            atoms: Atoms = next(iter(ase_read(io.StringIO(text), index=slice(None))))
        except Exception as error:  # ASE's reader raises what it likes
            known = _reason(rows, columns, start) or f"damaged ({first_line(error)})"
            raise InputError(known) from None
    if len(atoms) != count:
        raise InputError(
            f"row {start + 2}: the columns hold no elements or no positions of the {count} atoms"
        )
    if frame.masses:
        masses = atoms.get_masses()
        masses[list(frame.masses)] = list(frame.masses.values())
        atoms.set_masses(masses)
    return atoms


def first_line(error: Exception) -> str:
    """`KeyError: 'x'`, one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _check_widths(comment: str, rows: list[str], start: int) -> None:
    """Refuse columns that are not there before ASE makes room for them."""
    match = re.search(r"Properties\s*=\s*\"?([^\s\"]+)", comment)
    if match is None:
        return
    widths = match[1].split(":")[2::3]
    if not all(w.isascii() and w.isdigit() and len(w) < 7 for w in widths):
        raise InputError(f"row {start + 2}: '{match[1][:60]}' are no columns")
    total = sum(map(int, widths))
    for number, text in enumerate(rows):
        have = len(text.split())
        if have < total:
            raise InputError(
                f"row {start + 3 + number}: {have} columns where {total} are announced"
            )


def _reason(rows: list[str], columns: tuple[int, frozenset[int]] | None, start: int) -> str | None:
    """The first row that cannot be right."""
    for number, text in enumerate(rows):
        where, words = f"row {start + 3 + number}", text.split()
        if len(words) < 4:
            return f"{where}: {len(words)} columns, needs element, x, y, z"
        place, others = columns or (None, frozenset(range(len(words))))
        if place is not None and words[place].capitalize() not in SYMBOLS:
            return f"{where}, column {place + 1}: unknown element '{words[place]}'"
        for column, word in enumerate(words):
            if column not in others:
                try:
                    float(word)
                except ValueError:
                    return f"{where}, column {column + 1}: '{word}' is no number"
    return None


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


def plain_comment(comment: str) -> str:
    """A comment line whose conditions are `key=value`.

    >>> plain_comment("0 3"), plain_comment("charge: 1 spin: 1")
    ('charge=0 multiplicity=3', 'charge=1 spin=1')

    Raises:
        InputError: a condition whose value ends in a comma or semicolon.
    """
    text = comment.strip().strip("\"'")
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
    stated = {k: v for k, v in _COLON.findall(text) if meaning(k)}
    stated = stated or {k: v for k, v in _WORD.findall(text) if meaning(k) in ("charge", "spin")}
    return _assignments(stated) if stated else comment


def _full(match: re.Match[str]) -> str:
    """Stress or virial of nine numbers, of six in Voigt's order xx yy zz yz xz xy."""
    words = match[3].replace(",", " ").split()
    if len(words) != 6:
        return match[0]
    xx, yy, zz, yz, xz, xy = words
    return f'{match[1]}="{xx} {xy} {xz} {xy} {yy} {yz} {xz} {yz} {zz}"'


def _assignments(stated: dict[str, Any]) -> str:
    from ase.io.extxyz import key_val_dict_to_str

    text: str = key_val_dict_to_str(
        {k: np.array(v) if isinstance(v, list) else v for k, v in stated.items()}
    )
    return text


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
    if nuclide := isotope(symbol):
        words[place], frame.masses[atom] = nuclide
    elif symbol.isdigit() and 0 < int(symbol) < len(SYMBOLS):
        words[place] = SYMBOLS[int(symbol)]
    for index, word in enumerate(words):
        if index not in others:
            words[index] = _FORTRAN.sub("e", word)
    return text if words == text.split() else " ".join(words)
