"""Recipes: typed YAML files that say what to train on what. No torch here.

A recipe is checked before anything heavy loads. It can name registered parts only, so running
somebody else's recipe is safe.

    name: my-model
    model: {size: tiny}
    tasks:
      - {dataset: molecules/molecules-xtb, quantities: {energy: 1, forces: 10}}
    training: {steps: 2000}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from sfm.errors import PluginError, RecipeError, did_you_mean
from sfm.formats import yaml12

LossKind = Literal["norm", "huber", "square"]
LARGEST = 2**53  # whole numbers up to it are exact in every format


def _whole(value: Any) -> Any:
    """`2e4` is a whole number, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# no true as 1, no text as a number
Count = Annotated[int, BeforeValidator(_whole), Field(le=LARGEST)]
Items = Field(strict=False)  # a list of YAML is a tuple here


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    def to_dict(self) -> dict[str, Any]:
        """The resolved values as plain JSON."""
        return self.model_dump(mode="json")


class Goal(_Strict):
    """How one quantity enters the loss.

    Attributes:
        weight: factor of this quantity inside its task.
        loss: of the length e of the normalised error: `norm` is e, `huber` is e^2 / 2 below 1 and
            e - 1/2 above, `square` is e^2.
    """

    weight: float = Field(default=1.0, ge=0)
    loss: LossKind = "norm"


class ThroughSection(_Strict):
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


class Task(_Strict):
    """One dataset, read through one encoder.

    Attributes:
        dataset: part name of the dataset, `molecules/molecules-xtb`.
        encoder: part name of the encoder; may be left out where the domain has only one.
        quantities: quantity -> weight, or {weight, loss}.
        levels: levels of theory; None for all that the dataset has.
        weight: factor of the whole task.
        share: factor of its share of tokens, on top of the temperature's.
        max_samples: at most this many training samples.
        through: train through a simulator too; see `ThroughSection`.
    """

    dataset: str
    encoder: str | None = None
    quantities: dict[str, Goal] = Field(min_length=1)
    levels: Annotated[tuple[str, ...], Items] | None = None
    weight: float = Field(default=1.0, gt=0)
    share: float = Field(default=1.0, gt=0)
    max_samples: Count | None = Field(default=None, ge=1)
    through: ThroughSection | None = None

    @field_validator("quantities", mode="before")
    @classmethod
    def _numbers_are_weights(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        # in one order, whatever the file's: the order of a sum decides its last bit
        pairs = sorted(value.items(), key=lambda pair: str(pair[0]))
        return {k: v if isinstance(v, (Mapping, Goal)) else {"weight": v} for k, v in pairs}

    @model_validator(mode="after")
    def _derivatives_need_energy(self) -> Task:
        for name in ("forces", "stress"):
            if name in self.quantities and "energy" not in self.quantities:
                raise ValueError(f"'{name}' is a derivative of the energy: add 'energy' too")
        return self


class ModelSection(_Strict):
    """Size of the trunk; None keeps the size's own value.

    Attributes:
        size: `tiny` (about 0.5 million parameters) or `small` (about 4 million).
        channels: width of every irrep.
        layers: message-passing layers.
        experts: linear maps that are mixed per domain and level.
        radial: Bessel functions.
        carried: channels of vectors and tensors along edges.
        encoders: constructor options by encoder part, for example {"molecules/atoms": {cutoff: 4}}.
        repulsion: `zbl`: atoms nearer than any in the data repel each other; or `none`.
    """

    size: Literal["tiny", "small"] = "tiny"
    channels: Count | None = Field(default=None, ge=1)
    layers: Count | None = Field(default=None, ge=1)
    experts: Count | None = Field(default=None, ge=1)
    radial: Count | None = Field(default=None, ge=1)
    carried: Count | None = Field(default=None, ge=1)
    encoders: dict[str, dict[str, Any]] = Field(default_factory=dict)
    repulsion: Literal["zbl", "none"] = "zbl"


class OptimizerSection(_Strict):
    """AdamW or Muon, with warm-up.

    Attributes:
        method: `adamw`, or `muon`: the trunk's matrices step along their orthogonalised momentum.
        lr: largest learning rate.
        weight_decay: of matrices; embeddings, biases and norms have none.
        warmup: steps of linear warm-up.
        schedule: after it: `cosine` or `linear` down to `final`, `constant`, or `stable`: constant,
            with a decay in the last part of the run. A `stable` run can be finished at any length,
            and resumed to a longer one as if it had never been finished.
        decay: share of the steps in the decay of `stable`.
        final: last learning rate over the largest.
        clip: largest norm of the gradient, None for no limit.
    """

    method: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: Count = Field(default=100, ge=0)
    schedule: Literal["cosine", "linear", "constant", "stable"] = "cosine"
    decay: float = Field(default=0.2, gt=0, lt=1)
    final: float = Field(default=0.01, ge=0, le=1)
    clip: float | None = Field(default=1.0, gt=0)


class TrainingSection(_Strict):
    """The run.

    Attributes:
        steps: optimiser steps.
        tokens_per_batch: tokens of one step, over all devices.
        edges_per_batch: edges of one step, over all devices.
        temperature: T of p_i ~ (D_i / D)^(1/T), the share of tokens that are from dataset i.
        ema: decay of the averaged weights, which are what is saved.
        precision: 32 or 64 bits.
        seed: of weights, order and subsets.
        validate_every: steps between validations.
        validation_samples: systems of each task in them.
        checkpoint_every: steps between checkpoints.
        log_every: steps between rows of the log.
        devices: number of processes or GPUs.
        accelerator: `auto`, `cpu` or `gpu`.
        max_samples: at most this many training samples of every task.
        cache_mb: memory for tokenised samples.
    """

    steps: Count = Field(default=2000, ge=1)
    tokens_per_batch: Count = Field(default=1024, ge=1)
    edges_per_batch: Count = Field(default=24_000, ge=1)
    temperature: float = Field(default=2.0, gt=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    precision: Literal[32, 64] = 32
    seed: Count = Field(default=0, ge=0)
    validate_every: Count = Field(default=500, ge=1)
    validation_samples: Count = Field(default=64, ge=1)
    checkpoint_every: Count = Field(default=200, ge=1)
    log_every: Count = Field(default=10, ge=1)
    devices: Count = Field(default=1, ge=1)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    max_samples: Count | None = Field(default=None, ge=1)
    cache_mb: Count = Field(default=1024, ge=1)


class Recipe(_Strict):
    """What to pretrain on what.

    Attributes:
        name: of the model.
        summary: for its card.
        start: a model with the same model section, by bundled name, folder or Hub id, whose
            weights the run starts from, see `sfm.train.start`; None for random ones.
        model: size of the trunk, options of the encoders.
        tasks: datasets.
        optimizer: learning rate, ...
        training: budgets, seed, ...
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    summary: str = ""
    start: str | None = None
    model: ModelSection = ModelSection()
    tasks: tuple[Task, ...] = Field(min_length=1, strict=False)
    optimizer: OptimizerSection = OptimizerSection()
    training: TrainingSection = TrainingSection()

    def to_yaml(self) -> str:
        """The resolved recipe; `parse` reads it back to an equal one."""
        return dump_yaml(self.to_dict())


class FinetuneOptimizer(OptimizerSection):
    """As for pretraining, gentler; `lr` None takes the mode's own."""

    lr: float | None = Field(default=None, gt=0)  # type: ignore[assignment]
    warmup: Count = Field(default=20, ge=0)


class FinetuneTraining(TrainingSection):
    """As for pretraining, shorter."""

    steps: Count = Field(default=300, ge=1)
    ema: float = Field(default=0.99, ge=0, lt=1)
    validate_every: Count = Field(default=100, ge=1)


class Lora(_Strict):
    """Low-rank updates.

    Attributes:
        rank: of the update of each matrix.
        alpha: the update is scaled by alpha / rank.
    """

    rank: Count = Field(default=8, ge=1)
    alpha: float = Field(default=8.0, gt=0)


MODES = ("auto", "ridge", "gp", "delta", "head", "full", "lora")


class FinetuneRecipe(_Strict):
    """How to fine-tune.

    Attributes:
        mode: `auto` lets all that fit compete; in closed form on frozen features `ridge`, `gp`
            (a Gaussian process) and `delta` (either, of the difference to what the model says
            already); `head` trains only the target's heads, `full` everything, `lora` low-rank
            updates and those heads.
        budget: CPU seconds that `auto` may spend on competing and training.
        weights: loss weights by quantity; left-out ones have those of `sfm.train.finetune_task`.
        replay: share of tokens that come from the pretraining tasks.
    """

    mode: Literal["auto", "ridge", "gp", "delta", "head", "full", "lora"] = "auto"
    budget: float = Field(default=15.0, ge=0)
    weights: dict[str, Goal] = Field(default_factory=dict)
    lora: Lora = Lora()
    replay: float = Field(default=0.0, ge=0, lt=1)
    optimizer: FinetuneOptimizer = FinetuneOptimizer()
    training: FinetuneTraining = FinetuneTraining()

    _weights = field_validator("weights", mode="before")(Task._numbers_are_weights.__func__)  # type: ignore[attr-defined]


R = TypeVar("R", bound=BaseModel)


def read_yaml(text: str | bytes, where: str) -> Any:
    """YAML to plain values; see `sfm.formats.yaml12`.

    Raises:
        RecipeError: not YAML (line and column are named), a key given twice, too large or deep.
    """
    return yaml12.read(text, where)


def dump_yaml(value: Mapping[str, Any]) -> str:
    """Plain values to YAML, in their own order."""
    return yaml12.write(value)


def load(path: str | Path, overrides: Iterable[str] = (), *, check: bool = True) -> Recipe:
    """The recipe in the file `path`, with `a.b=c` overrides.

    Args:
        path: a YAML file.
        overrides: for example `training.steps=100` or `tasks.0.weight=2`.
        check: look its parts up in the registry too.

    Raises:
        RecipeError: no such file, not YAML, an unknown key, a wrong type or range.
        PluginError: it names a part that is not installed.
    """
    return parse(_read(path), overrides, check=check)


def parse(values: Any, overrides: Iterable[str] = (), *, check: bool = True) -> Recipe:
    """A recipe from plain values; see `load`."""
    recipe = validate(Recipe, values, overrides)
    return check_parts(recipe) if check else recipe


def load_finetune(path: str | Path | None = None, overrides: Iterable[str] = ()) -> FinetuneRecipe:
    """The fine-tuning recipe in `path` (None: the defaults), with overrides."""
    return validate(FinetuneRecipe, {} if path is None else _read(path), overrides)


def _read(path: str | Path) -> Any:
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe")
    if path.stat().st_size > yaml12.LARGEST_TEXT:
        raise RecipeError(f"{path}: larger than {yaml12.LARGEST_TEXT} bytes, so it is no recipe")
    try:
        return read_yaml(path.read_bytes(), str(path))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None


def validate(cls: type[R], values: Any, overrides: Iterable[str] = ()) -> R:
    """`cls` from plain values after overrides.

    Raises:
        RecipeError: one line that names the key, what is wrong, and what is allowed.
    """
    if not isinstance(values, Mapping):
        raise RecipeError(f"a recipe is a mapping of keys to values, not {type(values).__name__}")
    try:
        values = _copy(values)
        for text in overrides:
            _override(values, text)
        return cls.model_validate(values)
    except ValidationError as error:
        raise RecipeError(" ".join(_one_line(cls, error).split())) from None
    except RecipeError as error:  # keys and overrides may hold line breaks
        raise RecipeError(" ".join(str(error).split())) from None
    except RecursionError:
        raise RecipeError("the recipe is nested too deeply") from None


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, (list, tuple)) else value


def _override(values: Any, text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"override '{text}': write it as key.sub=value")
    value = read_yaml(raw, f"override '{key}'")
    *path, last = key.strip().split(".")
    here = values
    for i, name in enumerate(path):
        step = _index(here, name, ".".join(path[: i + 1]))
        if isinstance(here, dict) and here.get(step) is None:
            here[step] = {}
        here = here[step]
        if not isinstance(here, (dict, list)):
            raise RecipeError(f"override '{text}': {'.'.join(path[: i + 1])} has no keys inside")
    here[_index(here, last, key)] = value


def _index(here: Any, name: str, where: str) -> Any:
    if isinstance(here, dict):
        # quantities and encoder options may be named by a part with a dot-free name
        return name
    if not name.isdigit() or int(name) >= len(here):
        raise RecipeError(f"override '{where}': '{name}' is not an index from 0 to {len(here) - 1}")
    return int(name)


def _one_line(cls: type[BaseModel], error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    # a tuple with one bad item is also reported as too short
    problems = [p for p in problems if p["type"] != "too_short"] or problems
    first = problems[0]
    place = [str(x) for x in first["loc"]]
    where = ".".join(place) or "recipe"
    kind, message = first["type"], first["msg"]
    if kind == "extra_forbidden":
        known = _known_keys(cls, place[:-1])
        hint = did_you_mean(place[-1], known).strip().replace("Did", "did")
        text = f"{where}: unknown key, {hint or 'known keys: ' + ', '.join(known)}"
    elif kind == "missing":
        text = f"{where}: required, but missing"
    else:
        message = message.removeprefix("Value error, ")
        given = first.get("input")
        shown = (
            f" (given: {_short(given)})" if not isinstance(given, (Mapping, list, tuple)) else ""
        )
        text = f"{where}: {message[:1].lower()}{message[1:]}{shown}"
    more = len(problems) - 1
    return text + (f" (and {more} more {'problem' if more == 1 else 'problems'})" if more else "")


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**60 else "a huge number"
    return text if len(text) < 80 else text[:77] + "..."


def _known_keys(cls: type[BaseModel], place: list[str]) -> list[str]:
    here: Any = cls
    for name in place:
        here = _inside(here, name)
    return list(here.model_fields) if _is_model(here) else []


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _inside(kind: Any, name: str) -> Any:
    """The type of `kind[name]` or `kind.name`."""
    if _is_model(kind):
        field = kind.model_fields.get(name)
        kind = field.annotation if field else None
        if get_origin(kind) in (Union, UnionType):
            kind = next((a for a in get_args(kind) if a is not type(None)), None)
        return kind
    arguments = [a for a in get_args(kind) if a is not Ellipsis]
    return arguments[-1] if arguments else None


def check_parts(recipe: Recipe) -> Recipe:
    """The recipe with its encoders filled in, if all its parts are installed. Imports no torch.

    Raises:
        PluginError: a dataset or encoder is not installed.
        RecipeError: a dataset is held out, or does not have the quantity or level; two tasks want
            different losses for one quantity.
    """
    tasks = tuple(_check_task(f"tasks.{i}", task) for i, task in enumerate(recipe.tasks))
    loss_kinds((str(task.encoder), task.dataset, task.quantities) for task in tasks)
    used = {task.encoder for task in tasks}
    for name in recipe.model.encoders:
        if name not in used:
            raise RecipeError(
                f"model.encoders.{name}: no task uses this encoder.{did_you_mean(name, used)}"  # type: ignore[arg-type]
            )
    return recipe.model_copy(update={"tasks": tasks})


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


def _check_task(where: str, task: Task) -> Task:  # noqa: C901
    from sfm.registry import find, parts

    try:
        part = find("datasets", task.dataset)
        spec = part.load()
        encoder = task.encoder or spec.encoder
        if encoder is None:
            fitting = [p.full_name for p in parts("encoders", domain=spec.domain)]
            if len(fitting) != 1:
                raise RecipeError(
                    f"{where}.encoder: name one of {', '.join(fitting) or 'none installed'}"
                )
            encoder = fitting[0]
        own = find("encoders", encoder)
    except PluginError as error:
        raise PluginError(f"{where}: {error}") from None
    if spec.held_out:
        raise RecipeError(
            f"{where}.dataset: '{task.dataset}' is held out for fine-tuning and evaluation"
        )
    if own.domain != spec.domain:
        raise RecipeError(
            f"{where}.encoder: '{encoder}' is for {own.domain}, the dataset for {spec.domain}"
        )
    for name in task.quantities:
        if name not in spec.quantities:
            raise RecipeError(
                f"{where}.quantities: '{task.dataset}' has no '{name}' (it has: "
                f"{', '.join(spec.quantities)}).{did_you_mean(name, spec.quantities)}"
            )
    for level in task.levels or ():
        if level not in spec.levels:
            raise RecipeError(
                f"{where}.levels: '{task.dataset}' has no level '{level}' (it has: "
                f"{', '.join(spec.levels)}).{did_you_mean(level, spec.levels)}"
            )
    if task.through is not None:
        _check_through(f"{where}.through", task.through, spec.domain)
    return task.model_copy(update={"encoder": own.full_name, "dataset": part.full_name})


def _check_through(where: str, section: ThroughSection, domain: str) -> None:
    from sfm.registry import find

    try:
        part = find("simulators", section.simulator)
    except PluginError as error:
        raise PluginError(f"{where}: {error}") from None
    if part.domain != domain:
        raise RecipeError(
            f"{where}.simulator: '{section.simulator}' is for {part.domain}, the dataset for "
            f"{domain}"
        )
