"""Learned functionals: a named functional times bounded networks, with constraints built in.

    E_x = sum over spins of 1/2 int e_x^base[2 n_spin] B_x,   B_x = c / (F + (c - F) exp(-d g_x))
    E_c = int e_c^base B_c,                                    B_c = 2 / (1 + exp(-d g_c))

F is the base's enhancement over Slater exchange, c = 1.804 the local Lieb-Oxford bound (J. P.
Perdew, K. Burke and M. Ernzerhof, Phys. Rev. Lett. 77, 3865, 1996), g_x and g_c networks of the
features of `features.py`, and d the departure from the uniform gas. B_x shifts the logit of F / c.
Whatever the weights:

- exchange obeys spin scaling, and its enhancement lies between 0 and 1.804; with a base that is
  scale-free it obeys coordinate scaling (g_x sees s and a only);
- the uniform gas is exact (except NeuralLDA's correlation, which has nothing else to learn from);
- correlation has the base's sign, between none and twice of it: where the base has none (one
  electron in r2SCAN) it stays none; it is even in the polarisation;
- both are smooth, so potential and response exist; zero weights give the base.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_dft.neural.features import all_features, local_features
from sfm_dft.xc import functional as named
from sfm_dft.xc.contract import Functional, Rung, XcEnergy
from sfm_dft.xc.density import GridDensity
from sfm_dft.xc.lda import uniform_exchange
from sfm_dft.xc.reduced import Reduced, reduced

LIEB_OXFORD = 1.804
_LARGEST = 4.0  # of |g|: a boost is never further than e^4 from 1, and saturates smoothly


class Gain(nn.Module):
    """A small network whose output lies between -4 and 4; features enter from -1 to 1."""

    def __init__(self, inputs: int, hidden: int, layers: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * layers, 1]
        self.layers = nn.ModuleList(
            nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(sizes)
        )
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            last = index == len(self.layers) - 1
            with torch.no_grad():
                std = 0.0 if last else math.sqrt(1.0 / layer.in_features)
                layer.weight.normal_(0.0, 1.0, generator=generator).mul_(std)
                layer.bias.uniform_(-0.5, 0.5, generator=generator).mul_(0.0 if last else 1.0)

    def forward(self, columns: Float[Tensor, "*points F"]) -> Float[Tensor, "*points"]:
        """(..., F) features to (...)."""
        h = 2.0 * columns - 1.0
        *inner, last = self.layers
        for layer in inner:
            h = nn.functional.silu(layer(h))
        return _LARGEST * torch.tanh(last(h)[..., 0] / _LARGEST)


class NeuralFunctional(Functional):
    """Base of the learned functionals; use one of its subclasses. `saving` writes and reads them.

    Args:
        base: name of the functional that is corrected.
        hidden, layers: of the two networks.
        exact_exchange: fraction of exact exchange; the rest of exchange is the learned one.
        seed: of the first weights.
        extra: features that a subclass gives both networks beside those of `features.py`.
    """

    default_base: ClassVar[str] = "LDA"
    citations: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        *,
        base: str | None = None,
        hidden: int = 32,
        layers: int = 2,
        exact_exchange: float = 0.0,
        seed: int = 0,
        extra: int = 0,
    ) -> None:
        super().__init__()
        if not 0.0 <= exact_exchange <= 1.0:
            raise InputError(f"exact_exchange={exact_exchange}: a fraction lies between 0 and 1")
        self.options: dict[str, Any] = {
            "base": base or self.default_base,
            "hidden": hidden,
            "layers": layers,
            "exact_exchange": exact_exchange,
            "seed": seed,
        }
        self.base = named(self.options["base"])
        if self.base.exact_exchange:
            raise InputError(f"{self.options['base']} is a hybrid: name a semilocal base")
        self.exact_exchange = exact_exchange
        generator = torch.Generator().manual_seed(seed)
        local = {"lda": 0, "gga": 1, "mgga": 2}[self.rung]
        seen = local + extra
        self.exchange_gain = Gain(seen, hidden, layers, generator) if seen else None
        self.correlation_gain = Gain(seen + 2, hidden, layers, generator)

    def exchange_parts(
        self, point: Reduced
    ) -> tuple[
        Float[Tensor, "*s G"], Float[Tensor, "*s G"], Float[Tensor, "*s G F"], Float[Tensor, "*s G"]
    ]:
        """Base energy and enhancement of each spin's doubled density, features, departure.

        All (2, G), or (G,) for a closed shell; features have one more axis.
        """
        gas = point.exchange
        enhancement = torch.zeros_like(gas.n)
        for weight, factor in self.base.exchange:
            enhancement = enhancement + weight * factor(gas)
        columns, departure = local_features(gas, self.rung)
        return gas.energy(uniform_exchange(gas) * enhancement), enhancement, columns, departure

    def correlation_parts(
        self, point: Reduced
    ) -> tuple[Float[Tensor, " G"], Float[Tensor, "G F"], Float[Tensor, " G"]]:
        """Base energy, features, departure, (G,) each."""
        gas = point.total
        energy = torch.zeros_like(gas.n)
        for weight, per_electron in self.base.correlation:
            energy = energy + weight * per_electron(gas, point.spins)
        columns, departure = all_features(gas, self.rung, point.spins)
        return gas.energy(energy), columns, departure

    def exchange_boost(
        self,
        enhancement: Float[Tensor, "*s G"],
        columns: Float[Tensor, "*s G F"],
        departure: Float[Tensor, "*s G"],
    ) -> Float[Tensor, "*s G"]:
        """B_x (s, G), by which exchange exceeds the base's."""
        if self.exchange_gain is None:
            return torch.ones_like(enhancement)
        fall = torch.exp(-departure * self.exchange_gain(columns))
        return LIEB_OXFORD / (enhancement + (LIEB_OXFORD - enhancement) * fall)

    def correlation_boost(
        self, columns: Float[Tensor, "G F"], departure: Float[Tensor, " G"]
    ) -> Float[Tensor, " G"]:
        """B_c (G,), by which correlation exceeds the base's."""
        return 2.0 * torch.sigmoid(departure * self.correlation_gain(columns))

    def forward(self, density: GridDensity) -> XcEnergy:
        point = reduced(density, self.rung)
        energy, enhancement, columns, departure = self.exchange_parts(point)
        exchange = energy * self.exchange_boost(enhancement, columns, departure)
        if not density.closed_shell:
            exchange = 0.5 * exchange.sum(0)
        energy, columns, departure = self.correlation_parts(point)
        correlation = energy * self.correlation_boost(columns, departure)
        return XcEnergy((1.0 - self.exact_exchange) * exchange, correlation)

    def with_random_weights(self, seed: int, scale: float = 1.0) -> Self:
        """Set every weight at random, for tests of what holds for all weights."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in self.parameters():
                weight.normal_(0.0, scale, generator=generator)
        return self


class NeuralLDA(NeuralFunctional):
    """Slater exchange, which coordinate scaling fixes, and learned local correlation."""

    rung: Rung = "lda"
    default_base = "LDA"


class NeuralGGA(NeuralFunctional):
    """Learned enhancement of PBE that sees density, polarisation and gradient."""

    rung: Rung = "gga"
    default_base = "PBE"


class NeuralMetaGGA(NeuralFunctional):
    """Learned enhancement of r2SCAN that also sees the kinetic energy density."""

    rung: Rung = "mgga"
    default_base = "r2SCAN"


KINDS: Mapping[str, type[NeuralFunctional]] = {
    kind.__name__: kind for kind in (NeuralLDA, NeuralGGA, NeuralMetaGGA)
}
