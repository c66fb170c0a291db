"""A new model for a recipe's tasks, with energy references and scales fitted to their labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sfm.config import BaselineSpec, HeadSpec, ModelConfig, Target
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn.derive import DERIVED
from sfm.nn.encoder import Encoder, PointEncoder
from sfm.nn.head import core_head
from sfm.nn.normalise import fit
from sfm.nn.trunk import SIZES
from sfm.recipe import ModelSection
from sfm.registry import find, plugins
from sfm.train.remainder import without_theory
from sfm.train.tasks import TaskData, subset
from sfm.train.theory import spec_of

FIT_SAMPLES = 20_000
NEIGHBOUR_SAMPLES = 200


def targets_of(task: TaskData) -> tuple[Target, ...]:
    """What the task teaches."""
    return tuple(Target(task.encoder, level, name) for level, name in task.present)


def heads_of(task: TaskData) -> tuple[HeadSpec, ...]:
    """One head per quantity that is no derivative: the plugin's own, else the core's."""
    plugin = plugins()[task.encoder.partition("/")[0]]
    specs = []
    for name in task.goals:
        if name not in DERIVED:
            part_name = f"{plugin.name}/{name}" if name in plugin.heads else None
            part = part_name or core_head(task.definitions[name])
            specs.append(HeadSpec(task.encoder, name, part))
    return tuple(specs)


def model_config(tasks: Sequence[TaskData], section: ModelSection, name: str) -> ModelConfig:
    """The architecture that learns all tasks."""
    from sfm.model.checkpoint import plugin_ranges

    size = section.model_dump(include={"channels", "layers", "experts", "radial", "carried"})
    trunk = dataclasses.replace(
        SIZES[section.size], **{k: v for k, v in size.items() if v is not None}
    )
    targets = tuple(dict.fromkeys(t for task in tasks for t in targets_of(task)))
    heads = tuple({h.key: h for task in tasks for h in heads_of(task)}.values())
    encoders = tuple(dict.fromkeys(task.encoder for task in tasks))
    options: dict[str, Mapping[str, Any]] = {}
    for part in encoders:
        chosen = section.encoders.get(part, {})
        try:
            options[part] = find("encoders", part).load()(channels=1, **chosen).options
        except TypeError as error:
            raise InputError(f"model.encoders.{part}: {error}") from None
    return ModelConfig(
        name=name,
        trunk=dataclasses.asdict(trunk),
        encoders=options,
        encoder_domains={task.encoder: task.domain for task in tasks},
        heads=heads,
        targets=targets,
        contexts=tuple(dict.fromkeys(t.context for t in targets)),
        quantities={n: q for task in tasks for n, q in task.definitions.items()},
        plugins=plugin_ranges(encoders),
        repulsion=None if section.repulsion == "none" else section.repulsion,
        baselines=baselines_of(tasks),
    )


def baselines_of(tasks: Sequence[TaskData]) -> tuple[BaselineSpec, ...]:
    """The theories beneath the energies, one for each (encoder, level) that has one.

    Raises:
        InputError: two tasks of one level state different ones.
    """
    specs: dict[tuple[str, str], BaselineSpec | None] = {}
    for task in tasks:
        for level in task.levels:
            if "energy" not in task.goals:
                continue
            key, spec = (task.encoder, level), None
            if task.baseline is not None:
                spec = spec_of(task.baseline, *key)
            if specs.setdefault(key, spec) != spec:
                raise InputError(
                    f"{task.name}: another task of level '{level}' has another baseline or none; "
                    "one level is one energy: give both the same"
                )
    return tuple(spec for spec in specs.values() if spec is not None)


def new_model(config: ModelConfig, seed: int) -> FoundationModel:
    """A model whose weights depend on `seed` only; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FoundationModel(config)


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What was fitted for one (encoder, level, quantity).

    Attributes:
        scale: one number (root mean square of the components' scales), in `unit`.
        residual: rms after the references, per system (an energy's: over the root of its tokens);
            None of references that were not fitted to these labels.
        samples: labels used.
        references: how the references were made, see `sfm.nn.references`.
    """

    encoder: str
    level: str
    quantity: str
    unit: str
    scale: float
    residual: float | None
    samples: int
    references: str

    def used_by(self, model: FoundationModel, start: str | None) -> Fitted:
        """This, or what `model` has instead, because it kept what `start` gave it."""
        normaliser: Any = model.normalisers[f"{self.encoder}:{self.quantity}"]
        scale = _size(normaliser.scale[model.context(self.encoder, self.level)].numpy())
        if math.isclose(scale, self.scale, rel_tol=1e-9):
            return self
        return dataclasses.replace(self, scale=scale, residual=None, references=f"of {start}")


def fit_normalisers(
    model: FoundationModel, tasks: Iterable[TaskData], *, contexts: Iterable[int] | None = None
) -> tuple[list[Fitted], dict[str, dict[int, float]]]:
    """Fit references and scales on training labels, in float64, into `model.normalisers`.

    Args:
        model: changed in place.
        tasks: several tasks of one (encoder, level) are fitted together.
        contexts: only these; None for all.

    Returns:
        What was fitted, and the root mean square of the stress labels, `{encoder: {context: rms}}`.
    """
    chosen = None if contexts is None else set(contexts)
    fitted: list[Fitted] = []
    stresses: dict[str, dict[int, float]] = {}
    for (part, level), sources in _by_context(tasks).items():
        context = model.context(part, level)
        table = _collect(model, part, sources, level)
        rms = {
            name: float(np.sqrt(np.mean(np.concatenate([v.ravel() for v in values]) ** 2)))
            for name, (_, values) in table.items()
            if name in DERIVED
        }
        if "stress" in rms:
            stresses.setdefault(part, {})[context] = rms["stress"] or 1.0
        if chosen is not None and context not in chosen:
            continue
        for name, (types, values) in table.items():
            if name in DERIVED:
                continue
            quantity = model.config.quantities[name]
            head = model.heads[f"{part}:{name}"]
            result = fit(
                quantity,
                str(head.normalisation),
                types,
                values,
                derivative_rms=rms.get("forces") if name == "energy" else None,
            )
            normaliser: Any = model.normalisers[f"{part}:{name}"]
            scale, shift = result["scale"], result["shift"]
            if len(scale) != normaliser.scale.shape[1]:
                scale = np.sqrt(np.mean(scale**2, keepdims=True))
                shift = shift.mean(1, keepdims=True) * bool(quantity.dim == 1)
            normaliser.scale[context] = torch.from_numpy(scale)
            normaliser.shift[context] = torch.from_numpy(shift)
            fitted.append(
                Fitted(
                    part,
                    level,
                    name,
                    quantity.unit,
                    _size(scale),
                    result["residual"],
                    len(values),
                    result["kind"],
                )
            )
    return fitted, stresses


def measure_neighbours(
    model: FoundationModel, tasks: Iterable[TaskData], *, contexts: Iterable[int] | None = None
) -> None:
    """Mean number of neighbours of each (encoder, level), into `model.trunk.neighbours`."""
    chosen = None if contexts is None else set(contexts)
    for (part, level), sources in _by_context(tasks).items():
        context = model.context(part, level)
        if chosen is not None and context not in chosen:
            continue
        tokens = edges = 0
        for task in sources:
            for sample in subset(task.train, NEIGHBOUR_SAMPLES):
                if sample.level == level:
                    one = model.encoder(part).tokenize(sample)
                    tokens, edges = tokens + one.n_tokens, edges + one.n_edges
        model.trunk.neighbours[context] = max(edges / max(tokens, 1), 1.0)


def _size(scale: np.ndarray) -> float:
    return float(np.sqrt(np.mean(scale**2)))


def _by_context(tasks: Iterable[TaskData]) -> dict[tuple[str, str], list[TaskData]]:
    table: dict[tuple[str, str], list[TaskData]] = {}
    for task in tasks:
        for level in task.levels:
            table.setdefault((task.encoder, level), []).append(task)
    return table


Table = dict[str, tuple[list[np.ndarray], list[np.ndarray]]]


def _collect(model: FoundationModel, part: str, tasks: Sequence[TaskData], level: str) -> Table:
    """Types and labels of the training samples by quantity, without the baseline's share."""
    table: Table = {}
    encoder, based = model.encoder(part), model.baselines.knows(model.context(part, level))
    for task in tasks:
        for sample in subset(task.train, FIT_SAMPLES):
            if sample.level != level:
                continue
            types = _types(encoder, sample)
            known = without_theory(model, part, sample) if based else sample
            for name in task.goals:
                if name in known.labels:
                    rows = table.setdefault(name, ([], []))
                    rows[0].append(types)
                    rows[1].append(_rows(task, name, known, len(types)))
    return table


def _rows(task: TaskData, name: str, sample: Sample, n_tokens: int) -> np.ndarray:
    value = np.asarray(sample.labels[name], dtype=np.float64)
    per = task.definitions[name].per
    if per == "token" and (not value.ndim or len(value) not in (n_tokens, value.size)):
        raise InputError(
            f"{sample.id}: the label '{name}' has shape {value.shape}, which does not fit "
            f"{n_tokens} tokens"
        )
    return value.reshape(n_tokens, -1) if per == "token" else value


def _types(encoder: Encoder, sample: Sample) -> np.ndarray:
    if isinstance(encoder, PointEncoder):
        return sample.types
    return encoder.tokenize(sample).types.numpy()
