"""Derivatives by the nuclei of the density-fitted Coulomb and exchange energies, by libcint.

With c = V^-1 b the Coulomb energy is 1/2 b.c, and exact exchange the same sum over pairs of filled
orbitals, so that for each (J: b_P = (P|T); K: b_P = (P|ij))

    E_uv = c.b_uv - 1/2 c V_uv c + (b_u - V_u c) V^-1 (b_v - V_v c),

derived here: V c = b is differentiated twice. Three-centre integrals depend on differences of
positions only: moving P is moving both others back.

The fit: B. I. Dunlap, J. W. D. Connolly and J. R. Sabin, J. Chem. Phys. 71, 3396 (1979).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfm.progress import report
from sfm_dft.gradients.forces import exact_exchange_scale
from sfm_dft.hessian.grid_terms import between_atoms
from sfm_dft.hessian.occupied import Occupied
from sfm_dft.hessian.skeleton import Skeleton
from sfm_dft.scf.energy import EnergyFunctional

BYTES = 200_000_000  # of second-derivative integrals at a time


def fitted_terms(energy: EnergyFunctional, occupied: Occupied) -> Skeleton:
    """Skeleton of the fitted Hartree and exact-exchange energies of one molecule, on the CPU."""
    return _Fitted(energy, occupied).skeleton()


class _Fitted:
    def __init__(self, energy: EnergyFunctional, occupied: Occupied) -> None:
        from pyscf import df

        (molecule,) = energy.system.molecules
        self.occupied, self.factors = occupied, molecule.coulomb
        self.molecule = molecule.pyscf()
        self.auxiliary = df.make_auxmol(self.molecule, molecule.auxiliary)
        self.sites = _sites(self.molecule)
        self.places = _sites(self.auxiliary)
        self.exchange = float(exact_exchange_scale(energy)) if energy.exact_exchange else 0.0
        metric = torch.from_numpy(self.auxiliary.intor("int2c2e"))
        self.triangle = torch.linalg.cholesky(metric)
        total = occupied.share * occupied.density_matrix().sum(0)
        self.total = total
        self.c = self._raised(self.factors.flatten(1) @ total.flatten())
        self.half = [
            self.factors @ c_occ for c_occ in occupied.filled_orbitals
        ]  # L^-1 (P|m i), (P, n, o)
        squares = [
            c_occ.mT @ h for c_occ, h in zip(occupied.filled_orbitals, self.half, strict=True)
        ]
        self.pairs = [self._raised(x) for x in squares]  # c of each pair ij, (P, o, o)

    def _raised(self, x: Tensor) -> Tensor:
        """L^-T x."""
        flat = x.reshape(len(x), -1)
        raised: Tensor = torch.linalg.solve_triangular(self.triangle.mT, flat, upper=True)
        return raised.reshape(x.shape)

    def _lowered(self, x: Tensor) -> Tensor:
        """L^-1 x of x (U, P, ...)."""
        flat = x.reshape(*x.shape[:2], -1)
        lowered: Tensor = torch.linalg.solve_triangular(self.triangle, flat, upper=False)
        return lowered.reshape(x.shape)

    def skeleton(self) -> Skeleton:
        occupied, atoms = self.occupied, self.molecule.natm
        zeros = self.total.new_zeros
        count = len(self.places)
        second = self._two_centre()
        once, twice = zeros(atoms, atoms, 3, 3), zeros(atoms, atoms, atoms, 3, 3)
        slopes = [zeros(3 * atoms, count, o, o) for o in occupied.filled]
        focks = [zeros(3 * atoms, *c.shape) for c in occupied.filled_orbitals]
        for part, shells in self._parts():
            report("vibrations: auxiliary function", part.start, count)
            self._first(part, shells, slopes, focks)
            self._second(part, shells, once, twice)
        second = second + 2.0 * between_atoms(once) + 2.0 * _three(twice)
        bent, change = self._metric_slopes(slopes)
        charge = self._lowered(change)  # (U, P)
        second = second + charge @ charge.mT
        out = []
        for row, c in enumerate(occupied.orbitals):
            half = self.half[row]
            fock = focks[row] + (charge @ half.flatten(1)).unflatten(1, half.shape[1:])
            if self.exchange:
                turned = self._lowered(bent[row])  # (U, P, o, o)
                flat = turned.flatten(1)
                second = second - self.exchange * occupied.share * flat @ flat.mT
                fock = fock - self.exchange * torch.einsum("pmi,upik->umk", half, turned)
            out.append(c.mT @ fock)
        return Skeleton(second, out)

    def _parts(self) -> Iterator[tuple[slice, tuple[int, int]]]:
        """Slices of the auxiliary functions, with their shells."""
        where = self.auxiliary.ao_loc_nr()
        n = len(self.sites)
        wide = max(1, BYTES // (2 * 9 * 8 * n * n))
        start = 0
        while start < self.auxiliary.nbas:
            stop = start + 1
            while stop < self.auxiliary.nbas and where[stop + 1] - where[start] <= wide:
                stop += 1
            yield slice(int(where[start]), int(where[stop])), (start, stop)
            start = stop

    def _integrals(self, name: str, components: int, shells: tuple[int, int]) -> Tensor:
        """(components, n, n, p)."""
        from pyscf.df import incore

        bases = self.molecule.nbas
        window = (0, bases, 0, bases, *shells)
        integrals = incore.aux_e2(
            self.molecule, self.auxiliary, name, aosym="s1", comp=components, shls_slice=window
        )
        return torch.from_numpy(np.asarray(integrals))

    def _first(
        self, part: slice, shells: tuple[int, int], slopes: list[Tensor], focks: list[Tensor]
    ) -> None:
        """Derivatives of b, and what they do to Fock matrices at fixed c."""
        gradient = self._integrals("int3c2e_ip1", 3, shells)  # (d_x m n|P)
        places, atoms = self.places[part], self.molecule.natm
        there = torch.nn.functional.one_hot(places, atoms).mT.to(gradient)  # (A, p)
        here = torch.nn.functional.one_hot(self.sites, atoms).mT.to(gradient)  # (A, n)
        for row, c_occ in enumerate(self.occupied.filled_orbitals):
            right = torch.einsum("xmnp,ni->xmip", gradient, c_occ)
            left = torch.stack(
                [
                    torch.einsum("xnmp,ni->xmip", gradient[:, index], c_occ[index])
                    for index in ((self.sites == a).nonzero()[:, 0] for a in range(atoms))
                ]
            )
            both = right + left.sum(0)
            moved = there[:, None, None, None] * both - left
            moved = (moved - here[:, None, :, None, None] * right).flatten(0, 1)  # (U, n, o, p)
            slopes[row][:, part] = torch.einsum("mj,umip->upji", c_occ, moved)
            focks[row] += moved @ self.c[part]
            if self.exchange:
                pairs = self.pairs[row][part]
                focks[row] -= self.exchange * torch.einsum("umip,pik->umk", moved, pairs)

    def _second(self, part: slice, shells: tuple[int, int], once: Tensor, twice: Tensor) -> None:
        """Second derivatives against the densities that they meet, summed over atoms."""
        atoms = self.molecule.natm
        weights = self.total[..., None] * self.c[part]
        if self.exchange:
            for c_occ, pairs in zip(self.occupied.filled_orbitals, self.pairs, strict=True):
                spread = torch.einsum("mi,pij,nj->mnp", c_occ, pairs[part], c_occ)
                weights = weights - self.exchange * self.occupied.share * spread
        there = torch.nn.functional.one_hot(self.places[part], atoms).to(weights)  # (p, A)
        here = torch.nn.functional.one_hot(self.sites, atoms).to(weights)  # (n, A)
        same = self._integrals("int3c2e_ipip1", 9, shells).mul_(weights).sum(2) @ there
        once += torch.einsum("xmb,ma->abx", same, here).unflatten(2, (3, 3))
        other = self._integrals("int3c2e_ipvip1", 9, shells).mul_(weights) @ there
        other = torch.einsum("xmnc,ma,nb->abcx", other, here, here)
        twice += other.unflatten(3, (3, 3))

    def _two_centre(self) -> Tensor:
        weights = -0.5 * torch.outer(self.c, self.c)
        if self.exchange:
            for pairs in self.pairs:
                flat = pairs.flatten(1)
                weights = weights + 0.5 * self.exchange * self.occupied.share * flat @ flat.mT
        integrals = torch.from_numpy(self.auxiliary.intor("int2c2e_ipip1")) * weights
        places = torch.nn.functional.one_hot(self.places, self.molecule.natm).to(integrals)
        sums = torch.einsum("xpq,pa,qb->abx", integrals, places, places)
        return between_atoms(sums.unflatten(2, (3, 3)))

    def _metric_slopes(self, slopes: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """b_u - V_u c of pairs (U, P, o, o) and of the whole density (U, P)."""
        share = self.occupied.share
        pairs = [x - self._turned(c) for x, c in zip(slopes, self.pairs, strict=True)]
        whole = share * sum(x.diagonal(dim1=2, dim2=3).sum(-1) for x in slopes)
        return pairs, whole - self._turned(self.c)

    def _turned(self, c: Tensor) -> Tensor:
        """V_u c (U, P, ...), where V_u = (d_AP - d_AQ) d/dR_P (P|Q)."""
        slope = -torch.from_numpy(self.auxiliary.intor("int2c2e_ip1"))  # (3, P, P)
        flat = c.flatten(1) if c.dim() > 1 else c[:, None]
        rows = []
        for atom in range(self.molecule.natm):
            mine = (self.places == atom).to(slope)
            rows.append(mine[:, None] * (slope @ flat) - slope @ (mine[:, None] * flat))
        return torch.cat(rows).reshape(-1, *c.shape)


def _three(sums: Tensor) -> Tensor:
    """(U, U) of sums (M, N, P, 3, 3) over atoms, derivatives by x at M and by y at N:
    sum (d_AM - d_AP) (d_BN - d_BP) sums_MNP; symmetric in (M, x) and (N, y) together."""
    atoms = len(sums)
    out = sums.sum(2) - sums.sum(1) - sums.sum(0).transpose(0, 1)
    out = out + torch.diag_embed(sums.sum((0, 1)).permute(1, 2, 0)).permute(2, 3, 0, 1)
    return out.permute(0, 2, 1, 3).reshape(3 * atoms, 3 * atoms)


def _sites(molecule: Any) -> Tensor:
    """The atom of each function."""
    counts = molecule.aoslice_by_atom()
    return torch.repeat_interleave(
        torch.arange(molecule.natm),
        torch.from_numpy(np.asarray(counts[:, 3] - counts[:, 2])).long(),
    )
