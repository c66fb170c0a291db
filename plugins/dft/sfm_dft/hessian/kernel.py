"""How Fock matrices answer to changes of the density matrix, for many changes at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfm_dft.gradients.forces import exact_exchange_scale
from sfm_dft.gradients.response import coupling
from sfm_dft.grid.molecular import CHANNELS
from sfm_dft.hessian.expansion import Expansion, adjoint, bilinear
from sfm_dft.hessian.occupied import Occupied
from sfm_dft.scf.diis import Orbitals
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.xc.contract import Functional

Kernel = Callable[[list[Tensor]], list[Tensor]]


def pointwise(energy: EnergyFunctional) -> bool:
    """Whether all that the functional reads is the density at one point, and exact exchange."""
    closed = energy.closure is None or isinstance(energy.closure, Functional)
    return closed and all(f.pointwise for f in energy.on_grid)


def kernel(
    energy: EnergyFunctional, solution: Orbitals, occupied: Occupied, expansion: Expansion | None
) -> Kernel:
    """Z (B, n, o) of each spin -> C^T dF C_o (B, n, o) of each spin (`sfm_dft.hessian.occupied`).

    expansion: of a pointwise functional; without one, autograd answers one change at a time.
    """
    (molecule,) = energy.system.molecules
    if expansion is not None and molecule.fitted:
        return _Kernel(energy, occupied, expansion)
    couple = coupling(energy, solution)
    back = solution.coefficients.detach().mT @ energy.system.overlap[:, None]

    def apply(changes: list[Tensor]) -> list[Tensor]:
        blocks = []
        for matrix in occupied.matrices(changes):
            change = couple(back @ matrix[None] @ back.mT)  # between the solution's own orbitals
            blocks.append((back.mT @ change @ back)[0])
        return occupied.between(torch.stack(blocks))

    return apply


class _Kernel:
    def __init__(self, energy: EnergyFunctional, occupied: Occupied, expansion: Expansion) -> None:
        (molecule,) = energy.system.molecules
        self.occupied, self.grid, self.factors = occupied, molecule.grid, molecule.coulomb
        self.channels = CHANNELS[energy.rung]
        self.curvature = molecule.grid.weights * expansion.curvature
        self.exchange = float(exact_exchange_scale(energy)) if energy.exact_exchange else 0.0
        self.half = [self.factors @ c_occ for c_occ in occupied.filled_orbitals]  # (P, n, o)

    def __call__(self, changes: list[Tensor]) -> list[Tensor]:
        moved = [c @ z for c, z in zip(self.occupied.orbitals, changes, strict=True)]
        coulomb = self._coulomb(moved)
        on_grid = self._grid(moved)
        out = []
        for row, c in enumerate(self.occupied.orbitals):
            total = coulomb[row] + on_grid[row] / self.occupied.share
            if self.exchange:
                total = total - self.exchange * self._exchange(row, moved[row])
            out.append(c.mT @ total)
        return out

    def _coulomb(self, moved: list[Tensor]) -> list[Tensor]:
        pairs = zip(self.half, moved, strict=True)
        charges = [u.flatten(1) @ h.flatten(1).mT for h, u in pairs]
        charge = 2.0 * self.occupied.share * torch.stack(charges).sum(0)  # (B, P)
        return [(charge @ h.flatten(1)).unflatten(1, h.shape[1:]) for h in self.half]

    def _exchange(self, row: int, moved: Tensor) -> Tensor:
        """sum_P L_P (C_o U^T + U C_o^T) L_P C_o, (B, n, o)."""
        half, c_occ = self.half[row], self.occupied.filled_orbitals[row]
        square = c_occ.mT @ half  # (P, o, o)
        turned = torch.einsum("bmi,pmk->bpik", moved, half)
        first = torch.einsum("pmi,bpik->bmk", half, turned)
        n, o = c_occ.shape
        wide = moved.permute(1, 0, 2).reshape(n, -1)  # (n, B o)
        step = (self.factors @ wide).unflatten(2, (-1, o))  # (P, n, B, o)
        second = torch.einsum("pmbi,pik->bmk", step, square)
        return first + second

    def _grid(self, moved: list[Tensor]) -> list[Tensor]:
        """Half-transformed derivative of the energy by each spin's density matrix."""
        grid, occupied = self.grid, self.occupied
        slopes = min(self.channels, 4)
        order, back = grid.jets.order, torch.argsort(grid.jets.order)
        c_occ = [c[order] for c in occupied.filled_orbitals]
        wide = [u[:, order].permute(0, 2, 1) for u in moved]  # (B, o, n)
        out = [u.new_zeros(u.shape[1], u.shape[0] * u.shape[2]) for u in moved]
        for block in grid.blocks:
            chi, which = block.orbitals[:slopes], block.functions
            phis, changed = [], []
            for c, u in zip(c_occ, wide, strict=True):
                c, u = (c, u) if which is None else (c[which], u[:, :, which])
                phi = c.mT @ chi
                psi = u.reshape(-1, u.shape[2]) @ chi
                psi = psi.unflatten(1, u.shape[:2])  # (c', B, o, g)
                phis.append(phi)
                changed.append(bilinear(phi, psi, self.channels))
            answer = torch.einsum(
                "sctdg,tdbg->scbg", self.curvature[..., block.points], torch.stack(changed)
            )
            for row, phi in enumerate(phis):
                t = adjoint(answer[row], phi[:, None]).flatten(1, 2)  # (c', B o, g)
                part = (chi @ t.mT).sum(0)
                if which is None:
                    out[row] += part
                else:
                    out[row].index_add_(0, which, part)
        return [
            x[back].unflatten(1, (u.shape[0], u.shape[2])).permute(1, 0, 2)
            for x, u in zip(out, moved, strict=True)
        ]
