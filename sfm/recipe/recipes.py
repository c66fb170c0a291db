"""The two kinds of recipe: what to pretrain on what, and how to fine-tune."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sfm.formats import yaml12
from sfm.recipe.sections import ModelSection, OptimizerSection, TrainingSection
from sfm.recipe.tasks import BaselineSection, Goals, Task
from sfm.recipe.values import Count, Strict


class Recipe(Strict):
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
        return yaml12.write(self.to_dict())


class FinetuneOptimizer(OptimizerSection):
    """As for pretraining, gentler; `lr` None takes the mode's own."""

    lr: float | None = Field(default=None, gt=0)  # type: ignore[assignment]
    warmup: Count = Field(default=20, ge=0)


class FinetuneTraining(TrainingSection):
    """As for pretraining, shorter."""

    steps: Count = Field(default=300, ge=1)
    ema: float = Field(default=0.99, ge=0, lt=1)
    validate_every: Count = Field(default=100, ge=1)


class Lora(Strict):
    """Low-rank updates.

    Attributes:
        rank: of the update of each matrix.
        alpha: the update is scaled by alpha / rank.
    """

    rank: Count = Field(default=8, ge=1)
    alpha: float = Field(default=8.0, gt=0)


MODES = ("auto", "ridge", "gp", "delta", "head", "full", "lora")


class FinetuneRecipe(Strict):
    """How to fine-tune.

    Attributes:
        mode: `auto` lets all that fit compete; in closed form on frozen features `ridge`, `gp`
            (a Gaussian process) and `delta` (either, of the difference to what the model says
            already, or to the baseline); `head` trains only the target's heads, `full`
            everything, `lora` low-rank updates and those heads. `auto` tries `full`, and `lora` too
            where the model is large (`sfm.train.afford`).
        budget: seconds of one core that `auto` may spend on competing and training, for up to a
            hundred training systems; with more of them in proportion. They are counted by the work
            that a step is, so that steps do not depend on the machine.
        weights: loss weights by quantity; left-out ones have those of `sfm.train.finetune_task`.
        replay: share of tokens that come from the pretraining tasks.
        baseline: learn the energy on top of a theory's; see `sfm.recipe.BaselineSection`.
    """

    mode: Literal["auto", "ridge", "gp", "delta", "head", "full", "lora"] = "auto"
    budget: float = Field(default=30.0, ge=0)
    weights: Goals = Field(default_factory=dict)
    lora: Lora = Lora()
    replay: float = Field(default=0.0, ge=0, lt=1)
    baseline: BaselineSection | None = None
    optimizer: FinetuneOptimizer = FinetuneOptimizer()
    training: FinetuneTraining = FinetuneTraining()
