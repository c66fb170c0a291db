"""The self-consistent density as a differentiable function of the potential's other inputs.

With n = F(v[n, theta]), chi = dF/dv and f = dv/dn,

    dn = (1 - chi f)^-1 chi dv|_theta,   backward: g -> chi y with (1 - f chi) y = g.

One linear solve by GMRES for the whole batch (`sfm.simulate`); no unrolling, no eigenvectors
differentiated. A. Griewank and A. Walther, Evaluating Derivatives (2nd ed., SIAM, 2008), chapter
15.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from sfm.errors import RunError
from sfm.simulate.fixed_point import attach
from sfm.simulate.krylov import NotConverged, Operator, gmres


def attached(
    explicit: Float[Tensor, "B n"], density: Float[Tensor, "B n"], chi: Operator, kernel: Operator
) -> Float[Tensor, "B n"]:
    """The density (B, n), 1/bohr, with its response to changes of the potential at fixed density.

    Args:
        explicit: (B, n) the potential at that density, with its graph.
        density: (B, n), self-consistent.
        chi: change of the potential -> change of the density, both (B, n).
        kernel: change of the density -> change of the potential.
    """

    def adjoint(g: Tensor) -> Tensor:
        return chi(against_dielectric(lambda w: w - kernel(chi(w)), g))

    return attach(density, explicit, adjoint, where="self-consistent density")


def against_dielectric(
    operator: Operator, right: Float[Tensor, "B n"], *, tolerance: float = 1e-10
) -> Float[Tensor, "B n"]:
    """y (B, n) with operator(y) = right, each row by itself, in the unit of `right`.

    Raises:
        RunError: not solved to 1e-6 within 120 applications; the state may be unstable.
    """
    try:
        return gmres(
            operator, right, batch_axes=1, tolerance=tolerance, accept=1e-6, max_iterations=120
        ).x
    except NotConverged as error:
        raise RunError(
            f"the response of the density did not converge (residual {error.residual:.1e}):"
            " this self-consistent state is close to an instability"
        ) from None
