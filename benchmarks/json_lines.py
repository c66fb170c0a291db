"""Results of a long run, a line of JSON each, written as they come."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def append(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Each row at the end of a file, on the disk before the next one is made."""
    with path.open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
            file.flush()


def stored(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, none if there is none."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
