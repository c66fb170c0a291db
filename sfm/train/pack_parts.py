"""What a recipe uses of its datasets: which columns and rows.

A label column is taken if a task learns it or an encoder reads it, or if a task trains through a
simulator, which may compare any of them. Where a sample had labels at a level in other columns
only, enough of those stay for it to be a sample still: tasks count and number their samples, and
the same numbers are the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from sfm.data.spec import DatasetSpec
from sfm.data.storage import Column, Dataset, open_dataset
from sfm.errors import InputError
from sfm.hub.resolve import bundled, locate
from sfm.recipe import Recipe, Task
from sfm.registry import find
from sfm.train.tasks import TaskData, open_task, task_folder


@dataclass(frozen=True)
class Part:
    """A dataset of the recipe, and what of it is used.

    Attributes:
        name: of its folder in the pack.
        spec: what its plugin says of it.
        whole: its folder, open.
        columns: that are taken.
        rows: (rows,) whether a row is taken.
        thinned: whether training rows may be left out: not where a simulator runs along them.
    """

    name: str
    spec: DatasetSpec
    whole: Dataset
    columns: tuple[Column, ...]
    rows: Bool[np.ndarray, " rows"]
    thinned: bool

    @property
    def left_out(self) -> tuple[Column, ...]:
        """Columns that are not taken."""
        return tuple(column for column in self.whole.columns if column not in self.columns)


def parts_of(recipe: Recipe) -> tuple[list[Part], list[str]]:
    """The datasets of a recipe, each build once, and the name of that of each task.

    Raises:
        InputError: as `sfm.train.tasks.open_task`.
    """
    users: dict[tuple[str, Path], list[tuple[Task, TaskData]]] = {}
    keys = []
    for i, task in enumerate(recipe.tasks):
        data = open_task(task, where=f"tasks.{i}")
        folder = task_folder(task, find("datasets", task.dataset).load()).resolve()
        keys.append((task.dataset, folder))
        users.setdefault(keys[-1], []).append((task, data))
    parts: dict[tuple[str, Path], Part] = {}
    for key, tasks in users.items():
        spec: DatasetSpec = find("datasets", key[0]).load()
        taken = {part.name for part in parts.values()}
        candidates = (spec.name, *(f"{spec.name}.{n}" for n in range(2, 2 + len(users))))
        name = next(name for name in candidates if name not in taken)
        parts[key] = _part(name, spec, key[1], tasks)
    return list(parts.values()), [parts[key].name for key in keys]


def _part(
    name: str, spec: DatasetSpec, folder: Path, tasks: Sequence[tuple[Task, TaskData]]
) -> Part:
    whole = open_dataset(folder, length_unit=spec.length_unit)
    pairs = {pair for task, data in tasks for pair in _used(task, data, whole)}
    levels = {level for _, data in tasks for level in data.levels}
    kept = {c for c in whole.columns if c.level is None or (c.level, c.quantity) in pairs}
    rows = np.zeros(0, dtype=bool)
    for level in [level for level in whole.levels if level in levels]:
        of_level = whole.of_level(level)
        samples = whole.holding(of_level)
        for column in of_level:
            held = whole.holding(c for c in of_level if c in kept)
            if (samples & ~held & whole.holding([column])).any():
                kept.add(column)
        rows = samples | rows if len(rows) else samples
    columns = tuple(c for c in whole.columns if c in kept)
    through = any(task.through is not None for task, _ in tasks)
    return Part(name, spec, whole, columns, rows, not through)


def _used(task: Task, data: TaskData, whole: Dataset) -> Iterator[tuple[str, str]]:
    """(level, quantity) of the labels that a task reads."""
    yield from data.present
    read = find("encoders", data.encoder).load().label_inputs
    for column in whole.columns:
        if column.level in data.levels and (column.quantity in read or task.through is not None):
            yield str(column.level), column.quantity


def outside(recipe: Recipe) -> Iterator[str]:
    """What the recipe needs and a pack does not hold, in one line each."""
    models: dict[str, str | None] = {"start": recipe.start}
    for i, task in enumerate(recipe.tasks):
        models[f"tasks.{i}.baseline.model"] = task.baseline.model if task.baseline else None
        for name, value in (task.baseline.values if task.baseline else {}).items():
            if isinstance(value, str) and Path(value).is_file():
                yield f"tasks.{i}.baseline.{name}: '{value}' is a file that the pack does not hold"
    for place, model in models.items():
        if model is not None and _is_folder(model):
            yield f"{place}: '{model}' is a model's folder, which the pack does not hold"


def _is_folder(model: str) -> bool:
    """Whether a model is neither bundled nor on a Hub, be its folder here or not."""
    try:
        return model not in bundled() and locate(model).folder is not None
    except InputError:
        return True
