"""The frames of a file of atoms, one after another, through ASE.

Every plugin's reader of such files goes through here, so that a bad frame, a file name with `@` in
it and a number of atoms that the file cannot hold mean the same for all.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfm.data.ase_db import SUFFIXES
from sfm.data.pdb import formal_charges
from sfm.data.rows import row
from sfm.data.sample import MAX_TYPE
from sfm.data.xyz import first_line, xyz_frames
from sfm.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

XYZ = (".xyz", ".extxyz")


def read_frames(
    path: str | Path, *, format: str | None = None, **options: Any
) -> Iterator[tuple[str, Atoms]]:
    """(`file, frame 3`, atoms) for each frame.

    Args:
        path: a file that ASE reads.
        format: ASE's name of the format; by the file's name and content if None.
        options: of ASE's reader.

    Raises:
        InputError: no such file, or a format that ASE does not know.
        RowError: a damaged frame. Except in XYZ files, the frames behind it are lost.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix.lower() in XYZ and format is None:
        yield from xyz_frames(path)
        return
    from ase.io.formats import UnknownFileTypeError

    frames = _frames(path, format, options)
    number, more = 0, True
    while more:
        number, more, atoms = number + 1, False, None
        where = f"{path}, frame {number}"
        with row(where):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    atoms = next(frames, None)
            except UnknownFileTypeError:
                raise InputError("ASE does not know this file type") from None
            except InputError:
                raise
            except KeyError as error:
                raise InputError(f"damaged: unknown element or column {error}") from None
            except Exception as error:  # ASE's readers raise what they like
                raise InputError(f"damaged or truncated ({first_line(error)})") from None
            more = atoms is not None
            if atoms is not None and not all(0 <= z <= MAX_TYPE for z in atoms.numbers):
                atoms = None
                raise InputError("damaged: an atomic number that no element has")
        if atoms is not None:
            yield where, atoms


def _frames(path: Path, format: str | None, options: dict[str, Any]) -> Iterator[Atoms]:
    from ase.io import iread

    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return _database(path)
    if suffix == ".pdb" and format is None:
        return _pdb(path)
    # ASE would read frame 1.xyz of the file `name` from a file called `name@1.xyz`
    frames: Iterator[Atoms] = iread(str(path), ":", format, do_not_split_by_at_sign=True, **options)
    return frames


def _pdb(path: Path) -> Iterator[Atoms]:
    """The models of a PDB file with the formal charges of their atoms as initial charges."""
    from ase.io import iread

    frames = iread(str(path), ":", "proteindatabank", do_not_split_by_at_sign=True)
    for atoms, charges in zip(frames, formal_charges(path), strict=False):
        if len(charges) == len(atoms) and charges.any():
            atoms.set_initial_charges(charges)
        yield atoms


def _database(path: Path) -> Iterator[Atoms]:
    """The rows of an ASE database with their pairs and data, which `ase.io` leaves out."""
    from sfm.data.ase_db import LMDB, connected, rows_of, whole

    if path.suffix.lower() != LMDB:
        with path.open("rb") as file:
            if not file.read(16).startswith(b"SQLite format 3"):
                raise ValueError("not an SQLite database")  # connect would make an empty one
    for entry in rows_of(connected(path), path):
        yield whole(entry)
