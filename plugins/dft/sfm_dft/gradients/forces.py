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

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from sfm.autograd import Function
from sfm_dft.basis.gaussians import Gaussians
from sfm_dft.gradients.closure import closure_gradient, potential
from sfm_dft.gradients.moving_grid import moving_density
from sfm_dft.gradients.shell_pairs import against, block_pairs, pair_density
from sfm_dft.gradients.two_electron import (
    Fit,
    Term,
    exact_exchange_terms,
    exact_hartree_terms,
    fitted_exchange_terms,
)
from sfm_dft.integrals import dipole, kinetic, overlap
from sfm_dft.integrals.batches import interaction
from sfm_dft.integrals.hermite import points
from sfm_dft.integrals.shells import Shells
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.system import KohnShamSystem
from sfm_dft.xc.contract import Functional


def forces(
    energy: EnergyFunctional,
    density_matrix: Float[Tensor, "M s n n"],
    fock: Float[Tensor, "M s n n"] | None = None,
) -> Float[Tensor, "atoms 3"]:
    """Forces on the nuclei of all molecules, one after another, (sum of A, 3) hartree per bohr.

    density_matrix: (M, s, n, n), self-consistent. fock: its Fock matrix, where it is known.
    """
    system = energy.system
    if fock is None:
        fock = energy.fock(density_matrix, create_graph=density_matrix.requires_grad)
    weighted = energy_weighted(system, density_matrix, fock)
    parts = []
    for index in range(len(system)):
        one = energy.select([index])
        d = system.block_of(density_matrix, index)
        parts.append(-_gradient_of(one, d, system.block_of(weighted, index)))
    return torch.cat(parts)


def energy_weighted(
    system: KohnShamSystem, d: Float[Tensor, "M s n n"], fock: Float[Tensor, "M s n n"]
) -> Float[Tensor, "M n n"]:
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
        total = total + closure_gradient(energy, d)
    return total


def grid_energy(
    energy: EnergyFunctional, d: Float[Tensor, "s n n"], positions: Float[Tensor, "A 3"]
) -> Float[Tensor, ""]:
    """The energy of one molecule that its grid gives, () hartree, as a function of its nuclei."""
    (molecule,) = energy.system.molecules
    whole = not all(f.pointwise for f in energy.on_grid)
    density, weights = moving_density(molecule, d, positions, energy.rung, whole=whole)
    exchange, correlation = energy.base(density)
    value = energy.exchange_scale * exchange + energy.correlation_scale * correlation
    if isinstance(energy.closure, Functional):
        value = value + torch.stack(list(energy.closure(density))).sum(0)
    integral: Tensor = weights @ value
    return integral


def exact_exchange_scale(energy: EnergyFunctional) -> Float[Tensor, ""]:
    """How much exact exchange the energy holds, ()."""
    scale = energy.exchange_scale * energy.base.exact_exchange
    if isinstance(energy.closure, Functional):
        scale = scale + energy.closure.exact_exchange
    return scale


def small_terms(
    shells: Shells,
    charges: Float[Tensor, " A"],
    r: Float[Tensor, "A 3"],
    total: Float[Tensor, "n n"],
    weighted: Float[Tensor, "n n"],
    field: Float[Tensor, " 3"],
) -> Float[Tensor, ""]:
    """Kinetic energy, field, repulsion of the nuclei, and -tr(W S), () hartree."""
    moved = shells.at(r)
    out = (total * kinetic(moved)).sum() - (weighted * overlap(moved)).sum()
    electrons = (dipole(moved) * total).sum((-2, -1))
    out = out + (field * (electrons - charges @ r)).sum()
    first, second = torch.triu_indices(len(r), len(r), 1, device=r.device)
    distance = (r[first] - r[second]).norm(dim=1)
    energies: Tensor = out + (charges[first] * charges[second] / distance).sum()
    return energies


def _on_grid(energy: EnergyFunctional, d: Tensor) -> Tensor:
    (molecule,) = energy.system.molecules
    with torch.enable_grad():
        r = molecule.positions.detach().requires_grad_()
        value = grid_energy(energy, d, r)
        (slope,) = torch.autograd.grad(
            value, r, create_graph=d.requires_grad, materialize_grads=True
        )
    return slope


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
        fit = Fit(molecule, gaussians.auxiliary)
        coefficients = fit.solve(molecule.coulomb.flatten(1) @ total.reshape(-1))
        inputs.append(coefficients)
        yield fit.repulsion, (coefficients,)
    if molecule.density_functions is not None:
        inputs.append(gaussians.unordered(potential(energy, d)))

    def one(numbers: tuple[int, int], r: Tensor, total: Tensor, *weights: Tensor) -> Tensor:
        rest = list(weights)
        bra = pair_density(shells.at(r), numbers, total)
        out = interaction(bra, points(r, -charges))
        if gaussians.auxiliary is not None:
            out = out + against(bra, gaussians.auxiliary.at(r), rest.pop(0), "coulomb")
        if rest and gaussians.projectors is not None:
            out = out + against(bra, gaussians.projectors.at(r), rest.pop(0), "overlap")
        return out

    for numbers in block_pairs(shells):
        yield partial(one, numbers), inputs
    if gaussians.auxiliary is None:
        yield from exact_hartree_terms(shells, total)
    if energy.exact_exchange:
        share = 0.5 * energy.system.share * exact_exchange_scale(energy)
        if gaussians.auxiliary is not None:
            yield from fitted_exchange_terms(fit, shells, d, share)
        else:
            yield from exact_exchange_terms(shells, d, share)


def _gradient(term: Term, positions: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Derivative of term(positions, *inputs) by positions; it is a function of the inputs."""
    return cast(Tensor, _Gradient.apply(term, positions, *inputs))


class _Gradient(Function):
    @staticmethod
    def forward(ctx: Any, term: Term, positions: Tensor, *inputs: Tensor) -> Tensor:
        ctx.term = term
        ctx.save_for_backward(positions, *inputs)
        with torch.enable_grad():
            r = positions.detach().requires_grad_()
            value = term(r, *(x.detach() for x in inputs))
            (slope,) = torch.autograd.grad(value, r)
        return slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        positions, *inputs = ctx.saved_tensors
        with torch.enable_grad():
            r = positions.detach().requires_grad_()
            leaves = [x.detach().requires_grad_() for x in inputs]
            (slope,) = torch.autograd.grad(ctx.term(r, *leaves), r, create_graph=True)
            back = torch.autograd.grad(slope, leaves, gradient, allow_unused=True)
        return (None, None, *back)
