"""A pack: a recipe and the data that it trains on in one file (`sfm.train.pack` writes it).

    manifest.json                      what is in it, from where, under which licences; checksums
    recipe.yaml                        the resolved recipe
    README.md                          the same for people
    datasets/NAME/README.md            a dataset's card
    datasets/NAME/data/*.parquet       its rows, as any dataset folder has them

Opened, its datasets lie in the cache and stand in the place of the recipe's: the same samples in
the same order, so the same batches and the same weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ValidationError

from sfm.data.archive import Archive, open_archive
from sfm.data.storage import cache_dir
from sfm.errors import InputError, RecipeError
from sfm.formats import yaml12
from sfm.recipe import Recipe, parse
from sfm.recipe.mistakes import one_line
from sfm.recipe.values import Items, Strict

KIND, FORMAT = "sfm-pack", 1
RECIPE, README, DATASETS = "recipe.yaml", "README.md", "datasets"
_INSIDE = re.compile(rf"{RECIPE}|{README}|{DATASETS}/([^/]+)/(README\.md|data/[^/]+\.parquet)")
Names = Annotated[tuple[str, ...], Items]


class Thinned(Strict):
    """Of the training rows, those that a pack of limited size took.

    Attributes:
        rows: how many it took.
        of: how many there were.
        seed: of the choice.
    """

    rows: int
    of: int
    seed: int


class PackedDataset(Strict):
    """One dataset in a pack.

    Attributes:
        part: its name, `molecules/molecules-xtb`.
        levels, quantities: of the labels in it.
        rows: by split.
        columns_left_out: labels of the whole dataset that the recipe does not use.
        levels_left_out: levels of theory of which it uses none.
        thinned: what `--max-size` left out of the training rows, if anything.
        revision: sha256 (first 16 digits) of the files that it was taken from.
        licence, origin, citation: of the dataset.
    """

    part: str
    levels: Names
    quantities: Names
    rows: dict[str, int]
    columns_left_out: Names
    levels_left_out: Names
    thinned: Thinned | None
    revision: dict[str, str]
    licence: str
    origin: str
    citation: Names


class Contents(Strict):
    """What the manifest of a pack says, beside the checksums.

    Attributes:
        kind, format: that it is a pack, and of which form.
        sfm: version that wrote it.
        name: of the recipe.
        tasks: the dataset of each task of the recipe, a key of `datasets`.
        datasets: by the name of their folder in the pack.
    """

    kind: str
    format: int
    sfm: str
    name: str
    tasks: Names
    datasets: dict[str, PackedDataset]


@dataclass(frozen=True)
class Pack:
    """A pack that was opened.

    Attributes:
        archive: the file.
        contents: what it says of itself.
        values: the recipe as plain values.
    """

    archive: Archive
    contents: Contents
    values: Any

    def recipe(self, overrides: Iterable[str] = ()) -> Recipe:
        """The recipe, with `a.b=c` overrides; raises as `sfm.recipe.load`."""
        return parse(self.values, overrides)

    def folders(self, recipe: Recipe) -> list[Path | None]:
        """Unpacks the data; the folder of each task, None where an override names another.

        Args:
            recipe: this pack's, perhaps with overrides.

        Raises:
            RecipeError: an override asks for another dataset than the pack holds.
            InputError: it is damaged, or the cache cannot be written.
        """
        stored = parse(self.values, check=False).tasks
        names: list[str | None] = []
        for i, task in enumerate(recipe.tasks):
            if i < len(stored) and task.folder != stored[i].folder:
                names.append(None)
            elif i < len(stored) and task.dataset == stored[i].dataset:
                names.append(self.contents.tasks[i])
            else:
                raise RecipeError(
                    f"tasks.{i}: {self.archive.path} holds no '{task.dataset}' for it; give its "
                    "folder, or pack a recipe that has this task"
                )
        place = self.archive.unpack(cache_dir() / "packs") / DATASETS
        return [None if name is None else place / name for name in names]


def open_pack(path: str | Path) -> Pack:
    """The pack at `path`, of anybody: checked as far as it says of itself, nothing unpacked yet.

    Raises:
        InputError: no such file, no pack, damaged or truncated, or of a later form.
    """
    archive = open_archive(path)
    about = archive.about
    if about.get("kind") != KIND:
        raise InputError(f"{path}: a zip, but no pack; `sfm dataset pack RECIPE` writes one")
    if about.get("format") != FORMAT:
        raise InputError(
            f"{path}: a pack of form {str(about.get('format'))[:20]}, this version of sfm reads "
            f"{FORMAT}; update sfm"
        )
    try:
        contents = Contents.model_validate(about)
        values = yaml12.read(archive.read(RECIPE), RECIPE)
        tasks = parse(values, check=False).tasks
    except ValidationError as error:
        raise InputError(f"{path}: its manifest is damaged: {one_line(Contents, error)}") from None
    except RecipeError as error:
        raise InputError(f"{path}: its recipe is damaged: {error}") from None
    pack = Pack(archive, contents, values)
    if problem := _problem(pack, len(tasks)):
        raise InputError(f"{path}: damaged: {problem}")
    return pack


def _problem(pack: Pack, tasks: int) -> str:
    """What does not fit together, in words; empty if everything does."""
    contents, full = pack.contents, set()
    for name in pack.archive.members:
        inside = _INSIDE.fullmatch(name)
        if inside is None:
            return f"'{name}' has no place in a pack"
        if name.endswith(".parquet"):
            full.add(inside[1])
    if full != set(contents.datasets):
        return "its data are not those of the datasets that it names"
    if len(contents.tasks) != tasks or not set(contents.tasks) <= full:
        return "its data are not those of its recipe's tasks"
    return ""
