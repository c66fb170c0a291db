"""From users' files and objects to samples of the molecules domain.

SMILES (`.smi`, `.csv` with a column `smiles`), SDF, and whatever ASE reads. Energies and forces
that a file holds become labels (eV, eV/angstrom, as ASE has them). Every error names file and
record.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.data.ase_atoms import said, stored_labels, write_to
from sfm.data.conditions import read_conditions
from sfm.data.readers import WrongDomain
from sfm.data.sample import Sample
from sfm.data.xyz import read_xyz
from sfm.errors import InputError, did_you_mean
from sfm_molecules.embedding import embed, geometry

if TYPE_CHECKING:
    from ase import Atoms
    from rdkit.Chem import Mol

DOMAIN = "molecules"
UNKNOWN_LEVEL = "unknown"
LABELS = ("energy", "forces", "dipole", "charges")


def read_smiles(path: str | Path) -> list[Sample]:
    """Molecules of a `.smi` file (SMILES, then a name) or of a `.csv` with a column `smiles`.

    Geometries are made with ETKDG and MMFF94; the same SMILES gives the same one. Other columns of
    a `.csv` that are called `quantity[unit]` become labels, in the quantity's canonical unit.

    Raises:
        InputError: names file, line and column.
    """
    path = Path(path)
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _smi_rows(path)
    samples = []
    for line, smiles, name, labels in rows:
        try:
            molecule = embed(smiles)
        except InputError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        sample = from_rdkit(molecule, name=name or smiles)
        level = UNKNOWN_LEVEL if labels else None
        samples.append(sample.replace(id=name or smiles, labels=labels, level=level))
    return samples


def _smi_rows(path: Path) -> Iterator[tuple[int, str, str, dict[str, np.ndarray]]]:
    for number, text in enumerate(_text(path).splitlines(), 1):
        words = text.split(maxsplit=1)
        if words and not words[0].startswith("#"):
            yield number, words[0], words[1].strip() if len(words) > 1 else "", {}


def _csv_rows(path: Path) -> Iterator[tuple[int, str, str, dict[str, np.ndarray]]]:
    reader = csv.DictReader(_text(path).splitlines())
    header = {name.strip().lower(): name for name in reader.fieldnames or ()}
    if "smiles" not in header:
        raise WrongDomain(
            f"{path}: no column 'smiles' (columns: {', '.join(reader.fieldnames or ()) or 'none'})."
            f"{did_you_mean('smiles', header)}"
        )
    columns = _label_columns(path, reader.fieldnames or ())
    for row in reader:
        line = reader.line_num
        smiles = row[header["smiles"]]
        if smiles is None or not smiles.strip():
            raise InputError(f"{path}, line {line}, column '{header['smiles']}': empty")
        labels = {}
        for column, (quantity, factor) in columns.items():
            try:
                value = float(row[column])
            except (TypeError, ValueError):
                value = float("nan")
            if not np.isfinite(value):
                raise InputError(
                    f"{path}, line {line}, column '{column}': '{row[column]}' is not a number"
                )
            labels[quantity] = np.asarray(value * factor)
        name = row.get(header.get("id", header.get("name", ""))) or ""
        yield line, smiles.strip(), name, labels


def _label_columns(path: Path, names: Any) -> dict[str, tuple[str, float]]:
    """Quantity and conversion factor of each column called `quantity[unit]`."""
    from sfm.registry import quantities
    from sfm.units import factor

    table, found = quantities(), {}
    for column in names:
        quantity, bracket, unit = column.strip().partition("[")
        if not bracket or not unit.endswith("]"):
            continue
        try:
            found[column] = (quantity, factor(unit[:-1], table[quantity].unit))
        except InputError as error:
            raise InputError(f"{path}, column '{column}': {error}") from None
    return found


def read_sdf(path: str | Path) -> list[Sample]:
    """Molecules of an SDF or MOL file; flat ones (without z) get a geometry from their bonds.

    Raises:
        InputError: names file and record.
    """
    from rdkit import Chem, rdBase

    path = Path(path)
    if not _text(path).strip():
        raise InputError(f"{path}: empty file")
    samples = []
    with rdBase.BlockLogs():
        supplier = Chem.SDMolSupplier(str(path), removeHs=False)
        for record, molecule in enumerate(supplier, 1):
            where = f"{path}, record {record}"
            if molecule is None:
                raise InputError(f"{where}: rdkit cannot read this molecule")
            name = molecule.GetProp("_Name") or f"{path.stem}-{record}"
            try:
                samples.append(from_rdkit(molecule, name=name))
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
    if not samples:
        raise InputError(f"{path}: holds no molecule")
    return samples


def read_ase(path: str | Path) -> list[Sample]:
    """All frames of a file that ASE reads: extxyz, xyz, traj, pdb, ...

    Raises:
        InputError: names file and frame.
        WrongDomain: a frame is periodic; that is a crystal.
    """
    from ase.io.formats import UnknownFileTypeError

    path = Path(path)
    samples: list[Sample] = []
    frames = frames_of(path)
    while True:
        where = f"{path}, frame {len(samples) + 1}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                atoms = next(frames, None)
        except UnknownFileTypeError:
            raise InputError(f"{path}: ASE does not know this file type") from None
        except InputError:
            raise
        except KeyError as error:
            raise InputError(f"{where}: unknown element or column {error}") from None
        except Exception as error:  # ASE's readers raise what they like
            reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
            raise InputError(
                f"{where}: damaged or truncated ({type(error).__name__}: {reason})"
            ) from None
        if atoms is None:
            break
        try:
            one = from_ase(atoms)
        except WrongDomain as error:
            raise WrongDomain(f"{where}: {error}") from None
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        samples.append(one.replace(id=f"{path.stem}-{len(samples) + 1}: {one.id}"))
    if not samples:
        raise InputError(f"{path}: holds no structure")
    return samples


def frames_of(path: Path) -> Iterator[Atoms]:
    """The frames of a file as ASE has them, with what its text says of charge and spin."""
    from ase.io import iread

    if path.suffix.lower() in (".xyz", ".extxyz"):
        yield from read_xyz(path)
    elif path.suffix.lower() == ".gjf":
        for atoms in iread(str(path), index=":", format="gaussian-in", attach_calculator=True):
            own = atoms.calc.parameters
            atoms.info |= {k: own[k] for k in ("charge", "mult") if k in own}
            atoms.calc = None
            yield atoms
    else:
        yield from iread(str(path), index=":")


def from_ase(atoms: Atoms) -> Sample:
    """A sample of an `ase.Atoms`; its calculator's stored energy and forces become labels.

    Charge and spin, masses, fixed atoms and velocities go with it (`sfm.data.ase_atoms`).

    Raises:
        InputError: an unknown element, a position that is not a number, an impossible charge or
            spin.
        WrongDomain: it is periodic.
    """
    if atoms.pbc.any():
        raise WrongDomain("the structure is periodic, not a molecule; use domain 'crystals'")
    name = atoms.get_chemical_formula()
    if len(atoms) == 0:
        raise InputError("holds no atoms")
    numbers = atoms.get_atomic_numbers()
    if len(numbers) and numbers.min() < 1:
        row = int(np.argmin(numbers))
        raise InputError(f"{name}: atom {row + 1} has an unknown element")
    found = stored_labels(atoms, LABELS, name)
    return Sample(
        id=name,
        domain=DOMAIN,
        level=str(atoms.info.get("level", UNKNOWN_LEVEL)) if found else None,
        positions=atoms.get_positions(),
        types=numbers,
        labels=found,
        **said(atoms, name).changes(),
    )


def to_ase(sample: Sample) -> Atoms:
    """An `ase.Atoms` of a sample; energy and forces labels go into its calculator.

    Charge and spin go into `info`, masses, constraints and velocities where ASE has them.
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms(numbers=sample.types, positions=sample.positions, info={"id": sample.id})
    write_to(atoms, sample)
    if sample.level:
        atoms.info["level"] = sample.level
    known: dict[str, Any] = {k: v for k, v in sample.labels.items() if k in LABELS}
    if "energy" in known:
        known["energy"] = float(known["energy"])
    if known:
        atoms.calc = SinglePointCalculator(atoms, **known)
    return atoms


def from_rdkit(molecule: Mol, *, name: str | None = None) -> Sample:
    """A sample of an rdkit molecule.

    Without a three-dimensional conformer it gets hydrogens and a geometry from its bonds; with one,
    missing hydrogens are placed.

    Raises:
        InputError: a dummy atom, or no geometry can be found.
    """
    from rdkit import Chem

    given = molecule.GetProp("_Name") if molecule.HasProp("_Name") else ""
    name = name or given or Chem.MolToSmiles(Chem.RemoveHs(molecule))
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() == 0:
            raise InputError(f"{name}: atom {atom.GetIdx() + 1} has an unknown element")
    if molecule.GetNumConformers() == 0 or not molecule.GetConformer().Is3D():
        molecule = embed(Chem.MolToSmiles(Chem.RemoveHs(molecule)))
    else:
        molecule = Chem.AddHs(molecule, addCoords=True)
    types, positions = geometry(molecule)
    charge = Chem.GetFormalCharge(molecule)
    spin = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    stated = {k: v for k, v in (("charge", charge), ("unpaired_electrons", spin)) if v}
    isotopes = any(atom.GetIsotope() for atom in molecule.GetAtoms())
    return Sample(
        id=name,
        domain=DOMAIN,
        positions=positions,
        types=types,
        conditions=read_conditions(stated, types, name),
        masses=np.array([a.GetMass() for a in molecule.GetAtoms()]) if isotopes else None,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None
