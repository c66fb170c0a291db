"""Recipes out of files and plain values, with overrides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sfm.errors import RecipeError
from sfm.formats import yaml12
from sfm.recipe.mistakes import one_line
from sfm.recipe.parts import check_parts
from sfm.recipe.recipes import FinetuneRecipe, Recipe

R = TypeVar("R", bound=BaseModel)


def load(path: str | Path, overrides: Iterable[str] = (), *, check: bool = True) -> Recipe:
    """The recipe in the file `path`, with `a.b=c` overrides.

    Args:
        path: a YAML file.
        overrides: for example `training.steps=100` or `tasks.0.weight=2`.
        check: look its parts up in the registry too.

    Raises:
        RecipeError: no such file, not YAML, an unknown key, a wrong type or range.
        PluginError: it names a part that is not installed.
    """
    return parse(_read(path), overrides, check=check)


def parse(values: Any, overrides: Iterable[str] = (), *, check: bool = True) -> Recipe:
    """A recipe from plain values; see `load`."""
    recipe = validate(Recipe, values, overrides)
    return check_parts(recipe) if check else recipe


def load_finetune(path: str | Path | None = None, overrides: Iterable[str] = ()) -> FinetuneRecipe:
    """The fine-tuning recipe in `path` (None: the defaults), with overrides."""
    return validate(FinetuneRecipe, {} if path is None else _read(path), overrides)


def _read(path: str | Path) -> Any:
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe")
    if path.stat().st_size > yaml12.LARGEST_TEXT:
        raise RecipeError(f"{path}: larger than {yaml12.LARGEST_TEXT} bytes, so it is no recipe")
    try:
        return yaml12.read(path.read_bytes(), str(path))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None


def validate(cls: type[R], values: Any, overrides: Iterable[str] = ()) -> R:
    """`cls` from plain values after overrides.

    Raises:
        RecipeError: one line that names the key, what is wrong, and what is allowed.
    """
    if not isinstance(values, Mapping):
        raise RecipeError(f"a recipe is a mapping of keys to values, not {type(values).__name__}")
    try:
        values = _copy(values)
        for text in overrides:
            _override(values, text)
        return cls.model_validate(values)
    except ValidationError as error:
        raise RecipeError(" ".join(one_line(cls, error).split())) from None
    except RecipeError as error:  # keys and overrides may hold line breaks
        raise RecipeError(" ".join(str(error).split())) from None
    except RecursionError:
        raise RecipeError("the recipe is nested too deeply") from None


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, (list, tuple)) else value


def _override(values: Any, text: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"override '{text}': write it as key.sub=value")
    value = yaml12.read(raw, f"override '{key}'")
    *path, last = key.strip().split(".")
    here = values
    for i, name in enumerate(path):
        step = _index(here, name, ".".join(path[: i + 1]))
        if isinstance(here, dict) and here.get(step) is None:
            here[step] = {}
        here = here[step]
        if not isinstance(here, (dict, list)):
            raise RecipeError(f"override '{text}': {'.'.join(path[: i + 1])} has no keys inside")
    here[_index(here, last, key)] = value


def _index(here: Any, name: str, where: str) -> Any:
    if isinstance(here, dict):
        # quantities and encoder options may be named by a part with a dot-free name
        return name
    if not name.isdigit() or int(name) >= len(here):
        raise RecipeError(f"override '{where}': '{name}' is not an index from 0 to {len(here) - 1}")
    return int(name)
