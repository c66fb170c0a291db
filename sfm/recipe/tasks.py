"""Tasks: datasets, the quantities that are learned from them, and simulators behind a loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from sfm.errors import RecipeError
from sfm.recipe.values import Count, Items, LossKind, Strict


class Goal(Strict):
    """How one quantity enters the loss.

    Attributes:
        weight: factor of this quantity inside its task.
        loss: of the length e of the normalised error: `norm` is e, `huber` is e^2 / 2 below 1 and
            e - 1/2 above, `square` is e^2.
    """

    weight: float = Field(default=1.0, ge=0)
    loss: LossKind = "norm"


def _numbers_are_weights(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    # in one order, whatever the file's: the order of a sum decides its last bit
    pairs = sorted(value.items(), key=lambda pair: str(pair[0]))
    return {k: v if isinstance(v, (Mapping, Goal)) else {"weight": v} for k, v in pairs}


# quantity -> weight, or {weight, loss}
Goals = Annotated[dict[str, Goal], BeforeValidator(_numbers_are_weights)]


class ThroughSection(Strict):
    """A loss behind a simulator, on top of the losses of the task's quantities.

    Attributes:
        simulator: part name, `fluids/navier-stokes-2d`; the model is its closure.
        weight: factor of this loss in its task.
        runs: of the simulator in one optimiser step.
        options: how to run and compare; what there is, `Simulator.through` of the simulator says.
        closure: options of the encoder's closure.
    """

    simulator: str
    weight: float = Field(default=1.0, gt=0)
    runs: Count = Field(default=4, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)
    closure: dict[str, Any] = Field(default_factory=dict)


class BaselineSection(Strict):
    """A theory beneath the energy: what is learned is the labels minus its energy.

    Its forces and stress are subtracted likewise, and all are added wherever the model says an
    energy at the task's levels. The model keeps it. It is a simulator or another model.

    Attributes:
        simulator: part name, `molecules/tight-binding`.
        values: its parameters and settings, numbers and words, and files of parameters; others have
            their defaults.
        model: bundled name or Hub id of another model with the same encoder.
        level: level of theory that the other model is asked for, where it knows several.
    """

    simulator: str | None = None
    values: dict[str, bool | int | float | str] = Field(default_factory=dict)
    model: str | None = None
    level: str | None = None

    @model_validator(mode="after")
    def _one_theory(self) -> BaselineSection:
        if (self.simulator is None) == (self.model is None):
            raise ValueError("give a simulator or a model, one of the two")
        if self.model is None and self.level is not None:
            raise ValueError("level goes with a model")
        if self.model is not None and self.values:
            raise ValueError("values go with a simulator")
        return self


class Task(Strict):
    """One dataset, read through one encoder.

    Attributes:
        dataset: part name of the dataset, `molecules/molecules-xtb`.
        folder: another build of that dataset, `sfm dataset build NAME --size N --out FOLDER`; the
            bundled one if None.
        encoder: part name of the encoder; may be left out where the domain has only one.
        quantities: quantity -> weight, or {weight, loss}.
        levels: levels of theory; None for all that the dataset has.
        weight: factor of the whole task.
        share: factor of its share of tokens, on top of the temperature's.
        max_samples: at most this many training samples.
        through: train through a simulator too; see `ThroughSection`.
        baseline: learn the energy on top of a theory's; see `BaselineSection`.
    """

    dataset: str
    folder: str | None = None
    encoder: str | None = None
    quantities: Goals = Field(min_length=1)
    levels: Annotated[tuple[str, ...], Items] | None = None
    weight: float = Field(default=1.0, gt=0)
    share: float = Field(default=1.0, gt=0)
    max_samples: Count | None = Field(default=None, ge=1)
    through: ThroughSection | None = None
    baseline: BaselineSection | None = None

    @model_validator(mode="after")
    def _derivatives_need_energy(self) -> Task:
        for name in ("forces", "stress"):
            if name in self.quantities and "energy" not in self.quantities:
                raise ValueError(f"'{name}' is a derivative of the energy: add 'energy' too")
        if self.baseline is not None and "energy" not in self.quantities:
            raise ValueError("a baseline is of the energy: add 'energy' too, or leave it out")
        return self


def loss_kinds(
    tasks: Iterable[tuple[str, str, Mapping[str, Goal]]],
) -> dict[tuple[str, str], LossKind]:
    """The kind of loss by (encoder, quantity), out of (encoder, dataset, goals) of every task.

    Raises:
        RecipeError: two tasks want different kinds for one encoder's quantity, whose errors are
            measured together.
    """
    kinds: dict[tuple[str, str], LossKind] = {}
    first: dict[tuple[str, str], str] = {}
    for encoder, dataset, goals in tasks:
        for name, goal in goals.items():
            key = (encoder, name)
            if kinds.setdefault(key, goal.loss) != goal.loss:
                raise RecipeError(
                    f"the loss of '{name}' through '{encoder}' is '{kinds[key]}' for "
                    f"{first[key]} and '{goal.loss}' for {dataset}: give both the same kind"
                )
            first.setdefault(key, dataset)
    return kinds
