"""What goes where: results to stdout, everything else to stderr, files whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from sfm.errors import UNPRINTABLE, SfmWarning, printable

_results: list[TextIO] = []


@contextlib.contextmanager
def results_only() -> Iterator[None]:
    """Keep stdout for results: what libraries print there goes to stderr, C libraries included."""
    stdout = sys.stdout
    stdout.flush()
    saved = None
    try:
        if stdout.fileno() == 1:
            saved = os.dup(1)
            os.dup2(2, 1)
            stream: TextIO = os.fdopen(os.dup(saved), "w", encoding="utf-8", closefd=True)
        else:
            stream = stdout
    except (OSError, ValueError, AttributeError):  # stdout is no file: a test, a notebook
        stream = stdout
    _results.append(stream)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        stream.flush()
    finally:
        _results.pop()
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def emit(text: str = "") -> None:
    """One line of result."""
    text = printable(text)
    print(text, file=_results[-1] if _results else sys.stdout, flush=True)


def emit_json(value: Any) -> None:
    """The one JSON object of `--json`; what is not finite becomes null."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False)
    emit(UNPRINTABLE.sub(lambda character: f"\\u{ord(character[0]):04x}", text))


def note(text: str) -> None:
    """One line of progress."""
    print(printable(text), file=sys.stderr)


def warn(messages: Sequence[str]) -> None:
    """Warnings, one a line."""
    for message in messages:
        note(f"sfm: warning: {message}")


@contextlib.contextmanager
def input_warnings(told: list[str] | None = None) -> Iterator[None]:
    """Each `SfmWarning` of the block once: to the list `told`, or else as a line of stderr."""
    said: set[str] = set()

    def show(message: Any, category: Any, *place: Any, **more: Any) -> None:
        if not issubclass(category, SfmWarning):
            return before(message, category, *place, **more)
        text = " ".join(str(message).split())
        if text not in said:
            said.add(text)
            warn([text]) if told is None else told.append(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always", SfmWarning)
        before, warnings.showwarning = warnings.showwarning, show
        yield


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value


def table(rows: Sequence[Sequence[Any]], head: Sequence[str], *, wrap: bool = False) -> None:
    """Left-aligned columns; numbers with five significant digits.

    Args:
        rows: cells.
        head: names of the columns.
        wrap: break the last column at the width of the terminal (of 100, where there is none).
    """
    texts = [[_cell(x) for x in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(head), *texts]) for i in range(len(head))]
    room = 0
    if wrap:
        room = max(
            30, shutil.get_terminal_size((100, 24)).columns - sum(widths[:-1]) - 2 * len(widths)
        )
    for row in [list(head), *texts]:
        lines = textwrap.wrap(row[-1], room, break_on_hyphens=False) or [""] if wrap else [row[-1]]
        for number, line in enumerate(lines):
            cells = [*(row[:-1] if number == 0 else [""] * (len(row) - 1)), line]
            padded = (text.ljust(width) for text, width in zip(cells, widths, strict=True))
            emit("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return "" if value is None else str(value)
