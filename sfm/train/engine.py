"""One fit: model, tasks and settings in, averaged weights and history out. Resumes exactly."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from sfm.errors import InputError, RecipeError
from sfm.model import FoundationModel
from sfm.recipe import OptimizerSection, TrainingSection
from sfm.train import slurm
from sfm.train.callbacks import History, Interrupt, KeepBest, Progress, SaveLast, Validation
from sfm.train.data import MixedData
from sfm.train.ema import Ema
from sfm.train.folders import LAST, STABLE
from sfm.train.loggers import make_loggers
from sfm.train.memory import keep_freed_memory
from sfm.train.module import TrainingModule
from sfm.train.objective import Objective
from sfm.train.schedule import checkpoint_for, decay_start
from sfm.train.tasks import TaskData
from sfm.train.through import ThroughTerm
from sfm.train.watched import Watched

# what may differ between a run and its resumption
FREE = (
    "validate_every",
    "checkpoint_every",
    "log_every",
    "accelerator",
    "cache_mb",
    "devices",
    "loggers",
)

# Lightning's advice that does not apply here, each with its reason
NOISE = (
    "The `srun` command is available",  # a choice of the user
    "GPU available but not used",  # accelerator: cpu is a choice of the user
    "The `LightningModule.configure_gradient_clipping`",
    "Experiment logs directory",  # a resumed run goes on in its folder
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # raised inside Lightning on torch 2.13
)


@dataclass(frozen=True)
class FitResult:
    """What a fit leaves.

    Attributes:
        history: rows of losses, see `History`.
        seconds: time of the steps with validations and checkpoints, over all resumptions.
        steps: steps done.
        device: what it ran on.
        is_main: whether this process is the first of the run.
    """

    history: list[dict[str, float]]
    seconds: float
    steps: int
    device: str
    is_main: bool


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning without advertisements; its warnings stay, but for `NOISE`."""
    loggers = [logging.getLogger(n) for n in ("pytorch_lightning", "lightning.pytorch",
               "lightning_fabric", "lightning_utilities")]  # fmt: skip
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for text in NOISE:
                warnings.filterwarnings("ignore", message=text)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def read_checkpoint(path: Path, recipe: Mapping[str, Any]) -> tuple[int, int]:
    """Check that `path` is a checkpoint of the same recipe.

    Returns:
        Its number of steps, and that of the run that it belongs to.

    Raises:
        InputError: missing or damaged.
        RecipeError: it belongs to another recipe; the first difference is named.
    """
    if not path.is_file():
        raise InputError(f"{path}: no checkpoint to resume from; start without --resume")
    with _checkpoint(path) as checkpoint:
        saved, done = checkpoint["sfm"]["recipe"], int(checkpoint["global_step"])
    # a checkpoint from before a setting existed ran with its default
    for name, defaults in (("optimizer", OptimizerSection()), ("training", TrainingSection())):
        saved = {**saved, name: {**defaults.to_dict(), **saved[name]}}
    new = dict(recipe)
    free = (*FREE, "steps") if new["optimizer"]["schedule"] == "stable" else FREE
    difference = _difference(saved, new, free)
    if difference:
        raise RecipeError(f"cannot resume: {difference}; take the same recipe or a new folder")
    return done, int(saved["training"]["steps"])


def trained_weights(path: Path) -> list[str]:
    """Names of the weights that the run of a checkpoint trains.

    Raises:
        InputError: damaged.
    """
    with _checkpoint(path) as checkpoint:
        return [str(name) for name in checkpoint["sfm"]["parameters"]]


@contextmanager
def _checkpoint(path: Path) -> Iterator[dict[str, Any]]:
    """The content of a checkpoint; whatever it lacks inside the block is its fault."""
    try:
        yield torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path}: damaged, or not a checkpoint of sfm ({error})") from None


def _resumed(run: Path, steps: int, optimizer: OptimizerSection, recipe: Mapping[str, Any]) -> Path:
    """The checkpoint to go on from; see `sfm.train.schedule.checkpoint_for`."""
    saved = {LAST: read_checkpoint(run / LAST, recipe)}
    if (run / STABLE).is_file():
        saved[STABLE] = read_checkpoint(run / STABLE, recipe)
    chosen = checkpoint_for(run, steps, optimizer, saved)
    stable = optimizer.schedule == "stable" and chosen.name == LAST
    if stable and saved[LAST][0] == decay_start(optimizer, steps):
        shutil.copyfile(chosen, run / STABLE)  # the decay begins here, so no step will save it
    return chosen


def _difference(old: Any, new: Any, free: Sequence[str], where: str = "") -> str | None:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            place = f"{where}.{key}".lstrip(".")
            if place.startswith("training.") and key in free:
                continue
            difference = _difference(old.get(key), new.get(key), free, place)
            if difference:
                return difference
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        differences = (_difference(a, b, free, f"{where}.{i}") for i, (a, b) in pairs)
        return next((d for d in differences if d), None)
    return None if old == new else f"{where} was {old!r} and is now {new!r}"


def make_trainer(
    settings: TrainingSection, callbacks: list[pl.Callback], loggers: Any, root: Path
) -> pl.Trainer:
    """Lightning's Trainer for one fit."""
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy="ddp" if settings.devices > 1 else "auto",
        precision="32-true",  # a float64 model stays one: see `fit`
        max_steps=settings.steps,
        max_epochs=-1,
        callbacks=callbacks,
        logger=loggers,
        log_every_n_steps=settings.log_every,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=False,
        default_root_dir=root,
    )


def fit(
    model: FoundationModel,
    tasks: Sequence[TaskData],
    *,
    settings: TrainingSection,
    optimizer: OptimizerSection,
    stress_scales: Mapping[str, Mapping[int, float]],
    run: Path,
    recipe: Mapping[str, Any],
    title: str,
    resume: bool = False,
    probabilities: Sequence[float] | None = None,
    through: Sequence[ThroughTerm] = (),
    log: bool = True,
    patience: int | None = None,
) -> FitResult:
    """Train `model` in place; at the end it holds the averaged weights.

    Args:
        model: its trainable parameters are trained, in its own precision.
        tasks: what on.
        settings: budgets, steps, seed, ...
        optimizer: learning rate, ...
        stress_scales: from `fit_normalisers`.
        run: folder of `last.ckpt` and `logs/`.
        recipe: plain values, kept in the checkpoint and compared on resumption.
        title: of the progress bar.
        resume: go on from `run/last.ckpt`; from `run/stable.ckpt` for a longer `stable` run.
        probabilities: shares of the tasks, if not those of the temperature.
        through: terms of the loss behind a simulator.
        log: use the settings' loggers.
        patience: end with the averaged weights of the lowest validation loss, and stop after so
            many validations that were worse; None ends with the last ones.

    Raises:
        RunError: a label, prediction or gradient is not finite.
        KeyboardInterrupt: Ctrl-C, SIGTERM, or SIGUSR1 of SLURM, after a checkpoint.
    """
    run.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    checkpoint = _resumed(run, settings.steps, optimizer, recipe) if resume else None
    stable = decay_start(optimizer, settings.steps) if optimizer.schedule == "stable" else None
    model.train()
    data = MixedData(model, tasks, settings, probabilities=probabilities)
    objective = Objective(model, tasks, stress_scales, through)
    module = TrainingModule(model, objective, optimizer, settings.steps, recipe)
    ema, history, interrupt = Ema(settings.ema), History(settings.log_every), Interrupt()
    keep = None if patience is None else KeepBest(ema, history, patience)
    callbacks: list[pl.Callback] = [
        ema,
        history,
        Validation(data.validation_batches(), ema, history, settings.validate_every),
        *([keep] if keep else []),
        interrupt,
        SaveLast(run, settings.checkpoint_every, interrupt, stable),
        Progress(title),
        Watched(run, title, history, interrupt),
    ]
    with quiet(), interrupt.listening():
        trainer = make_trainer(
            settings, callbacks, make_loggers(settings.loggers, run) if log else False, run
        )
        _run(trainer, module, data, checkpoint)
    if interrupt.asked and trainer.global_step < settings.steps:
        number = slurm.job()
        if interrupt.again and trainer.is_global_zero and number is not None:
            slurm.requeue(number)
        raise KeyboardInterrupt
    if keep and keep.weights:
        ema.shadow = keep.weights
    ema.apply(module)
    model.eval()
    return FitResult(
        history=history.rows,
        seconds=history.seconds,
        steps=trainer.global_step,
        device=_device_name(model.device),
        is_main=trainer.is_global_zero,
    )


def _run(
    trainer: pl.Trainer, module: TrainingModule, data: MixedData, checkpoint: Path | None
) -> None:
    path = None if checkpoint is None else str(checkpoint)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        os.environ.pop("SFM_RUN_VERSION", None)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
