"""The lowest orbitals of a potential, and how their density answers a change of it.

Eigenvectors are never differentiated. The response is a sum over occupied orbitals only,

    dn(x) = 2 sum_i f_i u_i(x) du_i(x),   (H - e_i) du_i = -P w u_i   (P: orthogonal to occupied),

plus the exchange between orbitals of different occupation, so levels that are equally occupied may
be degenerate (Sternheimer, Phys. Rev. 96, 951 (1954)).

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from dataclasses import dataclass

import scipy.linalg
import torch
from jaxtyping import Float, Int
from torch import Tensor

SAME_LEVEL = 1e-9


def occupations(electrons: Int[Tensor, " B"], levels: int) -> Float[Tensor, "B {levels}"]:
    """(B, levels) two electrons to a level from below; an odd one has the last level to itself."""
    filled = torch.arange(levels, device=electrons.device)
    return (electrons[:, None] - 2 * filled).clamp(0, 2).to(torch.float64)


def lowest(
    bands: Float[Tensor, "_ n"], potential: Float[Tensor, "B n"], count: int
) -> tuple[Float[Tensor, "B {count}"], Float[Tensor, "B n {count}"]]:
    """Levels (B, count) and orthonormal vectors (B, n, count) of T + diag(potential).

    Args:
        bands: (1 + order / 2, n) kinetic energy, as `grid.kinetic_bands`.
        potential: (B, n) hartree.
        count: how many, from below.
    """
    if potential.device.type != "cpu":
        n = potential.shape[-1]
        matrix = torch.diag_embed(potential + bands[0])
        for offset in range(1, len(bands)):
            side = torch.diag_embed(bands[offset, : n - offset], -offset)
            matrix = matrix + side + side.mT
        values, vectors = torch.linalg.eigh(matrix)
        return values[:, :count], vectors[:, :, :count]
    pairs = []
    for v in potential.detach():
        banded = bands.clone()
        banded[0] += v
        pairs.append(
            scipy.linalg.eig_banded(
                banded.numpy(), lower=True, select="i", select_range=(0, count - 1)
            )
        )
    values, vectors = (torch.stack([torch.from_numpy(f[i]) for f in pairs]) for i in (0, 1))
    return values, vectors


@dataclass(frozen=True)
class Orbitals:
    """Occupied orbitals of B potentials, and one more.

    Attributes:
        levels: (B, k) hartree. vectors: (B, n, k), orthonormal columns.
        filling: (B, k) electrons in each, 0 to 2. dx: grid spacing, bohr.
    """

    levels: Float[Tensor, "B k"]
    vectors: Float[Tensor, "B n k"]
    filling: Float[Tensor, "B k"]
    dx: float

    @property
    def density(self) -> Float[Tensor, "B n"]:
        """(B, n) electrons per bohr."""
        return torch.einsum("bnk,bk->bn", self.vectors**2, self.filling) / self.dx


class Response:
    """The static response dn = chi w of orbitals to a change w of their potential; symmetric.

    Args:
        kinetic: (n, n) dense kinetic energy.
        potential: (B, n) the potential that the orbitals belong to.
        orbitals: at least all occupied ones.
    """

    def __init__(self, kinetic: Tensor, potential: Tensor, orbitals: Orbitals) -> None:
        occupied = int((orbitals.filling > 0).any(0).sum())
        self.dx, self.f = orbitals.dx, orbitals.filling[:, :occupied]
        self.u, self.e = orbitals.vectors[:, :, :occupied], orbitals.levels[:, :occupied]
        self.keep = (self.f > 0).to(potential.dtype)
        u = self.u * self.keep[:, None]
        lift = 1.0 + self.e.amax(1) - self.e.amin(1)
        base = kinetic + torch.diag_embed(potential)
        base = base + lift[:, None, None] * (u @ u.mT)
        # rows without an orbital get the level of the lowest one: positive definite all the same
        e = torch.where(self.keep > 0, self.e, self.e[:, :1])
        eye = torch.eye(kinetic.shape[0], dtype=kinetic.dtype, device=kinetic.device)
        shifted = base[:, None] - e[:, :, None, None] * eye
        self.factor = torch.linalg.cholesky(shifted)
        gap = self.e[:, :, None] - self.e[:, None, :]
        safe = torch.where(gap.abs() > SAME_LEVEL, gap, torch.ones_like(gap))
        ratio = (self.f[:, :, None] - self.f[:, None, :]) / safe
        both = self.keep[:, :, None] * self.keep[:, None, :]
        self.pairs = ratio * both * (gap.abs() > SAME_LEVEL)

    def __call__(self, w: Tensor) -> Tensor:
        """(B, n) change of density, electrons per bohr, from the change w (B, n) in hartree."""
        wu = w[:, :, None] * self.u
        inside = (self.u.mT @ wu) * self.keep[:, :, None]
        right = wu - self.u @ inside  # orthogonal to the occupied orbitals
        solved = torch.cholesky_solve(right.mT[..., None], self.factor)[..., 0].mT
        solved = solved - self.u @ ((self.u.mT @ solved) * self.keep[:, :, None])
        outer = -2.0 * torch.einsum("bnk,bk->bn", self.u * solved, self.f)
        inner = torch.einsum("bnk,bkl,bnl->bn", self.u, self.pairs * inside, self.u)
        return (outer + inner) / self.dx
