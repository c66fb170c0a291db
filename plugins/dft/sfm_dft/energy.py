"""The restricted Kohn-Sham energy functional of a density matrix, and its derivative by autograd.

    E[D] = tr(D h) + 1/2 tr(D J[D]) + a E_x[rho] + c E_c[rho] + E_closure[p] - eps.mu[D] + E_nn

with rho(r) = sum D_mn phi_m phi_n, mu the dipole moment of nuclei and electrons, eps a uniform
electric field, and p the density's projections on the density basis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.units import factor
from sfm_dft.functionals import NEEDS_GRADIENT, functional
from sfm_dft.system import KohnShamSystem


class DensityFeatures(NamedTuple):
    """What an exchange-correlation closure reads.

    projections: (A, 45), irreps 10x0e+5x1o+4x2e of each atom, differentiable.
    numbers: (A,) atomic numbers. positions: (A, 3) in angstrom. charge: total charge, e.
    """

    projections: Tensor
    numbers: Tensor
    positions: Tensor
    charge: float


@dataclass(frozen=True)
class EnergyFunctional:
    """Energy of a density matrix for one system and one set of physical parameters (hartree).

    Attributes:
        system: integrals and grid. base: ``LDA`` or ``PBE``.
        exchange_scale: a, (). correlation_scale: c, (). field: eps, (3,) hartree / (e bohr).
        closure: maps `DensityFeatures` to an extra exchange-correlation energy in eV, or None.
    """

    system: KohnShamSystem
    base: str
    exchange_scale: Tensor
    correlation_scale: Tensor
    field: Tensor
    closure: nn.Module | None = None

    def __post_init__(self) -> None:
        functional(self.base)
        if NEEDS_GRADIENT[self.base] and len(self.system.orbitals) == 1:
            raise InputError(f"{self.base} needs orbital gradients: prepare(..., gradient=True)")

    def components(self, density_matrix: Tensor) -> Mapping[str, Tensor]:
        """Kinetic, external, hartree, exchange, correlation, closure, field, nuclear; hartree."""
        system, d = self.system, density_matrix
        exchange, correlation = functional(self.base)(*system.density(d))
        return {
            "kinetic": (d * system.kinetic).sum(),
            "external": (d * (system.core - system.kinetic)).sum(),
            "hartree": 0.5 * (d * system.hartree_matrix(d)).sum(),
            "exchange": self.exchange_scale * (system.weights * exchange).sum(),
            "correlation": self.correlation_scale * (system.weights * correlation).sum(),
            "field": -(self.field * self.dipole(d)).sum(),
            "closure": self._closure_energy(d),
            "nuclear": d.new_tensor(system.nuclear),
        }

    def _closure_energy(self, density_matrix: Tensor) -> Tensor:
        if self.closure is None:
            return density_matrix.new_zeros(())
        features = DensityFeatures(
            self.system.projections(density_matrix),
            self.system.numbers,
            self.system.positions * factor("bohr", "angstrom"),
            float(self.system.charge),
        )
        return self.closure(features).reshape(()) * factor("eV", "hartree")

    def dipole(self, density_matrix: Tensor) -> Tensor:
        """Dipole moment (3,) about the origin, e bohr: sum_A Z_A R_A - tr(D r)."""
        system = self.system
        nuclei = system.numbers.to(density_matrix.dtype) @ system.positions
        return nuclei - (system.dipole * density_matrix).sum((-2, -1))

    def energy(self, density_matrix: Tensor) -> Tensor:
        """Total energy, ()."""
        return total_energy(self.components(density_matrix))

    def fock(self, density_matrix: Tensor, *, create_graph: bool = False) -> Tensor:
        """F = dE/dD, symmetric (n, n).

        With ``create_graph`` the result is differentiable in D, in the parameters, and in the
        closure's parameters.
        """
        with torch.enable_grad():
            d = density_matrix
            if not (create_graph and d.requires_grad):
                d = d.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.energy(d), d, create_graph=create_graph)
        return 0.5 * (gradient + gradient.mT)


def total_energy(components: Mapping[str, Tensor]) -> Tensor:
    """Sum of `EnergyFunctional.components`, ()."""
    return torch.stack(list(components.values())).sum()
