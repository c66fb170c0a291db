"""Force fields of molecules that come as geometries alone: bonds are perceived, terms kept by
pattern.

Bond orders and atom types follow from which atoms are bonded and from the charge, so the energy is
a smooth function of the positions as long as that does not change.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from torch import Tensor

from sfm.data.systems import Systems
from sfm_molecules.geometry.topology import bonded_pairs, molecule_from_geometry
from sfm_molecules.potentials.bonded import BondedField, Terms

KEPT = 4_096  # bonding patterns


class PerceivedForceField:
    """`systems -> (S,)` eV under a force field, of open systems.

    Args:
        kind: the force field.
    """

    def __init__(self, kind: type[BondedField]) -> None:
        self.kind = kind
        self._terms: OrderedDict[tuple[bytes, bytes, int], Terms] = OrderedDict()

    def __call__(self, systems: Systems) -> Tensor:
        """(S,) eV, differentiable in the positions.

        Raises:
            InputError: a molecule whose bonds cannot be told, or that the field has no type for.
        """
        counts = np.bincount(systems.system.cpu().numpy(), minlength=len(systems.cell))
        places = np.split(systems.positions.detach().cpu().numpy(), np.cumsum(counts)[:-1])
        types = np.split(systems.types.cpu().numpy(), np.cumsum(counts)[:-1])
        charges = systems.conditions["charge"].round().long().tolist()
        known = [self._of(*one) for one in zip(types, places, charges, strict=True)]
        field = self.kind.of_terms(counts.tolist(), known).to(systems.positions.device)
        energies: Tensor = field(systems.positions, systems.types, systems.system)
        return energies

    def _of(self, types: np.ndarray, positions: np.ndarray, charge: int) -> Terms:
        from rdkit import rdBase

        key = (types.astype(np.int64).tobytes(), bonded_pairs(types, positions).tobytes(), charge)
        if key not in self._terms:
            molecule = molecule_from_geometry(types, positions, charge=charge, name="baseline")
            with rdBase.BlockLogs():  # of charges that its atom types do not have
                self._terms[key] = self.kind.terms(molecule)
            if len(self._terms) > KEPT:
                self._terms.popitem(last=False)
        return self._terms[key]
