"""Simulations that clients have started: what they said so far, where their results lie."""

from __future__ import annotations

import itertools
import json
import secrets
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sfm.errors import PluginError, RunError, SfmError
from sfm.serve.limits import Limits
from sfm.serve.workers import Message, Worker

PICTURES = ("fields", "volumes", "xyz")  # of a frame: what takes room


class Busy(RunError):
    """As many runs as are allowed at a time are going on."""


class Run:
    """One simulation: `events` grows until its last one, `done` or `error`.

    Attributes:
        key: unguessable name.
        events: JSON texts, in order.
        over: whether the last one is there.
        folder: results.
    """

    def __init__(self, folder: Path, room: int) -> None:
        self.key = secrets.token_urlsafe(12)
        self.events: list[str] = []
        self.over = False
        self.folder = folder / self.key
        self.folder.mkdir()
        self.stop = threading.Event()
        self._room = room

    def hear(self, message: Message) -> None:
        """Keep an event; once their room is full, frames lose their pictures."""
        kind, value = message
        body = {"kind": kind, **value}
        text = json.dumps(body)
        if self._room < len(text) and kind == "frame":
            text = json.dumps({k: v for k, v in body.items() if k not in PICTURES})
        self._room -= len(text)
        self.events.append(text)

    def file(self, name: str) -> Path:
        """A result that this run wrote.

        Raises:
            PluginError: it wrote none of this name.
        """
        for path in self.folder.iterdir():
            if path.name == name:
                return path
        raise PluginError(f"this run has no file '{name[:50]}'")


class Runs:
    """All simulations of this server, each in a process of its own."""

    def __init__(self, models: list[str], limits: Limits) -> None:
        self.limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="sfm-serve-runs-")
        self._idle = [Worker(models, limits) for _ in range(limits.runs)]
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()

    def __getitem__(self, key: str) -> Run:
        """A run that is going on or was kept.

        Raises:
            PluginError: there is none of this name.
        """
        run = self._runs.get(key)
        if run is None:
            raise PluginError("no such run; the results of older runs are deleted")
        return run

    def warm(self) -> None:
        """Start the process that will run the next simulation, without waiting for it."""
        with self._lock:
            if self._idle:
                self._idle[-1].start()

    def begin(self, options: Mapping[str, Any]) -> Run:
        """Start the job `simulate` with these options.

        Raises:
            Busy: as many runs as are allowed are going on.
        """
        with self._lock:
            if not self._idle:
                count = self.limits.runs
                raise Busy(f"{count} simulations are running, which is all; stop one or wait")
            worker = self._idle.pop()
            run = Run(Path(self._folder.name), self.limits.frames)
            self._runs[run.key] = run
            over = [one for one in self._runs.values() if one.over]
            for old in itertools.islice(over, max(0, len(over) - self.limits.kept)):
                del self._runs[old.key]
                shutil.rmtree(old.folder, ignore_errors=True)
        threading.Thread(target=self._work, args=(run, worker, options), daemon=True).start()
        return run

    def _work(self, run: Run, worker: Worker, options: Mapping[str, Any]) -> None:
        try:
            answer = worker.ask(
                "simulate",
                {**options, "folder": str(run.folder)},
                seconds=self.limits.run_seconds,
                hear=run.hear,
                stop=run.stop,
            )
            run.hear(("done", answer))
        except SfmError as error:
            run.hear(("error", {"error": str(error), "exit_code": error.exit_code}))
        finally:
            run.over = True
            with self._lock:
                self._idle.append(worker)

    def close(self) -> None:
        """Stop everything and delete all results."""
        for run in self._runs.values():
            run.stop.set()
        with self._lock:
            for worker in self._idle:
                worker.kill()
        self._folder.cleanup()
