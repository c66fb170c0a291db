"""A sample as a head that JSON holds and named arrays, and back; samples that wait on the disk."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sfm.data.sample import Sample
from sfm.errors import InputError

ATOMS = ("masses", "fixed", "velocities", "rigid_pairs", "rigid_lengths")
GROUPS = ("fields", "extras", "labels")


@dataclass(frozen=True)
class Item:
    """A sample and the split that it belongs to, if any."""

    sample: Sample
    split: str | None = None


def pack(item: Item) -> tuple[dict[str, Any], dict[str, Shaped[np.ndarray, " ..."]]]:
    """The head, and arrays (...) in the unit of samples by name: `positions`, `labels/energy`."""
    sample = item.sample
    head = {
        "id": sample.id,
        "domain": sample.domain,
        "level": sample.level,
        "dataset": sample.dataset,
        "group": sample.group,
        "conditions": {k: float(v) for k, v in sample.conditions.items()},
        "split": item.split,
    }
    arrays: dict[str, Any] = {k: getattr(sample, k) for k in ("positions", "types", "pbc")}
    for name in ("cell", *ATOMS):
        if getattr(sample, name) is not None:
            arrays[name] = getattr(sample, name)
    for group in GROUPS:
        arrays |= {f"{group}/{k}": v for k, v in getattr(sample, group).items()}
    return head, arrays


def unpack(head: Mapping[str, Any], arrays: Mapping[str, Shaped[np.ndarray, " ..."]]) -> Item:
    """What `pack` took apart: arrays (...) by name, each in the unit that samples have."""
    parts: dict[str, Any] = {group: {} for group in GROUPS}
    for key, value in arrays.items():
        group, _, name = key.partition("/")
        if name:
            parts[group][name] = value
        else:
            parts[key] = value
    said = {k: v for k, v in head.items() if k != "split"}
    return Item(Sample(**said, **parts), head["split"])


class Spool:
    """Items in a nameless file, which goes with this object: put once, taken in any order.

    Args:
        folder: on whose disk they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".sfm-")  # noqa: SIM115

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, item: Item) -> int:
        """Where it lies.

        Raises:
            InputError: an array that holds neither numbers nor text.
        """
        head, named = pack(item)
        arrays = {k: np.ascontiguousarray(v).reshape(np.shape(v)) for k, v in named.items()}
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise InputError(f"{item.sample.id}: '{name}' holds neither numbers nor text")
        forms = [(k, v.dtype.str, v.shape) for k, v in arrays.items()]
        place = self._file.seek(0, 2)
        self._file.write(json.dumps([head, forms]).encode() + b"\n")
        for array in arrays.values():
            self._file.write(array.tobytes())
        return place

    def take(self, place: int) -> Item:
        """The item that lies there."""
        self._file.seek(place)
        head, forms = json.loads(self._file.readline())
        arrays = {}
        for name, kind, shape in forms:
            dtype = np.dtype(kind)
            data = self._file.read(dtype.itemsize * int(np.prod(shape)))
            arrays[name] = np.frombuffer(data, dtype).reshape(shape)
        return unpack(head, arrays)
