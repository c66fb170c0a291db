"""The energy as a function of everything that its integrals depend on, at fixed density matrix.

    L = E(D) - tr(W S)

whose partial derivative by positions, charges of the nuclei, exponents or contraction coefficients
is the derivative of the self-consistent energy. What the grid gives is left out. P. Pulay, Mol.
Phys. 17, 197 (1969).

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.basis.density_basis import atom_rotation
from sfm_dft.basis.gaussians import Gaussians
from sfm_dft.gradients.closure import closure_energy
from sfm_dft.gradients.forces import exact_exchange_scale, small_terms
from sfm_dft.gradients.two_electron import exact_exchange_terms, exact_hartree_terms
from sfm_dft.integrals import fitted_factors, nuclear, three_centre_overlap
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.xc.contract import Functional


def lagrangian(
    energy: EnergyFunctional,
    gaussians: Gaussians,
    charges: Float[Tensor, " A"],
    positions: Float[Tensor, "A 3"],
    d: Float[Tensor, "s n n"],
    weighted: Float[Tensor, "n n"],
) -> Float[Tensor, ""]:
    """L of one molecule without its grid, () hartree; the graph holds all integrals.

    gaussians: the bases, whose exponents and coefficients may carry a graph. charges: (A,) e.
    positions: (A, 3) bohr. d: (s, n, n). weighted: W (n, n), of `forces.energy_weighted`.
    """
    out = one_electron(energy, gaussians, charges, positions, d, weighted)
    return out + two_electron(energy, gaussians, positions, d)


def one_electron(
    energy: EnergyFunctional,
    gaussians: Gaussians,
    charges: Float[Tensor, " A"],
    positions: Float[Tensor, "A 3"],
    d: Float[Tensor, "s n n"],
    weighted: Float[Tensor, "n n"],
) -> Float[Tensor, ""]:
    """() what of L needs no two-electron integrals: -tr(W S), dispersion and a closure's too."""
    (molecule,) = energy.system.molecules
    shells = gaussians.orbitals
    moved, total = shells.at(positions), energy.system.share * d.sum(0)
    out = small_terms(shells, charges, positions, total, weighted, energy.field)
    out = out + (total * nuclear(moved, charges, positions)).sum()
    out = out + molecule.dispersion(energy.dispersion, positions)
    if energy.closure is not None and not isinstance(energy.closure, Functional):
        assert gaussians.projectors is not None
        values = three_centre_overlap(moved, gaussians.projectors.at(positions))
        overlaps = (values * total[..., None]).sum((0, 1)).reshape(len(positions), -1)
        projections = overlaps @ torch.tensor(atom_rotation()).to(d).mT
        out = out + closure_energy(energy, projections, positions)
    return out


def two_electron(
    energy: EnergyFunctional,
    gaussians: Gaussians,
    positions: Float[Tensor, "A 3"],
    d: Float[Tensor, "s n n"],
) -> Float[Tensor, ""]:
    """() the Hartree energy and exact exchange of L, fitted or exact."""
    shells, share = gaussians.orbitals, energy.system.share
    moved, total = shells.at(positions), share * d.sum(0)
    exchange = 0.5 * share * exact_exchange_scale(energy)
    if gaussians.auxiliary is not None:
        factors = fitted_factors(moved, gaussians.auxiliary.at(positions))
        out = 0.5 * (factors.flatten(1) @ total.reshape(-1)).square().sum()
        if energy.exact_exchange:
            for row in d:
                turned = factors @ row
                out = out - exchange * (turned * turned.mT).sum()
        return out
    out = positions.new_zeros(())
    for term, inputs in exact_hartree_terms(shells, total):
        out = out + term(positions, *inputs)
    if energy.exact_exchange:
        for term, inputs in exact_exchange_terms(shells, d, exchange):
            out = out + term(positions, *inputs)
    return out
