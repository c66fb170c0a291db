"""Training of a functional on reaction energies at fixed densities.

    loss = mean over kinds of mean over reactions of softened |error| + decay + departure from base

By definition an error e in kcal/mol counts as sqrt(e^2 + w^2) - w with w = `soften`: quadratic for
small errors, linear for outliers, of which experimental tables have some. Subjects may be held back
to choose the step whose weights are kept; with so few reactions a fixed number of steps is better.
The densities are those of another functional: the error of that is second order in the difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm.nn.descent import cosine, descend
from sfm_dft.neural.functional import NeuralFunctional
from sfm_dft.neural.packed_atoms import SpeciesSpots, SpotStack
from sfm_dft.neural.reactions import KCAL, Reaction
from sfm_dft.neural.spectra import SpeciesSpectra, Stack

PROTON = "H+1"
Prepared = Mapping[str, SpeciesSpectra] | Mapping[str, SpeciesSpots]


@dataclass(frozen=True)
class Settings:
    """How to train. Energies in kcal/mol.

    Attributes:
        steps, rate: of Adam, with a rate that falls to nothing as a cosine.
        soften: error below which the loss is quadratic.
        decay: of the weights, per step and rate (AdamW).
        stiffness: weight of the mean square of log B, energy-weighted: stay near the base.
        locality: the same for log B less that of the functional when blind: see little around.
        ionisation: weight of ionisation in the loss; atomisation has the rest.
        second: weight of a second ionisation energy beside a first one.
        validation: fraction of subjects held back to choose the step; 0: the last step counts.
        patience: validate every so many steps.
    """

    steps: int = 250
    rate: float = 3e-3
    soften: float = 2.0
    decay: float = 1e-3
    stiffness: float = 1000.0
    locality: float = 0.0
    ionisation: float = 0.4
    second: float = 0.5
    validation: float = 0.0
    patience: int = 10

    def with_steps(self, steps: int) -> Settings:
        """The same with another number of steps; 0 leaves them."""
        return replace(self, steps=steps) if steps else self


PLANS = {
    "NeuralLDA": Settings(),
    "NeuralGGA": Settings(),
    "NeuralMetaGGA": Settings(stiffness=300.0, steps=300),
}
"""Settings by kind, chosen by three folds of the external reactions, never by the test."""


@dataclass(frozen=True)
class Fit:
    """How training went: losses every `patience` steps, and the step that was kept."""

    training: list[float]
    validation: list[float]
    step: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Reactions over a stack of species.

    coefficients: (R, S); base_error: (R,) kcal/mol of the base; weight: (R,), sum one.
    """

    coefficients: Float[Tensor, "R S"]
    base_error: Float[Tensor, " R"]
    weight: Float[Tensor, " R"]

    def loss(self, change: Float[Tensor, " S"], soften: float) -> Float[Tensor, ""]:
        """() of changes (S,) to the base energies, kcal/mol; errors soften below `soften`."""
        errors = self.base_error + self.coefficients @ change.double()
        return (self.weight * ((errors.square() + soften**2).sqrt() - soften)).sum()


def fold_of(subject: str, folds: int, seed: int = 0) -> int:
    """Which fold a molecule or element belongs to: the same on every machine.

    An element's first and second ionisation are of one subject.
    """
    element = subject.split("+")[0]
    digest = hashlib.sha256(f"{seed}/{element}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % folds


def problem(
    chosen: Sequence[Reaction], names: Sequence[str], base: Float[Tensor, " S"], settings: Settings
) -> Problem:
    """The reactions over species `names` with base energies (S,) hartree."""
    place = {name: index for index, name in enumerate(names)}
    rows = torch.zeros(len(chosen), len(names), dtype=torch.float64)
    reference = torch.tensor([r.reference for r in chosen], dtype=torch.float64)
    for index, reaction in enumerate(chosen):
        for name, coefficient in reaction.coefficients.items():
            if name != PROTON:
                if name not in place:
                    raise InputError(f"{reaction.name}: no density of {name} was prepared")
                rows[index, place[name]] = coefficient
    ionises = torch.tensor([r.kind == "ionisation" for r in chosen])
    single = torch.tensor([settings.second if r.part == "external" else 1.0 for r in chosen])
    first = torch.where(ionises, single, 0.0)
    other = torch.where(ionises, 0.0, 1.0)
    share = settings.ionisation if bool(ionises.any()) and bool(other.any()) else 0.5
    weight = share * first / first.sum().clamp(min=1e-9)
    weight = weight + (1.0 - share) * other / other.sum().clamp(min=1e-9)
    return Problem(rows, KCAL * (rows @ base) - reference, weight.double())


def train(
    functional: NeuralFunctional,
    prepared: Prepared,
    chosen: Sequence[Reaction],
    settings: Settings | None = None,
    *,
    seed: int = 0,
) -> Fit:
    """Fit the weights in place to the reactions; `seed` chooses the validation subjects.

    Raises:
        InputError: a species of a reaction was not prepared, or all reactions are held back.
        RunError: the loss became NaN.
    """
    settings = settings or Settings()
    parts = round(1.0 / settings.validation) if settings.validation else 0
    held = [r for r in chosen if parts and fold_of(r.subject, parts, seed) == 0]
    kept = [r for r in chosen if r not in held]
    if not kept:
        raise InputError("no reaction is left to train on: all are held back for validation")
    names = [name for name in prepared if any(name in r.coefficients for r in chosen)]
    species = stack(prepared, names, torch.float32)
    train_on = problem(kept, names, species.base, settings)
    judge_on = problem(held, names, species.base, settings) if held else train_on
    losses: list[float] = []

    @torch.no_grad()
    def validate(current: NeuralFunctional) -> float:
        change = KCAL * species.energies(current)
        losses.append(float(train_on.loss(change, settings.soften)))
        return float(judge_on.loss(change, settings.soften))

    try:
        descent = descend(
            functional.float(),
            _objective(functional, species, train_on, settings),
            work=f"training {type(functional).__name__}",
            steps=settings.steps,
            optimizer=torch.optim.AdamW(
                functional.parameters(), lr=settings.rate, weight_decay=settings.decay
            ),
            schedule=cosine(settings.steps),
            clip=10.0,
            validate=validate,
            keep_best=bool(held),
            every=settings.patience,
        )
    finally:
        functional.double()
    return Fit(losses, list(descent.validations.values()), descent.kept, asdict(settings))


def _objective(
    functional: NeuralFunctional, species: Stack | SpotStack, asked: Problem, settings: Settings
) -> Callable[[int], Tensor]:
    """The loss of each step: softened errors, and the departures that `Settings` weighs."""
    scale = float(species.exchange.energy.abs().sum())
    learning = any(w.requires_grad for w in functional.correlation_gain.parameters())
    blind: tuple[Tensor, Tensor] | None = None

    def loss(_: int) -> Tensor:
        nonlocal blind
        boosts = species.boosts(functional)
        value = asked.loss(KCAL * species.energies(functional, boosts), settings.soften)
        value = value + settings.stiffness * _stiffness(species, boosts, scale)
        if settings.locality and isinstance(species, SpotStack):
            if blind is None or learning:
                blind = species.boosts(functional, blind=True)
            seen = (boosts[0] / blind[0], boosts[1] / blind[1])
            value = value + settings.locality * _stiffness(species, seen, scale)
        return value

    return loss


def stack(prepared: Prepared, names: Sequence[str], dtype: torch.dtype) -> Stack | SpotStack:
    """These species together, points merged by features or packed around atoms."""
    return type(prepared[names[0]]).stack(prepared, names, dtype)  # type: ignore[arg-type]


def _stiffness(species: Stack | SpotStack, boosts: tuple[Tensor, Tensor], scale: float) -> Tensor:
    x, c = species.exchange.energy.abs(), species.correlation.energy.abs()
    value = (x * boosts[0].log().square()).sum() / scale
    return value + 0.1 * (c * boosts[1].log().square()).sum() / c.sum()


def signed_errors(
    members: Iterable[NeuralFunctional],
    prepared: Prepared,
    chosen: Sequence[Reaction],
) -> Float[Tensor, "members R"]:
    """(members, R) signed errors in kcal/mol, from the spectra in float64, with their graph."""
    names = [name for name in prepared if any(name in r.coefficients for r in chosen)]
    species = stack(prepared, names, torch.float64)
    asked = problem(chosen, names, species.base, Settings())
    changes = torch.stack([species.energies(member) for member in members])
    return asked.base_error + KCAL * changes @ asked.coefficients.T


@torch.no_grad()
def errors_of(
    members: Sequence[NeuralFunctional],
    prepared: Prepared,
    chosen: Sequence[Reaction],
) -> Float[Tensor, "members R"]:
    """`signed_errors` (members, R) as plain numbers."""
    return signed_errors(members, prepared, chosen)
