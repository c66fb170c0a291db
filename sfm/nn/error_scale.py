"""How large errors of forces are at a token, said by the features that the energy is made of.

The logarithm of a token's error is linear in what the last map of the energy's head acts on, fitted
to errors on held-out systems (multiplicative heteroscedasticity: Harvey, Econometrica 44, 461
(1976)). The scale is calibrated by the conformal quantile of errors over it (Lei, G'Sell, Rinaldo,
Tibshirani and Wasserman, J. Am. Stat. Assoc. 113, 1094 (2018), section 5.2), so that 90 % of new
errors fall within 1.645 standard errors. The scale that an error is divided by was fitted without
the group of relatives that the error is from (cross-conformal: Vovk, Ann. Math. Artif. Intell. 74,
9 (2015)).

The quadratic form of `sfm.nn.uncertainty` in the same features says as much of molecules (rank
correlation with the errors 0.6), but nothing of crystals (0.2, and intervals 1.4 times as wide as
those of one width for all; here 0.4 and 1.1). What held-out systems cannot say, where they are
relatives of those of training, is how errors grow away from both. So the scale grows with the
Mahalanobis distance of a token's features to those of training, beyond the median of the held-out
ones, up to three times it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.nn.precision import Float64Buffers
from sfm.nn.uncertainty import interval_factor

RIDGE = 1.0  # over the variance of a standardised feature
FURTHEST = 3.0  # from the mean of the logarithm: beyond lies extrapolation
LEAST = 1e-3  # of the mean error: smaller ones tell nothing of the scale
FARTHEST = 3.0  # usual distances: to there the scale grows with the distance
FLAT = 1e-3  # of the mean variance of features, for directions that training has not


class ErrorScale(Float64Buffers):
    """Calibrated standard errors of tokens' components, for every context of the model.

    Args:
        n_contexts: of the model.
        channels: C, of the features.
    """

    later: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("mean", "weights", "level", "alpha"),
        ("middle", "precision", "usual"),
    )
    mean: Tensor
    weights: Tensor
    level: Tensor
    alpha: Tensor
    middle: Tensor
    precision: Tensor
    usual: Tensor

    def __init__(self, n_contexts: int, channels: int) -> None:
        super().__init__()
        f64 = torch.float64
        self.register_buffer("mean", torch.zeros(n_contexts, channels, dtype=f64))
        self.register_buffer("weights", torch.zeros(n_contexts, channels, dtype=f64))
        self.register_buffer("level", torch.zeros(n_contexts, dtype=f64))
        # zero: not calibrated
        self.register_buffer("alpha", torch.zeros(n_contexts, dtype=f64))
        # of the features of training; without them no token is far
        self.register_buffer("middle", torch.zeros(n_contexts, channels, dtype=f64))
        self.register_buffer("precision", torch.zeros(n_contexts, channels, channels, dtype=f64))
        # median of the held-out squared distances
        self.register_buffer("usual", torch.ones(n_contexts, dtype=f64))

    def scale(
        self, features: Float[Tensor, "N C"], context: Int[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        """(N,) size of errors before it is calibrated, in the quantity's unit."""
        apart = features.detach().double() - self.mean[context]
        said = (apart * self.weights[context]).sum(1).clamp(-FURTHEST, FURTHEST)
        return self.remoteness(features, context) * (self.level[context] + said).exp()

    def remoteness(
        self, features: Float[Tensor, "N C"], context: Int[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        """(N,) distance to the features of training over a usual one, 1 to 3; dimensionless."""
        far = features.new_ones(len(features), dtype=torch.float64)
        for index in context.unique().tolist():
            rows = context == index
            squares = self._squares(index, features[rows]) / self.usual[index]
            far[rows] = squares.clamp(1.0, FARTHEST**2).sqrt()
        return far

    def _squares(self, context: int, features: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
        apart = features.detach().double() - self.middle[context]
        return ((apart @ self.precision[context]) * apart).sum(1)

    def forward(
        self, features: Float[Tensor, "N C"], context: Int[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        """Standard error (N,) of each component, in the quantity's unit; NaN if not calibrated."""
        alpha = self.alpha[context]
        return torch.where(alpha > 0, alpha * self.scale(features, context), torch.nan)

    @torch.no_grad()
    def calibrate(
        self,
        context: int,
        features: Sequence[Float[Tensor, "_ C"]],
        errors: Sequence[Float[Tensor, "_ K"]],
        known: Float[Tensor, "n C"],
    ) -> float:
        """Fit the scale to the errors of tokens that the model was not trained on, and calibrate.

        Args:
            context: index of (encoder, level).
            features: (m_k, C) of the tokens of each fold; at least two folds.
            errors: (m_k, K) predicted minus true, in the quantity's unit.
            known: (n, C) of tokens that the model was trained on.

        Returns:
            alpha, dimensionless.
        """
        self._place(context, known.double(), torch.cat(list(features)))
        ratios = []
        for held in range(len(features)):
            rest = [k for k in range(len(features)) if k != held]
            self._fit(context, torch.cat([features[k] for k in rest]),
                      torch.cat([errors[k] for k in rest]))  # fmt: skip
            index = torch.full((len(features[held]),), context, device=features[held].device)
            scale = self.scale(features[held], index)
            ratios.append((errors[held].double().abs() / scale.unsqueeze(1)).flatten())
        self._fit(context, torch.cat(list(features)), torch.cat(list(errors)))
        self.alpha[context] = interval_factor(torch.cat(ratios))
        return float(self.alpha[context])

    def _place(self, context: int, known: Float[Tensor, "n C"], held: Float[Tensor, "m C"]) -> None:
        """Say where the features of training are, and how far held-out ones usually lie."""
        middle = known.mean(0)
        covariance = (known - middle).T @ (known - middle) / len(known)
        flat = (FLAT * covariance.diagonal().mean()).clamp(min=1e-300)
        covariance.diagonal().add_(flat)
        self.middle[context] = middle
        self.precision[context] = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
        usual = self._squares(context, held).median()
        self.usual[context] = torch.where(usual > 0, usual, 1.0)

    def _fit(
        self, context: int, features: Float[Tensor, "m C"], errors: Float[Tensor, "m K"]
    ) -> None:
        """Set the logarithm of the scale by ridge regression."""
        index = torch.full((len(features),), context, device=features.device)
        f = features.double()
        size = errors.double().abs().mean(1) / self.remoteness(features, index)
        least = (LEAST * size.mean()).clamp(min=1e-300)
        y = (size + least).log()
        mean, spread = f.mean(0), f.std(0, correction=0)
        x = (f - mean) / spread.clamp(min=1e-9)
        gram = x.T @ x / len(x)
        gram.diagonal().add_(RIDGE)
        slopes = torch.linalg.solve(gram, x.T @ (y - y.mean()) / len(x))
        self.mean[context], self.level[context] = mean, y.mean()
        self.weights[context] = slopes / spread.clamp(min=1e-9)
