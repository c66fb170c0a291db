"""Two-electron terms as functions of the nuclei: Hartree and exchange, fitted or exact.

Each term is a function of (positions, *inputs) in hartree, one of many whose sum has the derivative
of the whole, so that memory stays that of one.

Atomic units (hartree, bohr).

Density fitting: B. I. Dunlap, J. W. D. Connolly and J. R. Sabin, J. Chem. Phys. 71, 3396 (1979);
its exchange: F. Weigend, Phys. Chem. Chem. Phys. 4, 4285 (2002). Derivatives at fixed coefficients
are derived here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.gradients.shell_pairs import block_pairs, multiplicity, pair_density, pair_of, places
from sfm_dft.integrals import two_centre
from sfm_dft.integrals.batches import interaction, matrix
from sfm_dft.integrals.hermite import singles
from sfm_dft.integrals.shells import Shells
from sfm_dft.scf.molecule import Molecule

Term = Callable[..., Float[Tensor, ""]]


def exact_hartree_terms(
    shells: Shells, total: Float[Tensor, "n n"]
) -> Iterator[tuple[Term, Sequence[Float[Tensor, " ..."]]]]:
    """1/2 sum D_mn D_ks (m n|k s) of D (n, n), with four-centre integrals."""
    numbers = block_pairs(shells)

    def one(index: int, r: Tensor, total: Tensor) -> Tensor:
        moved = shells.at(r)
        bra = pair_density(moved, numbers[index], total)
        out = 0.5 * interaction(bra, bra)
        for other in numbers[:index]:
            out = out + interaction(bra, pair_density(moved, other, total))
        return out

    for index in range(len(numbers)):
        yield partial(one, index), (total,)


class Fit:
    """Density fitting with its coefficients held fixed."""

    def __init__(self, molecule: Molecule, auxiliary: Shells) -> None:
        self.molecule, self.auxiliary = molecule, auxiliary
        self.triangle = torch.linalg.cholesky(two_centre(auxiliary))

    def solve(self, factors: Float[Tensor, " P *axes"]) -> Float[Tensor, " P *axes"]:
        """c = V^-1 b (P, ...) of contracted factors L^-1 b (P, ...)."""
        flat = factors.reshape(len(factors), -1)
        solved: Tensor = torch.linalg.solve_triangular(self.triangle.mT, flat, upper=True)
        return solved.reshape(factors.shape)

    def repulsion(self, r: Float[Tensor, "A 3"], c: Float[Tensor, " P"]) -> Float[Tensor, ""]:
        """() -c V c / 2 of c (P,)."""
        return -0.5 * (c @ two_centre(self.auxiliary.at(r)) @ c)


def fitted_exchange_terms(
    fit: Fit, shells: Shells, d: Float[Tensor, "s n n"], share: Float[Tensor, ""]
) -> Iterator[tuple[Term, Sequence[Float[Tensor, " ..."]]]]:
    """-a/2 sum tr(D b_P D b_Q) V^-1_PQ: the derivative is that of x.b + y.V.

    x_P = -a D c_P D,   y_PQ = a/2 tr(D c_P D c_Q),   c = V^-1 b held fixed; a times share 2/s.
    D (s, n, n).
    """
    factors = fit.molecule.coulomb
    weights = factors.new_zeros(())
    metric = factors.new_zeros(())
    for row in d:
        turned = row @ factors  # D L_P
        weights = weights - 2.0 * share * (turned @ row)
        metric = metric + share * torch.einsum("pij,qji->pq", turned, turned)
    weights = fit.solve(weights)
    metric = fit.solve(fit.solve(metric).mT)
    yield lambda r, y: (y * two_centre(fit.auxiliary.at(r))).sum(), (metric,)
    for numbers in block_pairs(shells):

        def three(numbers: tuple[int, int], r: Tensor, x: Tensor) -> Tensor:
            pair, auxiliary = pair_of(shells.at(r), numbers), fit.auxiliary.at(r)
            bra, (mu, nu) = pair.distribution(), pair.functions()
            rows = (multiplicity(mu, nu) * x[:, mu, nu]).flatten(2)  # (P, groups, width)
            out = r.new_zeros(())
            for block in auxiliary.blocks:
                integrals = matrix(bra, singles(auxiliary, block))
                out = out + (integrals * rows[places(block)].permute(2, 3, 0, 1)).sum()
            return out

        yield partial(three, numbers), (weights,)


def exact_exchange_terms(
    shells: Shells, d: Float[Tensor, "s n n"], share: Float[Tensor, ""]
) -> Iterator[tuple[Term, Sequence[Float[Tensor, " ..."]]]]:
    """-a/2 sum D_mk D_ns (m n|k s) of D (s, n, n), with four-centre integrals."""
    numbers = block_pairs(shells)

    def four(first: int, second: int, r: Tensor, d: Tensor, share: Tensor) -> Tensor:
        moved = shells.at(r)
        bra, ket = pair_of(moved, numbers[first]), pair_of(moved, numbers[second])
        mn, ls = bra.functions(), ket.functions()
        left, right = multiplicity(*mn).flatten(1), multiplicity(*ls).flatten(1)
        m, n = (x.flatten(1)[:, :, None, None] for x in mn)
        k, s = (x.flatten(1) for x in ls)
        weight = (d[:, m, k] * d[:, n, s] + d[:, m, s] * d[:, n, k]).sum(0)
        weight = 0.5 * left[:, :, None, None] * right * weight
        integrals = matrix(bra.distribution(), ket.distribution())
        times = 1.0 if first == second else 2.0
        return -times * share * (integrals * weight).sum()

    for first in range(len(numbers)):
        for second in range(first + 1):
            yield partial(four, first, second), (d, share)
