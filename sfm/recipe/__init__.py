"""Recipes: typed YAML files that say what to train on what. No torch here.

A recipe is checked before anything heavy loads. It can name registered parts only, so running
somebody else's recipe is safe.

    name: my-model
    model: {size: tiny}
    tasks:
      - {dataset: molecules/molecules-xtb, quantities: {energy: 1, forces: 10}}
    training: {steps: 2000}
"""

from __future__ import annotations

from sfm.recipe.parts import check_parts
from sfm.recipe.reading import load, load_finetune, parse, validate
from sfm.recipe.recipes import (
    MODES,
    FinetuneOptimizer,
    FinetuneRecipe,
    FinetuneTraining,
    Lora,
    Recipe,
)
from sfm.recipe.sections import ModelSection, OptimizerSection, TrainingSection
from sfm.recipe.tasks import BaselineSection, Goal, Task, ThroughSection, loss_kinds
from sfm.recipe.values import LossKind

__all__ = [
    "MODES",
    "BaselineSection",
    "FinetuneOptimizer",
    "FinetuneRecipe",
    "FinetuneTraining",
    "Goal",
    "Lora",
    "LossKind",
    "ModelSection",
    "OptimizerSection",
    "Recipe",
    "Task",
    "ThroughSection",
    "TrainingSection",
    "check_parts",
    "load",
    "load_finetune",
    "loss_kinds",
    "parse",
    "validate",
]
