"""Minima and saddle points, and their derivatives by the implicit function theorem.

At a place of rest of an energy H(y; p) in coordinates y around a reference, g(y*, p) = dH/dy = 0,
so dy*/dp = -K^-1 dg/dp with the Hessian K. The backward pass solves one linear system K z = v on
Hessian-vector products, by conjugate gradients at a minimum and by GMRES at a saddle point, where K
is indefinite; no iteration is stored.

Source: A. Griewank and A. Walther, Evaluating Derivatives (2nd ed., SIAM, 2008), chapter 15.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import RunError
from sfm.simulate.fixed_point import attach
from sfm.simulate.krylov import Indefinite, NotConverged, conjugate_gradients, gmres

LONGEST = 0.3  # angstrom, what a coordinate may change in one Newton step

Product = Callable[[Float[Tensor, "rows 3"]], Float[Tensor, "rows 3"]]


class Basin(ABC):
    """Coordinates y around a reference, at y = 0, in which an energy has a gradient and a Hessian.

    Class attributes:
        what: is at rest, for messages.

    Attributes:
        origin: (rows, 3) zeros, angstrom.
    """

    what: ClassVar[str] = "structure"
    origin: Float[Tensor, "rows 3"]

    @abstractmethod
    def energy(self, y: Float[Tensor, "rows 3"]) -> Float[Tensor, " S"]:
        """(S,) eV at the coordinates y, (rows, 3) angstrom."""

    @abstractmethod
    def project(self, y: Float[Tensor, "rows 3"]) -> Float[Tensor, "rows 3"]:
        """y, (rows, 3) angstrom, without what does not count or must not change."""

    @abstractmethod
    def around(self, y: Float[Tensor, "rows 3"]) -> Self:
        """The basin whose reference is at y, (rows, 3) angstrom."""

    def gradient(self) -> tuple[Float[Tensor, "rows 3"], Product]:
        """g at the reference (with a graph to all parameters) and v -> K v there.

        eV/angstrom, and eV/angstrom^2 times v.
        """
        with torch.enable_grad():
            y = self.origin.clone().requires_grad_()
            total = self.energy(self.project(y)).sum()
            (g,) = torch.autograd.grad(total, y, create_graph=True)

        def product(v: Tensor) -> Tensor:
            (kv,) = torch.autograd.grad(g, y, v, retain_graph=True, materialize_grads=True)
            return kv

        return g, product


AnyBasin = TypeVar("AnyBasin", bound=Basin)


def against_hessian(
    product: Product,
    b: Float[Tensor, "rows 3"],
    *,
    tolerance: float = 1e-12,
    what: str = "structure",
) -> Float[Tensor, "rows 3"]:
    """z with K z = b for a positive definite K (on the subspace that b lies in).

    Args:
        product: v -> K v, (rows, 3) eV/angstrom.
        b: (rows, 3).
        tolerance: relative residual; 1e4 times that is enough where rounding stops the iteration.
        what: is at rest, for messages.

    Raises:
        RunError: K has a direction of negative curvature, so this is no minimum; or no convergence.
    """
    try:
        return conjugate_gradients(product, b, tolerance=tolerance, accept=1e4 * tolerance).x
    except Indefinite:
        raise RunError(
            f"the relaxed {what} is a saddle point, not a minimum: displace its atoms a little "
            "and relax again"
        ) from None
    except NotConverged as error:
        raise RunError(
            f"conjugate gradients did not converge in {error.iterations} iterations: the Hessian "
            "is nearly singular (a phase transition, or a cutoff that is not smooth)"
        ) from None


def across_hessian(
    product: Product,
    b: Float[Tensor, "rows 3"],
    *,
    tolerance: float = 1e-10,
    what: str = "structure",
) -> Float[Tensor, "rows 3"]:
    """z with K z = b for a K that has directions of negative curvature, as at a saddle point.

    By GMRES. Arguments are those of `against_hessian`: b (rows, 3), eV/angstrom.

    Raises:
        RunError: no convergence.
    """
    try:
        return gmres(product, b, tolerance=tolerance, accept=1e4 * tolerance).x
    except NotConverged as error:
        raise RunError(
            f"GMRES did not converge in {error.iterations} iterations at the saddle point of the "
            f"{what}: its Hessian is nearly singular (a flat direction, or a cutoff that is not "
            "smooth)"
        ) from None


Solve = Callable[..., Float[Tensor, "rows 3"]]
"""`against_hessian` or `across_hessian`."""


def polish(
    basin: AnyBasin, tolerance: float, max_iterations: int = 12, solve: Solve = against_hessian
) -> tuple[AnyBasin, float]:
    """Newton iterations from near a minimum, or from near a saddle point by `across_hessian`.

    Args:
        tolerance: largest component of the gradient at the end, eV/angstrom.
        solve: for the steps.

    Returns:
        The basin around the last place, and the largest component of its gradient, eV/angstrom.
        That is above `tolerance` if Newton's method failed; the caller then goes on with FIRE.
    """
    g, product = basin.gradient()
    size = _size(g)
    for _ in range(max_iterations):
        if size <= tolerance:
            break
        try:
            step = solve(product, g.detach(), tolerance=1e-8)
        except RunError:
            break
        step = basin.project(step)
        whole = min(1.0, LONGEST / max(_size(step), LONGEST))
        for shorten in (whole, 0.5 * whole, 0.25 * whole):
            trial = basin.around(-shorten * step)
            trial_g, trial_product = trial.gradient()
            if _size(trial_g) < size:
                basin, g, product, size = trial, trial_g, trial_product, _size(trial_g)
                break
        else:
            break
    return basin, size


def _size(g: Tensor) -> float:
    return float(g.detach().abs().max())


def response(basin: Basin, solve: Solve = against_hessian) -> Float[Tensor, "rows 3"]:
    """y* = 0 (rows, 3) angstrom, which follows every parameter of the energy if differentiated.

    Args:
        basin: around a minimum, or around a saddle point with `across_hessian`.
        solve: for the backward pass.
    """
    g, product = basin.gradient()

    def adjoint(v: Tensor) -> Tensor:
        return -solve(product, basin.project(v), what=basin.what)

    return basin.project(attach(basin.origin, g, adjoint, where=f"relaxed {basin.what}"))
