"""Molecules that are solved together: matrices padded to one size, everything else side by side.

A density matrix is (M, s, n, n): M molecules, s = 1 for closed shells, whose one row is the density
matrix of *one* spin, or s = 2 for up and down. Rows and columns beyond a molecule's own orbitals
are zero, except in the overlap, which is one on its diagonal there.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.errors import InputError
from sfm_dft.scf.molecule import Molecule


class KohnShamSystem:
    """M molecules, all restricted (``spins`` 1) or all unrestricted (2). Never changed.

    Not a dataclass: it holds the constants of a problem, not the state that derivatives are for.

    Raises:
        InputError: no molecule, or unpaired electrons in a restricted calculation.
    """

    def __init__(self, molecules: Sequence[Molecule], spins: int = 1) -> None:
        if not molecules:
            raise InputError("a batch needs at least one molecule")
        if spins == 1 and any(molecule.spin for molecule in molecules):
            raise InputError("a restricted calculation has no unpaired electrons")
        self.molecules = tuple(molecules)
        self.spins = spins

    def select(self, which: Sequence[int]) -> KohnShamSystem:
        """Some of the molecules; all of them are this very system, with what it remembers."""
        if list(which) == list(range(len(self))):
            return self
        return KohnShamSystem(tuple(self.molecules[i] for i in which), self.spins)

    def to(self, device: torch.device | str) -> KohnShamSystem:
        """The same on another device."""
        return KohnShamSystem(tuple(m.to(device) for m in self.molecules), self.spins)

    def __len__(self) -> int:
        return len(self.molecules)

    @property
    def size(self) -> int:
        """n, orbitals of the largest molecule."""
        return max(molecule.orbitals for molecule in self.molecules)

    @property
    def share(self) -> float:
        """2 / s: how often a row of the density matrix counts in a sum over both spins."""
        return 2.0 / self.spins

    @cached_property
    def electrons(self) -> Int[Tensor, "M s"]:
        """(M, s) electrons in each row of the density matrix."""
        rows = [molecule.electrons[: self.spins] for molecule in self.molecules]
        return torch.tensor(rows, device=self.device)

    @property
    def device(self) -> torch.device:
        return self.molecules[0].overlap.device

    @cached_property
    def real(self) -> Bool[Tensor, "M n"]:
        """(M, n) True for a molecule's own orbitals."""
        sizes = torch.tensor([molecule.orbitals for molecule in self.molecules])
        return (torch.arange(self.size) < sizes[:, None]).to(self.device)

    @cached_property
    def overlap(self) -> Float[Tensor, "M n n"]:
        """(M, n, n)."""
        return self._padded("overlap") + torch.diag_embed((~self.real).to(torch.float64))

    @cached_property
    def kinetic(self) -> Float[Tensor, "M n n"]:
        """(M, n, n)."""
        return self._padded("kinetic")

    @cached_property
    def core(self) -> Float[Tensor, "M n n"]:
        """(M, n, n), kinetic energy and nuclear attraction."""
        return self._padded("core")

    @cached_property
    def dipole(self) -> Float[Tensor, "M 3 n n"]:
        """(M, 3, n, n), <mu|r|nu> about the origin, bohr."""
        return self._padded("dipole")

    @cached_property
    def nuclear(self) -> Float[Tensor, " M"]:
        """(M,) repulsion of the nuclei, hartree."""
        values = [molecule.nuclear for molecule in self.molecules]
        return torch.tensor(values, dtype=torch.float64, device=self.device)

    @cached_property
    def nuclear_dipole(self) -> Float[Tensor, "M 3"]:
        """(M, 3), e bohr."""
        return torch.stack([m.numbers.to(m.positions) @ m.positions for m in self.molecules])

    @cached_property
    def orthonormaliser(self) -> Float[Tensor, "M n n"]:
        """X (M, n, n) with X^T S X = 1 on the columns that are kept; the others are zero: padding
        and directions in which the basis is linearly dependent (eigenvalue below 1e-8)."""
        values, vectors = torch.linalg.eigh(self.overlap)
        # padding mixes with no orbital, as its overlap with them is exactly zero
        outside = (vectors.square() * (~self.real)[:, :, None]).sum(1) > 0.5
        keep = (values > 1e-8) & ~outside
        scale = torch.where(keep, values.clamp_min(1e-12).rsqrt(), torch.zeros_like(values))
        columns: Tensor = vectors * scale[:, None]
        return columns

    @cached_property
    def guess(self) -> Float[Tensor, "M s n n"]:
        """(M, s, n, n) first density: that of all electrons, shared between the spins."""
        total = self._padded("guess")
        electrons = self.electrons.to(total.dtype)
        shares = electrons / (self.share * electrons.sum(1, keepdim=True))
        return shares[:, :, None, None] * total[:, None]

    def total(self, density_matrix: Float[Tensor, "M s n n"]) -> Float[Tensor, "M n n"]:
        """(M, n, n) density matrix of all electrons."""
        return self.share * density_matrix.sum(1)

    def block_of(
        self, matrix: Float[Tensor, "M *rows n n"], index: int
    ) -> Float[Tensor, "*rows m m"]:
        """The part (..., n_m, n_m) of ``matrix[index]`` that belongs to molecule ``index``."""
        n = self.molecules[index].orbitals
        return matrix[index, ..., :n, :n]

    def _padded(self, name: str) -> Tensor:
        arrays: list[Tensor] = [getattr(molecule, name) for molecule in self.molecules]
        first = arrays[0]
        if len(arrays) == 1:
            return first[None]
        out = first.new_zeros(len(arrays), *first.shape[:-2], self.size, self.size)
        for row, matrix in zip(out, arrays, strict=True):
            row[..., : matrix.shape[-2], : matrix.shape[-1]] = matrix
        return out
