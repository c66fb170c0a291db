"""Whether the parts that a recipe names are installed and fit each other. Imports no torch."""

from __future__ import annotations

from sfm.errors import PluginError, RecipeError, did_you_mean
from sfm.recipe.recipes import Recipe
from sfm.recipe.tasks import Task, loss_kinds
from sfm.registry import find, parts

WORDS = {"quantities": "", "levels": "level "}  # what a name of each is called


def check_parts(recipe: Recipe) -> Recipe:
    """The recipe with its encoders filled in, if all its parts are installed.

    Raises:
        PluginError: a dataset or encoder is not installed.
        RecipeError: a dataset is held out, or does not have the quantity or level; two tasks want
            different losses for one quantity.
    """
    tasks = tuple(_check_task(f"tasks.{i}", task) for i, task in enumerate(recipe.tasks))
    loss_kinds((str(task.encoder), task.dataset, task.quantities) for task in tasks)
    used = {task.encoder for task in tasks}
    for name in recipe.model.encoders:
        if name not in used:
            raise RecipeError(
                f"model.encoders.{name}: no task uses this encoder.{did_you_mean(name, used)}"  # type: ignore[arg-type]
            )
    return recipe.model_copy(update={"tasks": tasks})


def _check_task(where: str, task: Task) -> Task:
    try:
        dataset = find("datasets", task.dataset)
        spec = dataset.load()
        encoder = find("encoders", _encoder(where, task.encoder or spec.encoder, spec.domain))
    except PluginError as error:
        raise PluginError(f"{where}: {error}") from None
    if spec.held_out:
        raise RecipeError(
            f"{where}.dataset: '{task.dataset}' is held out for fine-tuning and evaluation"
        )
    if encoder.domain != spec.domain:
        raise RecipeError(
            f"{where}.encoder: '{task.encoder or encoder.full_name}' is for {encoder.domain}, the "
            f"dataset for {spec.domain}"
        )
    for word, names, known in (
        ("quantities", task.quantities, spec.quantities),
        ("levels", task.levels or (), spec.levels),
    ):
        for name in names:
            if name not in known:
                raise RecipeError(
                    f"{where}.{word}: '{task.dataset}' has no {WORDS[word]}'{name}' (it has: "
                    f"{', '.join(known)}).{did_you_mean(name, known)}"
                )
    if task.through is not None:
        _check_simulator(f"{where}.through", task.through.simulator, spec.domain)
    if task.baseline is not None and task.baseline.simulator is not None:
        _check_simulator(f"{where}.baseline", task.baseline.simulator, spec.domain)
    return task.model_copy(update={"encoder": encoder.full_name, "dataset": dataset.full_name})


def _encoder(where: str, name: str | None, domain: str) -> str:
    """`name`, or the only encoder of the domain."""
    if name is not None:
        return name
    fitting = [p.full_name for p in parts("encoders", domain=domain)]
    if len(fitting) != 1:
        raise RecipeError(f"{where}.encoder: name one of {', '.join(fitting) or 'none installed'}")
    return fitting[0]


def _check_simulator(where: str, simulator: str, domain: str) -> None:
    try:
        part = find("simulators", simulator)
    except PluginError as error:
        raise PluginError(f"{where}: {error}") from None
    if part.domain != domain:
        raise RecipeError(
            f"{where}.simulator: '{simulator}' is for {part.domain}, the dataset for {domain}"
        )
