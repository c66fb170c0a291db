"""The first density without PySCF: spherical atoms in a minimal basis, projected on the given one.

    D = sum_i n_i c_i c_i^T,   c_i = S^-1 <chi|i>,

with i the lowest contractions of Roos' ANO-RCC basis and n_i their occupations in the free atom.
Equal to PySCF's `minao`, on the device of the basis.

Reference: Roos et al., J. Phys. Chem. A 108, 2851 (2004).

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.data.elements import SYMBOLS
from sfm.errors import InputError
from sfm_dft.basis import library as basis
from sfm_dft.basis.elements import CONFIGURATIONS
from sfm_dft.integrals import overlap
from sfm_dft.integrals.shells import Shells

LARGE_BASIS = "ano"


@torch.no_grad()
def minimal_density(shells: Shells, numbers: Int[Tensor, " A"]) -> Float[Tensor, "n n"]:
    """Density matrix (n, n) of all electrons of atoms (A,), in PySCF's order.

    Raises:
        InputError: an element beyond xenon, or no tables of the minimal basis.
    """
    tables, filled = {}, {}
    for number in set(numbers.tolist()):
        tables[number], filled[number] = _occupied(number)
    small = Shells.of_tables(tables, numbers, shells.positions)
    occupations = [n for number in numbers.tolist() for n in filled[number]]
    joined = overlap(shells.joined(small))
    n = shells.size
    c = torch.linalg.solve(joined[:n, :n], joined[:n, n:])
    density: Tensor = (c * torch.tensor(occupations, dtype=c.dtype, device=c.device)) @ c.mT
    return density


def _occupied(number: int) -> tuple[list[list[object]], list[float]]:
    """The contractions of an element that hold electrons, and how many each function holds."""
    if number >= len(CONFIGURATIONS):
        raise InputError(
            f"guess='minao' without PySCF ends at xenon, before {SYMBOLS[number]}; set guess='core'"
        )
    table, occupations = [], []
    large = {shell[0]: shell for shell in basis.table(LARGE_BASIS, number)}
    for degree, electrons in enumerate(CONFIGURATIONS[number]):
        shares = list(_shares(electrons, 2 * degree + 1))
        if not shares:
            continue
        rows = [[row[0], *row[1 : 1 + len(shares)]] for row in large[degree][1:]]
        table.append([degree, *rows])
        occupations += [share for share in shares for _ in range(2 * degree + 1)]
    return table, occupations


def _shares(electrons: int, orbitals: int) -> Iterator[float]:
    """Electrons in each orbital of the shells that ``electrons`` of one degree fill."""
    while electrons > 0:
        yield min(electrons, 2 * orbitals) / orbitals
        electrons -= 2 * orbitals
