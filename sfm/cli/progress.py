"""Progress on stderr: one line, written over, on a terminal; a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from sfm.progress import Progress

PATIENCE = 2.0  # seconds before the first line: short work says nothing
TERMINAL = 0.2  # seconds between two lines on a terminal
ELSEWHERE = 10.0  # and in a log


class ProgressLines:
    """A listener of `sfm.progress`; a context that clears the line at its end."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._work = ""
        self._start = (0, time.monotonic())
        self._due: float | None = None
        self._width = 0

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.work != self._work:
            self._work, self._start = progress.work, (progress.done, now)
        if self._due is None:
            self._due = now + PATIENCE
        if now < self._due:
            return
        self._due = now + (TERMINAL if self._terminal else ELSEWHERE)
        text = self._text(progress, now)
        if not self._terminal:
            print(text, file=self._stream, flush=True)
            return
        print(f"\r{text.ljust(self._width)}", end="", file=self._stream, flush=True)
        self._width = len(text)

    def _text(self, progress: Progress, now: float) -> str:
        first, began = self._start
        text = f"{progress.work} {progress.done}"
        if progress.total is not None:
            text += f" of {progress.total}"
            if progress.done > first:
                left = (now - began) / (progress.done - first) * (progress.total - progress.done)
                text += f", {left:.0f} s left"
        return f"{text}, {progress.note}" if progress.note else text

    def clear(self) -> None:
        """Wipe the line on a terminal, so that what comes next starts clean."""
        if self._width:
            print(f"\r{' ' * self._width}\r", end="", file=self._stream, flush=True)
            self._width = 0
