"""Labels bent to one side: errors of a skewed quantity grow with it, those of its image do not.

    z = sinh(asinh(t) - s),        t = sinh(asinh(z) + s)

with the standardised label t and the skewness s: smooth, monotone, onto all numbers, the identity
for s = 0, and far out linear with slopes e^-s and e^s (the sinh-arcsinh transformation of Jones and
Pewsey, Biometrika 96, 761 (2009), with tails as they are, as the warping of a Gaussian process:
Snelson, Rasmussen and Ghahramani, "Warped Gaussian processes", NIPS 2003).
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


def bent(t: Float[Tensor, "*n"], skew: Float[Tensor, ""]) -> Float[Tensor, "*n"]:
    """(...) standardised labels -> (...) their images; dimensionless."""
    return (t.asinh() - skew).sinh()


def log_slope(t: Float[Tensor, "*n"], skew: Float[Tensor, ""]) -> Float[Tensor, "*n"]:
    """log dz/dt of `bent` at t, (...); dimensionless."""
    return (t.asinh() - skew).cosh().log() - 0.5 * (1 + t * t).log()


@dataclass(frozen=True)
class Bend:
    """The map for labels with a unit, and back.

    Attributes:
        middle: () label that stands for t = 0, in the quantity's unit.
        size: () of a standardised label, in the same unit.
        skew: () s, dimensionless.
    """

    middle: Tensor
    size: Tensor
    skew: Tensor

    def __call__(self, labels: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """(...) labels -> (...) images, in the labels' unit."""
        return self.middle + self.size * bent((labels - self.middle) / self.size, self.skew)

    def back(self, images: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """(...) images -> (...) labels, in their unit: medians go to medians."""
        return self.middle + self.size * bent((images - self.middle) / self.size, -self.skew)

    def slope_back(self, images: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """(...) derivative of `back`, dimensionless: what an image's standard error is times."""
        return log_slope((images - self.middle) / self.size, -self.skew).exp()
