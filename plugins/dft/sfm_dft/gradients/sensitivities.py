"""How a self-consistent energy depends on its basis set and on the charges of its nuclei.

Exponents and contraction coefficients act on overlap, integrals and the orbitals on the grid; at
self-consistency only their explicit part counts, with Pulay's term for the overlap, as for forces.
The derivative by a nuclear charge is the "alchemical potential" of its site.

References: Pulay, Mol. Phys. 17, 197 (1969); von Lilienfeld, J. Chem. Phys. 131, 164102 (2009).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sfm.errors import InputError
from sfm_dft.basis.gaussians import Gaussians
from sfm_dft.gradients.forces import energy_weighted
from sfm_dft.gradients.lagrangian import lagrangian
from sfm_dft.integrals import Shells
from sfm_dft.integrals.orbitals import displacements, orbital_values
from sfm_dft.scf.diis import Orbitals
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.molecule import Molecule
from sfm_dft.xc.contract import Functional
from sfm_dft.xc.density import GridDensity


@dataclass(frozen=True, eq=False)
class Sensitivities:
    """Derivatives of the energy of one molecule.

    Attributes:
        charges: (A,) by the charge of each nucleus, hartree / e; the number of electrons is fixed.
        exponents: by the exponent of each primitive, hartree bohr^2, one tensor (K,) for each of
            ``shells.blocks``. coefficients: by its contraction coefficient, hartree.
        shells: which primitives these are.
    """

    charges: Tensor
    exponents: tuple[Tensor, ...]
    coefficients: tuple[Tensor, ...]
    shells: Shells


def sensitivities(energy: EnergyFunctional, solution: Orbitals) -> Sensitivities:
    """Derivatives of the energy by nuclear charges and by the basis, for one molecule.

    The auxiliary basis and the grid are held fixed. Memory is that of all integrals and of the
    orbitals on the grid: for molecules of a few atoms.

    Raises:
        InputError: several molecules, or a functional that is not pointwise.
    """
    if len(energy.system) != 1:
        raise InputError("derivatives by the basis take one molecule at a time")
    if not all(f.pointwise for f in energy.on_grid):
        raise InputError("derivatives by the basis take pointwise functionals only")
    (molecule,) = energy.system.molecules
    d = solution.density_matrix.detach()
    weighted = energy_weighted(energy.system, d, energy.fock(d)).detach()
    with torch.enable_grad():
        gaussians = Gaussians.of(molecule)
        leaves = [
            (block.exponents.clone().requires_grad_(), block.coefficients.clone().requires_grad_())
            for block in gaussians.orbitals.blocks
        ]
        blocks = tuple(
            replace(block, exponents=a, coefficients=c)
            for block, (a, c) in zip(gaussians.orbitals.blocks, leaves, strict=True)
        )
        shells = replace(gaussians.orbitals, blocks=blocks)
        charges = molecule.numbers.to(d.dtype).requires_grad_()
        value = lagrangian(
            energy,
            replace(gaussians, orbitals=shells),
            charges,
            molecule.positions,
            d[0],
            weighted[0],
        )
        value = value + _on_grid(energy, molecule, shells, d[0])
        exponents, coefficients = zip(*leaves, strict=True)
        slopes = torch.autograd.grad(value, [charges, *exponents, *coefficients])
    count = len(exponents)
    return Sensitivities(slopes[0], slopes[1 : 1 + count], slopes[1 + count :], gaussians.orbitals)


def _on_grid(energy: EnergyFunctional, molecule: Molecule, shells: Shells, d: Tensor) -> Tensor:
    """The exchange-correlation energy, with orbitals as functions of the basis."""
    grid, slopes = molecule.grid, energy.rung != "lda"
    shift = displacements(molecule.positions, grid.points)
    chi = orbital_values(shells, shift, gradient=slopes)  # (1 or 4, n, G)
    half = d[:, None] @ chi  # (s, 1 or 4, n, G)
    density = GridDensity(
        rho=(chi[0] * half[:, 0]).sum(1),
        gradient=2.0 * (chi[1:] * half[:, :1]).sum(2) if slopes else None,
        tau=0.5 * (chi[1:] * half[:, 1:]).sum((1, 2)) if energy.rung == "mgga" else None,
    )
    exchange, correlation = energy.base(density)
    value = energy.exchange_scale * exchange + energy.correlation_scale * correlation
    if isinstance(energy.closure, Functional):
        value = value + torch.stack(list(energy.closure(density))).sum(0)
    integral: Tensor = grid.weights @ value
    return integral
