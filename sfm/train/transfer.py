"""Growing a pretrained model towards new data: targets, heads, references, what may move."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sfm.config import Target
from sfm.data.batching import Item
from sfm.data.sample import Sample
from sfm.model import FoundationModel
from sfm.nn.derive import DERIVED
from sfm.nn.head import ScalarReadout
from sfm.nn.lora import add_lora
from sfm.nn.normalise import design
from sfm.nn.references import fit_references
from sfm.recipe import FinetuneRecipe
from sfm.train.build import fit_normalisers, heads_of, measure_neighbours, targets_of
from sfm.train.cover import cover
from sfm.train.data import INFERENCE, pack
from sfm.train.tasks import TaskData, subset

DONOR_SAMPLES = 100
REFERENCE_SAMPLES = 2_000


def grow(
    base: FoundationModel, task: TaskData, seed: int
) -> tuple[FoundationModel, dict[str, dict[int, float]]]:
    """A copy of `base` that can learn `task`, and the scales of its stress labels.

    Everything that the base knows is kept. A new level starts as a copy of its nearest one
    (`nearest_levels`); the references of a known quantity are then moved towards the labels as far
    as leave-one-out errors say that it pays (`sfm.nn.references`), so training starts at the old
    prediction, shifted. For a new quantity, references and scale are fitted to the labels.
    """
    nearest = nearest_levels(base, task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grown = base.extended(targets_of(task), heads_of(task), task.definitions, nearest=nearest)
    for key, head in grown.heads.items():
        readout = getattr(head, "readout", None)
        if key not in base.heads and isinstance(readout, ScalarReadout):
            # a new number starts at its references, not at random around them
            torch.nn.init.zeros_(readout.outer.weight)
    cover(grown, [task], base=base.config)
    contexts = {grown.context(task.encoder, level) for level in task.levels}
    kept = {name: value.clone() for name, value in grown.normalisers.state_dict().items()}
    _, stresses = fit_normalisers(grown, [task], contexts=contexts)
    for target in targets_of(task):
        if target.quantity in DERIVED or not said_anywhere(base, target):
            continue
        key, context = f"{target.encoder}:{target.quantity}", grown.context(*target.context)
        normaliser: Any = grown.normalisers[key]
        donor = nearest.get(target.context, target.context)
        if dataclasses.replace(target, level=donor[1]) not in base.config.targets:
            # the level is known, but not for this quantity: that of another level is the start
            levels = [t for t in base.targets(encoder=target.encoder) if _same(t, target)]
            donor = levels[0].context
        source = grown.context(*donor)
        for name in ("scale", "shift"):
            getattr(normaliser, name)[context] = kept[f"{key}.{name}"][source]
        if target not in base.config.targets:
            _shift_to_labels(grown, task, target)
    if not any(part == task.encoder for part, _ in base.config.contexts):
        measure_neighbours(grown, [task], contexts=contexts)
    return grown, stresses


def said_anywhere(model: FoundationModel, target: Target) -> bool:
    """Whether the model says the target's quantity, at this or another level."""
    return any(_same(t, target) for t in model.targets(encoder=target.encoder))


def _same(one: Target, other: Target) -> bool:
    return one.quantity == other.quantity


def nearest_levels(base: FoundationModel, task: TaskData) -> dict[tuple[str, str], tuple[str, str]]:
    """The (encoder, level) of `base` that each new level of the task starts from.

    The one whose predictions of the task's quantities, with shifted references, come nearest to
    the training labels (leave-one-out errors over the labels' spread, summed over quantities);
    where the quantities are new to the model, the one that has learned the most quantities.
    """
    chosen: dict[tuple[str, str], tuple[str, str]] = {}
    known = [c for c in base.config.contexts if c[0] == task.encoder]
    for level in task.levels:
        context = (task.encoder, level)
        if context in base.config.contexts or not known:
            continue
        names = [q for v, q in task.present if v == level and q not in DERIVED]
        errors = {
            donor: [
                error
                for name in names
                if Target(*donor, name) in base.config.targets
                and (error := _distance(base, task, level, donor, name)) is not None
            ]
            for donor in known
        }
        most = max(len(e) for e in errors.values())
        if most:
            chosen[context] = min(
                (d for d in known if len(errors[d]) == most), key=lambda d: sum(errors[d])
            )
        else:
            chosen[context] = max(known, key=lambda c: len(base.targets(encoder=c[0], level=c[1])))
    return chosen


def _distance(
    base: FoundationModel, task: TaskData, level: str, donor: tuple[str, str], name: str
) -> float | None:
    """Leave-one-out error of the donor's shifted predictions over the spread of the labels."""
    quantity = base.config.quantities[name]
    if not quantity.is_number:
        return None
    samples = _labelled(task, level, name, DONOR_SAMPLES)
    if not samples:
        return None
    types, labels, predicted = _compared(base, task, name, samples, base.context(*donor))
    corrected = fit_references(design(quantity, types), labels - predicted)
    plain = fit_references(design(quantity, types), labels)
    return corrected.error / max(plain.error, 1e-12)


def _shift_to_labels(model: FoundationModel, task: TaskData, target: Target) -> None:
    """Move a number's references towards label minus prediction, shrunk to no move at all."""
    key, quantity = f"{target.encoder}:{target.quantity}", model.config.quantities[target.quantity]
    mode = str(model.heads[key].normalisation)
    if not quantity.is_number or mode not in ("references", "standard"):
        return
    samples = _labelled(task, target.level, target.quantity, REFERENCE_SAMPLES)
    if not samples:
        return
    context = model.context(*target.context)
    types, labels, predicted = _compared(model, task, target.quantity, samples, context)
    rest = labels - predicted
    shift = model.normalisers[key].shift[context]  # type: ignore[index]
    if mode == "references":
        references = fit_references(design(quantity, types), rest)
        shift[:, 0] += torch.from_numpy(references.values).to(shift)
    else:
        shift[:, 0] += float(np.median(rest))


def _labelled(task: TaskData, level: str, name: str, n: int) -> list[Sample]:
    """Training samples of the level that have the label, out of at most `n` drawn."""
    return [s for s in subset(task.train, n) if s.level == level and name in s.labels]


@torch.no_grad()
def _compared(
    model: FoundationModel, task: TaskData, name: str, samples: Sequence[Sample], context: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Token types, labels (n,) and the model's values at `context` (n,), of a number per system."""
    encoder, part = model.encoder(task.encoder), task.encoder
    types: list[np.ndarray] = []
    predicted: list[np.ndarray] = []
    items = []
    for sample in samples:
        tokens = encoder.tokenize(sample)
        tokens = tokens.replace(context=torch.full_like(tokens.context, context))
        types.append(tokens.types.numpy())
        items.append(Item(0, part, tokens.to(dtype=model.dtype), {}))
    for batch in pack(items, INFERENCE, model.config.quantities):
        tokens = batch.tokens[part].to(model.device)
        predicted.append(model({part: tokens}, {part: [name]})[part][name].double().cpu().numpy())
    labels = np.array([float(np.asarray(s.labels[name]).ravel()[0]) for s in samples])
    return types, labels, np.concatenate(predicted)


def choose_trainable(
    model: FoundationModel,
    task: TaskData,
    recipe: FinetuneRecipe,
    *,
    new_contexts: bool,
) -> dict[str, int]:
    """Freeze what the mode keeps.

    - `full`: everything moves.
    - `head`: the heads of the target's quantities; the trunk stays bit for bit.
    - `lora`: those heads, low-rank updates in trunk and encoder, and the table rows of new levels.

    Returns:
        Numbers of trainable and of all parameters.
    """
    if recipe.mode != "full":
        model.requires_grad_(False)
        for name in task.goals:
            if name not in DERIVED:
                model.heads[f"{task.encoder}:{name}"].requires_grad_(True)
    if recipe.mode == "lora":
        add_lora(model.trunk, recipe.lora, recipe.training.seed)
        add_lora(model.encoder(task.encoder), recipe.lora, recipe.training.seed + 1)
        if new_contexts:
            # rows of other levels get no gradient and have no weight decay: they stay
            model.trunk.context_scalars.requires_grad_(True)
            model.trunk.router.level_logits.requires_grad_(True)
            model.trunk.router.context_logits.requires_grad_(True)
    parameters = list(model.parameters())
    return {
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "all": sum(p.numel() for p in parameters),
    }


def limited(tasks: Sequence[TaskData], n: int) -> list[TaskData]:
    """Tasks with few training samples, for measuring scales quickly."""
    return [task.limited(n, 0) for task in tasks]
