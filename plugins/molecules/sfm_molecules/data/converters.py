"""Samples from and to ase.Atoms, and from molecules of rdkit and pymatgen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.data.ase_atoms import extras, said, stored_labels, write_to
from sfm.data.conditions import read_conditions
from sfm.data.label_names import with_recognised
from sfm.data.sample import Sample
from sfm.data.stated import stated_numbers
from sfm.errors import InputError, WrongDomain
from sfm_molecules.data.cells import UNKNOWN_LEVEL, with_cells
from sfm_molecules.geometry.conformers import geometry
from sfm_molecules.geometry.embedding import embed

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Molecule
    from rdkit.Chem import Mol

DOMAIN = "molecules"
LABELS = ("energy", "forces", "dipole", "charges")


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
    labels = stored_labels(atoms, LABELS, name)
    sample = with_recognised(
        Sample(
            id=name,
            domain=DOMAIN,
            positions=atoms.get_positions(),
            types=numbers,
            labels=labels,
            extras=extras(atoms, labels),
            **said(atoms, name).changes(),
        ),
        LABELS,
    )
    level = str(atoms.info.get("level", UNKNOWN_LEVEL)) if sample.labels else None
    return sample.replace(level=level)


def from_pymatgen(molecule: Molecule) -> Sample:
    """A sample of a pymatgen `Molecule`, with its charge, and its spin if that is not the lowest.

    Numbers of its `properties` and of its sites become extras; an energy (eV), forces
    (eV/angstrom) and other labels of molecules among them are labels.

    Raises:
        InputError: a dummy atom, an impossible charge or spin, or a label of another shape.
    """
    name = molecule.composition.formula.replace(" ", "")
    for number, site in enumerate(molecule, 1):
        if not 1 <= getattr(site.specie, "Z", 0) <= 118:
            raise InputError(f"{name}: atom {number} has an unknown element '{site.specie}'")
    types = np.array([site.specie.Z for site in molecule])
    stated = {"charge": molecule.charge} if molecule.charge else {}
    if molecule.spin_multiplicity > 2:  # 1 and 2 are what pymatgen says where nobody did
        stated["multiplicity"] = molecule.spin_multiplicity
    sample = Sample(
        id=name,
        domain=DOMAIN,
        positions=molecule.cart_coords,
        types=types,
        extras=stated_numbers({**molecule.properties, **molecule.site_properties}),
        conditions=read_conditions(stated, types, name),
    )
    sample = with_recognised(sample, LABELS)
    return sample.replace(level=UNKNOWN_LEVEL) if sample.labels else sample


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
    missing hydrogens are placed. Its properties (an SDF record's data) are read as the cells of a
    table are (`sfm_molecules.data.cells`).

    Raises:
        InputError: a dummy atom, no geometry can be found, or a property that contradicts it.
    """
    from rdkit import Chem

    if molecule.GetNumAtoms() == 0:
        raise InputError("holds no atoms")
    given = molecule.GetProp("_Name") if molecule.HasProp("_Name") else ""
    name = name or given or Chem.MolToSmiles(Chem.RemoveHs(molecule))
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() == 0:
            raise InputError(f"{name}: atom {atom.GetIdx() + 1} has an unknown element")
    properties = molecule.GetPropsAsDict(autoConvertStrings=False)
    if molecule.GetNumConformers() == 0 or not molecule.GetConformer().Is3D():
        molecule = embed(Chem.MolToSmiles(Chem.RemoveHs(molecule)))
    else:
        molecule = Chem.AddHs(molecule, addCoords=True)
    types, positions = geometry(molecule)
    charge = Chem.GetFormalCharge(molecule)
    spin = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    stated = {k: v for k, v in (("charge", charge), ("unpaired_electrons", spin)) if v}
    isotopes = any(atom.GetIsotope() for atom in molecule.GetAtoms())
    sample = Sample(
        id=name,
        domain=DOMAIN,
        positions=positions,
        types=types,
        conditions=read_conditions(stated, types, name),
        masses=np.array([a.GetMass() for a in molecule.GetAtoms()]) if isotopes else None,
    )
    return with_cells(sample, properties)
