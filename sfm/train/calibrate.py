"""Calibrating standard errors on training features and validation errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from sfm.data.mixing import divide
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.model import FoundationModel
from sfm.train.data import INFERENCE, Tokenizer, pack
from sfm.train.tasks import TaskData, subset

SAMPLES = 1_000
FEWEST = 10  # labels to calibrate with
FOLDS = 5


@torch.no_grad()
def calibrate(
    model: FoundationModel,
    tasks: Iterable[TaskData],
    *,
    max_samples: int = SAMPLES,
    judge: FoundationModel | None = None,
) -> dict[str, float]:
    """Fit standard errors of every head with a last layer, and of forces, per level.

    See `sfm.nn.uncertainty`, `sfm.nn.error_scale`. A level with fewer than ten validation systems
    stays without.

    Args:
        model: its features give the precision.
        tasks: what it was trained on, and validation systems.
        max_samples: at most so many of each.
        judge: whose errors on the validation systems count, if `model` has seen their labels: it
            was trained alike on the training systems alone. (With few labels, a precision of all
            of them gave half the standard errors, and 90 % intervals that held 45 to 72 %.)

    Returns:
        The calibration factor by `encoder:quantity@level`, in the quantity's unit; of forces
        without one.
    """
    results: dict[str, float] = {}
    judge = judge or model
    for task in tasks:
        for level in task.levels:
            train = [s for s in subset(task.train, max_samples) if s.level == level]
            held = [s for s in subset(task.validation, max_samples) if s.level == level]
            for name in [q for v, q in task.present if v == level] if train and held else ():
                key, factor = f"{task.encoder}:{name}", None
                if key in model.uncertainties:
                    factor = _calibrate_number(model, judge, task, name, level, train, held)
                elif name == "forces" and task.encoder in model.error_scales:
                    factor = _calibrate_forces(model, judge, task, level, train, held)
                if factor is not None:
                    results[f"{key}@{level}"] = factor
    return results


def _calibrate_number(
    model: FoundationModel,
    judge: FoundationModel,
    task: TaskData,
    name: str,
    level: str,
    train: Sequence[Sample],
    held: Sequence[Sample],
) -> float | None:
    """The last layer's uncertainty of a number per system; None if it has too few labels."""
    features, _ = _features(model, task, name, train, judged=False)
    held_features, errors = _judged(model, judge, task, name, held)
    if len(held_features) < FEWEST:
        return None
    unit: Any = model.uncertainties[f"{task.encoder}:{name}"]
    context = model.context(task.encoder, level)
    return float(unit.calibrate(context, features, held_features, errors.reshape(-1)))


def _calibrate_forces(
    model: FoundationModel,
    judge: FoundationModel,
    task: TaskData,
    level: str,
    train: Sequence[Sample],
    held: Sequence[Sample],
) -> float | None:
    """The scale of errors of forces, on folds of held-out systems that keep groups together."""
    labelled = [s for s in held if "forces" in s.labels]
    if len(labelled) < FEWEST:
        return None
    parts = [_judged(model, judge, task, "forces", part) for part in folds_of_groups(labelled)]
    features, errors = zip(*parts, strict=True)
    known, _ = _features(model, task, "forces", train, judged=False)
    unit: Any = model.error_scales[task.encoder]
    return float(unit.calibrate(model.context(task.encoder, level), features, errors, known))


def folds_of_groups(samples: Sequence[Sample], count: int = FOLDS) -> list[list[Sample]]:
    """The samples in folds of about equal size, each group in one.

    Samples are their own groups where all are of one group, or none has a name.

    Args:
        samples: at least two.
        count: of folds, at most.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.group or sample.id, []).append(sample)
    if len(groups) < 2:
        groups = {str(i): [sample] for i, sample in enumerate(samples)}
    members = list(groups.values())
    folds = divide([len(group) for group in members], min(count, len(members)))
    return [[sample for k in fold for sample in members[k]] for fold in folds]


def _judged(
    model: FoundationModel,
    judge: FoundationModel,
    task: TaskData,
    name: str,
    samples: Sequence[Sample],
) -> tuple[Tensor, Tensor]:
    """Features by one model, errors of the other: the same systems and batches, so rows match."""
    features, errors = _features(model, task, name, samples, judged=judge is model)
    if judge is not model:
        _, errors = _features(judge, task, name, samples)
    return features, errors


def _features(
    model: FoundationModel,
    task: TaskData,
    name: str,
    samples: Sequence[Sample],
    *,
    judged: bool = True,
) -> tuple[Tensor, Tensor]:
    """Last-layer features (n, C) and errors (n, ...) of the labelled systems, or of their tokens.

    judged: False leaves errors out, which for forces are most of the work.
    """
    tokenizer = Tokenizer(model, [task], 1)
    items = [tokenizer.make(0, s) for s in samples if name in s.labels]
    rows, errors = [], []
    for batch in pack(items, INFERENCE, tokenizer.quantities):
        tokens = batch.to(model.device).tokens[task.encoder]
        names = [name] if judged else []
        values, features = model.values_and_features({task.encoder: tokens}, {task.encoder: names})
        rows.append(_last_layer(model, task.encoder, name, features[task.encoder]).detach())
        if judged:
            labels = batch.labels[task.encoder][name].values.to(model.device)
            errors.append(values[task.encoder][name].double().reshape(labels.shape) - labels)
    if not rows:
        return torch.zeros(0, model.trunk.config.channels), torch.zeros(0)
    return torch.cat(rows), torch.cat(errors) if judged else torch.zeros(0)


def _last_layer(model: FoundationModel, part: str, name: str, features: Tokens) -> Tensor:
    """What the last linear map acts on: of systems (S, C); for forces, of tokens (N, C)."""
    head: Any = model.heads[f"{part}:{'energy' if name == 'forces' else name}"]
    last: Tensor
    last = head.last_layer_per_token(features) if name == "forces" else head.last_layer(features)
    return last
