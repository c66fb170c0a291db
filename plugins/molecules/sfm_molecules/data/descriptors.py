"""Classical descriptors of molecules: RDKit's, from perceived bonds, and those of GFN2-xTB."""

from __future__ import annotations

from typing import Any

import numpy as np

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm_molecules.constants import BOHR, HARTREE
from sfm_molecules.data.properties import frontier
from sfm_molecules.geometry.topology import molecule_from_geometry

# grows without bound with the size, and says little
LEFT_OUT = ("Ipc",)
LARGEST = 120  # atoms; above it the perception of bonds may take minutes
SOLVENTS = ("water", "octanol")


def rdkit(sample: Sample) -> dict[str, float]:
    """RDKit's two-dimensional descriptors (about 210); empty where no bonds can be perceived."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import Descriptors

    if not 0 < len(sample.types) <= LARGEST:
        return {}
    try:
        charge = int(sample.conditions.get("charge", 0))
        molecule = molecule_from_geometry(
            sample.types, sample.positions, charge=charge, name=sample.id
        )
    except InputError:
        return {}
    with rdBase.BlockLogs():
        # through SMILES, so that hydrogens are implicit and the atoms' order does not matter
        plain = Chem.MolFromSmiles(Chem.MolToSmiles(Chem.RemoveHs(molecule)))
        if plain is None:
            return {}
        values = Descriptors.CalcMolDescriptors(plain, missingVal=np.nan)
    return {name: float(value) for name, value in values.items() if name not in LEFT_OUT}


def xtb(sample: Sample) -> dict[str, float]:
    """What a few self-consistent fields of GFN2-xTB say; empty where they do not converge.

    Frontier levels, solvation free energies (ALPB, see `sfm_molecules.data.properties`) in eV, the
    dipole moment in e angstrom, and the spread of the partial charges in e. About 20 ms for a
    molecule of fifteen atoms.
    """
    from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError
    from tblite.interface import Calculator

    if not 0 < len(sample.types) <= LARGEST:
        return {}
    charge = float(sample.conditions.get("charge", 0))

    def field(solvent: str | None) -> Any:
        calculator = Calculator("GFN2-xTB", sample.types, sample.positions / BOHR, charge)
        calculator.set("verbosity", 0)
        if solvent is not None:
            calculator.add("alpb-solvation", solvent)
        return calculator.singlepoint()

    try:
        alone = field(None)
        energies = {name: float(field(name).get("energy")) for name in SOLVENTS}
    except (TBLiteRuntimeError, TBLiteValueError):
        return {}
    homo, lumo = frontier(alone)
    charges = np.asarray(alone.get("charges"))
    energy = float(alone.get("energy"))
    solvation = {f"solvation in {k}": HARTREE * (e - energy) for k, e in energies.items()}
    return {
        **solvation,
        "partition": solvation["solvation in water"] - solvation["solvation in octanol"],
        "homo": homo,
        "lumo": lumo,
        "gap": lumo - homo,
        "dipole": float(np.linalg.norm(alone.get("dipole"))) * BOHR,
        "largest charge": float(charges.max()),
        "smallest charge": float(charges.min()),
        "mean size of a charge": float(np.abs(charges).mean()),
    }
