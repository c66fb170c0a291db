"""Losses on the pretraining tasks: what a fine-tuning costs elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sfm.errors import SfmError
from sfm.model import FoundationModel
from sfm.recipe import Recipe, parse
from sfm.train.build import fit_normalisers
from sfm.train.data import INFERENCE, Tokenizer, pack
from sfm.train.objective import Objective, mean_losses
from sfm.train.tasks import TaskData, open_tasks, subset
from sfm.train.transfer import limited


def pretraining_tasks(record: Mapping[str, Any]) -> tuple[list[TaskData], str]:
    """The tasks that a model was pretrained on, or why they are not at hand.

    Of a dataset that was built larger somewhere, the bundled part: a path of another machine is
    nothing here, and a stranger's model says none of this one's.
    """
    pretraining = record.get("pretraining") or record
    if not isinstance(pretraining, Mapping) or "tasks" not in (pretraining.get("recipe") or {}):
        return [], "the model carries no training.json, so its pretraining tasks are not known"
    try:
        old: Recipe = parse(pretraining["recipe"])
        return open_tasks(_bundled(old)), ""
    except SfmError as error:
        return [], f"the pretraining tasks are not at hand: {error}"


def _bundled(recipe: Recipe) -> Recipe:
    """The recipe on bundled datasets, each of them once for the same quantities and levels."""
    tasks = [task.model_copy(update={"folder": None}) for task in recipe.tasks]
    kinds = [(t.dataset, t.encoder, t.levels, tuple(t.quantities)) for t in tasks]
    first = [task for i, task in enumerate(tasks) if kinds[i] not in kinds[:i]]
    return recipe.model_copy(update={"tasks": tuple(first)})


def task_losses(model: FoundationModel, tasks: Sequence[TaskData], n: int = 64) -> dict[str, float]:
    """Validation losses on the tasks, by name: the weighted sum, per domain, per quantity."""
    if not tasks:
        return {}
    _, stresses = fit_normalisers(model, limited(tasks, 200), contexts=())
    objective = Objective(model, tasks, stresses)
    tokenizer = Tokenizer(model, tasks, 1)
    items = [
        tokenizer.make(number, sample)
        for number, task in enumerate(tasks)
        for sample in subset(task.validation, n)
    ]
    batches = pack(items, INFERENCE, tokenizer.quantities)
    return mean_losses(model, objective.to(model.device), batches)


def forgotten(
    before: FoundationModel,
    after: FoundationModel,
    tasks: Sequence[TaskData],
    note: str,
    *,
    moved: bool,
) -> dict[str, Any]:
    """Losses on the pretraining tasks before and after, and what there is to say of them.

    Args:
        before: the base model.
        after: the fine-tuned one.
        tasks: the pretraining tasks.
        note: why there are none.
        moved: whether any weight of the base has been trained; if not, nothing is computed.
    """
    if not moved:
        said = "nothing is forgotten: the model's own weights and heads stay as they were"
        return {"note": said, "before": {}, "after": {}}
    return {
        "note": note or "losses on validation samples of the pretraining tasks",
        "before": task_losses(before, tasks),
        "after": task_losses(after, tasks),
    }
