"""Calibrating the last-layer uncertainties on training features and validation errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sfm.data.batching import Batch
from sfm.data.sample import Sample
from sfm.model import FoundationModel
from sfm.train.data import INFERENCE, Tokenizer, pack
from sfm.train.tasks import TaskData, subset

SAMPLES = 1_000
FEWEST = 10  # labels to calibrate with


@torch.no_grad()
def calibrate(
    model: FoundationModel, tasks: Iterable[TaskData], *, max_samples: int = SAMPLES
) -> dict[str, float]:
    """Fit every head's uncertainty that has a last layer, per level; see `sfm.nn.uncertainty`.

    A level with fewer than ten validation labels stays without.

    Returns:
        The calibration factor, in the quantity's unit, by `encoder:quantity@level`.
    """
    results: dict[str, float] = {}
    for task in tasks:
        for level in task.levels:
            names = [
                q
                for v, q in task.present
                if v == level and f"{task.encoder}:{q}" in model.uncertainties
            ]
            train = [s for s in subset(task.train, max_samples) if s.level == level]
            held = [s for s in subset(task.validation, max_samples) if s.level == level]
            for name in names if train and held else ():
                features, _ = _features(model, task, name, train)
                held_features, errors = _features(model, task, name, held)
                if len(held_features) >= FEWEST:
                    key = f"{task.encoder}:{name}"
                    unit = model.uncertainties[key]
                    alpha = unit.calibrate(  # type: ignore[operator]
                        model.context(task.encoder, level), features, held_features, errors
                    )
                    results[f"{key}@{level}"] = alpha
    return results


@torch.no_grad()
def calibrate_on(
    model: FoundationModel, task: TaskData, trial: FoundationModel, part: TaskData
) -> dict[str, float]:
    """Calibrate a model trained on all labels by the errors of one trained on part of them.

    The errors are those of `trial` on the labels that it has not seen; features are `model`'s, the
    precision that of the labels that `trial` has seen. With few labels a precision of all of them
    is another one: it gave half the standard errors, and 90 % intervals that held 45 to 72 %.

    Args:
        model: trained on all labels of `task`.
        task: what it was trained on.
        trial: trained alike on the training labels of `part`.
        part: the same task, `validation` being what was held out.

    Returns:
        The calibration factors, as of `calibrate`, of levels with at least ten such labels.
    """
    results: dict[str, float] = {}
    for level, name in task.present:
        key = f"{task.encoder}:{name}"
        if key not in model.uncertainties:
            continue
        seen, held = (
            [s for s in subset(half, SAMPLES) if s.level == level]
            for half in (part.train, part.validation)
        )
        if not seen or len(held) < FEWEST:
            continue
        features, _ = _features(model, task, name, seen)
        # the same systems in the same batches: rows correspond
        held_features, _ = _features(model, task, name, held)
        _, errors = _features(trial, part, name, held)
        if len(errors) >= FEWEST:
            unit = model.uncertainties[key]
            results[f"{key}@{level}"] = unit.calibrate(  # type: ignore[operator]
                model.context(task.encoder, level), features, held_features, errors
            )
    return results


def _features(
    model: FoundationModel, task: TaskData, name: str, samples: Sequence[Sample]
) -> tuple[Tensor, Tensor]:
    """Last-layer features (n, C) and errors (n,) of the labelled systems."""
    tokenizer = Tokenizer(model, [task], 1)
    items = [tokenizer.make(0, s) for s in samples if name in s.labels]
    rows, errors = [], []
    for batch in pack(items, INFERENCE, tokenizer.quantities):
        features, error = _batch(model, task.encoder, name, batch)
        rows.append(features)
        errors.append(error)
    if not rows:
        return torch.zeros(0, model.trunk.config.channels), torch.zeros(0)
    return torch.cat(rows), torch.cat(errors)


def _batch(model: FoundationModel, part: str, name: str, batch: Batch) -> tuple[Tensor, Tensor]:
    tokens = batch.to(model.device).tokens[part]
    features = model.features({part: tokens})[part]
    head = model.heads[f"{part}:{name}"]
    raw = head(features, tokens)
    value = model.normalisers[f"{part}:{name}"](raw, tokens)
    base = model.baselines.energy(tokens) if name == "energy" else None
    value = value if base is None else value + base
    labels = batch.labels[part][name].values.to(value.device)
    last = head.last_layer(features)  # type: ignore[operator]
    return last, value.double().reshape(-1) - labels.reshape(-1)
