"""How a run goes, in one small file beside its checkpoint, for whoever watches it (`sfm serve`).

`progress.json` holds the step, the time left, the state and a thinned history of losses. It is
replaced whole at most once a second, so that a reader never meets half of it.
"""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from sfm.errors import SfmError
from sfm.train.callbacks import History, Interrupt
from sfm.train.folders import PROGRESS
from sfm.train.report import finite, thinned, write_json

ROWS = 400  # of the history that are kept
PAUSE = 1.0  # seconds between two writes


class Watched(pl.Callback):
    """Writes `progress.json` of the first process of a run.

    Args:
        run: folder of the run.
        title: of the run.
        history: what is shown of it.
        interrupt: says whether somebody ended it.
    """

    def __init__(self, run: Path, title: str, history: History, interrupt: Interrupt) -> None:
        self.path, self.title = run / PROGRESS, title
        self.history, self.interrupt = history, interrupt
        self._written = 0.0
        self._start = (0, 0.0)
        self._began = time.time()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = (trainer.global_step, time.perf_counter())
        self._write(trainer, "running")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        if time.perf_counter() - self._written >= PAUSE:
            self._write(trainer, "running")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        asked = self.interrupt.asked and trainer.global_step < trainer.max_steps
        self._write(trainer, "interrupted" if asked else "trained")

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        asked = isinstance(exception, (KeyboardInterrupt, SystemExit))
        text = f"{type(exception).__name__}: {exception}"[:500]
        self._write(trainer, "interrupted" if asked else "failed", error="" if asked else text)

    def _write(self, trainer: pl.Trainer, state: str, *, error: str = "") -> None:
        if not trainer.is_global_zero:
            return
        self._written = time.perf_counter()
        step, (first, began) = trainer.global_step, self._start
        pace = (self._written - began) / (step - first) if step > first else None
        left = None if pace is None else pace * (trainer.max_steps - step)
        losses = [row for row in self.history.rows if "loss" in row]
        judged = [row for row in self.history.rows if "validation/loss" in row]
        body = {
            "title": self.title,
            "state": state,
            "error": error,
            "step": step,
            "steps": trainer.max_steps,
            "seconds_left": left if state == "running" else None,
            "began": self._began,
            "updated": time.time(),
            "process": os.getpid(),
            "machine": platform.node(),
            "losses": thinned(losses, ROWS),
            "validation": thinned(judged, ROWS),
        }
        with suppress(SfmError):  # a full disk stops the checkpoint, which says so; not this
            write_json(self.path, finite(body))
