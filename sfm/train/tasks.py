"""Tasks: the samples of one dataset or file, by split, with the quantities to learn from them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.sample import Sample
from sfm.data.spec import DatasetSpec
from sfm.data.splits import SPLITS
from sfm.data.storage import PACKED, Dataset, open_dataset
from sfm.errors import InputError, RecipeError, did_you_mean
from sfm.quantity import Quantity
from sfm.recipe import BaselineSection, Goal, Recipe, Task
from sfm.registry import find, quantities


class Subset(Sequence[Any]):
    """Some samples of a sequence, in the order of `indices`."""

    def __init__(self, source: Sequence[Sample], indices: np.ndarray) -> None:
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: Any) -> Any:
        return self.source[int(self.indices[item])]


class Chain(Sequence[Any]):
    """Several sequences of samples, one after another."""

    def __init__(self, sources: Sequence[Any]) -> None:
        self.sources = [s for s in sources if len(s)]
        self.starts = np.cumsum([0, *(len(s) for s in self.sources)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, item: Any) -> Any:
        if not 0 <= item < len(self):
            raise IndexError(item)
        which = int(np.searchsorted(self.starts, item, side="right")) - 1
        return self.sources[which][int(item - self.starts[which])]

    def of_levels(self, levels: Collection[str]) -> Chain:
        """The part that lies at `levels`, of a chain of one dataset per level."""
        return Chain([s for s in self.sources if s.level in levels])


def split_chain(folder: Path, split: str, levels: Iterable[str], **options: Any) -> Chain:
    """The samples of one split, one level after another; options as for `open_dataset`."""
    return Chain([open_dataset(folder, split=split, level=v, **options) for v in levels])


@dataclass(frozen=True)
class TaskData:
    """What is learned from one source.

    Attributes:
        name: dataset part or file, for logs and reports.
        domain: domain of the samples.
        encoder: part name.
        levels: levels of theory that have at least one of the quantities.
        goals: loss weight and form by quantity.
        present: (level, quantity) pairs that exist.
        train, validation, test: samples.
        weight: factor in the loss.
        definitions: the quantities.
        facts: licence, origin, file hashes, how it was split.
        baseline: the theory beneath the energy.
    """

    name: str
    domain: str
    encoder: str
    levels: tuple[str, ...]
    goals: Mapping[str, Goal]
    present: tuple[tuple[str, str], ...]
    train: Sequence[Sample]
    validation: Sequence[Sample]
    test: Sequence[Sample]
    weight: float = 1.0
    definitions: Mapping[str, Quantity] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    baseline: BaselineSection | None = None

    def split(self, name: str) -> Sequence[Sample]:
        """Samples of one split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    def limited(self, n: int | None, seed: int) -> TaskData:
        """With at most `n` training samples, a random but fixed choice."""
        return self if n is None else replace(self, train=subset(self.train, n, seed))


def subset(samples: Sequence[Sample], n: int | None, seed: int = 0) -> Sequence[Sample]:
    """At most `n` of the samples: a random choice that depends on `seed` only, in file order."""
    if n is None or len(samples) <= n:
        return samples
    chosen = np.random.default_rng([seed, len(samples)]).permutation(len(samples))[:n]
    return Subset(samples, np.sort(chosen))


def revision(folder: Path) -> dict[str, str]:
    """sha256 (first 16 digits) of every data file, by name."""
    hashes = {}
    for path in sorted((folder / "data").glob("*.parquet")):
        with path.open("rb") as handle:
            hashes[path.name] = hashlib.file_digest(handle, "sha256").hexdigest()[:16]
    return hashes


def _origin(whole: Dataset) -> dict[str, Any]:
    """Of a packed part of a dataset, what it was taken from; see `sfm.train.pack`."""
    packed = whole.info.get(PACKED)
    return {PACKED: packed} if packed else {}


def labelled(dataset: Dataset, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(level, quantity) pairs of the dataset's label columns among the wanted quantities."""
    columns = {(c.level, c.quantity) for c in dataset.columns if c.role == "label"}
    return tuple(
        (level, name) for level in dataset.levels for name in names if (level, name) in columns
    )


def open_folder(
    folder: Path,
    goals: Mapping[str, Goal],
    *,
    name: str,
    encoder: str,
    levels: Sequence[str] | None = None,
    weight: float = 1.0,
    length_unit: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> TaskData:
    """A task from a dataset folder.

    Raises:
        InputError: no files, or none of the quantities at the levels.
    """
    unit = {} if length_unit is None else {"length_unit": length_unit}
    whole = open_dataset(folder, **unit)
    for level in levels or ():
        if level not in whole.levels:
            raise InputError(
                f"{name}: no level '{level}' (it has: {', '.join(whole.levels)})."
                f"{did_you_mean(level, whole.levels)}"
            )
    present = tuple(p for p in labelled(whole, list(goals)) if levels is None or p[0] in levels)
    for quantity in goals:
        if quantity not in {q for _, q in present}:
            known = sorted({c.quantity for c in whole.columns if c.role == "label"})
            raise InputError(
                f"{name}: no labels '{quantity}' (it has: {', '.join(known)})."
                f"{did_you_mean(quantity, known)}"
            )
    used = tuple(dict.fromkeys(level for level, _ in present))

    splits = {split: split_chain(folder, split, used, **unit) for split in SPLITS}
    table = quantities()
    return TaskData(
        name=name,
        domain=whole.domain,
        encoder=encoder,
        levels=used,
        goals=dict(goals),
        present=present,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        weight=weight,
        definitions={q: table[q] for q in goals},
        facts={"revision": revision(folder), **_origin(whole), **(facts or {})},
    )


def task_folder(task: Task, spec: DatasetSpec) -> Path:
    """The folder of a task's dataset: the one that it names, or the bundled one."""
    return Path(task.folder).expanduser() if task.folder else spec.folder


def open_task(task: Task, *, where: str = "tasks", folder: Path | None = None) -> TaskData:
    """The data of one task of a recipe.

    Args:
        task: with its encoder filled in.
        where: what to call it in messages.
        folder: where its data lie, in the place of the task's own folder or the bundled one.

    Raises:
        RecipeError: it has no training sample, or its folder is another dataset's.
        InputError: files are missing, or a label is.
    """
    part = find("datasets", task.dataset)
    spec = part.load()
    assert task.encoder is not None, "check_parts fills encoders in"
    elsewhere = folder is not None or task.folder
    folder = folder or task_folder(task, spec)
    if elsewhere and (name := open_dataset(folder).name) != spec.name:
        raise RecipeError(f"{where}.folder: {folder} is a build of '{name}', not of '{spec.name}'")
    data = open_folder(
        folder,
        task.quantities,
        name=part.full_name,
        encoder=task.encoder,
        levels=task.levels,
        weight=task.weight,
        length_unit=spec.length_unit,
        facts={**spec.provenance(), "split": "column 'split' of the dataset"},
    )
    if not len(data.train):
        raise RecipeError(f"{where}: '{task.dataset}' has no training samples")
    return replace(data, baseline=task.baseline)


def open_tasks(recipe: Recipe, folders: Sequence[Path | None] | None = None) -> list[TaskData]:
    """The data of all tasks, limited to `max_samples`.

    Args:
        recipe: with its encoders filled in.
        folders: of each task, None for the one that the recipe says; see `sfm.train.packed`.
    """
    training = recipe.training
    places = [None] * len(recipe.tasks) if folders is None else folders
    return [
        open_task(task, where=f"tasks.{i}", folder=place).limited(
            task.max_samples or training.max_samples, training.seed
        )
        for i, (task, place) in enumerate(zip(recipe.tasks, places, strict=True))
    ]
