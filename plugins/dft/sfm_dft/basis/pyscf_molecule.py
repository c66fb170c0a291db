"""A molecule as PySCF has it."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

BASIS = "def2-svp"  # of all labels


def build_molecule(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    basis: Any = BASIS,
    charge: int = 0,
    unit: str = "Angstrom",
    spin: int | None = 0,
) -> Any:
    """PySCF molecule from atomic numbers (n,) and positions (n, 3) in ``unit``."""
    from pyscf import gto

    atoms = [(int(z), tuple(map(float, r))) for z, r in zip(numbers, positions, strict=True)]
    return gto.M(atom=atoms, basis=basis, charge=charge, spin=spin, unit=unit, verbose=0)
