"""JSON files from anybody: read strictly, within limits, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from sfm.errors import HubError
from sfm.formats.limits import MOST_DIGITS

LARGEST = 64_000_000  # bytes


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Refused beside what is no JSON: a key given twice (the last would count), NaN and infinities,
    numbers of thousands of digits, deep nesting, other encodings than UTF-8, and anything that is
    no object.

    Raises:
        HubError: one line that names the file.
        FileNotFoundError: there is none.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise HubError(f"{path}: larger than {LARGEST} bytes, so it is not read")
        values = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except RecursionError:
        raise HubError(f"{path}: damaged (nested too deeply)") from None
    except (ValueError, OSError) as error:
        raise HubError(
            f"{path}: damaged, not JSON ({str(error)[:200]}); download or save it again"
        ) from None
    if not isinstance(values, dict):
        raise HubError(f"{path}: damaged (not a JSON object)")
    return values


def parse(text: str) -> Any:
    """Plain values of a JSON text.

    Raises:
        ValueError: it is not JSON, or has what `read_object` refuses.
        RecursionError: nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} is given twice")
    return values


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits, at most {MOST_DIGITS} are read")
    return int(text)


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
