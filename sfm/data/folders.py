"""A dataset folder written from samples of any source, of which few are in memory at a time.

The columns of Parquet stand before the first row, and a system's levels share a row wherever they
come in the source. So all samples are seen once, wait on the disk, and are written from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sfm.data.atomic import disk_errors
from sfm.data.packing import Item, Spool
from sfm.data.sample import Sample
from sfm.data.splits import assign
from sfm.data.storage import (
    GROUP,
    ID,
    SPLIT,
    TYPES,
    Column,
    cell_column,
    positions_column,
    write_dataset,
)
from sfm.errors import InputError

ATOMS = {
    "masses": ("amu", (-1,)),
    "fixed": ("1", (-1, 3)),
    "velocities": ("{}/fs", (-1, 3)),
    "rigid_pairs": ("1", (-1, 2)),
    "rigid_lengths": ("{}", (-1,)),
}
KINDS = {"fixed": "bool", "rigid_pairs": "int64"}


def write_folder(folder: Path, items: Iterable[Item], *, name: str | None = None) -> int:
    """A dataset folder; samples of one system at several levels become one row.

    Samples without a split get that of their group, or of their name.

    Returns:
        The number of samples.

    Raises:
        InputError: no labels, or samples that do not fit into one table.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        spool = Spool(folder.parent)
    seen, rows = _Seen(), dict[str, list[int]]()
    with spool:
        for item in items:
            seen.add(item.sample)
            base = item.sample.id.removesuffix(f"@{item.sample.level}")
            with disk_errors(folder):
                rows.setdefault(base, []).append(spool.put(item))
        if not rows:
            raise InputError("nothing: has no labels, so it cannot be a row of a dataset")
        columns = seen.columns()
        info = {"name": name or folder.name, "domain": seen.domain}
        if seen.dataset:
            info["converted_from"] = seen.dataset
        table = (
            _row(base, [spool.take(place) for place in places], columns)
            for base, places in rows.items()
        )
        write_dataset(folder, columns, table, info)
    return sum(map(len, rows.values()))


@dataclass
class _Form:
    """Shapes and dtypes of the arrays of one column."""

    shapes: set[tuple[int, ...]] = field(default_factory=set)
    dtypes: set[np.dtype[Any]] = field(default_factory=set)

    def add(self, array: Shaped[np.ndarray, " ..."]) -> None:
        """One more array (...)."""
        self.shapes.add(array.shape)
        self.dtypes.add(array.dtype)

    def fits(self, name: str) -> tuple[tuple[int, ...], str]:
        """Shape and dtype that hold all the arrays."""
        dtype = str(np.result_type(*self.dtypes))
        if len(self.shapes) == 1:
            return next(iter(self.shapes)), dtype
        if len({(len(s), s[1:]) for s in self.shapes}) == 1:
            return (-1, *next(iter(self.shapes))[1:]), dtype
        raise InputError(
            f"'{name}' has shapes {sorted(self.shapes)}, which do not fit into one column"
        )


class _Seen:
    """What the samples so far have, from which the columns follow."""

    def __init__(self) -> None:
        self.domain, self.dataset = "", ""
        self.inputs: set[str] = set()
        self.conditions: dict[str, None] = {}
        self.fields: dict[str, _Form] = {}
        self.labels: dict[tuple[str, str], _Form] = {}

    def add(self, sample: Sample) -> None:
        """One more sample.

        Raises:
            InputError: it has no labels, no level, or another domain than those before it.
        """
        if not sample.labels:
            raise InputError(
                f"{sample.id}: has no labels, so it cannot be a row of a dataset; write .npz"
            )
        if sample.level is None:
            raise InputError(f"{sample.id}: its labels have no level of theory: give --level NAME")
        self.domain = self.domain or sample.domain
        if sample.domain != self.domain:
            both = sorted([self.domain, sample.domain])
            raise InputError(f"a dataset has one domain, these samples have {both}")
        self.dataset = self.dataset or sample.dataset or ""
        if len(sample.types):
            self.inputs.add("positions")
        self.inputs.update(k for k in ("cell", "group", *ATOMS) if getattr(sample, k) is not None)
        self.conditions |= dict.fromkeys(sample.conditions)
        for key, value in sample.fields.items():
            self.fields.setdefault(key, _Form()).add(np.asarray(value))
        for key, value in sample.labels.items():
            self.labels.setdefault((sample.level, key), _Form()).add(np.asarray(value))

    def columns(self) -> list[Column]:
        """Of the table that holds all of them.

        Raises:
            InputError: arrays of one name that do not fit into a column.
        """
        from sfm.registry import length_unit, quantities

        units = {name: q.unit for name, q in quantities().items()}
        length = length_unit(self.domain)
        columns = [ID, SPLIT, *([GROUP] if "group" in self.inputs else [])]
        if "positions" in self.inputs:
            columns += [TYPES, positions_column(length, "float64")]
        if "cell" in self.inputs:
            columns += [cell_column(length), Column("pbc", shape=(3,), dtype="bool")]
        for name, (unit, shape) in ATOMS.items():
            if name in self.inputs:
                kind = KINDS.get(name, "float64")
                columns.append(Column(name, unit.format(length), "input", None, shape, kind))
        for key, form in self.fields.items():
            columns.append(Column(key, units.get(key, "1"), "field", None, *form.fits(key)))
        for key in self.conditions:
            columns.append(Column(key, units.get(key, "1"), "condition", dtype="float64"))
        for (level, key), form in self.labels.items():
            columns.append(Column(key, units.get(key, "1"), "label", level, *form.fits(key)))
        return columns


def _row(base: str, items: Sequence[Item], columns: Sequence[Column]) -> dict[str, Any]:
    group = next((i.sample.group for i in items if i.sample.group is not None), None)
    row: dict[str, Any] = {"id": base, "split": items[-1].split or assign(group or base)}
    if group is not None:
        row["group"] = group
    for item in items:
        s = item.sample
        inputs = {"positions": s.positions, "types": s.types} if len(s.types) else {}
        inputs |= {"cell": s.cell, "pbc": s.pbc} if s.cell is not None else {}
        inputs |= {k: getattr(s, k) for k in ATOMS if getattr(s, k) is not None}
        tables: dict[str, Mapping[str, Any]] = {
            "input": inputs, "field": s.fields, "condition": s.conditions, "label": s.labels,
        }  # fmt: skip
        for column in columns:
            if column.level in (None, s.level) and column.quantity in tables.get(column.role, {}):
                row[column.name] = tables[column.role][column.quantity]
    return row
