"""Labels of molecules kept one by one in a folder, so that a build may be stopped at any time.

A molecule's result is one file in the folder, or a `.failed` file with one line that says why
there is none; both are named by a hash of the SMILES. So a build goes on where it was, with any
number of workers, on any cluster that sees the folder.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.atomic import atomic, write_text
from sfm.data.labelling import label_all, note
from sfm.errors import RunError

BATCH = 256  # molecules that are handed out at once


def stable_hash(text: str) -> int:
    """64 bits of the text's sha256: the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def work_file(folder: Path, smiles: str) -> Path:
    """Where the labels of a molecule lie."""
    return folder / f"{stable_hash(smiles):016x}.npz"


def failure_file(folder: Path, smiles: str) -> Path:
    """Where the reason lies why this molecule has no labels."""
    return work_file(folder, smiles).with_suffix(".failed")


def keep(folder: Path, smiles: str, labels: Mapping[str, Any] | str) -> None:
    """Write a molecule's labels, whole or not at all; or the reason why there are none."""
    if isinstance(labels, str):
        write_text(failure_file(folder, smiles), f"{labels}\n")
        return
    with atomic(work_file(folder, smiles)) as scratch:
        np.savez_compressed(scratch, smiles=np.array(smiles), **labels)


def label_first(
    label: Callable[[str], None],
    order: Sequence[str],
    size: int,
    folder: Path,
    *,
    workers: int = 1,
    cluster: str | None = None,
    report: Callable[[str], None] = note,
) -> list[str]:
    """Label molecules in `order` until the first `size` that can be labelled are; their SMILES.

    Args:
        label: labels one molecule and calls `keep`; importable by name.
        order: SMILES.
        folder: of the labels; made if need be.
        workers, cluster, report: see `sfm.data.labelling.label_all`.

    Raises:
        RunError: some jobs broke down (out of memory, a lost worker), after all others were done.
            A molecule that merely does not converge is no such error: it is passed over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done: list[str] = []
    broken: list[str] = []
    rest = list(order)
    while len(done) < size and rest:
        count = min(BATCH, size - len(done))
        batch, rest = rest[:count], rest[count:]
        todo = [s for s in batch if not _settled(folder, s)]
        try:
            label_all(label, todo, todo, workers=workers, cluster=cluster, report=report)
        except RunError as error:
            broken.append(str(error))
        done += [s for s in batch if work_file(folder, s).exists()]
        if todo:
            report(f"{len(done)} of {size} molecules labelled")
    if broken:
        raise RunError("; ".join(broken))
    return done


def _settled(folder: Path, smiles: str) -> bool:
    return work_file(folder, smiles).exists() or failure_file(folder, smiles).exists()


def failures(order: Iterable[str], folder: Path) -> list[tuple[str, str]]:
    """(SMILES, reason) of the molecules of `order` that were tried in vain."""
    files = ((s, failure_file(folder, s)) for s in order)
    return [(s, path.read_text().strip()) for s, path in files if path.exists()]


def write_failures(listed: Iterable[tuple[str, str]], path: Path) -> None:
    """A CSV file with one line per molecule that has no labels."""
    with atomic(path) as scratch, scratch.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("smiles", "reason"))
        table.writerows(listed)
