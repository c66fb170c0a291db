"""`--set key=value`: values as YAML reads them, and numbers like 1e-3 as the numbers they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sfm.errors import InputError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def parse_value(text: str) -> Any:
    """A number, true, false, null, list or string.

    >>> parse_value("1e-3"), parse_value("[1, 2e-2]"), parse_value("PBE")
    (0.001, [1, 0.02], 'PBE')
    """
    import yaml

    try:
        return _numbers(yaml.safe_load(text))
    except yaml.YAMLError:
        return text


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return value


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
