"""The rival of every fine-tuning: a model of the same size that starts from nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sfm.model import FoundationModel
from sfm.recipe import FinetuneRecipe, ModelSection, OptimizerSection
from sfm.train.build import fit_normalisers, measure_neighbours, model_config, new_model
from sfm.train.cover import cover
from sfm.train.engine import fit
from sfm.train.tasks import TaskData

SCRATCH_LEARNING_RATE = 3e-3


def scratch_model(
    task: TaskData, base: FoundationModel, recipe: FinetuneRecipe, out: Path
) -> FoundationModel:
    """The base's trunk, new, trained on the same data for the same number of steps."""
    trunk = dict(base.config.trunk)
    options = {task.encoder: dict(base.config.encoders[task.encoder])}
    section = ModelSection(**trunk, encoders=options)
    model = new_model(model_config([task], section, "scratch"), recipe.training.seed)
    model.to(dtype=base.dtype)
    cover(model, [task])
    _, stresses = fit_normalisers(model, [task])
    measure_neighbours(model, [task])
    with tempfile.TemporaryDirectory(dir=out) as folder:
        fit(
            model,
            [task],
            settings=recipe.training,
            optimizer=OptimizerSection(
                **{**recipe.optimizer.model_dump(), "lr": SCRATCH_LEARNING_RATE}
            ),
            stress_scales=stresses,
            run=Path(folder),
            recipe={},
            title=f"from scratch on {task.name}",
            log=False,
        )
    return model.to("cpu")
