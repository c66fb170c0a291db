"""The rival of every fine-tuning: a model of the same size that starts from nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sfm.model import FoundationModel
from sfm.recipe import FinetuneRecipe, ModelSection, OptimizerSection, TrainingSection
from sfm.train.build import fit_normalisers, measure_neighbours, model_config, new_model
from sfm.train.cover import cover
from sfm.train.engine import FitResult, fit
from sfm.train.tasks import TaskData

SCRATCH_LEARNING_RATE = 3e-3


def scratch_model(
    task: TaskData, base: FoundationModel, recipe: FinetuneRecipe, out: Path
) -> FoundationModel:
    """The base's trunk, new, trained on the same data for the same number of steps."""
    optimizer = OptimizerSection(**{**recipe.optimizer.model_dump(), "lr": SCRATCH_LEARNING_RATE})
    return train_new(task, base, recipe.training, optimizer, out)[0]


def train_new(
    task: TaskData,
    base: FoundationModel,
    settings: TrainingSection,
    optimizer: OptimizerSection,
    out: Path,
    patience: int | None = None,
) -> tuple[FoundationModel, FitResult]:
    """The base's trunk, new, trained on `task`; with `patience` it stops as `fit` says.

    Args:
        task: what on.
        base: gives the sizes.
        settings: budgets, steps, seed.
        optimizer: learning rate, schedule.
        out: folder for what the run writes, which does not outlast the call.
        patience: of early stopping on the task's validation systems.
    """
    trunk = dict(base.config.trunk)
    options = {task.encoder: dict(base.config.encoders[task.encoder])}
    section = ModelSection(**trunk, encoders=options)
    model = new_model(model_config([task], section, "scratch"), settings.seed)
    model.to(dtype=base.dtype)
    cover(model, [task])
    _, stresses = fit_normalisers(model, [task])
    measure_neighbours(model, [task])
    with tempfile.TemporaryDirectory(dir=out) as folder:
        result = fit(
            model,
            [task],
            settings=settings,
            optimizer=optimizer,
            stress_scales=stresses,
            run=Path(folder),
            recipe={},
            title=f"from scratch on {task.name}",
            log=False,
            patience=patience,
        )
    return model.to("cpu"), result
