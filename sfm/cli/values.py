"""`--set key=value`: values as recipes write them, so numbers like 1e-3 are numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sfm.errors import InputError


def parse_value(text: str) -> Any:
    """A number, true, false, null, list or string; what is no YAML is a string.

    Raises:
        RecipeError: a key given twice, or a number too long.

    >>> parse_value("1e-3"), parse_value("[1, 2e-2]"), parse_value("PBE")
    (0.001, [1, 0.02], 'PBE')
    """
    from sfm.formats import yaml12

    try:
        return yaml12.read(text, "--set")
    except yaml12.NotYaml:
        return text


def parse_settings(items: Iterable[str]) -> dict[str, Any]:
    """`["viscosity=1e-3", "n=64"]` as a dictionary.

    Raises:
        InputError: an item has no `=`, or a key occurs twice.
    """
    values: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {item}: write it as KEY=VALUE")
        if key.strip() in values:
            raise InputError(f"--set {item}: '{key.strip()}' was set before")
        values[key.strip()] = parse_value(text)
    return values
