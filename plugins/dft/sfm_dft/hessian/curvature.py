"""Second derivatives of the energy by the nuclei, without unrolling self-consistency.

Let L(R, D, W) = E(R; D) - tr(W S(R)). The gradient of the energy is dL/dR at the converged D and W
(`sfm_dft.gradients.forces`). Along a displacement v of the nuclei both change, D' and W', and

    H v = d/dR [ L_R.v + L_D.D' + L_W.W' ]   with v, D', W' held fixed;

the derivative of the same bracket by a parameter of the functional is that of (dE/dR).v. So one
response serves a column of the Hessian, a dipole derivative, and the backward pass of forces.

D' comes from the coupled-perturbed equations. In orbitals C of the undisplaced molecule, with
C^T S C = 1, occupations f, levels e and S' = C^T (S_R v) C, orbitals follow the overlap as
S^(-1/2) does, D' = C (Z - (S' f + f S') / 2) C^T, and Z solves the equation of `response`:

    Z = -W (F' - (S' e + e S') / 2),   F' = F_R v + K D'.

Reference: Gerratt, Mills, J. Chem. Phys. 49, 1719 (1968).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm_dft.basis.gaussians import Gaussians
from sfm_dft.gradients.forces import energy_weighted, grid_energy
from sfm_dft.gradients.lagrangian import lagrangian
from sfm_dft.gradients.response import coupling, respond, weighting
from sfm_dft.integrals import dipole
from sfm_dft.scf.diis import Orbitals
from sfm_dft.scf.energy import EnergyFunctional


@dataclass(frozen=True)
class Motion:
    """What one displacement of the nuclei does: D' (s, n, n) and W' (n, n) per bohr."""

    displacement: Tensor
    density_matrix: Tensor
    weighted: Tensor


class Curvature:
    """Second derivatives of one molecule's energy, at a self-consistent solution.

    Holds the graph of the energy, all integrals included: about 0.3 GB for water in def2-SVP.
    """

    def __init__(
        self,
        energy: EnergyFunctional,
        solution: Orbitals,
        *,
        smearing: float = 0.0,
        tolerance: float = 1e-9,
    ) -> None:
        if len(energy.system) != 1:
            raise InputError("second derivatives by positions take one molecule at a time")
        self.energy, self.solution, self.tolerance = energy, solution, tolerance
        self.gaussians = Gaussians.of(energy.system.molecules[0])
        self._weigh = weighting(solution, smearing)
        self._couple = coupling(energy, solution)
        system = energy.system
        d = solution.density_matrix.detach()
        weighted = energy_weighted(system, d, energy.fock(d)).detach()
        with torch.enable_grad():
            self._r = system.molecules[0].positions.detach().requires_grad_()
            self._d = d[0].clone().requires_grad_()
            self._w = weighted[0].clone().requires_grad_()
            value = self._lagrangian(self._r, self._d, self._w)
            # L_R, L_D, L_W
            self._slopes = torch.autograd.grad(
                value, [self._r, self._d, self._w], create_graph=True
            )

    @property
    def forces(self) -> Float[Tensor, "A 3"]:
        """(A, 3) hartree per bohr, as `sfm_dft.gradients.forces` has them."""
        return -self._slopes[0].detach()

    def _lagrangian(self, r: Tensor, d: Tensor, weighted: Tensor) -> Tensor:
        (molecule,) = self.energy.system.molecules
        charges = molecule.numbers.to(d.dtype)
        off_grid = lagrangian(self.energy, self.gaussians, charges, r, d, weighted)
        return off_grid + grid_energy(self.energy, d, r)

    def move(self, displacement: Float[Tensor, "A 3"]) -> Motion:
        """The response to a displacement (A, 3) of the nuclei."""
        share, c = self.energy.system.share, self.solution.coefficients
        level, filling = self.solution.energies[..., None, :], self.solution.filling[..., None, :]
        fock, overlap = torch.autograd.grad(
            self._slopes[0], [self._d, self._w], displacement, retain_graph=True
        )
        fixed = 0.5 * c.mT @ (fock + fock.mT) @ c / share
        s = -0.5 * c.mT @ (overlap + overlap.mT) @ c
        follow = -0.5 * (s * filling + s * filling.mT)
        right = fixed + self._couple(follow) - 0.5 * (s * level + s * level.mT)
        y = respond(self._couple, self._weigh, right, tolerance=self.tolerance)
        d = follow - self._weigh(y)
        changed = fixed + self._couple(d)
        w = d * level + filling.mT * changed - (filling * level).mT * s
        turned = c @ d @ c.mT
        weighted = share * (c @ (0.5 * (w + w.mT)) @ c.mT).sum(1)
        return Motion(displacement, turned[0], weighted[0])

    def along(
        self, motion: Motion, parameters: Sequence[Float[Tensor, " ..."]] = ()
    ) -> tuple[Float[Tensor, " ..."], ...]:
        """H v (A, 3) in hartree per bohr^2, and the derivative of (dE/dR).v by each parameter."""
        slopes = torch.autograd.grad(
            self._slopes,
            [self._r, *parameters],
            [motion.displacement, motion.density_matrix, motion.weighted],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return tuple(slopes)

    def dipole_derivative(self, motion: Motion) -> Float[Tensor, " 3"]:
        """Change (3,) of the dipole moment with the displacement, e."""
        (molecule,) = self.energy.system.molecules
        total = self.energy.system.share * self._d.detach().sum(0)
        with torch.enable_grad():
            weights = torch.zeros(3, dtype=total.dtype, device=total.device, requires_grad=True)
            r = self._r.detach().requires_grad_()
            # derivative of a derivative, as torch has no forward mode through custom functions
            moments = (dipole(self.gaussians.orbitals.at(r)) * total).sum((1, 2))
            (slope,) = torch.autograd.grad(moments @ weights, r, create_graph=True)
            (moved,) = torch.autograd.grad((slope * motion.displacement).sum(), weights)
        change = self.energy.system.share * motion.density_matrix.sum(0)
        answered = (molecule.dipole * change).sum((1, 2))
        nuclei = molecule.numbers.to(total.dtype) @ motion.displacement
        return nuclei - moved - answered
