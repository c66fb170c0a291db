"""Samples in one HDF5 file that any tool opens, block by block, so that memory stays small.

    sample/{id,domain,level,dataset,group,split}   texts of each sample; empty where there is none
    atoms/{positions,types,cell,pbc,masses,fixed,velocities,rigid_pairs,rigid_lengths}
    conditions/NAME  labels/NAME  fields/NAME  extras/NAME

Each group of arrays holds `values` (all samples one after another, each in C order), `row` (the
sample of each array, from 0) and `shape` (of each array; absent for numbers), and says its `name`
and `unit`. Arrays of one name that differ in dtype or number of axes get a group each (`NAME#2`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jaxtyping import Shaped

from sfm.data import packing
from sfm.data.atomic import atomic
from sfm.data.extxyz import DAMAGED, MARK, refuse_infinite
from sfm.data.file_units import scale_from, unit_of
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.formats.hdf5 import opened
from sfm.formats.limits import Budget

SUFFIXES = (".h5", ".hdf5")
VERSION = "1"
BLOCK = 1000  # samples in memory at a time
CHUNK = 2**14  # numbers that are compressed together
TEXTS = ("id", "domain", "level", "dataset", "group", "split")
LATER = ("group",)  # texts that files of before do not have
ATOMS = ("positions", "types", "cell", "pbc", *packing.ATOMS)
GROUPS = ("conditions", "labels", "fields", "extras")


def is_ours(path: Path) -> bool:
    """Whether `write_hdf5` wrote the file."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return MARK in file.attrs and "sample" in file
    except (OSError, *DAMAGED):
        return False  # whoever reads such files says what is wrong with it


# ------------------------------------------------------------------ writing


@dataclass
class _Pending:
    """Arrays of one group that wait to be written."""

    rows: list[int] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)


def write_hdf5(path: Path, items: Iterable[tuple[Sample, str | None]]) -> int:
    """One file with all samples and their splits; returns how many.

    Raises:
        InputError: nothing to write, a text that HDF5 cannot hold, no numbers, or samples whose
            domains measure lengths in several units.
    """
    import h5py

    with atomic(path) as scratch, h5py.File(scratch, "w") as file:
        writer = _Writer(file)
        for sample, split in items:
            writer.add(sample, split)
        writer.flush()
        if not writer.count:
            raise InputError(f"{path}: nothing to write")
        return writer.count


class _Writer:
    def __init__(self, file: Any) -> None:
        import h5py

        self.file, self.count = file, 0
        self.texts: dict[str, list[str]] = {name: [] for name in TEXTS}
        self.pending: dict[tuple[str, str, str, int], _Pending] = {}
        self.places: dict[tuple[str, str, str, int], Any] = {}
        self.units: dict[tuple[str, str, str], str | None] = {}
        file.attrs[MARK] = VERSION
        for name in TEXTS:
            kind = h5py.string_dtype("utf-8")
            file.create_dataset(f"sample/{name}", (0,), kind, maxshape=(None,), chunks=(BLOCK,))

    def add(self, sample: Sample, split: str | None) -> None:
        said = {k: getattr(sample, k) for k in TEXTS[:-1]} | {"split": split}
        for name, text in said.items():
            if text == "" or "\0" in (text or ""):
                raise InputError(f"{sample.id}: {name} '{text}' is a text that HDF5 cannot hold")
            self.texts[name].append(text or "")
        for name in ATOMS:
            if getattr(sample, name) is not None:
                self._put(sample, "atoms", name, getattr(sample, name))
        for group in GROUPS:
            for name, value in getattr(sample, group).items():
                self._put(sample, group, name, np.asarray(value))
        self.count += 1
        if len(self.texts["id"]) == BLOCK:
            self.flush()

    def _put(self, sample: Sample, group: str, name: str, value: np.ndarray) -> None:
        if value.dtype.kind not in "biuf":
            raise InputError(
                f"{sample.id}: '{name}' holds what is no number; HDF5 here has numbers"
            )
        known = (group, name, sample.domain)
        if known not in self.units:
            self.units[known] = unit_of(*known)
        key = (group, name, value.dtype.str, value.ndim)
        if key not in self.places:
            self.places[key] = self._place(key, self.units[known])
        if self.places[key].attrs.get("unit") != self.units[known]:
            raise InputError(f"{sample.id}: its '{name}' has another unit than those before it")
        waiting = self.pending.setdefault(key, _Pending())
        waiting.rows.append(self.count)
        waiting.arrays.append(value)

    def _place(self, key: tuple[str, str, str, int], unit: str | None) -> Any:
        group, name, kind, ndim = key
        number = 1 + sum(k[:2] == key[:2] for k in self.places)
        text = quote(name, safe="@()+*' ").replace(".", "%2E")
        place = self.file.create_group(
            f"{group}/{text}" + (f"#{number}" if number > 1 else ""), track_order=True
        )
        place.attrs["name"] = name
        if unit is not None:
            place.attrs["unit"] = unit
        packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
        width = max(ndim, 1)
        for part, shape, dtype in (
            ("values", (), np.dtype(kind)),
            ("row", (), np.dtype(np.int64)),
            *([("shape", (ndim,), np.dtype(np.int64))] if ndim else []),
        ):
            chunks = (max(1, CHUNK // (width if shape else 1)), *shape)
            place.create_dataset(
                part, (0, *shape), dtype, maxshape=(None, *shape), chunks=chunks, **packed
            )
        return place

    def flush(self) -> None:
        for name, texts in self.texts.items():
            _append(self.file[f"sample/{name}"], texts)
            texts.clear()
        for key, waiting in self.pending.items():
            place = self.places[key]
            _append(place["values"], np.concatenate([a.ravel() for a in waiting.arrays]))
            _append(place["row"], np.array(waiting.rows))
            if key[3]:
                _append(place["shape"], np.array([a.shape for a in waiting.arrays]))
        self.pending.clear()


def _append(dataset: Any, values: Any) -> None:
    if len(values):
        start = len(dataset)
        dataset.resize(start + len(values), axis=0)
        dataset[start:] = values


# ------------------------------------------------------------------ reading


def read_hdf5(path: Path) -> Iterator[tuple[Sample, str | None]]:
    """Samples and splits of a file that `write_hdf5` wrote, `BLOCK` in memory at a time.

    Raises:
        InputError: damaged, of a later version, or a number that is not finite.
    """
    with opened(path) as file:
        if str(file.attrs.get(MARK)) != VERSION:
            raise InputError(f"{path}: not of version {VERSION}, the one that this sfm reads")
        budget = Budget(path)
        columns = [
            _Column(path, group, place, budget)
            for group in ("atoms", *GROUPS)
            for place in file.get(group, {}).values()
        ]
        count = len(file["sample/id"])
        names = [k for k in TEXTS if k not in LATER or k in file["sample"]]
        for name in names:
            budget.take(name, (count,), 8)
        for start in range(0, count, BLOCK):
            stop = min(count, start + BLOCK)
            texts = {k: file[f"sample/{k}"].asstr()[start:stop] for k in names}
            domains = dict.fromkeys(texts["domain"])
            parts: list[dict[str, Any]] = [{g: {} for g in GROUPS} for _ in range(start, stop)]
            for column in columns:
                for domain in domains:
                    column.check_unit(str(domain))
                for row, array in column.block(start, stop):
                    _into(parts[row - start], column, array, texts["domain"][row - start])
            for number, part in enumerate(parts):
                said = {k: str(v[number]) or None for k, v in texts.items()}
                split = said.pop("split")
                sample = Sample(**said, **part)  # type: ignore[arg-type]
                refuse_infinite(sample, f"{path}, sample {start + number + 1}")
                yield sample, split


def _into(part: dict[str, Any], column: _Column, array: np.ndarray, domain: str) -> None:
    scale = column.scales[str(domain)]
    array = array if scale == 1.0 else array * scale
    if column.group == "atoms":
        part[column.name] = array
    else:
        value = float(array) if column.group == "conditions" else array
        part[column.group][column.name] = value


class _Column:
    """The arrays of one group of the file."""

    def __init__(self, path: Path, group: str, place: Any, budget: Budget) -> None:
        self.group, self.name = group, str(place.attrs["name"])
        self.unit = None if "unit" not in place.attrs else str(place.attrs["unit"])
        self.path, self.values, self.scales = path, place["values"], dict[str, float]()
        for part, dataset in place.items():
            budget.take(f"{self.name}/{part}", dataset.shape, dataset.dtype.itemsize)
        self.row: np.ndarray = place["row"][:]
        self.shape = place["shape"][:] if "shape" in place else np.zeros((len(self.row), 0), int)
        sizes = np.prod(self.shape, axis=1, dtype=np.float64)
        if (
            (group == "atoms" and self.name not in ATOMS)
            or (self.shape < 0).any()
            or (np.diff(self.row) <= 0).any()
            or len(self.shape) != len(self.row)
            or sizes.sum() != len(self.values)
        ):
            raise InputError(f"{path}: damaged, '{group}/{self.name}' does not fit together")
        self.offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def check_unit(self, domain: str) -> None:
        """The factor from the file's unit to that of samples of `domain`."""
        if domain in self.scales:
            return
        here = unit_of(self.group, self.name, domain)
        self.scales[domain] = (
            1.0 if self.unit is None else scale_from(self.path, self.name, self.unit, here)
        )

    def block(self, start: int, stop: int) -> Iterator[tuple[int, Shaped[np.ndarray, " ..."]]]:
        """(sample, array) of the samples from `start` to `stop`."""
        first, last = np.searchsorted(self.row, [start, stop])
        begin = self.offset[first]
        values = self.values[begin : self.offset[last]]
        for i in range(first, last):
            array = values[self.offset[i] - begin : self.offset[i + 1] - begin]
            yield int(self.row[i]), array.reshape(self.shape[i]).copy()
