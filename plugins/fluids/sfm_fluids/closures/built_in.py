"""What the two large-eddy simulators share: the built-in closures by name, with their constants.

Any consistent system of units.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from sfm.simulate import Parameter, Setting
from sfm_fluids.closures.classical import (
    DynamicSmagorinsky,
    GradientModel,
    Smagorinsky,
    subgrid_dissipation,
)
from sfm_fluids.stepping.stateless import Stateless

SUBGRID = Setting(
    "subgrid",
    "dynamic-smagorinsky",
    ("none", "smagorinsky", "dynamic-smagorinsky", "gradient"),
    summary="built-in closure",
)
SMAGORINSKY_CONSTANT = Parameter("smagorinsky_constant", "1", 0.17, 0.0, 10.0, "C; 0.1 to 0.25")
FILTER_RATIO = Parameter(
    "filter_ratio", "1", 2.0, 0.0, 100.0, "filter width over spacing, of the gradient model; 1 to 3"
)


def built_in(
    name: str, constant: Float[Tensor, "*B"], ratio: Float[Tensor, "*B"] | None = None
) -> Stateless | None:
    """The closure called `name`; None for "none".

    constant: C of Smagorinsky's model. ratio: filter width over spacing, of the gradient model.
    Both () or (B,).
    """
    if name == "smagorinsky":
        return Stateless(_smagorinsky, (constant,))
    if name == "gradient" and ratio is not None:
        return Stateless(_gradient, (ratio,))
    return Stateless(DynamicSmagorinsky()) if name == "dynamic-smagorinsky" else None


def mean_flux(
    closure: Stateless | None,
    velocity: Float[Tensor, "*B 2 H W"] | Float[Tensor, "*B 3 D H W"],
    spacing: float,
    axes: int,
) -> Float[Tensor, "*B"]:
    """Mean over the box of -tau_ij S_ij, (...): the energy that the closure takes."""
    if closure is None:
        return velocity.new_zeros(velocity.shape[: -axes - 1])
    stress = closure.call((velocity, spacing), closure.tensors)
    return subgrid_dissipation(velocity, stress, spacing).mean(tuple(range(-axes, 0)))


def _smagorinsky(velocity: Tensor, spacing: float, constant: Tensor) -> Tensor:
    tau: Tensor = Smagorinsky(constant)(velocity, spacing)
    return tau


def _gradient(velocity: Tensor, spacing: float, ratio: Tensor) -> Tensor:
    tau: Tensor = GradientModel(ratio)(velocity, spacing)
    return tau
