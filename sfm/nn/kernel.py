"""A head in closed form: Gaussian-process regression on frozen features, stored like any head.

For one number y per system, with blocks b of inputs x_b (composition, the trunk's pooled
invariants, each kind of a plugin's descriptors), each standardised on the training systems,

    k(x, x') = sum_b  v_b x_b . x'_b / D_b  +  w_b m(|x_b - x'_b| / (l_b sqrt(D_b))),
    m(r) = (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r)                     (Matern 5/2),
    y(x) = offset + k(x, X) K^-1 (Y - offset),      K = k(X, X) + noise 1,
    var(x) = k(x, x) - k(x, X) K^-1 k(X, x) + noise

(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, eqs. 2.25, 2.26, 4.17). With
w = 0 it is ridge regression. All is differentiable in the features, so an energy has forces. A
quantity that does not add up may be skewed: Y are images of its labels then, and y goes back
(`sfm.nn.skew`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.data.tokens import Tokens
from sfm.nn.head import Head, Normalisation
from sfm.nn.pooling import pool, type_counts
from sfm.nn.precision import Float64Buffers
from sfm.nn.skew import Bend
from sfm.nn.trunk import INVARIANTS
from sfm.quantity import Quantity

COMPOSITION, FEATURES = "composition", "features"
SAID = "said"  # what the model says of other quantities (`sfm.model.descriptors`)
OUTSIDE_FACTOR = 1.0


def matern(squares: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Matern 5/2 of squared reduced distances, (...); dimensionless."""
    r = (5 * squares + 1e-12).sqrt()
    return (1 + r + r * r / 3) * torch.exp(-r)


def squared_distances(a: Float[Tensor, "n D"], b: Float[Tensor, "m D"]) -> Float[Tensor, "n m"]:
    """(n, D), (m, D) -> (n, m), divided by D; dimensionless."""
    squares = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * a @ b.T
    return squares.clamp(min=0) / a.shape[1]


def pooled_blocks(
    features: Tokens, inputs: Tokens, quantity: Quantity, names: Sequence[str]
) -> dict[str, Float[Tensor, "S _"]]:
    """Raw inputs (S, D_b) float64 by block; sums for an extensive quantity, else cumulants.

    Args:
        features: the trunk's, with the invariants of all layers among their extras.
        inputs: the encoder's tokens.
        quantity: what is to be said.
        names: which blocks; those of descriptors are left out.
    """
    blocks: dict[str, Tensor] = {}
    if COMPOSITION in names:
        blocks[COMPOSITION] = type_counts(inputs, fractions=not quantity.extensive)
    if FEATURES in names:
        how = "sum" if quantity.extensive else "cumulants"
        blocks[FEATURES] = pool(features.extras[INVARIANTS].double(), features, how)  # type: ignore[arg-type]
    return blocks


def block_of(part: str) -> str:
    """Name of the block of a plugin's descriptors: `rdkit` of `molecules/rdkit`."""
    return part.rpartition("/")[2].replace("-", "_")


def is_tame(block: str) -> bool:
    """Whether outliers of the block are bent in: those of descriptors are."""
    return block not in (COMPOSITION, FEATURES)


class Standard:
    """Columns of one block: which vary, their mean and spread on the training systems."""

    def __init__(
        self,
        columns: Int[Tensor, " kept"],
        mean: Float[Tensor, " kept"],
        spread: Float[Tensor, " kept"],
    ) -> None:
        self.columns, self.mean, self.spread = columns, mean, spread

    @staticmethod
    def of(rows: Float[Tensor, "n D"]) -> Standard:
        """From training rows (n, D); NaN counts as missing."""
        mean = torch.nan_to_num(rows.nanmean(0))
        spread = torch.nan_to_num((rows - mean).square().nanmean(0)).sqrt()
        known = torch.isfinite(rows).double().mean(0) > 0.5
        keep = known & (spread > 1e-9 * (1 + mean.abs()))
        columns = torch.nonzero(keep)[:, 0]
        return Standard(columns, mean[columns], spread[columns])

    def __call__(self, rows: Float[Tensor, "S D"], *, tame: bool) -> Float[Tensor, "S kept"]:
        """(S, D) -> (S, kept); a missing value becomes the mean. `tame` bends outliers in."""
        z = (rows.index_select(1, self.columns) - self.mean) / self.spread
        z = torch.where(torch.isfinite(z), z, torch.zeros_like(z))
        return torch.asinh(z) if tame else z


class KernelHead(Float64Buffers, Head):
    """Closed-form scalar per system at one level of theory. (S,) float64, in the physical unit.

    Args:
        quantity: what it says.
        channels: width of the trunk; unused.
        points: n, training systems.
        widths: kept columns of each block.
        descriptors: names of the descriptors by plugin part, `molecules/rdkit`, or `sfm/said`.
        baseline: what of the model's own is added: `quantity`, `factor`, `references` (with them
            or without), `per_token`; None for nothing. The model adds it.
        kind: how it was made, for reports.
    """

    normalisation: ClassVar[Normalisation] = "none"
    later: ClassVar[tuple[tuple[str, ...], ...]] = (("middle", "size", "skew"),)
    middle: Tensor
    size: Tensor
    skew: Tensor
    offset: Tensor
    coefficients: Tensor
    cholesky: Tensor
    noise: Tensor
    factor: Tensor
    limit: Tensor

    def __init__(
        self,
        quantity: Quantity,
        channels: int,
        *,
        points: int,
        widths: Mapping[str, int],
        descriptors: Mapping[str, Sequence[str]] | None = None,
        baseline: Mapping[str, Any] | None = None,
        kind: str = "gp",
    ) -> None:
        super().__init__(
            quantity,
            channels,
            points=points,
            widths=dict(widths),
            descriptors={k: list(v) for k, v in (descriptors or {}).items()},
            baseline=None if baseline is None else dict(baseline),
            kind=kind,
        )
        f64 = torch.float64
        self.widths = dict(widths)
        self.descriptors = self.options["descriptors"]
        self.baseline = self.options["baseline"]
        for name, width in self.widths.items():
            self.register_buffer(f"{name}_columns", torch.zeros(width, dtype=torch.long))
            self.register_buffer(f"{name}_mean", torch.zeros(width, dtype=f64))
            self.register_buffer(f"{name}_spread", torch.ones(width, dtype=f64))
            self.register_buffer(f"{name}_inputs", torch.zeros(points, width, dtype=f64))
            # v, w, l of the module's docstring
            self.register_buffer(f"{name}_weights", torch.zeros(3, dtype=f64))
        # of the map from labels to images, which without skewness is none
        self.register_buffer("middle", torch.zeros((), dtype=f64))
        self.register_buffer("size", torch.ones((), dtype=f64))
        self.register_buffer("skew", torch.zeros((), dtype=f64))
        self.register_buffer("offset", torch.zeros((), dtype=f64))
        self.register_buffer("coefficients", torch.zeros(points, dtype=f64))
        self.register_buffer("cholesky", torch.eye(points, dtype=f64))
        self.register_buffer("noise", torch.zeros((), dtype=f64))
        # calibrated factor of the standard error, and the largest usual distance to the data
        self.register_buffer("factor", torch.ones((), dtype=f64))
        self.register_buffer("limit", torch.full((), math.inf, dtype=f64))

    @property
    def bend(self) -> Bend:
        """The map from labels to images, on which the regression is."""
        return Bend(self.middle, self.size, self.skew)

    @property
    def rests_on_features(self) -> bool:
        """Whether the trunk's weights matter to it."""
        return not {FEATURES, SAID}.isdisjoint(self.widths) or self.baseline is not None

    def standardised(self, features: Tokens, inputs: Tokens) -> dict[str, Float[Tensor, "S _"]]:
        """Inputs (S, D_b) by block, as the kernel takes them."""
        raw = pooled_blocks(features, inputs, self.quantity, list(self.widths))
        start = 0
        for part, names in self.descriptors.items():
            columns = inputs.extras[self.extra][:, start : start + len(names)]
            raw[block_of(part)] = columns.double()
            start += len(names)
        blocks = {}
        for name in self.widths:
            statistics = (getattr(self, f"{name}_{what}") for what in ("columns", "mean", "spread"))
            blocks[name] = Standard(*statistics)(raw[name], tame=is_tame(name))
        return blocks

    @property
    def extra(self) -> str:
        """Key of its descriptors among the tokens' extras: their names."""
        return ";".join(f"{part}:{','.join(columns)}" for part, columns in self.descriptors.items())

    def _kernel(self, blocks: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """k(x, X) (S, n), k(x, x) (S,), and the squared distance to the nearest point (S,)."""
        size = next(iter(blocks.values())).shape[0]
        like = self.offset
        cross, itself = like.new_zeros(size, len(self.coefficients)), like.new_zeros(size)
        apart = like.new_zeros(size, len(self.coefficients))
        for name, x in blocks.items():
            known = getattr(self, f"{name}_inputs")
            v, w, length = getattr(self, f"{name}_weights")
            d = max(x.shape[1], 1)
            squares = squared_distances(x, known)
            cross = cross + v * (x @ known.T) / d + w * matern(squares / length**2)
            itself = itself + v * x.square().sum(1) / d + w
            apart = apart + squares
        return cross, itself, apart.amin(1)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " S"]:
        if not self.widths:
            return self.offset.expand(inputs.n_systems).clone()
        cross, _, _ = self._kernel(self.standardised(features, inputs))
        return self.bend.back(self.offset + cross @ self.coefficients)

    @torch.no_grad()
    def judge(
        self, features: Tokens, inputs: Tokens
    ) -> tuple[Float[Tensor, " S"], Bool[Tensor, " S"]]:
        """Standard errors (S,) of the head, and whether each system is far from all the data."""
        if not self.widths:
            sigma = self.factor * self.noise.sqrt().expand(inputs.n_systems)
            return sigma, torch.zeros_like(sigma, dtype=torch.bool)
        _, sigma, outside = self.of_blocks(self.standardised(features, inputs))
        return sigma, outside

    @torch.no_grad()
    def of_blocks(
        self, blocks: Mapping[str, Float[Tensor, "S _"]]
    ) -> tuple[Float[Tensor, " S"], Float[Tensor, " S"], Bool[Tensor, " S"]]:
        """Values and standard errors (S,) in the quantity's unit, and whether far off.

        Args:
            blocks: standardised inputs (S, D_b), dimensionless; at least one.
        """
        cross, itself, apart = self._kernel(blocks)
        solved = torch.linalg.solve_triangular(self.cholesky, cross.T, upper=False)
        variance = (itself - solved.square().sum(0)).clamp(min=0) + self.noise
        images = self.offset + cross @ self.coefficients
        sigma = self.factor * variance.sqrt() * self.bend.slope_back(images)
        return self.bend.back(images), sigma, apart > OUTSIDE_FACTOR * self.limit
