"""The term of the loss that sits behind a simulator: `through:` of a recipe's task.

Which runs a step takes depends on the seed and the number of the step only, and each process takes
its share of them: so a resumed run, and one of several processes, do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import RecipeError
from sfm.model import FoundationModel
from sfm.model.guard import searching
from sfm.recipe import Recipe
from sfm.registry import find
from sfm.simulate.through import Through
from sfm.train.tasks import TaskData

VALIDATION_RUNS = 16


@dataclass(frozen=True)
class ThroughTerm:
    """Runs of one task's samples through a simulator.

    Attributes:
        task: index of the task.
        name: part name of the simulator.
        through: how to run and compare.
        data: the task.
        weight: factor in the task's loss.
        runs: per optimiser step, over all processes.
        closure: options of the encoder's closure.
        seed: of the choice of runs.
        windows: of each split, made once.
    """

    task: int
    name: str
    through: Through
    data: TaskData
    weight: float
    runs: int
    closure: dict[str, Any]
    seed: int
    windows: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)

    def chosen(self, step: int) -> list[tuple[int, ...]]:
        """The windows of an optimiser step."""
        training = self.of_split("train")
        generator = np.random.default_rng([self.seed, step, self.task])
        return [training[i] for i in generator.integers(len(training), size=self.runs)]

    def of_split(self, split: str) -> list[tuple[int, ...]]:
        """All windows of a split."""
        if split not in self.windows:
            self.windows[split] = self.through.windows(self.data.split(split))
        return self.windows[split]

    def losses(
        self, model: FoundationModel, step: int, rank: int, world: int
    ) -> Float[Tensor, " n"]:
        """(n,) losses of this process's share of the runs of a step."""
        return self._run(self.make_closure(model), "train", self.chosen(step)[rank::world])

    def make_closure(self, model: FoundationModel) -> nn.Module:
        """The model as the simulator's closure.

        Raises:
            RecipeError: the encoder's closure has no such option.
            SfmError: the encoder supplies no closure.
        """
        try:
            return model.encoder(self.data.encoder).closure(model, **self.closure)
        except TypeError as error:
            raise RecipeError(f"tasks.{self.task}.through.closure: {error}") from None

    def check(self, model: FoundationModel) -> None:
        """Fail early where the model's closure could not be trained.

        Raises:
            RecipeError: an option that the closure does not have, or one that makes it a copy.
            SfmError: the encoder supplies no closure.
        """
        weights = {id(p) for p in model.parameters()}
        if any(
            p.requires_grad and id(p) not in weights for p in self.make_closure(model).parameters()
        ):
            raise RecipeError(
                f"tasks.{self.task}.through.closure: {self.closure} makes the closure a copy of "
                "the model, whose training would be lost (collapsed: true does that)"
            )

    def _run(
        self, closure: nn.Module | None, split: str, windows: Sequence[tuple[int, ...]]
    ) -> Tensor:
        if not windows:
            return torch.zeros(0, dtype=torch.float64)
        samples = self.data.split(split)
        with searching():  # a run may leave the data: that is what it learns not to do
            return self.through.losses(closure, [[samples[i] for i in w] for w in windows])

    @torch.no_grad()
    def mean(self, closure: nn.Module | None, split: str, limit: int = VALIDATION_RUNS) -> float:
        """Mean loss of at most `limit` runs of a split, evenly chosen; NaN if it has none."""
        windows = self.of_split(split)
        windows = windows[:: max(1, len(windows) // limit)][:limit]
        return float(self._run(closure, split, windows).mean()) if windows else float("nan")

    def report(self, model: FoundationModel, split: str = "test") -> dict[str, Any]:
        """What the model gains over the classical theory, on runs it was not trained on."""
        return {
            "dataset": self.data.name,
            "simulator": self.name,
            "split": split,
            "runs": min(len(self.of_split(split)), VALIDATION_RUNS),
            "loss": self.mean(self.make_closure(model), split),
            "loss without closure": self.mean(None, split),
        }


def through_terms(recipe: Recipe, tasks: Sequence[TaskData]) -> list[ThroughTerm]:
    """The terms of a recipe.

    Raises:
        RecipeError: the training samples hold no run, or an option is wrong.
        InputError: the simulator cannot be trained through.
    """
    terms = []
    for number, (section, data) in enumerate(zip(recipe.tasks, tasks, strict=True)):
        options = section.through
        if options is None:
            continue
        where = f"tasks.{number}.through"
        simulator = find("simulators", options.simulator)
        try:
            through = simulator.load().through(**options.options)
        except TypeError as error:
            raise RecipeError(f"{where}.options: {error}") from None
        term = ThroughTerm(
            task=number,
            name=simulator.full_name,
            through=through,
            data=data,
            weight=options.weight,
            runs=options.runs,
            closure=dict(options.closure),
            seed=recipe.training.seed,
        )
        if not term.of_split("train"):
            raise RecipeError(f"{where}: the training samples of '{data.name}' hold no run")
        terms.append(term)
    return terms
