"""Forces of a self-consistent state: minus the derivative of its energy by the nuclei.

At self-consistency the orbitals need no derivative of their own (the envelope theorem); only that
they stay orthonormal costs a term with the energy-weighted density matrix W (Pulay):

    F_A = -d/dR_A [ E(R; D) - tr(W S(R)) ],   D and W fixed,   W = sum over spins of D F D.

The same holds inside density fitting, whose coefficients c = V^-1 b are stationary in the Coulomb
energy c.b - c V c / 2 and in the exchange energy alike, and for a closure of projections p of the
density, dE = v.dp + dE_closure(p, R) at fixed p. Points of the grid move with their atoms and Becke
weights follow (`sfm_dft.gradients.moving_grid`). Derivatives of integrals are autograd through
`sfm_dft.integrals`; the largest terms come in pieces, so that memory stays bounded.

The forces are differentiable in D and in every parameter of the functional, once; the pieces are
recomputed for that.

Reference: Pulay, Mol. Phys. 17, 197 (1969).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sfm.units import factor
from sfm_dft.basis.gaussians import Gaussians
from sfm_dft.gradients.moving_grid import moving_density
from sfm_dft.integrals import dipole, kinetic, overlap, two_centre
from sfm_dft.integrals.batches import interaction, matrix
from sfm_dft.integrals.hermite import Distribution, Kernel, Pairs, pairs, points, singles
from sfm_dft.integrals.shells import Shells
from sfm_dft.scf.energy import DensityFeatures, EnergyFunctional
from sfm_dft.scf.molecule import Molecule
from sfm_dft.scf.system import KohnShamSystem
from sfm_dft.xc.functional import Functional

Term = Callable[..., Tensor]


def forces(energy: EnergyFunctional, density_matrix: Tensor, fock: Tensor | None = None) -> Tensor:
    """Forces on the nuclei of all molecules, one after another, (sum of A, 3) hartree per bohr.

    density_matrix: (M, s, n, n), self-consistent. fock: its Fock matrix, where it is known.
    """
    system = energy.system
    if fock is None:
        fock = energy.fock(density_matrix, create_graph=density_matrix.requires_grad)
    weighted = energy_weighted(system, density_matrix, fock)
    found = []
    for index in range(len(system)):
        one = energy.select([index])
        d = system.own(density_matrix, index)
        found.append(-_gradient_of(one, d, system.own(weighted, index)))
    return torch.cat(found)


def energy_weighted(system: KohnShamSystem, d: Tensor, fock: Tensor) -> Tensor:
    """W (M, n, n) of all electrons, which multiplies the derivative of the overlap.

    D F D where levels are filled or empty, whose error is that of D squared; D F S^-1, which is the
    same at self-consistency, where they are filled by fractions.
    """
    overlap = system.overlap[:, None]
    with torch.no_grad():
        fractional = bool((d @ overlap @ d - d).abs().max() > 1e-6)
    if not fractional:
        return system.total(d @ fock @ d)
    inverse = (system.orthonormaliser @ system.orthonormaliser.mT)[:, None]
    half = d @ fock @ inverse
    return system.total(0.5 * (half + half.mT))


def _gradient_of(energy: EnergyFunctional, d: Tensor, weighted: Tensor) -> Tensor:
    """Derivative (A, 3) of one molecule's energy by its nuclei."""
    (molecule,) = energy.system.molecules
    positions = molecule.positions.detach()
    total = _on_grid(energy, d)
    for term, inputs in _terms(energy, Gaussians.of(molecule), d, weighted):
        total = total + _gradient(term, positions, inputs)
    if energy.dispersion is not None:
        total = total + _gradient(partial(molecule.dispersion, energy.dispersion), positions, ())
    if energy.closure is not None and not isinstance(energy.closure, Functional):
        total = total + _closure_gradient(energy, d)
    return total


def grid_energy(energy: EnergyFunctional, d: Tensor, positions: Tensor) -> Tensor:
    """The energy of one molecule that its grid gives, () hartree, as a function of its nuclei."""
    (molecule,) = energy.system.molecules
    whole = not all(f.pointwise for f in energy.on_grid)
    density, weights = moving_density(molecule, d, positions, energy.rung, whole=whole)
    exchange, correlation = energy.base(density)
    value = energy.exchange_scale * exchange + energy.correlation_scale * correlation
    if isinstance(energy.closure, Functional):
        value = value + torch.stack(list(energy.closure(density))).sum(0)
    return weights @ value


def exact_exchange_scale(energy: EnergyFunctional) -> Tensor:
    """How much exact exchange the energy holds, ()."""
    scale = energy.exchange_scale * energy.base.exact_exchange
    if isinstance(energy.closure, Functional):
        scale = scale + energy.closure.exact_exchange
    return scale


def small_terms(
    shells: Shells,
    charges: Tensor,
    r: Tensor,
    total: Tensor,
    weighted: Tensor,
    field: Tensor,
) -> Tensor:
    """Kinetic energy, field, repulsion of the nuclei, and -tr(W S), () hartree."""
    moved = shells.at(r)
    out = (total * kinetic(moved)).sum() - (weighted * overlap(moved)).sum()
    electrons = (dipole(moved) * total).sum((-2, -1))
    out = out + (field * (electrons - charges @ r)).sum()
    first, second = torch.triu_indices(len(r), len(r), 1, device=r.device)
    distance = (r[first] - r[second]).norm(dim=1)
    return out + (charges[first] * charges[second] / distance).sum()


def _on_grid(energy: EnergyFunctional, d: Tensor) -> Tensor:
    (molecule,) = energy.system.molecules
    with torch.enable_grad():
        r = molecule.positions.detach().requires_grad_()
        value = grid_energy(energy, d, r)
        (found,) = torch.autograd.grad(
            value, r, create_graph=d.requires_grad, materialize_grads=True
        )
    return found


def _terms(
    energy: EnergyFunctional, gaussians: Gaussians, d: Tensor, weighted: Tensor
) -> Iterator[tuple[Term, Sequence[Tensor]]]:
    """Functions of (positions, *inputs) whose sum has the derivative of everything off the grid."""
    (molecule,) = energy.system.molecules
    shells, charges = gaussians.orbitals, molecule.numbers.to(d.dtype)
    total = energy.system.total(d[None])[0]
    yield partial(small_terms, shells, charges), (total, weighted, energy.field)
    inputs: list[Tensor] = [total]
    if gaussians.auxiliary is not None:
        fit = _Fit(molecule, gaussians.auxiliary)
        coefficients = fit.solve(molecule.coulomb.flatten(1) @ total.reshape(-1))
        inputs.append(coefficients)
        yield fit.repulsion, (coefficients,)
    if molecule.density_functions is not None:
        inputs.append(gaussians.unordered(_potential(energy, d)))

    def one(numbers: tuple[int, int], r: Tensor, total: Tensor, *weights: Tensor) -> Tensor:
        rest = list(weights)
        bra = _density(shells.at(r), numbers, total)
        out = interaction(bra, points(r, -charges))
        if gaussians.auxiliary is not None:
            out = out + _against(bra, gaussians.auxiliary.at(r), rest.pop(0), "coulomb")
        if rest and gaussians.projectors is not None:
            out = out + _against(bra, gaussians.projectors.at(r), rest.pop(0), "overlap")
        return out

    for numbers in _numbers(shells):
        yield partial(one, numbers), inputs
    if gaussians.auxiliary is None:
        yield from exact_hartree_terms(shells, total)
    if energy.exact_exchange:
        share = 0.5 * energy.system.share * exact_exchange_scale(energy)
        if gaussians.auxiliary is not None:
            yield from _fitted_exchange(fit, shells, d, share)
        else:
            yield from exact_exchange_terms(shells, d, share)


def exact_hartree_terms(shells: Shells, total: Tensor) -> Iterator[tuple[Term, Sequence[Tensor]]]:
    """1/2 sum D_mn D_ks (m n|k s), with four-centre integrals."""
    numbers = _numbers(shells)

    def one(index: int, r: Tensor, total: Tensor) -> Tensor:
        moved = shells.at(r)
        bra = _density(moved, numbers[index], total)
        out = 0.5 * interaction(bra, bra)
        for other in numbers[:index]:
            out = out + interaction(bra, _density(moved, other, total))
        return out

    for index in range(len(numbers)):
        yield partial(one, index), (total,)


class _Fit:
    """Density fitting with its coefficients held fixed."""

    def __init__(self, molecule: Molecule, auxiliary: Shells):
        self.molecule, self.auxiliary = molecule, auxiliary
        self.triangle = torch.linalg.cholesky(two_centre(auxiliary))

    def solve(self, factors: Tensor) -> Tensor:
        """c = V^-1 b (P, ...) of contracted factors L^-1 b (P, ...)."""
        flat = factors.reshape(len(factors), -1)
        found = torch.linalg.solve_triangular(self.triangle.mT, flat, upper=True)
        return found.reshape(factors.shape)

    def repulsion(self, r: Tensor, c: Tensor) -> Tensor:
        """-c V c / 2."""
        return -0.5 * (c @ two_centre(self.auxiliary.at(r)) @ c)


def _fitted_exchange(
    fit: _Fit, shells: Shells, d: Tensor, share: Tensor
) -> Iterator[tuple[Term, Sequence[Tensor]]]:
    """-a/2 sum tr(D b_P D b_Q) V^-1_PQ: the derivative is that of x.b + y.V with

    x_P = -a D c_P D,   y_PQ = a/2 tr(D c_P D c_Q),   c = V^-1 b held fixed; a times share 2/s.
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
    for numbers in _numbers(shells):

        def three(numbers: tuple[int, int], r: Tensor, x: Tensor) -> Tensor:
            pair, auxiliary = _pair(shells.at(r), numbers), fit.auxiliary.at(r)
            bra, (mu, nu) = pair.distribution(), pair.functions()
            rows = (_twice(mu, nu) * x[:, mu, nu]).flatten(2)  # (P, groups, width)
            out = r.new_zeros(())
            for block in auxiliary.blocks:
                found = matrix(bra, singles(auxiliary, block))
                out = out + (found * rows[_place(block)].permute(2, 3, 0, 1)).sum()
            return out

        yield partial(three, numbers), (weights,)


def exact_exchange_terms(
    shells: Shells, d: Tensor, share: Tensor
) -> Iterator[tuple[Term, Sequence[Tensor]]]:
    """-a/2 sum D_mk D_ns (m n|k s), with four-centre integrals."""
    numbers = _numbers(shells)

    def four(first: int, second: int, r: Tensor, d: Tensor, share: Tensor) -> Tensor:
        moved = shells.at(r)
        bra, ket = _pair(moved, numbers[first]), _pair(moved, numbers[second])
        mn, ls = bra.functions(), ket.functions()
        left, right = _twice(*mn).flatten(1), _twice(*ls).flatten(1)
        m, n = (x.flatten(1)[:, :, None, None] for x in mn)
        k, s = (x.flatten(1) for x in ls)
        weight = (d[:, m, k] * d[:, n, s] + d[:, m, s] * d[:, n, k]).sum(0)
        weight = 0.5 * left[:, :, None, None] * right * weight
        found = matrix(bra.distribution(), ket.distribution())
        times = 1.0 if first == second else 2.0
        return -times * share * (found * weight).sum()

    for first in range(len(numbers)):
        for second in range(first + 1):
            yield partial(four, first, second), (d, share)


def _numbers(shells: Shells) -> list[tuple[int, int]]:
    """Every pair of blocks once."""
    return [(i, j) for i in range(len(shells.blocks)) for j in range(i + 1)]


def _density(shells: Shells, numbers: tuple[int, int], total: Tensor) -> Distribution:
    """The part of the electron density that two blocks make."""
    pair = _pair(shells, numbers)
    mu, nu = pair.functions()
    return pair.distribution().weighted((_twice(mu, nu) * total[mu, nu]).flatten(1))


def _pair(shells: Shells, numbers: tuple[int, int]) -> Pairs:
    return pairs(shells, shells.blocks[numbers[0]], shells.blocks[numbers[1]])


def _twice(mu: Tensor, nu: Tensor) -> Tensor:
    """How often a pair of shells counts, (groups, 1, 1): those of one shell hold both orders."""
    return torch.where(mu[:, 0, 0] == nu[:, 0, 0], 1.0, 2.0).to(torch.float64)[:, None, None]


def _against(bra: Distribution, shells: Shells, weights: Tensor, kernel: Kernel) -> Tensor:
    """Interaction of one density with sum_P c_P chi_P; weights (size,) in PySCF's order."""
    out = bra.centres.new_zeros(())
    for block in shells.blocks:
        rows = weights[_place(block)]
        out = out + interaction(bra, singles(shells, block).weighted(rows), kernel)
    return out


def _place(block: Any) -> Tensor:
    """Numbers (shells, width) of a block's functions."""
    return cast(
        Tensor, block.offsets[:, None] + torch.arange(block.width, device=block.offsets.device)
    )


def _potential(energy: EnergyFunctional, d: Tensor) -> Tensor:
    """Derivative of the closure's energy by the projections, hartree, (A, 45)."""
    (molecule,) = energy.system.molecules
    with torch.enable_grad():
        graph = d.requires_grad
        p = molecule.projections(energy.system.total(d[None])[0])
        p = p if graph else p.detach().requires_grad_()
        value = closure_energy(energy, p, molecule.positions)
        (v,) = torch.autograd.grad(value, p, create_graph=graph)
    return v


def _closure_gradient(energy: EnergyFunctional, d: Tensor) -> Tensor:
    """Derivative of the closure's energy by the positions that it reads itself, (A, 3)."""
    (molecule,) = energy.system.molecules
    with torch.enable_grad():
        r = molecule.positions.detach().requires_grad_()
        p = molecule.projections(energy.system.total(d[None])[0])
        value = closure_energy(energy, p, r)
        if not value.requires_grad:
            return torch.zeros_like(r)
        (found,) = torch.autograd.grad(value, r, create_graph=d.requires_grad, allow_unused=True)
    return torch.zeros_like(r) if found is None else found


def closure_energy(energy: EnergyFunctional, projections: Tensor, positions: Tensor) -> Tensor:
    """Energy () in hartree of a closure that reads projections (A, 45) and positions in bohr."""
    (molecule,) = energy.system.molecules
    assert energy.closure is not None
    features = DensityFeatures(
        projections,
        molecule.numbers,
        positions * factor("bohr", "angstrom"),
        float(molecule.charge),
    )
    return cast(Tensor, energy.closure(features).reshape(()) * factor("eV", "hartree"))


def _gradient(term: Term, positions: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Derivative of term(positions, *inputs) by positions; it is a function of the inputs."""
    return cast(Tensor, _Gradient.apply(term, positions, *inputs))


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, term: Term, positions: Tensor, *inputs: Tensor) -> Tensor:
        ctx.term = term
        ctx.save_for_backward(positions, *inputs)
        with torch.enable_grad():
            r = positions.detach().requires_grad_()
            value = term(r, *(x.detach() for x in inputs))
            (found,) = torch.autograd.grad(value, r)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        positions, *inputs = ctx.saved_tensors
        with torch.enable_grad():
            r = positions.detach().requires_grad_()
            leaves = [x.detach().requires_grad_() for x in inputs]
            (found,) = torch.autograd.grad(ctx.term(r, *leaves), r, create_graph=True)
            back = torch.autograd.grad(found, leaves, gradient, allow_unused=True)
        return (None, None, *back)
