"""A head in closed form for energies and forces: regression on random features of every token.

With the trunk's invariants h_i of token i, standardised and rotated to few dimensions x_i, and its
type Z_i,

    phi_i = [ sqrt(v) x_i,  sqrt(2 / M) cos(Omega x_i + b_Zi) ],   Omega_pm ~ N(0, 1 / l^2),
    E     = sum_i ( c_Zi + a . phi_i ),     F = -dE/dx,
    var E = Phi . A^-1 Phi + noise,         Phi = sum_i phi_i  (and the counts of types).

Phases b that are drawn for each type make the expected kernel of tokens of different types vanish,
and of equal ones exp(-|x_i - x_j|^2 / 2 l^2) (Rahimi and Recht, NIPS 2007). The energy is linear in
a, and so are its forces: one Cholesky factor fits both (`sfm.train.force_forms`), as in franken
(Novelli et al., arXiv:2505.05652).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.data.tokens import Tokens, system_sum
from sfm.nn.elements import N_TYPES
from sfm.nn.head import Head, Normalisation
from sfm.nn.precision import Float64Buffers
from sfm.nn.trunk import INVARIANTS
from sfm.quantity import Quantity


class RandomFeaturesHead(Float64Buffers, Head):
    """Closed-form energy per system at one level of theory. (S,) float64, in the physical unit.

    Args:
        quantity: an extensive number.
        channels: width of the trunk; unused.
        invariants: D, those of a token.
        reduced: P, dimensions of x.
        features: M, random ones; 0 leaves the linear part.
        types: T, token types that were seen.
        baseline: what of the model's own is added, see `sfm.nn.kernel.KernelHead`.
        kind: how it was made, for reports.
    """

    normalisation: ClassVar[Normalisation] = "none"
    # what closed forms on descriptors have besides; a derivative has none
    descriptors: ClassVar[Mapping[str, Any]] = {}
    extra: ClassVar[str] = ""
    rests_on_features: ClassVar[bool] = True
    later: ClassVar[tuple[tuple[str, ...], ...]] = (("force_error",),)
    mean: Tensor
    rotation: Tensor
    linear: Tensor
    frequencies: Tensor
    phases: Tensor
    row: Tensor
    references: Tensor
    coefficients: Tensor
    cholesky: Tensor
    noise: Tensor
    factor: Tensor
    force_error: Tensor  # eV/angstrom, standard error of a component; 0: not known

    def __init__(
        self,
        quantity: Quantity,
        channels: int,
        *,
        invariants: int,
        reduced: int,
        features: int,
        types: int,
        baseline: Mapping[str, Any] | None = None,
        kind: str = "gp",
    ) -> None:
        super().__init__(
            quantity,
            channels,
            invariants=invariants,
            reduced=reduced,
            features=features,
            types=types,
            baseline=None if baseline is None else dict(baseline),
            kind=kind,
        )
        self.baseline = self.options["baseline"]
        size = types + reduced + features

        def buffer(name: str, *shape: int) -> None:
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

        buffer("mean", invariants)
        buffer("rotation", invariants, reduced)
        buffer("linear")
        buffer("frequencies", reduced, features)
        buffer("phases", types, features)
        self.register_buffer("row", torch.zeros(N_TYPES, dtype=torch.long))
        buffer("references", N_TYPES)
        buffer("coefficients", size)
        buffer("cholesky", size, size)
        buffer("noise")
        buffer("factor")
        buffer("force_error")

    def reduce(self, invariants: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows P"]:
        """(..., D) -> (..., P) float64, dimensionless."""
        return (invariants.double() - self.mean) @ self.rotation

    def per_token(self, x: Float[Tensor, "N P"], types: Int[Tensor, " N"]) -> Float[Tensor, "N F"]:
        """phi (N, T + P + M) of the module's docstring, after the counts of types."""
        row = self.row[types]
        counts = torch.nn.functional.one_hot(row, self.phases.shape[0]).to(x)
        waves = torch.cos(x @ self.frequencies + self.phases[row])
        return torch.cat([counts, self.linear.sqrt() * x, self.height * waves], dim=1)

    def slopes(
        self, x: Float[Tensor, "N P"], types: Int[Tensor, " N"], moved: Float[Tensor, "K N P"]
    ) -> Float[Tensor, "K F"]:
        """Derivatives (K, T + P + M) of the sum of phi, for those (K, N, P) of x, in their unit."""
        waves = -torch.sin(x @ self.frequencies + self.phases[self.row[types]])
        # sum_i w_im (dx_i . Omega_m), without the (K, N, M) in between
        moving = torch.einsum("knp,nm->kpm", moved, waves)
        random = (moving * self.frequencies).sum(1)
        counts = x.new_zeros(len(moved), self.phases.shape[0])
        return torch.cat([counts, self.linear.sqrt() * moved.sum(1), self.height * random], dim=1)

    @property
    def height(self) -> float:
        """Of the waves."""
        return math.sqrt(2 / max(self.frequencies.shape[1], 1))

    def total(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "S F"]:
        """Phi (S, T + P + M), dimensionless."""
        phi = self.per_token(self.reduce(features.extras[INVARIANTS]), inputs.types)
        return system_sum(phi, inputs.system, inputs.n_systems)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " S"]:
        reference = system_sum(self.references[inputs.types], inputs.system, inputs.n_systems)
        return reference + self.total(features, inputs) @ self.coefficients

    @torch.no_grad()
    def judge(
        self, features: Tokens, inputs: Tokens
    ) -> tuple[Float[Tensor, " S"], Bool[Tensor, " S"]]:
        """Standard errors (S,) of the energy, and whether each system is unlike all the data.

        Unlike is what the data say so little of that its variance is more than noise: none here,
        for elements and distances are judged by the model's coverage.
        """
        solved = torch.linalg.solve_triangular(
            self.cholesky, self.total(features, inputs).T, upper=False
        )
        variance = solved.square().sum(0) + self.noise
        return self.factor * variance.sqrt(), torch.zeros_like(variance, dtype=torch.bool)
