"""Uncertainty of scalars from the last layer, at no extra forward pass.

The last linear map of a head acts on features f. Treating that map as a Bayesian linear regression
on the training features F gives the variance

    sigma^2 = alpha^2 (f^T (F^T F + s^2 1)^-1 f + floor)

("last-layer prediction rigidity", Bigi, Chong, Ceriotti and Grasselli, Mach. Learn.: Sci. Technol.
5, 045018 (2024)). The floor is what features cannot tell, a third of the quadratic form's mean over
held-out systems: without it a hundred labels, hardly more than features, gave 90 % intervals of
moduli that held 82 % of new systems, and had 1.5 times the interval score (Gneiting and Raftery, J.
Am. Stat. Assoc. 102, 359 (2007), section 6.2). alpha is calibrated on validation errors, so that
90 % of new errors fall within 1.645 sigma (`interval_factor`): their root mean square would do that
for a normal variable and many labels, and fell short with the 25 errors of a trial. The quadratic
form also says when an input lies outside the training domain: when it exceeds nearly all values
seen in training.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.nn.precision import Float64Buffers

OUTSIDE_QUANTILE = 0.999
OUTSIDE_FACTOR = 2.0
COVERED = 0.90
# standard errors of a normal variable that hold 90 %
NORMAL = 1.6448536269514722
RIDGE = 1e-3  # over the mean square of a feature
FLOOR = 1 / 3  # over the mean quadratic form of held-out systems


def interval_factor(ratios: Float[Tensor, " n"]) -> float:
    """What standard errors are multiplied by, so that 90 % of new errors fall within 1.645 of them.

    ratios: (n,) |error| / sigma of held-out systems, dimensionless.

    The conformal quantile of |error| / sigma over held-out systems (Vovk, Gammerman and Shafer,
    Algorithmic Learning in a Random World, 2005); the root mean square where they are few.
    """
    n = len(ratios)
    rank = math.ceil((n + 1) * COVERED)
    if rank > n:
        return float(ratios.square().mean().sqrt())
    return float(ratios.sort().values[rank - 1]) / NORMAL


class LastLayerUncertainty(Float64Buffers):
    """Calibrated last-layer uncertainty of one head, for every context of the model."""

    later: ClassVar[tuple[tuple[str, ...], ...]] = (("precision", "alpha", "limit"), ("floor",))
    precision: Tensor
    alpha: Tensor
    limit: Tensor
    floor: Tensor

    def __init__(self, n_contexts: int, channels: int) -> None:
        super().__init__()
        f64 = torch.float64
        self.register_buffer("precision", torch.zeros(n_contexts, channels, channels, dtype=f64))
        # zero: not calibrated
        self.register_buffer("alpha", torch.zeros(n_contexts, dtype=f64))
        self.register_buffer("limit", torch.zeros(n_contexts, dtype=f64))
        self.register_buffer("floor", torch.zeros(n_contexts, dtype=f64))

    def rigidity(
        self, features: Float[Tensor, "S C"], context: Int[Tensor, " S"]
    ) -> Float[Tensor, " S"]:
        """(S,) f^T (F^T F + s^2 1)^-1 f, dimensionless."""
        f = features.detach().double()
        return torch.einsum("si,sij,sj->s", f, self.precision[context], f)

    def forward(
        self, features: Float[Tensor, "S C"], context: Int[Tensor, " S"]
    ) -> tuple[Float[Tensor, " S"], Bool[Tensor, " S"]]:
        """Standard error (S,) in the quantity's unit (NaN if not calibrated), and outside (S,)."""
        rigidity = self.rigidity(features, context)
        alpha = self.alpha[context]
        sigma = torch.where(alpha > 0, alpha * self._size(rigidity, context), torch.nan)
        return sigma, (alpha > 0) & (rigidity > OUTSIDE_FACTOR * self.limit[context])

    def _size(
        self, rigidity: Float[Tensor, " S"], context: Int[Tensor, " S"]
    ) -> Float[Tensor, " S"]:
        """(S,) size of errors before it is calibrated, dimensionless."""
        return (rigidity.clamp(min=1e-30) + self.floor[context]).sqrt()

    @torch.no_grad()
    def calibrate(
        self,
        context: int,
        training: Float[Tensor, "n C"],
        validation: Float[Tensor, "m C"],
        errors: Float[Tensor, " m"],
    ) -> float:
        """Set the precision from training features, floor and alpha from validation errors.

        Args:
            context: index of (encoder, level).
            training: (n, C) last-layer features of training systems.
            validation: (m, C) of validation systems.
            errors: (m,) predicted minus true, in the quantity's unit.

        Returns:
            alpha, in the quantity's unit.
        """
        f = training.double()
        gram = f.T @ f
        ridge = RIDGE * gram.diagonal().mean().clamp(min=1e-12)
        eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        inverse = torch.linalg.inv(gram + ridge * eye)
        self.precision[context] = (inverse + inverse.T) / 2
        index = torch.full((len(f),), context, device=f.device)
        self.limit[context] = torch.quantile(self.rigidity(f, index), OUTSIDE_QUANTILE)
        held = index.new_full((len(validation),), context)
        rigidity = self.rigidity(validation, held)
        self.floor[context] = FLOOR * rigidity.mean()
        ratios = errors.double().abs() / self._size(rigidity, held)
        self.alpha[context] = interval_factor(ratios)
        return float(self.alpha[context])
