"""Code that stands twice: runs of equal lines, at least six of them, in two places.

Blank lines, comments, docstrings, imports and lines without a letter or digit do not count; blanks
at the ends of a line do not either. A run is counted once, however long it is.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LINES = 6


@dataclass(frozen=True)
class Copy:
    """Two places with the same lines: path and number of the first line, and how many lines."""

    first: tuple[Path, int]
    second: tuple[Path, int]
    lines: int


def _silent(tree: ast.Module) -> set[int]:
    """Numbers of the lines of docstrings and imports."""
    result: set[int] = set()
    for node in ast.walk(tree):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if text or isinstance(node, (ast.Import, ast.ImportFrom)):
            result.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return result


def code_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that count, with their numbers."""
    text = path.read_text(encoding="utf-8")
    silent = _silent(ast.parse(text))
    rows = ((n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if n not in silent)
    return [
        (n, line) for n, line in rows if not line.startswith("#") and any(c.isalnum() for c in line)
    ]


def copies(paths: list[Path]) -> list[Copy]:
    """All pairs of places, within a file too."""
    texts = {path: code_lines(path) for path in paths}
    windows: Mapping[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path, rows in texts.items():
        for start in range(len(rows) - LINES + 1):
            windows[tuple(line for _, line in rows[start : start + LINES])].append((path, start))
    pairs = {
        (a, b)
        for places in windows.values()
        for i, a in enumerate(places)
        for b in places[i + 1 :]
        if a[0] != b[0] or b[1] - a[1] >= LINES
    }
    result = []
    for (first, i), (second, j) in sorted(pairs):
        if ((first, i - 1), (second, j - 1)) in pairs:
            continue
        longer = 0
        while ((first, i + longer + 1), (second, j + longer + 1)) in pairs:
            longer += 1
        ends = (first, texts[first][i][0]), (second, texts[second][j][0])
        result.append(Copy(*ends, LINES + longer))
    return result
