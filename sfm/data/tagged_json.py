"""JSON files of pymatgen's objects, as its `to` and monty's `dumpfn` write them.

An object is a dictionary that says its `@class`; a file holds one, a list of them, or a list of
rows that have one under `structure` beside numbers.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sfm.data.rows import row
from sfm.errors import InputError, WrongDomain

CLASS, OBJECT = "@class", "structure"


def tagged_rows(
    path: str | Path, classes: Collection[str]
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Where an object of one of the classes stands, the object, and what its row says beside it.

    Only the names of classes are looked at: nothing is imported because a file says so.

    Raises:
        InputError: not JSON. WrongDomain: an object of another class.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable JSON file ({str(error)[:200]})") from None
    items = content if isinstance(content, list) else [content]
    for number, item in enumerate(items, 1):
        where = f"{path}, object {number}"
        beside: dict[str, Any] = {}
        if isinstance(item, dict) and CLASS not in item and OBJECT in item:
            beside = {k: v for k, v in item.items() if k != OBJECT}
            item = item[OBJECT]
        name = item.get(CLASS) if isinstance(item, dict) else None
        if name not in classes:
            with row(where):
                raise WrongDomain(
                    f"no {' or '.join(classes)} of pymatgen, but "
                    + (f"one of class {str(name)[:80]!r}" if name else "nothing that says a class")
                )
            continue
        yield where, item, beside
