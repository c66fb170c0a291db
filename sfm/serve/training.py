"""Training runs for the page: what they write while they go, and what they left.

Only folders that the server was opened with are searched, links are not followed, and a client
names a run by a key that is looked up among those that are there: no path of a client's is opened.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sfm.errors import HubError, PluginError
from sfm.formats.strict_json import read_object
from sfm.hub.files import TRAINING
from sfm.train.folders import PROGRESS, RUN

DEEPEST, FOLDERS, RUNS = 4, 5_000, 200  # how far and how much is searched and shown
SILENT = 600.0  # seconds without a word after which a run elsewhere may have died
FACTS = ("title", "state", "error", "step", "steps", "seconds_left", "updated")


class Training:
    """The runs below some folders.

    Args:
        folders: whose runs are shown.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each run, the latest first; step, and seconds since its last word."""
        rows = [{"key": key, **_told(name, path)[0]} for key, (name, path) in self._runs()]
        return sorted(rows, key=lambda row: -float(row.get("updated") or 0))[:RUNS]

    def one(self, key: str) -> dict[str, Any]:
        """Facts, losses against steps, and metrics with units of one run.

        Raises:
            PluginError: there is no run of this key.
        """
        for known, (name, path) in self._runs():
            if known == key:
                facts, progress, record = _told(name, path)
                return {"key": key, **facts, **_curves(progress, record)}
        raise PluginError("no such run in the folders that are watched")

    def _runs(self) -> Iterator[tuple[str, tuple[str, Path]]]:
        seen = set()
        for top in self.folders:
            for path in _search(top):
                if path in seen:
                    continue
                seen.add(path)
                name = str(path.relative_to(top)) if path != top else top.name
                yield hashlib.sha256(str(path).encode()).hexdigest()[:16], (name, path)


def _told(name: str, path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Facts of a run, and the two files that say them, each read once while others write them."""
    body: dict[str, Any] = {"name": name}
    try:
        progress, record = _read(path / RUN / PROGRESS), _read(path / TRAINING)
    except HubError as error:  # it may be half a copy
        said = error.args[0].replace(str(path), name)
        return {**body, "state": "unreadable", "error": said}, {}, {}
    if progress:
        body |= {k: progress.get(k) for k in FACTS}
        body["state"] = _state(progress)
        if body["state"] != "running":
            body["seconds_left"] = None
    if record and (not progress or body["state"] == "trained"):
        cost = record.get("cost") or {}
        written = (path / TRAINING).stat().st_mtime
        body |= {"state": "finished", "updated": written, "steps": cost.get("steps")}
        body["step"] = cost.get("steps")
    return body, progress, record


def _search(top: Path) -> Iterator[Path]:
    """Folders of runs and trained models below `top`, without following links."""
    for visited, (place, folders, files) in enumerate(os.walk(top)):
        path = Path(place)
        depth = len(path.relative_to(top).parts)
        is_run = (path / RUN / PROGRESS).is_file() or TRAINING in files
        if is_run:
            yield path
        keep = [] if is_run or depth >= DEEPEST or visited > FOLDERS else folders
        folders[:] = sorted(name for name in keep if not name.startswith("."))


def _read(path: Path) -> dict[str, Any]:
    try:
        return {} if path.is_symlink() else read_object(path)
    except FileNotFoundError:
        return {}


def _state(progress: Mapping[str, Any]) -> str:
    """`running` only where the process still is, as far as this machine can tell."""
    state = str(progress.get("state"))
    if state != "running":
        return state
    if progress.get("machine") != platform.node():
        silent = time.time() - float(progress.get("updated") or 0)
        return state if silent < SILENT else "silent"
    try:
        os.kill(int(progress["process"]), 0)
    except PermissionError:
        return state  # somebody else's
    except (OSError, KeyError, TypeError, ValueError, OverflowError):
        return "died"
    return state


def _curves(progress: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Losses, validation losses and metrics, whichever were written."""
    source = progress if progress.get("losses") else record
    return {
        "losses": source.get("losses") or [],
        "validation": source.get("validation") or [],
        "metrics": record.get("metrics") or [],
    }
