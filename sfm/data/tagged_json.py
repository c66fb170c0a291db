"""JSON files of pymatgen's objects, as its `to` and monty's `dumpfn` write them.

An object is a dictionary that says its `@class`; a file holds one, a list of them, or a list of
rows that have one under `structure` beside numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from sfm.data.label_names import with_recognised
from sfm.data.rows import row, rows_left_out
from sfm.data.sample import Sample
from sfm.data.stated import stated_numbers
from sfm.data.xyz import first_line
from sfm.errors import InputError, WrongDomain

CLASS, OBJECT = "@class", "structure"


def read_tagged(
    path: str | Path,
    converters: Mapping[str, Callable[[dict[str, Any]], Sample]],
    labels: Collection[str],
) -> list[Sample]:
    """The objects of some classes; numbers beside one become extras, as its own properties do.

    Only the names of classes are looked at: nothing is imported because a file says so.

    Args:
        path: the file.
        converters: what makes a sample of a dictionary, by the name of its class.
        labels: quantities that a number beside an object may be a label of, in canonical units.

    Raises:
        InputError: not JSON, nothing in it, or an object that its converter cannot read.
        WrongDomain: an object of another class.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable JSON file ({str(error)[:200]})") from None
    samples = []
    for number, item in enumerate(content if isinstance(content, list) else [content], 1):
        with row(f"{path}, object {number}"):
            sample, beside = _converted(item, converters)
            extras = {**sample.extras, **stated_numbers(beside)}
            samples.append(with_recognised(sample.replace(extras=extras), labels))
    if not samples and not rows_left_out():
        raise InputError(f"{path}: holds no structure")
    return samples


def _converted(
    item: Any, converters: Mapping[str, Callable[[dict[str, Any]], Sample]]
) -> tuple[Sample, dict[str, Any]]:
    """The sample of an object, and what its row says beside it."""
    beside: dict[str, Any] = {}
    if isinstance(item, dict) and CLASS not in item and OBJECT in item:
        beside = {k: v for k, v in item.items() if k != OBJECT}
        item = item[OBJECT]
    name = str(item.get(CLASS) or "") if isinstance(item, dict) else ""
    if name not in converters:
        raise WrongDomain(
            f"no {' or '.join(converters)} of pymatgen, but "
            + (f"one of class {name[:80]!r}" if name else "nothing that says a class")
        )
    try:
        return converters[name](item), beside
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"pymatgen cannot read it ({first_line(error)})") from None
