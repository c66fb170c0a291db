"""Filled orbitals, and changes of the density matrix that leave whole electrons in them.

A change is C_o Z^T C^T + C Z C_o^T for each spin, Z (B, n, o) between all orbitals and filled ones,
for B displacements at once. Fock matrices are wanted between the same, C^T F C_o (B, n, o).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.scf.diis import Orbitals


@dataclass(frozen=True)
class Occupied:
    """Orbitals of one molecule. Lists run over the rows of the density matrix, one or two spins.

    Attributes:
        orbitals: (n, n) each, in columns, the filled ones first. filled: their numbers o.
        levels: (n,) hartree. share: 2 / s, how often a row counts.
    """

    orbitals: tuple[Float[Tensor, "n n"], ...]
    levels: tuple[Float[Tensor, " n"], ...]
    filled: tuple[int, ...]
    share: float

    @classmethod
    def of(cls, solution: Orbitals, share: float) -> Occupied:
        """Of a self-consistent solution with whole electrons for one molecule."""
        filled = [int(row.round().sum()) for row in solution.filling[0]]
        orbitals, levels = [], []
        for row, c, e in zip(
            solution.filling[0], solution.coefficients[0], solution.energies[0], strict=True
        ):
            order = torch.argsort(-row, stable=True)
            orbitals.append(c[:, order].detach())
            levels.append(e[order].detach())
        return cls(tuple(orbitals), tuple(levels), tuple(filled), share)

    @property
    def filled_orbitals(self) -> list[Float[Tensor, "n _"]]:
        """The filled orbitals (n, o)."""
        return [c[:, :o] for c, o in zip(self.orbitals, self.filled, strict=True)]

    def density_matrix(self) -> Float[Tensor, "s n n"]:
        """(s, n, n)."""
        return torch.stack([c @ c.mT for c in self.filled_orbitals])

    def between(self, matrices: Float[Tensor, "B s n n"]) -> list[Float[Tensor, "B n _"]]:
        """C^T F C_o of symmetric matrices (B, s, n, n)."""
        return [
            c.mT @ matrices[:, row] @ c[:, :o]
            for row, (c, o) in enumerate(zip(self.orbitals, self.filled, strict=True))
        ]

    def matrices(self, changes: list[Float[Tensor, "B n _"]]) -> Float[Tensor, "B s n n"]:
        """The changes (B, s, n, n) of the density matrix."""
        rows = []
        for c, c_occ, z in zip(self.orbitals, self.filled_orbitals, changes, strict=True):
            half = c @ z @ c_occ.mT
            rows.append(half + half.mT)
        return torch.stack(rows, 1)

    def trace(
        self, focks: list[Float[Tensor, "U n _"]], changes: list[Float[Tensor, "V n _"]]
    ) -> Float[Tensor, "U V"]:
        """Sum over both spins of tr(F_u dD_v), (U, V)."""
        pairs = zip(focks, changes, strict=True)
        traces = [f.flatten(1) @ z.flatten(1).mT for f, z in pairs]
        return 2.0 * self.share * torch.stack(traces).sum(0)
