"""Derivatives through self-consistency, without unrolling it and without eigenvector derivatives.

Self-consistency is a fixed point D = Phi(F[D, theta]): levels are filled from the eigenstates of F.
Between orbitals p, q of D* with levels e and occupations f,

    dD = -W dF,   (W X)_pq = -(f_p - f_q) / (e_p - e_q) X_pq >= 0   (for equal levels -df/de),

so dD = -W (dF_theta + K dD) with K = dF/dD. `attach` makes D* a differentiable function of F: for a
derivative G = dL/dD its backward solves the adjoint (Z-vector) equation

    (1 + K W) y = G,   dL/dF = -W y,

self-adjoint in the inner product x.W y, by conjugate gradients; K is an exact Hessian-vector
product, so any functional or closure works as it is. Whole electrons give the usual equation
between occupied and empty orbitals. Total energies need no solve at all: D* is stationary, so
dE/dtheta is the partial derivative at fixed D* (the envelope theorem).

Reference: Handy, Schaefer, J. Chem. Phys. 81, 5031 (1984).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import RunError
from sfm.simulate.fixed_point import attach as differentiable
from sfm.simulate.krylov import Indefinite, NotConverged, NotFinite, Operator, conjugate_gradients
from sfm_dft.scf.diis import LARGEST_CHANGE, Orbitals
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.occupation import susceptibility


def attach(
    functional: EnergyFunctional,
    solution: Orbitals,
    *,
    smearing: float = 0.0,
    tolerance: float = 1e-9,
) -> Float[Tensor, "M s n n"]:
    """The self-consistent density matrix (M, s, n, n) as a function of every parameter.

    First derivatives only; without gradients (`torch.no_grad`) it is the plain density matrix.
    ``solution`` must be self-consistent; if it comes with its graph, that is used (once: backward
    frees it). ``tolerance`` is the relative residual of the solve.

    Raises:
        RunError: in backward, where the solution is no minimum, where it does not fill the lowest
            levels, or where the solve does not converge.
    """
    if not torch.is_grad_enabled():
        return solution.density_matrix
    fock = solution.graph
    if fock is None:
        fock = functional.fock(solution.density_matrix, create_graph=True)
    if not fock.requires_grad:
        return solution.density_matrix

    def adjoint(gradient: Tensor) -> Tensor:
        c = solution.coefficients
        right = 0.5 * c.mT @ (gradient + gradient.mT) @ c
        weigh = weighting(solution, smearing)
        y = respond(coupling(functional, solution), weigh, right, tolerance=tolerance)
        return -(c @ weigh(y) @ c.mT)

    return differentiable(
        solution.density_matrix, fock, adjoint, where="self-consistent density matrix"
    )


def weighting(solution: Orbitals, smearing: float = 0.0) -> Operator:
    """X (M, s, n, n) -> W X, symmetric matrices between orbitals.

    Raises:
        RunError: the density does not fill the lowest levels of its own Fock matrix.
    """
    c = solution.coefficients
    lowest = (c * solution.filling[..., None, :]) @ c.mT
    if float((lowest - solution.density_matrix).abs().max()) > LARGEST_CHANGE:
        raise RunError(
            "the highest filled and the lowest empty level coincide: the response of this solution "
            "is not defined; set smearing, for example 0.01"
        )
    w, slope = susceptibility(solution.energies, solution.filling, smearing)
    if smearing <= 0.0:
        return lambda x: w * x
    total = slope.sum(-1, keepdim=True).clamp_min(1e-300)

    def apply(x: Tensor) -> Tensor:
        diagonal = x.diagonal(dim1=-2, dim2=-1)
        shift = slope * (slope * diagonal).sum(-1, keepdim=True) / total
        return w * x - torch.diag_embed(shift)

    return apply


def coupling(functional: EnergyFunctional, solution: Orbitals) -> Operator:
    """X (M, s, n, n) between orbitals -> K X: how the Fock matrix answers to C X C^T."""
    c = solution.coefficients
    with torch.enable_grad():
        d = solution.density_matrix.detach().requires_grad_()
        fock = functional.fock(d, create_graph=True)

    def apply(x: Tensor) -> Tensor:
        (answer,) = torch.autograd.grad(fock, d, c @ x @ c.mT, retain_graph=True)
        return 0.5 * c.mT @ (answer + answer.mT) @ c

    return apply


def respond(
    couple: Operator,
    weigh: Operator,
    right: Float[Tensor, " M *axes"],
    *,
    tolerance: float,
    max_steps: int = 200,
) -> Float[Tensor, " M *axes"]:
    """y with (1 + K W) y = G for each molecule, (M, ...), in the inner product x.W y.

    Raises:
        RunError: the operator has a negative direction, something is not finite, or ``max_steps``
            were not enough.
    """
    if not bool(right.isfinite().all()):
        raise RunError("the derivative to be taken through self-consistency is not finite")
    try:
        return conjugate_gradients(
            lambda p: p + couple(weigh(p)),
            right,
            inner=weigh,
            batch_axes=1,
            tolerance=tolerance,
            max_iterations=max_steps,
        ).x
    except NotFinite:
        raise RunError(
            "the functional's second derivatives are not finite at this density"
        ) from None
    except Indefinite:
        raise RunError(
            "the self-consistent solution is a saddle point, not a minimum: its response is "
            "not defined; start from another density or use a level shift"
        ) from None
    except NotConverged:
        raise RunError(f"the response equations did not converge in {max_steps} steps") from None
