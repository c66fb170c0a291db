"""The Kohn-Sham energy functional of a density matrix, and its derivative by autograd.

    E[D] = tr(D h) + 1/2 tr(D J[D]) + a (E_x[n] + a_x E_x^exact[D]) + c E_c[n]
           + E_closure - eps.mu[D] + E_nn,   E_x^exact = -1/2 sum_spin tr(D_spin K[D_spin])

(W. Kohn and L. J. Sham, Phys. Rev. 140, A1133, 1965) with n the spin densities on the grid, mu the
dipole moment of nuclei and electrons, and eps a uniform electric field. A closure is a `Functional`
on the grid, or any module that reads the density's projections on the density basis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.units import factor
from sfm_dft.grid.molecular import CHANNELS, fields
from sfm_dft.scf.system import KohnShamSystem
from sfm_dft.xc.contract import Functional, XcEnergy
from sfm_dft.xc.density import GridDensity, GridPoints

POINTS = 131_072


class DensityFeatures(NamedTuple):
    """What an exchange-correlation closure on atoms reads.

    projections: (A, 45), irreps 10x0e+5x1o+4x2e of each atom, differentiable.
    numbers: (A,) atomic numbers. positions: (A, 3) in angstrom. charge: total charge, e.
    """

    projections: Tensor
    numbers: Tensor
    positions: Tensor
    charge: float


@dataclass(frozen=True, eq=False)
class EnergyFunctional:
    """Energy of a density matrix for some molecules and one set of physical parameters (hartree).

    Attributes:
        system: integrals and grids. base: the functional of the classical theory.
        exchange_scale: a, (). correlation_scale: c, (). field: eps, (3,) hartree / (e bohr).
        closure: maps `GridDensity` to energies per volume (a `Functional`), or `DensityFeatures`
            to an energy in eV, or None.
        dispersion: the functional whose D3(BJ) parameters add London dispersion, or None.
    """

    system: KohnShamSystem
    base: Functional
    exchange_scale: Float[Tensor, ""]
    correlation_scale: Float[Tensor, ""]
    field: Float[Tensor, " 3"]
    closure: nn.Module | None = None
    dispersion: str | None = None

    def select(self, which: list[int]) -> EnergyFunctional:
        """The same functional for some of the molecules."""
        return replace(self, system=self.system.select(which))

    @property
    def on_grid(self) -> tuple[Functional, ...]:
        """The functionals that read the density on the grid."""
        closure = self.closure
        return (self.base, closure) if isinstance(closure, Functional) else (self.base,)

    @property
    def rung(self) -> str:
        """The highest of the functionals' rungs."""
        return max((f.rung for f in self.on_grid), key=lambda rung: CHANNELS[rung])

    @property
    def exact_exchange(self) -> float:
        """Fraction of exact exchange."""
        return sum(f.exact_exchange for f in self.on_grid)

    def components(
        self, density_matrix: Float[Tensor, "M s n n"]
    ) -> Mapping[str, Float[Tensor, " M"]]:
        """Kinetic, external, hartree, exchange, correlation, closure, field, nuclear, dispersion;
        (M,) each."""
        system, d = self.system, density_matrix
        total = system.total(d)
        exchange, correlation, closure = self._exchange_correlation(d)
        return {
            "kinetic": (total * system.kinetic).sum((-2, -1)),
            "external": (total * (system.core - system.kinetic)).sum((-2, -1)),
            "hartree": torch.stack([self._hartree(total, i) for i in range(len(system))]),
            "exchange": self.exchange_scale * exchange,
            "correlation": self.correlation_scale * correlation,
            "field": -self.dipole(d) @ self.field,
            "closure": closure,
            "nuclear": system.nuclear,
            "dispersion": torch.stack([m.dispersion(self.dispersion) for m in system.molecules]),
        }

    def _hartree(self, total: Tensor, index: int) -> Tensor:
        matrix = self.system.block_of(total, index)
        return 0.5 * (matrix * self.system.molecules[index].hartree_matrix(matrix)).sum()

    def exact_exchange_energy(
        self, density_matrix: Float[Tensor, "M s n n"]
    ) -> Float[Tensor, " M"]:
        """-1/2 sum over spins of tr(D K[D]), (M,)."""
        system, energies = self.system, []
        for index, molecule in enumerate(system.molecules):
            rows = system.block_of(density_matrix, index)
            traces = [(row * molecule.exchange_matrix(row)).sum() for row in rows]
            energies.append(-0.5 * system.share * torch.stack(traces).sum())
        return torch.stack(energies)

    def density(self, density_matrix: Float[Tensor, "M s n n"]) -> GridDensity:
        """Spin densities on the grids of all molecules, one after another."""
        system = self.system
        parts = []
        for index, molecule in enumerate(system.molecules):
            rows = system.block_of(density_matrix, index)
            parts.append(torch.stack([fields(row, molecule.grid, self.rung) for row in rows]))
        values = torch.cat(parts, -1)
        return GridDensity(
            rho=values[:, 0],
            gradient=values[:, 1:4] if values.shape[1] > 1 else None,
            tau=values[:, 4] if values.shape[1] > 4 else None,
            grid=None if all(f.pointwise for f in self.on_grid) else self._points(),
        )

    def _points(self) -> GridPoints:
        molecules = self.system.molecules
        sizes = torch.tensor([len(m.numbers) for m in molecules])
        first = (sizes.cumsum(0) - sizes).tolist()
        return GridPoints(
            points=torch.cat([m.grid.points for m in molecules]),
            weights=torch.cat([m.grid.weights for m in molecules]),
            owners=torch.cat([m.grid.owners + k for m, k in zip(molecules, first, strict=True)]),
            positions=torch.cat([m.positions for m in molecules]),
            numbers=torch.cat([m.numbers for m in molecules]),
            molecule=torch.arange(len(sizes)).repeat_interleave(sizes).to(self.system.device),
        )

    def _integrate(self, per_volume: Tensor) -> Tensor:
        grids = [molecule.grid for molecule in self.system.molecules]
        parts = per_volume.split([len(grid.weights) for grid in grids])
        return torch.stack([grid.weights @ part for grid, part in zip(grids, parts, strict=True)])

    def _evaluate(self, functional: Functional, density: GridDensity) -> XcEnergy:
        """Energies per volume; of pointwise functionals in parts that stay near the processor."""
        if not functional.pointwise or density.rho.shape[-1] <= POINTS:
            energy: XcEnergy = functional(density)
            return energy
        parts = [functional(part) for part in density.split(POINTS)]
        return XcEnergy(
            torch.cat([part.exchange for part in parts]),
            torch.cat([part.correlation for part in parts]),
        )

    def _exchange_correlation(self, density_matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        density = self.density(density_matrix)
        exchange, correlation = (self._integrate(e) for e in self._evaluate(self.base, density))
        if self.exact_exchange:
            exact = self.exact_exchange_energy(density_matrix)
        if self.base.exact_exchange:
            exchange = exchange + self.base.exact_exchange * exact
        if isinstance(self.closure, Functional):
            corrected = self._evaluate(self.closure, density)
            closure = self._integrate(corrected.exchange + corrected.correlation)
            if self.closure.exact_exchange:
                closure = closure + self.closure.exact_exchange * exact
        else:
            closure = self._closure_energy(density_matrix)
        return exchange, correlation, closure

    def _closure_energy(self, density_matrix: Tensor) -> Tensor:
        if self.closure is None:
            return density_matrix.new_zeros(len(self.system))
        total, energies = self.system.total(density_matrix), []
        for index, molecule in enumerate(self.system.molecules):
            features = DensityFeatures(
                molecule.projections(self.system.block_of(total, index)),
                molecule.numbers,
                molecule.positions * factor("bohr", "angstrom"),
                float(molecule.charge),
            )
            energies.append(self.closure(features).reshape(()) * factor("eV", "hartree"))
        return torch.stack(energies)

    def dipole(self, density_matrix: Float[Tensor, "M s n n"]) -> Float[Tensor, "M 3"]:
        """Dipole moments (M, 3) about the origin, e bohr: sum_A Z_A R_A - tr(D r)."""
        total = self.system.total(density_matrix)
        electrons = (self.system.dipole * total[:, None]).sum((-2, -1))
        return self.system.nuclear_dipole - electrons

    def total(self, density_matrix: Float[Tensor, "M s n n"]) -> Float[Tensor, " M"]:
        """Total energies, (M,)."""
        return total_energy(self.components(density_matrix))

    def fock(
        self, density_matrix: Float[Tensor, "M s n n"], *, create_graph: bool = False
    ) -> Float[Tensor, "M s n n"]:
        """F (M, s, n, n), symmetric: the derivative of the energy by each spin's density matrix.

        With ``create_graph`` the result is differentiable in D, in the parameters, and in the
        closure's parameters.
        """
        return self.energy_and_fock(density_matrix, create_graph=create_graph)[1]

    def energy_and_fock(
        self, density_matrix: Float[Tensor, "M s n n"], *, create_graph: bool = False
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M s n n"]]:
        """Total energies (M,) without a graph, and `fock`.

        Raises:
            InputError: in `torch.inference_mode`, which leaves no derivatives.
        """
        if torch.is_inference_mode_enabled():
            raise InputError(
                "a Fock matrix is a derivative, which torch.inference_mode() forbids: use "
                "torch.no_grad()"
            )
        with torch.enable_grad():
            d = density_matrix
            if not (create_graph and d.requires_grad):
                d = d.detach().requires_grad_()
            energy = self.total(d)
            (gradient,) = torch.autograd.grad(energy.sum(), d, create_graph=create_graph)
        return energy.detach(), (gradient + gradient.mT) / (2.0 * self.system.share)


def total_energy(components: Mapping[str, Float[Tensor, " M"]]) -> Float[Tensor, " M"]:
    """Sum of `EnergyFunctional.components`, (M,)."""
    return torch.stack(list(components.values())).sum(0)
