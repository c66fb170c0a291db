"""Heads: tokens -> quantity.

A head returns normalised numbers; the model multiplies by the scale and adds the references of
the (encoder, level). Forces and stress have no head: `sfm.nn.derive` differentiates the energy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.isotropy import ELASTIC, MATRIX
from sfm.data.tokens import Tokens, system_sum
from sfm.errors import InputError
from sfm.quantity import Quantity

Normalisation = Literal["references", "standard", "rms", "none"]


class Head(nn.Module, ABC):
    """Base of all heads.

    Class attributes:
        normalisation: how labels are normalised: `references` (one number per token type, summed
            for an extensive quantity and averaged for an intensive one, fitted by least squares,
            then scaled), `standard` (mean and standard deviation), `rms` (scale only), `none`.
        needs: extras of the encoder's tokens that it reads.

    Args:
        quantity: what it predicts.
        channels: width of the trunk.
    """

    normalisation: ClassVar[Normalisation] = "rms"
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__()
        self.quantity = quantity
        self.channels = channels
        self.options = options

    @abstractmethod
    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " rows *axes"]:
        """Normalised values without unit, (rows, ...) with one row per system, token or cell.

        Args:
            features: what the trunk returned, (N, C), (N, 3, C), (N, 5, C).
            inputs: what the encoder's `tokenize` made (raw features and extras).
        """


class ScalarReadout(nn.Module):
    """Invariant two-layer perceptron, (N, C) -> (N, n_out), dimensionless.

    `hidden` is its last layer's input.
    """

    def __init__(self, channels: int, n_out: int = 1) -> None:
        super().__init__()
        self.inner = nn.Linear(channels, channels)
        self.outer = nn.Linear(channels, n_out, bias=False)

    def hidden(self, scalars: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return nn.functional.silu(self.inner(scalars))

    def forward(self, scalars: Float[Tensor, "N C"]) -> Float[Tensor, "N n_out"]:
        values: Float[Tensor, "N n_out"] = self.outer(self.hidden(scalars))
        return values


class ScalarSum(Head):
    """Extensive scalar of the system, (S,): a sum over tokens."""

    normalisation: ClassVar[Normalisation] = "references"

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.readout = ScalarReadout(channels)

    def last_layer_per_token(self, features: Tokens) -> Float[Tensor, "N C"]:
        """(N, C) what the last linear map acts on, dimensionless; for uncertainties of slopes."""
        return self.readout.hidden(features.scalars)

    def last_layer(self, features: Tokens) -> Float[Tensor, "S C"]:
        """(S, C) sums of `last_layer_per_token`, dimensionless; for uncertainties."""
        per_token = self.last_layer_per_token(features)
        return system_sum(per_token, features.system, features.n_systems)

    def per_token(self, features: Tokens) -> Float[Tensor, " N"]:
        """(N,) each token's share, without unit."""
        share: Float[Tensor, " N"] = self.readout(features.scalars).squeeze(-1)
        return share

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " S"]:
        return system_sum(self.per_token(features), features.system, features.n_systems)


class ScalarMean(Head):
    """Intensive scalar of the system, (S,): a mean over tokens."""

    normalisation: ClassVar[Normalisation] = "references"

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.readout = ScalarReadout(channels)

    def last_layer(self, features: Tokens) -> Float[Tensor, "S C"]:
        """(S, C) what the last linear map acts on, dimensionless; for uncertainties."""
        total = system_sum(
            self.readout.hidden(features.scalars), features.system, features.n_systems
        )
        return total / features.counts().unsqueeze(-1)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " S"]:
        per_token = self.readout(features.scalars).squeeze(-1)
        total = system_sum(per_token, features.system, features.n_systems)
        return total / features.counts()


class TokenScalar(Head):
    """One scalar per token, (N,)."""

    normalisation: ClassVar[Normalisation] = "references"

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.readout = ScalarReadout(channels)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " N"]:
        values: Float[Tensor, " N"] = self.readout(features.scalars).squeeze(-1)
        return values


class VectorSum(Head):
    """Extensive polar vector of the system, (S, 3): a sum over tokens of gated vectors."""

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.gate = ScalarReadout(channels, channels)
        self.outer = nn.Linear(channels, 1, bias=False)

    def per_token(self, features: Tokens) -> Float[Tensor, "N 3"]:
        """(N, 3) each token's share, without unit."""
        gated = features.vectors * self.gate(features.scalars).unsqueeze(1)
        share: Float[Tensor, "N 3"] = self.outer(gated).squeeze(-1)
        return share

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "S 3"]:
        return system_sum(self.per_token(features), features.system, features.n_systems)


CORE = "core"
KERNEL = "core/kernel"
RANDOM_FEATURES = "core/random-features"
CORE_HEADS: dict[str, type[Head]] = {
    "scalar-sum": ScalarSum,
    "scalar-mean": ScalarMean,
    "token-scalar": TokenScalar,
    "vector-sum": VectorSum,
}


def core_head(quantity: Quantity) -> str:
    """Name of the core's head for a quantity that no plugin has a head for: `core/scalar-sum`.

    Raises:
        InputError: the core has none of this shape.
    """
    names = {
        ("0e", "system", True): "scalar-sum",
        ("0e", "system", False): "scalar-mean",
        ("1o", "system", True): "vector-sum",
        ("1o", "system", False): "vector-sum",
        ("0e", "token", True): "token-scalar",
        ("0e", "token", False): "token-scalar",
        (MATRIX, "system", True): "matrix-sum",
        (MATRIX, "system", False): "matrix-mean",
        (ELASTIC, "system", False): "elastic-mean",
    }
    name = names.get((quantity.irreps, quantity.per, quantity.extensive))
    if name is None:
        raise InputError(
            f"no head is known for '{quantity.name}' ({quantity.irreps} per {quantity.per}): "
            "a plugin has to supply one"
        )
    return f"{CORE}/{name}"
