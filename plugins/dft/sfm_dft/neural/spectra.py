"""What training needs of a density: how much base energy lies where in the space of features.

At a fixed density the energy is a sum over grid points of base energy times a boost that depends on
the features of the point only, E = sum_g e_g B(f_g). Points of nearly equal features are merged:
their energies added, their features averaged with |e| as weight, so the error is of second order in
the width of a bin (derived here). A hundred thousand points become a few hundred rows, exact for
the base itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm_dft.neural.densities import PreparedDensity
from sfm_dft.neural.functional import NeuralFunctional
from sfm_dft.xc.reduced import reduced

BINS = {"x": 28, "u": 28, "z": 5, "r": 12}
_NAMES = {"lda": "", "gga": "x", "mgga": "xu"}


@dataclass(frozen=True)
class Spectrum:
    """Energy over features: energy (K,) hartree, features (K, F), departure and F_x (K,)."""

    energy: Tensor
    columns: Tensor
    departure: Tensor
    enhancement: Tensor


@dataclass(frozen=True)
class SpeciesSpectra:
    """Exchange and correlation of one species, and its energy with the base, hartree."""

    exchange: Spectrum
    correlation: Spectrum
    base: float
    rest: float
    exact_exchange: float

    @staticmethod
    def stack(
        spectra_of: Mapping[str, SpeciesSpectra], names: Sequence[str], dtype: torch.dtype
    ) -> Stack:
        """The spectra of these species together."""
        return stack(spectra_of, names, dtype)


def averaged(
    energy: Float[Tensor, " N"], values: Float[Tensor, "N F"], key: Int[Tensor, " N"]
) -> tuple[Float[Tensor, " K"], Float[Tensor, "K F"]]:
    """Energies (N,) added and values (N, F) averaged, with |energy| as weight, over equal keys.

    Ascending by key: (K,) and (K, F).
    """
    _, group = key.unique(return_inverse=True)
    size = int(group.max()) + 1

    def total(rows: Tensor) -> Tensor:
        return rows.new_zeros(size, *rows.shape[1:]).index_add_(0, group, rows)

    weight = energy.abs() + 1e-300
    return total(energy), total(values * weight[:, None]) / total(weight)[:, None]


def spectra(functional: NeuralFunctional, prepared: PreparedDensity) -> SpeciesSpectra:
    """Spectra of a prepared density for functionals of this kind and base, whatever the weights."""
    point = reduced(prepared.density, functional.rung)
    names = _NAMES[functional.rung]
    with torch.no_grad():
        energy, enhancement, columns, departure = functional.exchange_parts(point)
        rows = 1 if energy.ndim == 1 else 2
        weights = prepared.weights.expand(rows, -1) / rows
        exchange = _merge(
            (energy * weights.reshape(energy.shape)).reshape(-1),
            columns.flatten(0, -2),
            departure.reshape(-1),
            enhancement.reshape(-1),
            names,
        )
        energy, columns, departure = functional.correlation_parts(point)
        correlation = _merge(
            energy * prepared.weights, columns, departure, torch.ones_like(energy), names + "zr"
        )
    base = float(exchange.energy.sum() + correlation.energy.sum())
    return SpeciesSpectra(
        exchange, correlation, prepared.rest + base, prepared.rest, prepared.exact_exchange
    )


def _merge(
    energy: Tensor, columns: Tensor, departure: Tensor, enhancement: Tensor, names: str
) -> Spectrum:
    key = torch.zeros(len(energy), dtype=torch.long)
    for index, name in enumerate(names):
        count = BINS[name]
        bins = (columns[:, index] * count).long().clamp(0, count - 1)
        key = key * count + bins
    everything = torch.cat([columns, departure[:, None], enhancement[:, None]], 1)
    total, mean = averaged(energy, everything, key)
    return Spectrum(total, mean[:, : len(names)], mean[:, -2], mean[:, -1])


class HasEnergy(Protocol):
    """Rows of points with their energies, (K,) hartree."""

    @property
    def energy(self) -> Float[Tensor, " K"]: ...


Rows = TypeVar("Rows", bound=HasEnergy)


@dataclass(frozen=True)
class Stacked(ABC, Generic[Rows]):
    """Points of several species, one under the other; `owner` (K,) says whose a row is."""

    names: tuple[str, ...]
    exchange: Rows
    exchange_owner: Tensor
    correlation: Rows
    correlation_owner: Tensor
    base: Tensor
    exact_exchange: Tensor
    base_exchange: Tensor

    @abstractmethod
    def boosts(self, functional: Any) -> tuple[Float[Tensor, " _"], Float[Tensor, " _"]]:
        """B_x and B_c of all rows, (K,) each."""

    def energies(
        self,
        functional: NeuralFunctional,
        boosts: tuple[Float[Tensor, " _"], Float[Tensor, " _"]] | None = None,
    ) -> Float[Tensor, " S"]:
        """(S,) energy beyond `base`, hartree, differentiable in the weights.

        boosts: where they are known already.
        """
        x, c = self.boosts(functional) if boosts is None else boosts
        a = functional.exact_exchange
        change = torch.zeros(len(self.names), dtype=x.dtype)
        share = (1.0 - a) * self.exchange.energy
        change = change.index_add(0, self.exchange_owner, share * (x - 1.0))
        change = change.index_add(0, self.correlation_owner, self.correlation.energy * (c - 1.0))
        return change + a * (self.exact_exchange - self.base_exchange).to(change.dtype)


@dataclass(frozen=True)
class Stack(Stacked[Spectrum]):
    """Spectra of several species, in float32 for training."""

    def boosts(
        self, functional: NeuralFunctional
    ) -> tuple[Float[Tensor, " _"], Float[Tensor, " _"]]:
        """B_x and B_c of all rows, (K,) each."""
        x, c = self.exchange, self.correlation
        return (
            functional.exchange_boost(x.enhancement, x.columns, x.departure),
            functional.correlation_boost(c.columns, c.departure),
        )


def stack(
    spectra_of: Mapping[str, SpeciesSpectra],
    names: Sequence[str],
    dtype: torch.dtype = torch.float32,
) -> Stack:
    """The spectra of these species together; base energies stay in float64."""
    chosen = [spectra_of[name] for name in names]

    def joined(parts: list[Spectrum]) -> tuple[Spectrum, Tensor]:
        fields = ("energy", "columns", "departure", "enhancement")
        owner = torch.cat(
            [torch.full((len(part.energy),), i, dtype=torch.long) for i, part in enumerate(parts)]
        )
        values = {f: torch.cat([getattr(p, f) for p in parts]).to(dtype) for f in fields}
        return Spectrum(**values), owner

    exchange, exchange_owner = joined([one.exchange for one in chosen])
    correlation, correlation_owner = joined([one.correlation for one in chosen])
    return Stack(
        tuple(names),
        exchange,
        exchange_owner,
        correlation,
        correlation_owner,
        torch.tensor([one.base for one in chosen], dtype=torch.float64),
        torch.tensor([one.exact_exchange for one in chosen], dtype=torch.float64),
        torch.tensor([float(one.exchange.energy.sum()) for one in chosen], dtype=torch.float64),
    )
