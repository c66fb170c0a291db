"""Classical descriptors of molecules: RDKit's, from bonds perceived out of the geometry."""

from __future__ import annotations

import numpy as np

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm_molecules.topology import molecule_from_geometry

# grows without bound with the size, and says little
LEFT_OUT = ("Ipc",)
LARGEST = 120  # atoms; above it the perception of bonds may take minutes


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
        found = Descriptors.CalcMolDescriptors(plain, missingVal=np.nan)
    return {name: float(value) for name, value in found.items() if name not in LEFT_OUT}
