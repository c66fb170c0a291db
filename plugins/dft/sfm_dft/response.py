"""Derivatives through self-consistency, without unrolling it and without eigenvector derivatives.

At the solution D* the occupied-virtual block of the Fock matrix vanishes: F_ai(D*, theta) = 0. A
change of F at fixed D turns the orbitals by U with

    A U = -F^theta_ai,   (A U)_ai = (e_a - e_i) U_ai + [dF/dD : dD(U)]_ai,
    dD(U) = 2 (C_v U C_o^T + C_o U^T C_v^T).

`attach` makes D* a differentiable function of F: its backward solves the same symmetric system once
(the Z-vector equation) by conjugate gradients, with dF/dD as an exact Hessian-vector product, so
any functional or closure works as it is. Total energies need no solve at all: D* is stationary, so
dE/dtheta is the partial derivative at fixed D* (the envelope theorem).

Reference: Handy, Schaefer, J. Chem. Phys. 81, 5031 (1984).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sfm.errors import RunError
from sfm_dft.energy import EnergyFunctional
from sfm_dft.scf import Orbitals

Operator = Callable[[Tensor], Tensor]


def attach(functional: EnergyFunctional, solution: Orbitals, tolerance: float = 1e-9) -> Tensor:
    """The self-consistent density matrix (n, n) as a function of every parameter of ``functional``.

    First derivatives only; without gradients (`torch.no_grad`) it is the plain density matrix.
    ``solution`` must be self-consistent; ``tolerance`` is the relative
    residual of the linear solve.

    Raises:
        RunError: in backward, where the solution is no minimum or the solve does not converge.
    """
    if not torch.is_grad_enabled():
        return solution.density_matrix
    fock = functional.fock(solution.density_matrix, create_graph=True)
    if not fock.requires_grad:
        return solution.density_matrix
    return _Response.apply(fock, functional, solution, tolerance)


class _Response(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, fock: Tensor, functional: EnergyFunctional, solution: Orbitals, tolerance: float
    ) -> Tensor:
        ctx.problem = (functional, solution, tolerance)
        return solution.density_matrix.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        functional, solution, tolerance = ctx.problem
        occupied = functional.system.occupied
        filled, empty = solution.coefficients[:, :occupied], solution.coefficients[:, occupied:]
        gaps = solution.energies[occupied:, None] - solution.energies[None, :occupied]
        right = 2.0 * empty.mT @ (gradient + gradient.mT) @ filled
        z = conjugate_gradients(
            rotation_hessian(functional, solution), right, gaps.clamp_min(1e-3), tolerance
        )
        back = empty @ z @ filled.mT
        return -0.5 * (back + back.mT), None, None, None


def rotation_hessian(functional: EnergyFunctional, solution: Orbitals) -> Operator:
    """U (virtual, occupied) -> A U of the module's docstring."""
    occupied = functional.system.occupied
    filled, empty = solution.coefficients[:, :occupied], solution.coefficients[:, occupied:]
    gaps = solution.energies[occupied:, None] - solution.energies[None, :occupied]
    with torch.enable_grad():
        d = solution.density_matrix.detach().requires_grad_()
        fock = functional.fock(d, create_graph=True)

    def apply(u: Tensor) -> Tensor:
        turned = empty @ u @ filled.mT
        change = 2.0 * (turned + turned.mT)
        (response,) = torch.autograd.grad(fock, d, change, retain_graph=True)
        response = 0.5 * (response + response.mT)
        return gaps * u + empty.mT @ response @ filled

    return apply


def conjugate_gradients(
    operator: Operator, right: Tensor, diagonal: Tensor, tolerance: float, max_steps: int = 200
) -> Tensor:
    """Solve A z = b for a symmetric positive definite A, preconditioned by ``diagonal``.

    Raises:
        RunError: A has a negative direction, or ``max_steps`` were not enough.
    """
    z = torch.zeros_like(right)
    scale = right.norm()
    if scale == 0:
        return z
    r = right.clone()
    y = r / diagonal
    p, rho = y.clone(), (r * y).sum()
    for _ in range(max_steps):
        image = operator(p)
        curvature = (p * image).sum()
        if curvature <= 0:
            raise RunError(
                "the self-consistent solution is a saddle point, not a minimum: its response is "
                "not defined; start from another density or use a level shift"
            )
        step = rho / curvature
        z, r = z + step * p, r - step * image
        if r.norm() <= tolerance * scale:
            return z
        y = r / diagonal
        rho, previous = (r * y).sum(), rho
        p = y + (rho / previous) * p
    raise RunError(f"the response equations did not converge in {max_steps} steps")
