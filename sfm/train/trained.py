"""The modes of fine-tuning that take optimiser steps: `full`, `head`, `lora`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn.derive import DERIVED
from sfm.nn.lora import low_rank, merge_lora
from sfm.recipe import FinetuneRecipe, OptimizerSection
from sfm.train.build import fit_normalisers
from sfm.train.calibrate import calibrate
from sfm.train.engine import fit, trained_weights
from sfm.train.folders import LAST
from sfm.train.outcome import Outcome
from sfm.train.tasks import TaskData
from sfm.train.transfer import choose_trainable, grow, limited

LEARNING_RATE = {"full": 5e-4, "head": 5e-3, "lora": 2e-3}
# validations without improvement after which training ends, and systems that can tell
PATIENCE, FEWEST = 4, 10
# a quantity that the model does not know has a head to learn, and bears it
NEW_QUANTITY = {"full": 2e-3}


def rate(mode: str, base: FoundationModel, task: TaskData) -> float:
    """Learning rate of the mode: larger where all quantities are new to the model."""
    known = {h.key for h in base.config.heads if h.level is None}
    names = [name for name in task.goals if name not in DERIVED]
    if any(f"{task.encoder}:{name}" in known for name in names):
        return LEARNING_RATE[mode]
    return NEW_QUANTITY.get(mode, LEARNING_RATE[mode])


def optimizer_settings(recipe: FinetuneRecipe, lr: float) -> OptimizerSection:
    """The recipe's optimiser, at `lr` where it names no rate."""
    return OptimizerSection(**{**recipe.optimizer.model_dump(), "lr": recipe.optimizer.lr or lr})


def train(
    base: FoundationModel,
    task: TaskData,
    recipe: FinetuneRecipe,
    *,
    run: Path,
    resolved: Mapping[str, Any],
    old_tasks: Sequence[TaskData] = (),
    note: str = "",
    resume: bool = False,
    log: bool = True,
    title: str | None = None,
) -> Outcome:
    """A copy of `base` after training on the task, in the recipe's mode.

    Args:
        base: stays as it is.
        task: what to learn.
        recipe: its `mode` is `full`, `head` or `lora`.
        run: folder of the checkpoint and logs.
        resolved: the recipe as the checkpoint keeps it.
        old_tasks: the pretraining tasks, for replay.
        note: why there are none.
        resume: go on from the checkpoint.
        log: use the recipe's loggers.
        title: of the progress bar.

    Raises:
        InputError: heads in closed form of other targets would not survive it.
    """
    base = ready(base, task, recipe.mode)
    settings = recipe.training
    grown, stresses = grow(base, task, settings.seed)
    new_contexts = len(grown.config.contexts) > len(base.config.contexts)
    counts = choose_trainable(grown, task, recipe, new_contexts=new_contexts)
    tasks, shares = [task], None
    if recipe.replay > 0:
        tasks, shares = _with_replay(task, old_tasks, recipe, note)
        _, old_stresses = fit_normalisers(grown, limited(old_tasks, 200), contexts=())
        for part, scales in old_stresses.items():
            stresses.setdefault(part, {}).update(
                {c: v for c, v in scales.items() if c not in stresses.get(part, {})}
            )
    result = fit(
        grown,
        tasks,
        settings=settings,
        optimizer=optimizer_settings(recipe, rate(recipe.mode, base, task)),
        stress_scales=stresses,
        run=run,
        recipe=resolved,
        title=title or f"fine-tuning ({recipe.mode}) on {task.name}",
        resume=resume,
        probabilities=shares,
        log=log,
        patience=PATIENCE if len(task.validation) >= FEWEST else None,
    )
    if not result.is_main:
        return Outcome(grown, recipe.mode, result, counts)
    updates = low_rank(grown.to("cpu"))
    merge_lora(grown)
    grown.requires_grad_(True)
    return Outcome(grown, recipe.mode, result, counts, calibrate(grown, [task]), updates=updates)


def mode_of(run: Path) -> str:
    """Whether the checkpoint in the folder of a run is of mode `lora`, or else of `full`.

    Raises:
        InputError: there is a checkpoint, and it is damaged.
    """
    path = run / LAST
    if not path.is_file():
        return "full"
    names = trained_weights(path)
    return "lora" if any(".parametrizations." in name for name in names) else "full"


def ready(base: FoundationModel, task: TaskData, mode: str) -> FoundationModel:
    """The model without the closed forms of the very targets that are to be trained.

    Raises:
        InputError: other closed forms rest on what the mode changes.
    """
    targets = {(task.encoder, level, name) for level, name in task.present}
    single = [h for h in base.config.heads if h.level is not None]
    mine = [h for h in single if (h.encoder, h.level, h.quantity) in targets]
    for spec in single:
        head: Any = base.heads[spec.key]
        moved = mode != "head" and head.rests_on_features
        based = head.baseline is not None and head.baseline["quantity"] in task.goals
        if spec not in mine and (moved or based):
            raise InputError(
                f"model '{base.config.name}' says {spec.quantity} at {spec.level} in closed form, "
                f"on features that mode '{mode}' changes; take mode auto, ridge or gp, or start "
                "from the model that it was made of"
            )
    return base.without_heads([h.key for h in mine]) if mine else base


def _with_replay(
    task: TaskData, old: Sequence[TaskData], recipe: FinetuneRecipe, note: str
) -> tuple[list[TaskData], list[float]]:
    if not old:
        raise InputError(f"replay needs the pretraining tasks: {note}")
    share = recipe.replay / len(old)
    return [task, *old], [1 - recipe.replay, *([share] * len(old))]


def shorter(recipe: FinetuneRecipe, steps: int, tokens: int) -> FinetuneRecipe:
    """The recipe with at most so many steps and tokens of a batch, as a competition can afford."""
    section, steps = recipe.training, min(steps, recipe.training.steps)
    training = section.model_copy(
        update={
            "steps": steps,
            "tokens_per_batch": min(tokens, section.tokens_per_batch),
            "edges_per_batch": min(40 * tokens, section.edges_per_batch),
            "validate_every": max(steps, 1),
            "checkpoint_every": max(steps, 1),
        }
    )
    warmup = min(recipe.optimizer.warmup, steps // 5)
    return recipe.model_copy(
        update={
            "mode": "full",
            "training": training,
            "optimizer": recipe.optimizer.model_copy(update={"warmup": warmup}),
        }
    )


def without_split(task: TaskData, held: Sequence[int]) -> TaskData:
    """The task with the training systems `held` as its validation split."""
    out = set(held)
    rest = [i for i in range(len(task.train)) if i not in out]
    return dataclasses.replace(
        task,
        train=[task.train[i] for i in rest],
        validation=[task.train[i] for i in sorted(out)],
    )
