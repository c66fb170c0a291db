"""Processes that do the work, so that the server stays quick and any work can be stopped.

Readers, models and simulators run in a process of their own, with bounded memory, in an empty
folder. Whatever takes too long, or is no longer wanted, is killed with its process, and the next
call starts a fresh one.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sfm.errors import HubError, InputError, PluginError, RunError, SfmError
from sfm.serve.limits import Limits

KINDS: dict[int, type[SfmError]] = {1: RunError, 2: InputError, 3: PluginError, 4: HubError}
START = 600.0  # seconds for imports and models
Message = tuple[str, Any]


class Stopped(RunError):
    """The work was stopped because somebody asked for it."""


class Late(RunError):
    """The work took longer than allowed."""


class Worker:
    """One working process, started when it is first needed or by `start`.

    Args:
        models: models that jobs may name, names or folders.
        limits: what it may use.
        load: whether it loads the models at its start, before it answers.
    """

    def __init__(self, models: Sequence[str], limits: Limits, *, load: bool = False) -> None:
        self.models, self.limits, self.load = list(models), limits, load
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._pipe: Any = None
        self._up = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process without waiting for it."""
        from sfm.serve.work import main

        if self._process is not None and self._process.is_alive():
            return
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=main, args=(theirs, self.models, self.limits, self.load), daemon=True
        )
        self._up = False
        self._process.start()
        theirs.close()

    def ask(
        self,
        job: str,
        options: Mapping[str, Any],
        *,
        seconds: float,
        hear: Callable[[Message], None] = lambda message: None,
        stop: threading.Event | None = None,
    ) -> Any:
        """What the job answers (`sfm.serve.work` lists them); blocks.

        Args:
            job: name of the job.
            options: its keywords.
            seconds: after this time the process is killed; its start does not count.
            hear: gets what the job says while it works, `("frame", {...})`.
            stop: once set, the process is killed.

        Raises:
            SfmError: the job raised it; a time or memory limit was met.
            Stopped: `stop` was set.
        """
        with self._lock:
            self.start()
            try:
                if not self._up:
                    self._answer(START, stop, hear)
                    self._up = True
                self._pipe.send((job, dict(options)))
                return self._answer(seconds, stop, hear)
            except (EOFError, OSError):
                self.kill()
                raise RunError("the working process died; the system may be too large") from None
            except (Stopped, Late):
                self.kill()
                raise

    def _answer(
        self, seconds: float, stop: threading.Event | None, hear: Callable[[Message], None]
    ) -> Any:
        """What the process answers within `seconds`."""
        end = time.monotonic() + seconds
        while True:
            if stop is not None and stop.is_set():
                raise Stopped("stopped")
            if time.monotonic() > end:
                raise Late(f"took longer than {seconds:g} s and was stopped")
            if not self._pipe.poll(0.05):
                continue
            kind, value = self._pipe.recv()
            if kind == "answer":
                return value
            if kind == "error":
                code, text = value
                raise KINDS.get(code, RunError)(text)
            hear((kind, value))

    def kill(self) -> None:
        """End the process at once; the next `ask` starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._process = self._pipe = None
