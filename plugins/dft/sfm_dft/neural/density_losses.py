"""Losses on derivatives of the energy by the density matrix, and on self-consistent densities.

In an orthonormal basis a density matrix of whole electrons is a projector P, and such P form a
manifold. A step along it is U = (1 - P) U P, filled orbitals to empty ones:

    P(t) = exp(t A) P exp(-t A),  A = U - U^T,
    E(t) = E + 2 g t <G, U> + g t^2 <U, H U> + ...,
    G = (1 - P) F P,   H U = (1 - P) (F U - U F + K[U + U^T]) P,

with g = 2 in a closed shell, whose one row counts for two spins, else 1; F the Fock matrix and K
its exact derivative by the density matrix. G is F's block between the empty and filled orbitals of
P, so a functional whose self-consistent density matrix is P has G = 0: to ask for that needs no
self-consistent field. Nothing here takes orbitals apart, so degenerate levels do no harm.

`gradient`, `hessian_products` and what is made of them have graphs to the functional's weights.
Densities and dipoles of self-consistent solutions have them through `gradients.response.attach`,
whatever number of losses is added up with one solve. Molecules are solved side by side; every loss
is one number for each.

References: Edelman, Arias, Smith, SIAM J. Matrix Anal. Appl. 20, 303 (1998); Kirkpatrick et al.,
Science 374, 1385 (2021), which asks for the same of a functional by second-order perturbation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.errors import InputError
from sfm_dft.gradients.response import attach
from sfm_dft.grid.molecular import fields
from sfm_dft.scf.diis import ScfState, finish, orthonormal
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.system import KohnShamSystem

IDEMPOTENT = 1e-6  # of P P - P: below it, what is not on the manifold does not show in a loss


@dataclass(frozen=True, eq=False)
class Point:
    """A point of the manifold: density matrices of whole electrons for some molecules.

    Attributes:
        system: the molecules. density_matrix: (M, s, n, n).
        frame: X (M, 1, n, n), the orthonormal basis. projector: P (M, s, n, n) in it.
    """

    system: KohnShamSystem
    density_matrix: Float[Tensor, "M s n n"]
    frame: Float[Tensor, "M 1 n n"]
    projector: Float[Tensor, "M s n n"]

    @classmethod
    def of(cls, system: KohnShamSystem, density_matrix: Float[Tensor, "M s n n"]) -> Point:
        """At density matrices (M, s, n, n), such as self-consistent ones or `nearest_idempotent`.

        Raises:
            InputError: they are not idempotent, or hold another number of electrons.
        """
        d = density_matrix.detach()
        frame, p = system.orthonormaliser[:, None], orthonormal(system, d)
        off = float((p @ p - p).abs().max())
        count = p.diagonal(dim1=-2, dim2=-1).sum(-1)
        if not off < IDEMPOTENT or float((count - system.electrons).abs().max()) > IDEMPOTENT:
            raise InputError(
                f"this density matrix is not idempotent with the molecules' electrons (P P - P is "
                f"{off:.1e}): take nearest_idempotent of a correlated one"
            )
        return cls(system, d, frame, p)

    @property
    def pairs(self) -> Int[Tensor, " M"]:
        """(M,) pairs of a filled and an empty orbital, over the rows of the density matrix."""
        kept = (self.frame.square().sum(-2) > 0).sum(-1)  # (M, 1)
        filled = self.system.electrons
        return (filled * (kept - filled)).sum(1).clamp_min(1)

    def tangent(self, matrix: Float[Tensor, "*lead M s n n"]) -> Float[Tensor, "*lead M s n n"]:
        """(1 - P) M P of matrices (..., M, s, n, n) in the orthonormal basis."""
        half = matrix @ self.projector
        return half - self.projector @ half

    def random(self, count: int, seed: int = 0) -> Float[Tensor, "{count} M s n n"]:
        """(count, M, s, n, n) directions U of unit length for each molecule."""
        generator = torch.Generator().manual_seed(seed)
        shape = (count, *self.density_matrix.shape)
        noise = torch.randn(*shape, generator=generator, dtype=torch.float64)
        kept = (self.frame.square().sum(-2) > 0)[..., None]
        u = self.tangent(noise.to(self.frame) * kept)
        directions: Tensor = u / u.flatten(2).norm(dim=-1).clamp_min(1e-300)[..., None, None, None]
        return directions

    def turned(self, direction: Float[Tensor, "M s n n"]) -> Point:
        """The point that lies a step U (M, s, n, n) along the manifold."""
        turn = torch.linalg.matrix_exp(direction - direction.mT)
        p = turn @ self.projector @ turn.mT
        return Point(self.system, self.frame @ p @ self.frame.mT, self.frame, p)

    def mean_square(
        self,
        tangents: Float[Tensor, "*lead M s n n"],
        reference: Float[Tensor, "*lead M s n n"] | None = None,
    ) -> Float[Tensor, " M"]:
        """(M,) of tangents (..., M, s, n, n), less those of a reference, over pairs of orbitals."""
        off = tangents if reference is None else tangents - reference
        square = off.square().sum((-3, -2, -1))
        return (
            square.flatten(0, -2).mean(0) / self.pairs if square.ndim > 1 else square / self.pairs
        )


def packed(
    system: KohnShamSystem, matrices: Sequence[Float[Tensor, " ..."]]
) -> Float[Tensor, "M s n n"]:
    """(M, s, n, n) of each molecule's own density matrix in the system's orbitals.

    matrices: (n, n) of all electrons, or (2, n, n) of spin up and down, as PySCF's `make_rdm1` in
    atomic orbitals gives them.

    Raises:
        InputError: another number of matrices than molecules, or of another size.
    """
    if len(matrices) != len(system):
        raise InputError(f"{len(matrices)} density matrices for {len(system)} molecules")
    out = system.overlap.new_zeros(len(system), system.spins, system.size, system.size)
    for row, matrix, molecule in zip(out, matrices, system.molecules, strict=True):
        n = molecule.orbitals
        if matrix.shape not in {(n, n), (2, n, n)}:
            raise InputError(
                f"a density matrix of shape {tuple(matrix.shape)} for {n} orbitals: give "
                f"({n}, {n}) of all electrons or (2, {n}, {n}) of both spins"
            )
        spins = matrix if matrix.ndim == 3 else (0.5 * matrix).expand(2, n, n)
        row[:, :n, :n] = spins if system.spins == 2 else spins.mean(0)
    return out


def gradient(energy: EnergyFunctional, point: Point) -> Float[Tensor, "M s n n"]:
    """G (M, s, n, n), hartree: the first derivative of the energy along the manifold."""
    fock = energy.fock(point.density_matrix, create_graph=True)
    return point.tangent(point.frame.mT @ fock @ point.frame)


def hessian_products(
    energy: EnergyFunctional, point: Point, directions: Float[Tensor, "R M s n n"]
) -> Float[Tensor, "R M s n n"]:
    """H U (R, M, s, n, n), hartree, of directions U (R, M, s, n, n): the second derivative."""
    x = point.frame
    with torch.enable_grad():
        d = point.density_matrix.clone().requires_grad_()
        fock = energy.fock(d, create_graph=True)
        level, products = x.mT @ fock @ x, []
        for u in directions:
            change = x @ (u + u.mT) @ x.mT
            (answer,) = torch.autograd.grad(fock, d, change, create_graph=True)
            response = x.mT @ (0.5 * (answer + answer.mT)) @ x
            products.append(point.tangent(level @ u - u @ level + response))
    return torch.stack(products)


def gradient_loss(
    energy: EnergyFunctional, point: Point, reference: Float[Tensor, "M s n n"] | None = None
) -> Float[Tensor, " M"]:
    """(M,) mean square of G less a reference's, hartree^2.

    Without a reference it is zero where the functional's own self-consistent field stands still.
    """
    return point.mean_square(gradient(energy, point), reference)


def hessian_loss(
    energy: EnergyFunctional,
    point: Point,
    directions: Float[Tensor, "R M s n n"],
    reference: Float[Tensor, "R M s n n"],
) -> Float[Tensor, " M"]:
    """(M,) mean square of H U less a reference's (R, M, s, n, n), hartree^2.

    The reference may be another functional's `hessian_products`, hybrids included.
    """
    return point.mean_square(hessian_products(energy, point, directions), reference)


def electron_density(
    system: KohnShamSystem, density_matrix: Float[Tensor, "M s n n"]
) -> Float[Tensor, " G"]:
    """(G,) electrons per bohr^3 on the grids of all molecules, one after another."""
    total = system.total(density_matrix)
    rows = [
        fields(system.block_of(total, index), molecule.grid, "lda")[0]
        for index, molecule in enumerate(system.molecules)
    ]
    return torch.cat(rows)


@dataclass(frozen=True, eq=False)
class Target:
    """What self-consistent solutions should have: densities on the molecules' grids (G,), electrons
    per bohr^3, and dipole moments (M, 3), e bohr. From any theory, in any basis."""

    density: Float[Tensor, " G"]
    dipole: Float[Tensor, "M 3"]

    @classmethod
    def of(cls, energy: EnergyFunctional, density_matrix: Float[Tensor, "M s n n"]) -> Target:
        """Those of density matrices (M, s, n, n), which need not be idempotent."""
        d = density_matrix.detach()
        return cls(electron_density(energy.system, d), energy.dipole(d))


@dataclass(frozen=True, eq=False)
class DensityErrors:
    """How far densities are from a target, (M,) each.

    square: int (n - n_ref)^2, electrons^2 / bohr^3. absolute: int |n - n_ref| over the number of
    electrons. dipole: |mu - mu_ref|^2, (e bohr)^2.
    """

    square: Float[Tensor, " M"]
    absolute: Float[Tensor, " M"]
    dipole: Float[Tensor, " M"]

    @classmethod
    def of(
        cls, energy: EnergyFunctional, density_matrix: Float[Tensor, "M s n n"], target: Target
    ) -> DensityErrors:
        """Of density matrices (M, s, n, n); with a graph if they have one."""
        system = energy.system
        off = electron_density(system, density_matrix) - target.density
        sizes = [len(molecule.grid.weights) for molecule in system.molecules]
        rows = [
            (m.grid.weights @ part.square(), m.grid.weights @ part.abs())
            for m, part in zip(system.molecules, off.split(sizes), strict=True)
        ]
        electrons = system.share * system.electrons.sum(1).to(off.dtype)
        return cls(
            torch.stack([square for square, _ in rows]),
            torch.stack([absolute for _, absolute in rows]) / electrons,
            (energy.dipole(density_matrix) - target.dipole).square().sum(-1),
        )


def self_consistent_errors(
    energy: EnergyFunctional, state: ScfState, target: Target, *, tolerance: float = 1e-9
) -> DensityErrors:
    """Errors of converged solutions, differentiable in the weights: a loss made of all of them
    costs one linear-response solve going back, to the relative residual ``tolerance``.

    Raises:
        InputError: the state has not converged.
    """
    if not state.done():
        raise InputError("densities are compared once self-consistent: iterate this state further")
    density = attach(energy, finish(energy, state), tolerance=tolerance)
    return DensityErrors.of(energy, density, target)
