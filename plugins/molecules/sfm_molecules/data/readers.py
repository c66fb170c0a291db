"""From users' files and objects to samples of the molecules domain.

SDF and whatever ASE reads; SMILES are in `smiles_files`. Energies and forces that a file holds
become labels (eV, eV/angstrom, as ASE has them). Every error names file and record.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sfm.data.frames import read_frames
from sfm.data.rows import row, rows_left_out
from sfm.data.sample import Sample
from sfm.data.tagged_json import read_tagged
from sfm.errors import InputError
from sfm_molecules.data.converters import LABELS, from_ase, from_pymatgen, from_rdkit
from sfm_molecules.data.gaussian import read_gaussian

if TYPE_CHECKING:
    from ase import Atoms


def read_sdf(path: str | Path) -> list[Sample]:
    """Molecules of an SDF or MOL file; flat ones (without z) get a geometry from their bonds.

    Raises:
        InputError: names file and record.
    """
    from rdkit import Chem, rdBase

    path = Path(path)
    if not text_of(path).strip():
        raise InputError(f"{path}: empty file")
    samples = []
    with rdBase.BlockLogs():
        supplier = Chem.SDMolSupplier(str(path), removeHs=False)
        for record, molecule in enumerate(supplier, 1):
            with row(f"{path}, record {record}"):
                if molecule is None:
                    raise InputError("rdkit cannot read this molecule")
                name = molecule.GetProp("_Name") or f"{path.stem}-{record}"
                samples.append(from_rdkit(molecule, name=name))
    if not samples and not rows_left_out():
        raise InputError(f"{path}: holds no molecule")
    return samples


def read_json(path: str | Path) -> list[Sample]:
    """Molecules of pymatgen (see `sfm.data.tagged_json`).

    Raises:
        InputError: no JSON, or an object that pymatgen cannot read; the object is named.
        WrongDomain: an object of another class.
    """
    from pymatgen.core import Molecule

    return read_tagged(
        path, {"Molecule": lambda item: from_pymatgen(Molecule.from_dict(item))}, LABELS
    )


def read_ase(path: str | Path) -> list[Sample]:
    """All frames of a file that ASE reads: extxyz, xyz, traj, pdb, db, ...

    Raises:
        InputError: names file and frame.
        WrongDomain: a frame is periodic; that is a crystal.
    """
    path = Path(path)
    samples: list[Sample] = []
    for where, atoms in frames_of(path):
        with row(where):
            one = from_ase(atoms)
            number = where.rpartition(" ")[2]
            samples.append(one.replace(id=f"{path.stem}-{number}: {one.id}"))
    if not samples and not rows_left_out():
        raise InputError(f"{path}: holds no structure")
    return samples


def frames_of(path: Path) -> Iterator[tuple[str, Atoms]]:
    """The frames of a file as ASE has them, with what its text says of charge and spin."""
    yield from read_gaussian(path) if path.suffix.lower() == ".gjf" else read_frames(path)


def text_of(path: Path) -> str:
    """The text of a file, without a byte-order mark.

    Raises:
        InputError: no such file, or no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None
