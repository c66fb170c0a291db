"""What is wrong with a recipe, in one line: the key, the mistake, and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from sfm.errors import did_you_mean


def one_line(cls: type[BaseModel], error: ValidationError) -> str:
    """The first mistake that `error` names in values for `cls`, and how many there are."""
    problems = error.errors(include_url=False)
    # a tuple with one bad item is also reported as too short
    problems = [p for p in problems if p["type"] != "too_short"] or problems
    first = problems[0]
    place = [str(x) for x in first["loc"]]
    where = ".".join(place) or "recipe"
    kind, message = first["type"], first["msg"]
    if kind == "extra_forbidden":
        known = _known_keys(cls, place[:-1])
        hint = did_you_mean(place[-1], known).strip().replace("Did", "did")
        text = f"{where}: unknown key, {hint or 'known keys: ' + ', '.join(known)}"
    elif kind == "missing":
        text = f"{where}: required, but missing"
    else:
        message = message.removeprefix("Value error, ")
        given = first.get("input")
        shown = (
            f" (given: {_short(given)})" if not isinstance(given, (Mapping, list, tuple)) else ""
        )
        text = f"{where}: {message[:1].lower()}{message[1:]}{shown}"
    more = len(problems) - 1
    return text + (f" (and {more} more {'problem' if more == 1 else 'problems'})" if more else "")


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**60 else "a huge number"
    return text if len(text) < 80 else text[:77] + "..."


def _known_keys(cls: type[BaseModel], place: list[str]) -> list[str]:
    here: Any = cls
    for name in place:
        here = _inside(here, name)
    return list(here.model_fields) if _is_model(here) else []


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _inside(kind: Any, name: str) -> Any:
    """The type of `kind[name]` or `kind.name`."""
    if _is_model(kind):
        field = kind.model_fields.get(name)
        kind = field.annotation if field else None
        if get_origin(kind) in (Union, UnionType):
            kind = next((a for a in get_args(kind) if a is not type(None)), None)
        return kind
    arguments = [a for a in get_args(kind) if a is not Ellipsis]
    return arguments[-1] if arguments else None
