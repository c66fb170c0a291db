"""Computed dielectric tensors and elastic constants, as the archive of matminer 0.4.1 holds them.

`dielectric_constant.csv`: I. Petousis et al., Sci. Data 4, 160134 (2017). `elastic_tensor.csv`: M.
de Jong et al., Sci. Data 2, 150009 (2015); there the column `elastic_tensor_original` is of the
crystal as its POSCAR lies, and `elastic_tensor` of one in a standard orientation. Only the first
belongs to the positions.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

import numpy as np

from sfm.data.isotropy import symmetric
from sfm.errors import InputError
from sfm_crystals.data.materials_project import Entry, read_entry, table_rows

LARGEST_PERMITTIVITY = 100.0  # beyond it a soft mode decides, and the next digit of a relaxation
LARGEST_MODULUS = 2_000.0  # GPa; diamond has 1,080


@dataclass(frozen=True, eq=False)
class TensorCrystal(Entry):
    """A crystal with computed tensors.

    Attributes:
        tensors: by quantity: `dielectric`, `electronic_dielectric` (3, 3), `elastic_constants`
            (6, 6) GPa in Voigt's order.
    """

    tensors: dict[str, np.ndarray]


def read_dielectric(content: bytes) -> list[TensorCrystal]:
    """The crystals of `dielectric_constant.csv` whose tensors are positive, and no largest ones.

    Raises:
        InputError: the content is not that file.
    """
    names = {"dielectric": "e_total", "electronic_dielectric": "e_electronic"}
    return _crystals(content, names, 1.0, LARGEST_PERMITTIVITY)


def read_stiffness(content: bytes) -> list[TensorCrystal]:
    """The crystals of `elastic_tensor.csv` that are stable: all eigenvalues are positive.

    Raises:
        InputError: the content is not that file.
    """
    names = {"elastic_constants": "elastic_tensor_original"}
    return _crystals(content, names, 0.0, LARGEST_MODULUS)


def _crystals(
    content: bytes, names: dict[str, str], low: float, high: float
) -> list[TensorCrystal]:
    """Those of a table whose tensors, columns by quantity, all have eigenvalues within bounds."""
    rows = [_crystal(row, names) for row in table_rows(content, next(iter(names.values())))]
    kept = (c for c in rows if c is not None)
    return [c for c in kept if all(_within(t, low, high) for t in c.tensors.values())]


def _within(tensor: np.ndarray, low: float, high: float) -> bool:
    values = np.linalg.eigvalsh(tensor)
    return bool(values[0] > low and values[-1] < high)


def _crystal(row: dict[str, str], names: dict[str, str]) -> TensorCrystal | None:
    """One row; None where a tensor is not symmetric or has no number."""
    tensors = {}
    for quantity, column in names.items():
        try:
            value = np.array(ast.literal_eval(row[column]), dtype=np.float64)
            tensors[quantity] = symmetric(value, row["material_id"])
        except (ValueError, SyntaxError, InputError):
            return None
        if not np.isfinite(value).all():
            return None
    return TensorCrystal(**vars(read_entry(row)), tensors=tensors)
