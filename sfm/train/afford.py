"""How many steps of training the budget of a competition affords."""

from __future__ import annotations

import time

from sfm.model import FoundationModel
from sfm.recipe import FinetuneRecipe
from sfm.train.data import MixedData
from sfm.train.objective import Objective
from sfm.train.tasks import TaskData
from sfm.train.trained import ready, shorter
from sfm.train.transfer import grow

SMALL_TOKENS = 256
FEWEST_STEPS = 40
# with fewer steps than these, small batches learn more
ENOUGH_STEPS = 120


def budget_of(recipe: FinetuneRecipe, task: TaskData) -> float:
    """CPU seconds: the recipe's per hundred training systems, and at least that of one hundred."""
    return recipe.budget * max(1.0, len(task.train) / 100)


def affordable(
    base: FoundationModel, task: TaskData, recipe: FinetuneRecipe, seconds: float
) -> FinetuneRecipe | None:
    """The recipe with the steps that fit into so many CPU seconds; None if they are too few.

    Batches are the recipe's where `ENOUGH_STEPS` of them fit, else small ones.
    """
    steps = 0
    for tokens in (recipe.training.tokens_per_batch, SMALL_TOKENS):
        steps = min(int(seconds / step_seconds(base, task, recipe, tokens)), recipe.training.steps)
        if steps >= min(ENOUGH_STEPS, recipe.training.steps):
            return shorter(recipe, steps, tokens)
    return shorter(recipe, steps, SMALL_TOKENS) if steps >= FEWEST_STEPS else None


def step_seconds(
    base: FoundationModel, task: TaskData, recipe: FinetuneRecipe, tokens: int
) -> float:
    """CPU seconds of a step with batches of so many tokens."""
    settings = shorter(recipe, 1, tokens).training
    model, stresses = grow(ready(base, task, "full"), task, settings.seed)
    stream = MixedData(model, [task], settings).train_dataloader()
    objective = Objective(model, [task], stresses)
    seconds = 0.0
    for _ in range(2):
        batch = stream.next_batch()
        began = time.process_time()
        objective(model, batch).total.backward()
        seconds = time.process_time() - began
    return 1.2 * seconds
