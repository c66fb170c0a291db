"""Which ways of training compete, and how many steps the budget of a competition affords each.

Seconds are counted, not measured: those of a core on which `sfm-tiny` was timed. So the same labels
and settings give the same steps, hence the same model, on a busy machine and on a faster one.

Low-rank updates cost as much per step as all weights do, from 0.2 to 20 million of them, for most
of a step is work on edges and not on weights; and on `sfm-tiny` they are as good on quantities that
it knows, and worse on a new one (`benchmarks/transfer_modes.py`). So on a small model they would
only take a share of the steps. How they fare on one larger than was measured, their trial says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
# weights above which low-rank updates compete too; `sfm-tiny` has 0.75 million
LARGE = 2_000_000


def budget_of(recipe: FinetuneRecipe, task: TaskData) -> float:
    """Seconds: the recipe's per hundred training systems, and at least that of one hundred."""
    return recipe.budget * max(1.0, len(task.train) / 100)


def contenders(
    base: FoundationModel, task: TaskData, recipe: FinetuneRecipe, final: int
) -> tuple[list[FinetuneRecipe], str]:
    """How to train on trial, one plan per mode, with the steps that all of them can have.

    Args:
        base: the model to train.
        task: what to learn.
        recipe: the whole plan, with its budget.
        final: runs that follow the comparison.

    Returns:
        The plans, none where not even one is affordable; and what there is to say of those that
        were left out.
    """
    large = sum(p.numel() for p in base.parameters()) > LARGE
    modes = ("full", "lora") if large else ("full",)
    for count in range(len(modes), 0, -1):
        plan = affordable(base, task, recipe, runs=count + final)
        if plan is not None:
            chosen = [plan.model_copy(update={"mode": mode}) for mode in modes[:count]]
            return chosen, too_dear(recipe, task, modes[count:])
    return [], too_dear(recipe, task, modes)


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


def too_dear(recipe: FinetuneRecipe, task: TaskData, modes: Sequence[str] = ("full",)) -> str:
    """The note about modes of training that were not tried; empty if there are none."""
    if not modes:
        return ""
    return (
        f"{' and '.join(modes)} {'were' if len(modes) > 1 else 'was'} not tried: fewer than "
        f"{FEWEST_STEPS} steps fit into the budget of {budget_of(recipe, task):g} seconds; raise "
        "it with --set budget=SECONDS"
    )
