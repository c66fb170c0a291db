"""Forces of a self-consistent state: minus the derivative of its energy by the nuclei.

At self-consistency the orbitals need no derivative of their own (the envelope theorem); only that
they stay orthonormal costs a term with the energy-weighted density matrix W (Pulay):

    F_A = -d/dR_A [ E(R; D) - tr(W S(R)) ],   D and W fixed,   W = D F D / 2.

The same holds inside density fitting, whose coefficients c make 2 c.gamma - c V c stationary, and
for a closure of projections p of the density, dE = v.dp + dE_closure(p, R) at fixed p. Points of
the grid move with their atoms and Becke weights follow. All derivatives are autograd through
`sfm_dft.integrals`; the largest terms come in pieces, so that memory stays bounded.

The forces are differentiable in D and in every parameter of the functional, once; the pieces are
recomputed for that.

Reference: Pulay, Mol. Phys. 17, 197 (1969).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sfm.units import factor
from sfm_dft.energy import DensityFeatures, EnergyFunctional
from sfm_dft.functionals import NEEDS_GRADIENT, functional
from sfm_dft.gaussians import Gaussians
from sfm_dft.integrals import dipole, kinetic, overlap, two_centre
from sfm_dft.integrals.batches import interaction
from sfm_dft.integrals.becke import becke_weights, size_adjustment
from sfm_dft.integrals.hermite import Distribution, Kernel, pairs, points, singles
from sfm_dft.integrals.orbitals import displacements, orbital_values
from sfm_dft.integrals.shells import Shells

POINTS_BYTES = 100_000_000

Term = Callable[..., Tensor]


def forces(energy: EnergyFunctional, density_matrix: Tensor) -> Tensor:
    """Forces on the nuclei (A, 3) in hartree per bohr, of a self-consistent density matrix."""
    system = energy.system
    graph = density_matrix.requires_grad
    fock = energy.fock(density_matrix, create_graph=graph)
    weighted = 0.5 * density_matrix @ fock @ density_matrix
    gaussians = Gaussians.of(system)
    positions = system.positions.detach()
    total = torch.zeros_like(positions)
    for term, inputs in _terms(energy, gaussians, density_matrix, weighted):
        total = total + _gradient(term, positions, inputs)
    if energy.closure is not None:
        total = total + _closure_gradient(energy, density_matrix)
    return -total


def _terms(
    energy: EnergyFunctional, gaussians: Gaussians, d: Tensor, weighted: Tensor
) -> Iterator[tuple[Term, Sequence[Tensor]]]:
    """Functions of (positions, *inputs) whose sum has the derivative of the energy."""
    system, shells = energy.system, gaussians.orbitals
    charges = system.numbers.to(d.dtype)

    def small(r: Tensor, d: Tensor, weighted: Tensor, field: Tensor) -> Tensor:
        moved = shells.at(r)
        out = (d * kinetic(moved)).sum() - (weighted * overlap(moved)).sum()
        electrons = (dipole(moved) * d).sum((-2, -1))
        out = out + (field * (electrons - charges @ r)).sum()
        first, second = torch.triu_indices(len(r), len(r), 1, device=r.device)
        distance = (r[first] - r[second]).norm(dim=1)
        return out + (charges[first] * charges[second] / distance).sum()

    yield small, (d, weighted, energy.field)
    yield from _attraction(energy, gaussians, d, charges)
    yield from _exchange_correlation(energy, gaussians, d)


def _attraction(
    energy: EnergyFunctional, gaussians: Gaussians, d: Tensor, charges: Tensor
) -> Iterator[tuple[Term, Sequence[Tensor]]]:
    """Nuclear attraction, Coulomb energy, and the closure's potential on its projections."""
    system, shells = energy.system, gaussians.orbitals
    inputs: list[Tensor] = [d]
    if gaussians.auxiliary is not None:
        triangle = torch.linalg.cholesky(two_centre(gaussians.auxiliary))
        half = system.coulomb.flatten(1) @ d.reshape(-1)
        fitted = torch.linalg.solve_triangular(triangle.mT, half[:, None], upper=True)[:, 0]
        inputs.append(fitted)
        yield (
            lambda r, c: -0.5 * (c @ two_centre(gaussians.auxiliary.at(r)) @ c),  # type: ignore[union-attr]
            (fitted,),
        )
    if energy.closure is not None:
        assert gaussians.projectors is not None
        inputs.append(gaussians.unordered(_potential(energy, d)))

    numbers = [(i, j) for i in range(len(shells.blocks)) for j in range(i + 1)]

    def density(index: int, r: Tensor, d: Tensor) -> Distribution:
        i, j = numbers[index]
        pair = pairs(shells.at(r), shells.blocks[i], shells.blocks[j])
        mu, nu = pair.functions()
        twice = torch.where(mu[:, 0, 0] == nu[:, 0, 0], 1.0, 2.0)[:, None, None]
        return pair.distribution().weighted((twice * d[mu, nu]).flatten(1))

    def one(index: int, r: Tensor, d: Tensor, *weights: Tensor) -> Tensor:
        rest = list(weights)
        bra = density(index, r, d)
        out = interaction(bra, points(r, -charges))
        if gaussians.auxiliary is not None:
            out = out + _against(bra, gaussians.auxiliary.at(r), rest.pop(0), "coulomb")
        else:
            out = out + 0.5 * interaction(bra, bra)
            for other in range(index):
                out = out + interaction(bra, density(other, r, d))
        if rest and gaussians.projectors is not None:
            out = out + _against(bra, gaussians.projectors.at(r), rest.pop(0), "overlap")
        return out

    for index in range(len(numbers)):
        yield partial(one, index), inputs


def _against(bra: Distribution, shells: Shells, weights: Tensor, kernel: Kernel) -> Tensor:
    """Interaction of one density with sum_P c_P chi_P; weights (size,) in PySCF's order."""
    out = bra.centres.new_zeros(())
    for block in shells.blocks:
        place = block.offsets[:, None] + torch.arange(block.width, device=weights.device)
        out = out + interaction(bra, singles(shells, block).weighted(weights[place]), kernel)
    return out


def _exchange_correlation(
    energy: EnergyFunctional, gaussians: Gaussians, d: Tensor
) -> Iterator[tuple[Term, Sequence[Tensor]]]:
    system, shells = energy.system, gaussians.orbitals
    gradient = NEEDS_GRADIENT[energy.base]
    evaluate = functional(energy.base)
    adjustment = size_adjustment(system.numbers)
    offsets = system.points - system.positions[system.owners]

    def piece(part: slice, r: Tensor, d: Tensor, exchange: Tensor, correlation: Tensor) -> Tensor:
        owners = system.owners[part]
        shift = displacements(r, r[owners] + offsets[part])
        weights = becke_weights(shift, r, adjustment, owners, system.volumes[part])
        chi = orbital_values(shells.at(r), shift, gradient=gradient)
        half = d @ chi[0]
        rho = (chi[0] * half).sum(0)
        sigma = torch.zeros_like(rho)
        if gradient:
            sigma = (2.0 * (chi[1:] * half).sum(1)).square().sum(0)
        ex, ec = evaluate(rho, sigma)
        return (weights * (exchange * ex + correlation * ec)).sum()

    rows = 8 * (40 * shells.size + 10 * len(system.positions) ** 2)
    size = max(1, POINTS_BYTES // rows)
    for start in range(0, len(system.points), size):
        inputs = (d, energy.exchange_scale, energy.correlation_scale)
        yield partial(piece, slice(start, start + size)), inputs


def _potential(energy: EnergyFunctional, d: Tensor) -> Tensor:
    """Derivative of the closure's energy by the projections, hartree, (A, 45)."""
    with torch.enable_grad():
        graph = d.requires_grad
        p = energy.system.projections(d)
        p = p if graph else p.detach().requires_grad_()
        (v,) = torch.autograd.grad(
            _closure(energy, p, energy.system.positions), p, create_graph=graph
        )
    return v


def _closure_gradient(energy: EnergyFunctional, d: Tensor) -> Tensor:
    """Derivative of the closure's energy by the positions that it reads itself, (A, 3)."""
    with torch.enable_grad():
        r = energy.system.positions.detach().requires_grad_()
        value = _closure(energy, energy.system.projections(d), r)
        if not value.requires_grad:
            return torch.zeros_like(r)
        (found,) = torch.autograd.grad(value, r, create_graph=d.requires_grad, allow_unused=True)
    return torch.zeros_like(r) if found is None else found


def _closure(energy: EnergyFunctional, projections: Tensor, positions: Tensor) -> Tensor:
    assert energy.closure is not None
    features = DensityFeatures(
        projections,
        energy.system.numbers,
        positions * factor("bohr", "angstrom"),
        float(energy.system.charge),
    )
    return energy.closure(features).reshape(()) * factor("eV", "hartree")


def _gradient(term: Term, positions: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Derivative of term(positions, *inputs) by positions; it is a function of the inputs."""
    return _Gradient.apply(term, positions, *inputs)


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
