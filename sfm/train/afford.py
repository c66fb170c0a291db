"""How many steps of training the budget of a competition affords.

Seconds are counted, not measured: those of a core on which `sfm-tiny` was timed. So the same labels
and settings give the same steps, hence the same model, on a busy machine and on a faster one.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.utils.flop_counter import FlopCounterMode

from sfm.model import FoundationModel
from sfm.recipe import FinetuneRecipe
from sfm.train.data import MixedData
from sfm.train.objective import Objective
from sfm.train.tasks import TaskData
from sfm.train.trained import ready, shorter
from sfm.train.transfer import grow

SMALL_TOKENS = 256
FEWEST_STEPS = 40
# with fewer steps than these, small batches learn more from the same work
ENOUGH_STEPS = 300
# of one core (AMD EPYC, one thread): twenty batches of ten targets, least squares, and a fifth for
# the optimiser; batches differ by up to 1.6 from it
SECONDS_PER_STEP, SECONDS_PER_GIGAFLOP = 0.014, 0.042
# of the budget; the rest is for features and closed forms
TRAINING = 0.8


def budget_of(recipe: FinetuneRecipe, task: TaskData) -> float:
    """Seconds: the recipe's per hundred training systems, and at least that of one hundred."""
    return recipe.budget * max(1.0, len(task.train) / 100)


def affordable(
    base: FoundationModel, task: TaskData, recipe: FinetuneRecipe, runs: int
) -> FinetuneRecipe | None:
    """The recipe with the steps that the budget affords; None if they are too few.

    Batches are the recipe's where `ENOUGH_STEPS` of them fit, else small ones.

    Args:
        base: the model to train.
        task: what to learn.
        recipe: the whole plan, with its budget.
        runs: of training that share the budget.
    """
    seconds, steps = TRAINING * budget_of(recipe, task) / runs, 0
    cost = step_seconds(base, task, recipe)
    for tokens in (recipe.training.tokens_per_batch, SMALL_TOKENS):
        steps = min(int(seconds / cost(tokens)), recipe.training.steps)
        if steps >= min(ENOUGH_STEPS, recipe.training.steps):
            return shorter(recipe, steps, tokens)
    return shorter(recipe, steps, SMALL_TOKENS) if steps >= FEWEST_STEPS else None


def step_seconds(
    base: FoundationModel, task: TaskData, recipe: FinetuneRecipe
) -> Callable[[int], float]:
    """Seconds of a step by the tokens of its batch, counted by the products of matrices in it."""
    model, stresses = grow(ready(base, task, "full"), task, recipe.training.seed)
    objective = Objective(model, [task], stresses)

    def cost(tokens: int) -> float:
        stream = MixedData(model, [task], shorter(recipe, 1, tokens).training)
        batch = stream.train_dataloader().next_batch()
        with FlopCounterMode(display=False) as counter:
            objective(model, batch).total.backward()
        return SECONDS_PER_STEP + SECONDS_PER_GIGAFLOP * float(counter.get_total_flops()) / 1e9

    return cost


def too_dear(recipe: FinetuneRecipe, task: TaskData) -> str:
    """The note about training that was not tried."""
    return (
        f"full was not tried: fewer than {FEWEST_STEPS} steps fit into the budget of "
        f"{budget_of(recipe, task):g} seconds; raise it with --set budget=SECONDS"
    )
