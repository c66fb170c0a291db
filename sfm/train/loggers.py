"""Where a run's numbers go: Lightning's loggers by name.

`csv` and `tensorboard` write into the run's folder. `wandb` and `trackio` are used if they are
installed, with the settings of their own environment variables (`WANDB_MODE=offline`, ...).
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from sfm.errors import InputError

NEEDS = {"wandb": "wandb", "trackio": "trackio", "tensorboard": "tensorboard"}
PROJECT = "sfm"


def check_loggers(names: Sequence[str]) -> None:
    """Refuse a logger whose package is missing, before anything runs.

    Raises:
        InputError: it is not installed.
    """
    for name in names:
        if name in NEEDS and find_spec(NEEDS[name]) is None:
            raise InputError(
                f"logger '{name}' needs the package '{NEEDS[name]}': pip install {NEEDS[name]}"
            )


def make_loggers(names: Sequence[str], run: Path) -> list[Logger]:
    """The loggers of one start of a run.

    Args:
        names: `csv`, `tensorboard`, `wandb`, `trackio`.
        run: the run's folder; each start has a folder of its own in `logs`.
    """
    version = sum(1 for _ in run.glob("logs/start_*"))
    # other processes of the run arrive when the folder may exist already
    version = int(os.environ.setdefault("SFM_RUN_VERSION", str(version)))
    name = f"start_{version}"
    title = f"{run.resolve().parent.name}-{version}"
    makers: dict[str, Callable[[], Logger]] = {
        "csv": lambda: CSVLogger(run, "logs", name),
        "tensorboard": lambda: TensorBoardLogger(run, "logs", name),
        "wandb": lambda: WandbLogger(title, str(run), project=PROJECT),
        "trackio": lambda: TrackioLogger(title),
    }
    return [makers[one]() for one in names]


class TrackioLogger(Logger):
    """Trackio (https://github.com/gradio-app/trackio), which Lightning has no logger for.

    Args:
        title: of the run.
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._run: Any = None

    @property
    def name(self) -> str:
        return PROJECT

    @property
    def version(self) -> str:
        return self._title

    @property
    def experiment(self) -> Any:
        """The run, begun when it is first asked for."""
        if self._run is None:
            import trackio

            self._run = trackio.init(project=PROJECT, name=self._title)
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **rest: Any) -> None:
        """Nothing: the recipe stands in the checkpoint and in training.json."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.experiment.log({**metrics, "step": step})

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._run is not None:
            self._run.finish()
