"""Loss-free conversion between files and dataset folders.

Five targets: extended XYZ and ASE databases (points in space), `.npz` and HDF5 (everything), and a
dataset folder of Parquet files. What sfm writes it reads back exactly: float64, ids, levels,
conditions and splits included. Any other file comes in through the plugins' readers. Numbers are in
canonical units. All but `.npz` are read and written one sample after another.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data import ase_db, hdf5
from sfm.data.atomic import atomic, refuse_unwritable
from sfm.data.elements import NUMBERS
from sfm.data.extxyz import (
    DAMAGED,
    MARK,
    refuse_infinite,
    version,
    write_frames,
)
from sfm.data.folders import write_folder
from sfm.data.packing import Item, pack, unpack
from sfm.data.sample import Sample
from sfm.data.splits import SPLITS
from sfm.data.storage import Dataset, open_dataset
from sfm.data.xyz import first_line
from sfm.errors import InputError, InputWarning
from sfm.formats.npz import load_npz

XYZ = (".extxyz", ".xyz")
WRITTEN = (*XYZ, ".npz", *ase_db.SUFFIXES, *hdf5.SUFFIXES)
KEPT = ("format", "name", "domain", "converted_from")  # of what a folder says of itself
UNSTATED = (None, "unknown")  # the level of labels whose file names none, as readers say it


# ------------------------------------------------------------------ reading


def read_items(source: str | Path, *, domain: str | None = None, **options: Any) -> list[Item]:
    """All samples of a dataset folder (`options` as for `open_dataset`) or of any readable file.

    Raises:
        InputError: unreadable; file and row are named.
    """
    return list(iterate_items(source, domain=domain, **options))


def iterate_items(
    source: str | Path, *, domain: str | None = None, **options: Any
) -> Iterator[Item]:
    """As `read_items`, one after another: little memory for what sfm wrote, save `.npz`.

    Of a folder, what it states and no sample holds is said in a warning: licence, origin, ...

    Raises:
        InputError: unreadable; file and row are named.
    """
    path = Path(source)
    if path.is_dir():
        _say_left_out(open_dataset(path, **options))
        for split in SPLITS:
            yield from (
                Item(sample, split) for sample in open_dataset(path, split=split, **options)
            )
        return
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    if path.suffix.lower() in XYZ and version(path) == "1":
        yield from _read_first_version(path)
        return
    if path.suffix.lower() == ".npz":
        items = _read_npz(path)
        if items is not None:
            yield from items
            return
    from sfm.data.readers import read_file, read_ours

    ours = read_ours(path)
    if ours is not None:
        yield from (Item(sample, split) for sample, split in ours)
    else:
        yield from (Item(sample) for sample in read_file(path, domain=domain))


def _say_left_out(data: Dataset) -> None:
    left_out = [key for key in data.info if key not in KEPT]
    if left_out:
        text = f"{data.folder}: not converted, for no sample holds it: {', '.join(left_out)}"
        warnings.warn(text, InputWarning, stacklevel=2)


def with_level(items: Iterable[Item], level: str, source: str) -> Iterator[Item]:
    """The items, with the level of theory `level` where `source` names none.

    Warns in the end where it names one itself, which stays.
    """
    kept: set[str] = set()
    for item in items:
        if item.sample.level in UNSTATED:
            yield replace(item, sample=item.sample.replace(level=level))
        else:
            kept.add(str(item.sample.level))
            yield item
    if kept := kept - {level}:
        text = f"{source}: labels at {', '.join(sorted(kept))} keep that level, not '{level}'"
        warnings.warn(text, InputWarning, stacklevel=2)


def _read_first_version(path: Path) -> Iterator[Item]:
    """Frames that sfm wrote in version 1, which had everything in JSON."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    start = 0
    while start < len(lines):
        try:
            n = int(lines[start])
            if n < 1:
                raise ValueError(f"{n} atoms")
            head = json.loads(_first_mark(lines[start + 1]))
            rows = [line.split() for line in lines[start + 2 : start + 2 + n]]
            if len(rows) < n:
                raise InputError(f"{path}, line {start + 1}: truncated, {len(rows)} of {n} atoms")
            yield _frame(head, rows)
        except DAMAGED as error:
            raise InputError(f"{path}, line {start + 1}: damaged frame ({error})") from None
        start += 2 + n


def _first_mark(comment: str) -> str:
    return comment.partition(f"{MARK}='")[2].partition("'")[0]


def _frame(head: Mapping[str, Any], rows: list[list[str]]) -> Item:
    table = np.array([row[1:] for row in rows], dtype=np.float64)
    labels = {name: np.array(value) for name, value in head["labels"].items()}
    column = 3
    for name, shape in head["columns"]:
        width = int(np.prod(shape))
        labels[name] = table[:, column : column + width].reshape(len(rows), *shape)
        column += width
    sample = Sample(
        id=head["id"],
        domain=head["domain"],
        level=head["level"],
        dataset=head["dataset"],
        positions=table[:, :3],
        types=np.array([NUMBERS[row[0]] for row in rows], dtype=np.int64),
        cell=None if head["cell"] is None else np.array(head["cell"]),
        pbc=np.array(head["pbc"]),
        conditions=head["conditions"],
        labels=labels,
    )
    return Item(sample, head["split"])


def _read_npz(path: Path) -> list[Item] | None:
    """Samples that `write_npz` wrote, None if somebody else wrote the file."""
    file = load_npz(path)
    if MARK not in file:
        return None
    try:
        heads = json.loads(str(file[MARK]))
        items = [_item(head, number, file) for number, head in enumerate(heads)]
    except DAMAGED as error:
        raise InputError(f"{path}: damaged or truncated ({first_line(error)})") from None
    for number, item in enumerate(items, 1):
        refuse_infinite(item.sample, f"{path}, sample {number}")
    return items


def _item(head: dict[str, Any], number: int, file: Any) -> Item:
    names = head.pop("arrays")
    return unpack(head, {name: file[f"{number}/{name}"] for name in names})


# ------------------------------------------------------------------ writing


def refuse_target(target: str | Path) -> None:
    """Of a place that `write_items` is to write to, before its items are made.

    Raises:
        InputError: another suffix, or a file that cannot be written.
    """
    path = Path(target)
    if path.suffix.lower() in WRITTEN:
        refuse_unwritable(path)
    elif path.suffix:
        raise InputError(
            f"{path}: cannot write '{path.suffix}'; "
            "give .extxyz, .npz, .db, .aselmdb, .h5 or a folder"
        )


def write_items(target: str | Path, items: Iterable[Item], *, name: str | None = None) -> int:
    """Write to `.extxyz`, `.npz`, `.db`, `.aselmdb`, `.h5`, or (no suffix) a dataset folder.

    Returns:
        The number of samples.

    Raises:
        InputError: another suffix, or something that the format cannot hold.
    """
    refuse_target(target)
    path = Path(target)
    suffix = path.suffix.lower()
    pairs = ((i.sample, i.split) for i in items)
    if suffix in XYZ:
        return write_frames(path, pairs)
    if suffix in ase_db.SUFFIXES:
        return ase_db.write_db(path, pairs)
    if suffix in hdf5.SUFFIXES:
        return hdf5.write_hdf5(path, pairs)
    if suffix == ".npz":
        return write_npz(path, items)
    return write_folder(path, items, name=name)


def write_npz(path: Path, items: Iterable[Item]) -> int:
    """One compressed file with every array of every sample as `number/name`."""
    heads: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    for number, item in enumerate(items):
        head, named = pack(item)
        heads.append({**head, "arrays": list(named)})
        arrays.update({f"{number}/{k}": v for k, v in named.items()})
    arrays[MARK] = np.array(json.dumps(heads))
    with atomic(path) as scratch:
        np.savez_compressed(scratch, **arrays)
    return len(heads)
