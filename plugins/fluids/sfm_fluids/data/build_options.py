"""The options of the `build.py` of datasets that are simulated."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfm.errors import InputError
from sfm.formats import yaml12


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
        size: snapshots in all; None for as many as the dataset has.
        workers: local processes.
        seed: of the random initial fields and forces.
        out: folder to write to.
        cluster: address of a Dask scheduler.
        settings: what else `--set` says.
    """

    size: int | None
    workers: int
    seed: int
    out: Path
    cluster: str | None
    settings: dict[str, Any]

    @property
    def parallel(self) -> dict[str, Any]:
        """Keywords of the builders: how many processes, or which cluster."""
        return {"workers": self.workers, "cluster": self.cluster}

    def check_elsewhere(self, here: Path, changed: bool) -> None:
        """Refuse to write other data over the bundled ones.

        Raises:
            InputError: the data are `changed` and `here` is where they would go.
        """
        if changed and self.out.resolve() == here.resolve():
            raise InputError("these options change the data: give --out FOLDER for it")


def read(
    text: str, here: Path, argv: Sequence[str] | None, *, seed: int, seed_help: str, settings: str
) -> Options:
    """`--size`, `--workers`, `--seed`, `--out` and `--set`.

    Args:
        text: its first line describes the command.
        here: the dataset's own folder.
        argv: None for those of the process.
        seed: the bundled data's.
        seed_help: what it is of.
        settings: what `--set` takes.

    Raises:
        InputError: a count below 1, or settings that are no KEY=VALUE.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--size", type=int, help="snapshots in all")
    parser.add_argument("--workers", type=int, default=1, help="local processes (%(default)s)")
    parser.add_argument("--seed", type=int, default=seed, help=f"{seed_help} (%(default)s)")
    parser.add_argument("--out", type=Path, default=here, help="folder to write to")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="K=V", help=settings
    )
    given = parser.parse_args(argv)
    values = settings_of(given.set)
    cluster = values.pop("cluster", None)
    for name in ("size", "workers"):
        check_count(name, getattr(given, name))
    return Options(given.size, given.workers, given.seed, given.out, cluster, values)


def settings_of(items: Sequence[str]) -> dict[str, Any]:
    """`["grid=64", "reynolds=[125, 500]"]` as a dictionary; values as recipes write them."""
    settings: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or key in settings:
            raise InputError(f"--set {item}: write KEY=VALUE, each key once")
        settings[key] = yaml12.read(text, f"--set {item}")
    return settings


def check_count(name: str, value: int | None) -> None:
    """Raises InputError if `--name` was given and is below 1."""
    if value is not None and value < 1:
        raise InputError(f"--{name} {value}: must be at least 1")
