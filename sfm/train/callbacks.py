"""What happens beside the steps: history, validation, checkpoints, progress, signals."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from sfm.data.atomic import disk_errors, flush
from sfm.data.batching import Batch
from sfm.errors import SfmError
from sfm.train import slurm
from sfm.train.ema import Ema
from sfm.train.folders import LAST, STABLE
from sfm.train.module import TrainingModule
from sfm.train.objective import mean_losses


class History(pl.Callback):
    """Losses, averaged over `every` steps, as rows `{"step": n, "loss": ..., ...}`.

    Validation losses are rows with keys `validation/...`. The rows travel in the checkpoint.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._sums: Any = None
        self._counts: Any = None
        self._clock = time.perf_counter()

    def add(self, trainer: pl.Trainer, step: int, values: dict[str, float]) -> None:
        """One row, here and in the loggers."""
        self.rows.append({"step": step, **values})
        for logger in trainer.loggers:
            logger.log_metrics(values, step)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._clock = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        losses = pl_module.losses
        assert losses is not None
        sums, counts = losses.sums.cpu(), losses.counts.cpu()
        self._sums = sums if self._sums is None else self._sums + sums
        self._counts = counts if self._counts is None else self._counts + counts
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        step = trainer.global_step
        if step % self.every == 0 or step == trainer.max_steps:
            values = pl_module.objective.named(self._sums, self._counts)
            values["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
            values["gradient_norm"] = pl_module.gradient_norm
            values["seconds"] = self.seconds
            self.add(trainer, step, values)
            self._sums = self._counts = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "seconds": self.seconds,
            "sums": self._sums,
            "counts": self._counts,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.seconds = list(state_dict["rows"]), state_dict["seconds"]
        self._sums, self._counts = state_dict["sums"], state_dict["counts"]


class Validation(pl.Callback):
    """Losses on validation samples with the averaged weights, every `every` steps."""

    def __init__(self, batches: Sequence[Batch], ema: Ema, history: History, every: int) -> None:
        self.batches, self.ema, self.history, self.every = batches, ema, history, every

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        step = trainer.global_step
        if not self.batches or (step % self.every and step != trainer.max_steps):
            return
        assert isinstance(pl_module, TrainingModule)
        # every process computes all of it, so that its mean is the same with any number of them
        with self.ema.averaged(pl_module):
            values = mean_losses(pl_module.model, pl_module.objective, self.batches)
            values |= pl_module.objective.validation(pl_module.model)
        self.history.add(trainer, step, {f"validation/{k}": v for k, v in values.items()})


class KeepBest(pl.Callback):
    """The averaged weights of the lowest validation loss; after `patience` worse ones it stops."""

    def __init__(self, ema: Ema, history: History, patience: int) -> None:
        self.ema, self.history, self.patience = ema, history, patience
        self.best, self.step, self.worse = float("inf"), 0, 0
        self.weights: dict[str, Tensor] = {}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        row = self.history.rows[-1] if self.history.rows else {}
        if row.get("step") != trainer.global_step or "validation/loss" not in row:
            return
        if row["validation/loss"] < self.best:
            self.best, self.step, self.worse = row["validation/loss"], trainer.global_step, 0
            self.weights = {k: v.detach().clone() for k, v in self.ema.shadow.items()}
            return
        self.worse += 1
        if self.worse >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        names = ("best", "step", "worse", "weights")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in state_dict.items():
            setattr(self, name, value)


class Interrupt(pl.Callback):
    """Ctrl-C or SIGTERM ends the run after the present step, with a checkpoint; again: at once.

    Batch systems and containers send SIGTERM some time before they kill. In a job of SLURM, SIGUSR1
    also asks for the job to be run again (`sfm.train.slurm`).

    Attributes:
        asked: whether all processes agreed to stop at the present step.
        again: whether the job is to be run again.
    """

    def __init__(self) -> None:
        self.asked = self.again = self._told = self._listening = self._time_over = False
        more = () if slurm.TOLD is None or slurm.job() is None else (slurm.TOLD,)
        self.signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM, *more)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch the signals inside the block (in the main thread only)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in self.signals}
        self._listening = True
        try:
            yield
        finally:
            self._listening = False
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        if self._told:
            raise KeyboardInterrupt
        self._told, self._time_over = True, number == slurm.TOLD
        text = f"{signal.Signals(number).name}: saving a checkpoint (again to stop at once)"
        print(text, file=sys.stderr)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning puts a handler of its own before ours, which broadcasts to the other processes
        # from inside the signal, in the middle of whatever they exchange
        if self._listening:
            signal.signal(signal.SIGTERM, self._handle)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        # all processes stop at the same step, whichever of them got the signal
        self.asked = trainer.strategy.reduce_boolean_decision(self._told, all=False)
        if self.asked:
            self.again = trainer.strategy.reduce_boolean_decision(self._time_over, all=False)
            trainer.should_stop = True


class SaveLast(pl.Callback):
    """`last.ckpt`, written to a temporary name first: there is always one whole checkpoint.

    Args:
        folder: of the run.
        every: steps between checkpoints.
        interrupt: asks for one more.
        stable: step whose checkpoint is kept as `stable.ckpt`, for a longer run to go on from.
    """

    def __init__(
        self, folder: Path, every: int, interrupt: Interrupt, stable: int | None = None
    ) -> None:
        self.folder, self.every, self.interrupt, self.stable = folder, every, interrupt, stable

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        step = trainer.global_step
        if step == self.stable:
            self._save(trainer, self.folder / STABLE)
        if step % self.every == 0 or step == trainer.max_steps or self.interrupt.asked:
            self._save(trainer, self.folder / LAST)

    @staticmethod
    def _save(trainer: pl.Trainer, path: Path) -> None:
        fresh = path.with_suffix(".new")
        try:
            with disk_errors(path):
                trainer.save_checkpoint(fresh)
                if trainer.is_global_zero:
                    flush(fresh)
                    os.replace(fresh, path)
        except SfmError:
            fresh.unlink(missing_ok=True)
            raise


class Progress(pl.Callback):
    """A bar on a terminal, a line every `seconds` elsewhere; on stderr: stdout is for results."""

    def __init__(self, title: str, seconds: float = 10.0) -> None:
        self.title, self.seconds = title, seconds
        self._bar: Any = None
        self._task: Any = None
        self._printed = 0.0
        self._start = (0, 0.0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = (trainer.global_step, time.perf_counter())
        self._printed = time.perf_counter()
        if trainer.is_global_zero and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[losses]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self.title, total=trainer.max_steps, completed=trainer.global_step, losses=""
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        if self._bar is not None:
            self._bar.update(self._task, completed=step, losses=_summary(trainer))
            return
        now = time.perf_counter()
        if now - self._printed >= self.seconds or step == trainer.max_steps:
            self._printed = now
            first, began = self._start
            rate = (step - first) / max(now - began, 1e-9)
            left = (trainer.max_steps - step) / max(rate, 1e-9)
            print(
                f"{self.title}: step {step}/{trainer.max_steps}  {_summary(trainer)}  "
                f"({rate:.1f} steps/s, {left:.0f} s left)",
                file=sys.stderr,
                flush=True,
            )

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._close()


def _summary(trainer: pl.Trainer) -> str:
    history = next(c for c in trainer.callbacks if isinstance(c, History))  # type: ignore[attr-defined]
    row = next((r for r in reversed(history.rows) if "loss" in r), None)
    if row is None:
        return ""
    domains = [f"{k.partition('/')[2]} {v:.3g}" for k, v in row.items() if k.startswith("loss/")]
    return "  ".join([f"loss {row['loss']:.3g}", *domains])
