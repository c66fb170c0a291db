"""What training a nonlocal functional needs of a density: packed atoms, and energy around them.

At a fixed density the packed numbers are constants, and so is the base energy of a point. Points of
one atom that nearly agree in features, distance and direction are merged: energies added, features,
shells and harmonics averaged with |e| as weight; exact for the base, and for h where shells and
harmonics vary independently in a bin. See `sfm_dft.neural.spectra` for the semilocal twin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm_dft.neural.atomic_functions import LENGTH, SHELLS, AtomicFunctions
from sfm_dft.neural.densities import PreparedDensity
from sfm_dft.neural.functional import NeuralFunctional
from sfm_dft.neural.nonlocality import NonlocalMetaGGA, packed_values, squashed, tokens
from sfm_dft.neural.spectra import Stacked, averaged
from sfm_dft.xc.reduced import reduced

NEAR = 0.57  # bohr: closer to a nucleus, where most energy lies, directions hardly matter
BINS = {"x": (16, 6), "u": (16, 6), "z": (3, 3), "r": (5, 5)}  # near the nucleus, and further out
SMALL = 1e-3  # hartree: merged points with less are merged again, by ...
COARSE = 3  # ... so many bins of every feature, eight directions and half of the distances
DISTANCES = 12  # bins of log(1 + (|x| / 0.5 bohr)^2) / 2 up to 2.8, 7.4 bohr


@dataclass(frozen=True)
class Spots:
    """Energy around atoms: energy (K,) hartree, features (K, F), departure and F_x (K,), the token
    (K,) that each belongs to, ascending, and its shells (K, S) and harmonics (K, 9)."""

    energy: Tensor
    columns: Tensor
    departure: Tensor
    enhancement: Tensor
    token: Tensor
    shells: Tensor
    harmonics: Tensor


@dataclass(frozen=True)
class SpeciesSpots:
    """One species: its tokens, atoms times densities (1 of a closed shell, else 3), and energies.

    packed: (T, 9, K Q). positions: (T, 3) bohr. system: (T,) which density. base, rest and
    exact_exchange: hartree, as `SpeciesSpectra` has them.
    """

    exchange: Spots
    correlation: Spots
    packed: Float[Tensor, "T 9 KQ"]
    positions: Float[Tensor, "T 3"]
    system: Int[Tensor, " T"]
    base: float
    rest: float
    exact_exchange: float

    def tensors(self) -> dict[str, Shaped[Tensor, " ..."]]:
        """Everything as named tensors, for a file."""
        out: dict[str, Tensor] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Spots):
                out |= {f"{f.name}.{g.name}": getattr(value, g.name) for g in fields(value)}
            else:
                kind = None if isinstance(value, Tensor) else torch.float64
                out[f.name] = torch.as_tensor(value, dtype=kind)
        return {k: v.float() if v.ndim and v.is_floating_point() else v for k, v in out.items()}

    @classmethod
    def of(cls, tensors: Mapping[str, Shaped[Tensor, " ..."]]) -> SpeciesSpots:
        """The inverse of `tensors`, which keeps single precision of all but the energies of
        whole species."""
        parts: dict[str, Any] = {}
        for name in ("exchange", "correlation"):
            values = {f.name: tensors[f"{name}.{f.name}"] for f in fields(Spots)}
            parts[name] = Spots(**values)
        for name in ("packed", "positions", "system"):
            parts[name] = tensors[name]
        for name in ("base", "rest", "exact_exchange"):
            parts[name] = float(tensors[name])
        return cls(**parts)

    @staticmethod
    def stack(
        spots_of: Mapping[str, SpeciesSpots],
        names: Sequence[str],
        dtype: torch.dtype = torch.float32,
    ) -> SpotStack:
        """The species together; base energies stay in float64."""
        chosen = [spots_of[name] for name in names]
        first, densities, systems = 0, 0, []
        parts: dict[str, list[Spots]] = {"exchange": [], "correlation": []}
        owners: dict[str, list[Tensor]] = {"exchange": [], "correlation": []}
        for index, one in enumerate(chosen):
            systems.append(one.system + densities)
            for part, rows in parts.items():
                spots: Spots = getattr(one, part)
                rows.append(replace(spots, token=spots.token + first))
                owners[part].append(torch.full_like(spots.token, index))
            first += len(one.system)
            densities += int(one.system[-1]) + 1
        joined = {part: _joined(rows, dtype) for part, rows in parts.items()}
        return SpotStack(
            names=tuple(names),
            exchange=joined["exchange"],
            exchange_owner=torch.cat(owners["exchange"]),
            correlation=joined["correlation"],
            correlation_owner=torch.cat(owners["correlation"]),
            packed=torch.cat([one.packed for one in chosen]).to(dtype),
            positions=torch.cat([one.positions for one in chosen]).to(dtype),
            system=torch.cat(systems),
            base=torch.tensor([one.base for one in chosen], dtype=torch.float64),
            exact_exchange=torch.tensor(
                [one.exact_exchange for one in chosen], dtype=torch.float64
            ),
            base_exchange=torch.stack([one.exchange.energy.double().sum() for one in chosen]),
        )


def spots(functional: NonlocalMetaGGA, prepared: PreparedDensity) -> SpeciesSpots:
    """Of a density that knows its points' places, for functionals of this kind and base."""
    place = prepared.density.grid
    if place is None:
        raise InputError(f"{prepared.name}: give its points their places first (densities.located)")
    point = reduced(prepared.density, functional.rung)
    with torch.no_grad():
        values = packed_values(point, functional.rung)
        around = AtomicFunctions.of(place.points, place.owners, place.positions)
        packed = around.gather(place.weights[:, None] * values)
        rows, atoms = packed.shape[:2]
        energy, enhancement, columns, departure = functional.exchange_parts(point)
        doubled = 1 if energy.ndim == 1 else 2
        exchange = _merged(
            around,
            place.owners,
            energy.reshape(doubled, -1) * place.weights / doubled,
            columns.reshape(doubled, *columns.shape[-2:]),
            departure.reshape(doubled, -1),
            enhancement.reshape(doubled, -1),
            0,
        )
        energy, columns, departure = functional.correlation_parts(point)
        correlation = _merged(
            around,
            place.owners,
            (energy * place.weights)[None],
            columns[None],
            departure[None],
            torch.ones_like(departure)[None],
            (rows - 1) * atoms,
        )
    base = float(exchange.energy.sum() + correlation.energy.sum())
    return SpeciesSpots(
        exchange,
        correlation,
        packed.flatten(0, 1),
        place.positions.repeat(rows, 1),
        torch.arange(rows).repeat_interleave(atoms),
        prepared.rest + base,
        prepared.rest,
        prepared.exact_exchange,
    )


def _merged(
    around: AtomicFunctions,
    owners: Tensor,
    energy: Tensor,
    columns: Tensor,
    departure: Tensor,
    enhancement: Tensor,
    first: int,
) -> Spots:
    """Of (R, G) values in the points' own order; tokens are counted from `first`."""
    rows, count = len(energy), columns.shape[-1]
    names = ("x", "u", "z", "r")[-count:] if count == 3 else ("x", "u", "z", "r")[:count]
    order, atoms = around.order, len(around.sizes)
    token = owners[order] + atoms * torch.arange(rows)[:, None]
    columns, energy = columns[:, order], energy[:, order]
    near, cell, octant = _cells(around)
    fine, coarse = cell.expand_as(token), octant.expand_as(token)
    for index, name in enumerate(names):
        close, far = BINS[name]
        fine = _refined(fine, columns[..., index], torch.where(near, close, far), max(close, far))
        coarse = _refined(coarse, columns[..., index], torch.full_like(cell, COARSE), COARSE)
    most = 1 + int(torch.maximum(fine.max(), coarse.max()))
    key = 2 * most * token + fine
    _, group = key.unique(return_inverse=True)
    sums = energy.new_zeros(int(group.max()) + 1).index_add_(0, group.flatten(), energy.flatten())
    small = sums.abs()[group] < SMALL
    key = torch.where(small, 2 * most * token + most + coarse, key)
    everything = torch.cat(
        [
            columns,
            departure[:, order, None],
            enhancement[:, order, None],
            token[..., None].to(energy.dtype),
            around.shells.expand(rows, -1, -1),
            around.harmonics.expand(rows, -1, -1),
        ],
        -1,
    )
    total, mean = averaged(energy.reshape(-1), everything.flatten(0, 1), key.reshape(-1))
    parts = mean.split([count, 1, 1, 1, len(SHELLS), 9], 1)
    return Spots(
        total,
        parts[0],
        parts[1][:, 0],
        parts[2][:, 0],
        parts[3][:, 0].round().long() + first,
        parts[4],
        parts[5],
    )


def _cells(around: AtomicFunctions) -> tuple[Tensor, Tensor, Tensor]:
    """Which points (G,) are near their nucleus, and numbers for distance and direction, fine and
    coarse."""
    direction = around.harmonics[:, 1:4] / 3.0**0.5  # x / sqrt(1 + |x|^2)
    part = direction.square().sum(1)
    square = part / (1.0 - part).clamp(min=1e-12)
    near = square < NEAR**2
    distance = (torch.log1p(square / LENGTH**2) * (DISTANCES / 5.6)).long().clamp(max=DISTANCES - 1)
    octant = ((direction > 0) * torch.tensor([1, 2, 4])).sum(1)
    side = 3 * octant + direction.abs().argmax(1)
    return near, 24 * distance + side * ~near, 8 * (distance // 2) + octant * ~near


def _refined(key: Tensor, column: Tensor, number: Tensor, most: int) -> Tensor:
    """The key with one feature more, in `number` bins."""
    return key * most + torch.minimum((column * number).long().clamp(min=0), number - 1)


def _joined(parts: list[Spots], dtype: torch.dtype) -> Spots:
    values = {f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Spots)}
    return Spots(**{k: v.to(dtype) if v.is_floating_point() else v for k, v in values.items()})


@dataclass(frozen=True)
class SpotStack(Stacked[Spots]):
    """Spots of several species, one under the other, and all their tokens."""

    packed: Tensor
    positions: Tensor
    system: Tensor

    def boosts(
        self, functional: NeuralFunctional, *, blind: bool = False
    ) -> tuple[Float[Tensor, " _"], Float[Tensor, " _"]]:
        """B_x and B_c of all spots, (K,) each; blind: with nothing seen around."""
        assert isinstance(functional, NonlocalMetaGGA)
        x, c = self.exchange, self.correlation
        count = functional.messages.features
        if functional.blind or blind:
            h = [torch.full((len(s.energy), count), 0.5).to(s.energy) for s in (x, c)]
        else:
            messages = functional.messages
            coefficients = messages(self.packed, self.tokens(messages.cutoff))
            coefficients = coefficients.unflatten(-1, (len(SHELLS), 2, count))
            h = [
                squashed(self._spread(s, coefficients[..., i, :].flatten(2)))
                for i, s in enumerate((x, c))
            ]
        columns = [torch.cat([s.columns, part], -1) for s, part in zip((x, c), h, strict=True)]
        return (
            functional.exchange_boost(x.enhancement, columns[0], x.departure),
            functional.correlation_boost(columns[1], c.departure),
        )

    def tokens(self, cutoff: float) -> Tokens:
        return tokens(self.positions, self.system, int(self.system[-1]) + 1, cutoff)

    def _spread(self, spots: Spots, coefficients: Tensor) -> Tensor:
        sizes = torch.bincount(spots.token, minlength=len(coefficients))
        around = AtomicFunctions(spots.token, tuple(sizes.tolist()), spots.shells, spots.harmonics)
        return around.sorted_values(coefficients)
