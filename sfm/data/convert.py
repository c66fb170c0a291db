"""Loss-free conversion between files and dataset folders.

Five targets: extended XYZ and ASE databases (points in space), `.npz` and HDF5 (everything), and a
dataset folder of Parquet files. What sfm writes it reads back exactly: float64, ids, levels,
conditions and splits included. Any other file comes in through the plugins' readers. Numbers are in
canonical units. Extended XYZ, databases and HDF5 are read and written one sample after another,
folders are read so.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from sfm.data.sample import Sample
from sfm.data.splits import SPLITS, assign
from sfm.data.storage import (
    ID,
    SPLIT,
    TYPES,
    Column,
    Dataset,
    cell_column,
    open_dataset,
    positions_column,
    write_dataset,
)
from sfm.data.xyz import first_line
from sfm.errors import InputError, InputWarning
from sfm.formats.npz import load_npz

XYZ = (".extxyz", ".xyz")
WRITTEN = (*XYZ, ".npz", ".db", *hdf5.SUFFIXES)
ATOMS = {
    "masses": ("amu", (-1,)),
    "fixed": ("1", (-1, 3)),
    "velocities": ("{}/fs", (-1, 3)),
    "rigid_pairs": ("1", (-1, 2)),
    "rigid_lengths": ("{}", (-1,)),
}
KINDS = {"fixed": "bool", "rigid_pairs": "int64"}
KEPT = ("format", "name", "domain", "converted_from")  # of what a folder says of itself
UNSTATED = (None, "unknown")  # the level of labels whose file names none, as readers say it


@dataclass(frozen=True)
class Item:
    """A sample and the split that it belongs to, if any."""

    sample: Sample
    split: str | None = None


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

    Of a folder, what it states and no sample holds is said in a warning: `group`, licence, ...

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
    left_out = [c.quantity for c in data.columns if c.role == "group"]
    left_out += [key for key in data.info if key not in KEPT]
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
        items = [_unpack(head, number, file) for number, head in enumerate(heads)]
    except DAMAGED as error:
        raise InputError(f"{path}: damaged or truncated ({first_line(error)})") from None
    for number, item in enumerate(items, 1):
        refuse_infinite(item.sample, f"{path}, sample {number}")
    return items


def _unpack(head: dict[str, Any], number: int, file: Any) -> Item:
    arrays: dict[str, Any] = {"fields": {}, "labels": {}, "extras": {}}
    for key in head.pop("arrays"):
        group, _, name = key.rpartition("/")
        value = file[f"{number}/{key}"]
        if group:
            arrays[group][name] = value
        else:
            arrays[name] = value
    split = head.pop("split")
    return Item(Sample(**head, **arrays), split)


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
            f"{path}: cannot write '{path.suffix}'; give .extxyz, .npz, .db, .h5 or a folder"
        )


def write_items(target: str | Path, items: Iterable[Item], *, name: str | None = None) -> int:
    """Write to `.extxyz`, `.npz`, `.db`, `.h5`, or (a path without suffix) a dataset folder.

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
    if suffix == ".db":
        return ase_db.write_db(path, pairs)
    if suffix in hdf5.SUFFIXES:
        return hdf5.write_hdf5(path, pairs)
    items = list(items)
    if suffix == ".npz":
        write_npz(path, items)
    else:
        write_folder(path, items, name=name)
    return len(items)


def _head(sample: Sample, split: str | None) -> dict[str, Any]:
    return {
        "id": sample.id,
        "domain": sample.domain,
        "level": sample.level,
        "dataset": sample.dataset,
        "conditions": {k: float(v) for k, v in sample.conditions.items()},
        "split": split,
    }


def write_npz(path: Path, items: Sequence[Item]) -> None:
    """One compressed file with every array of every sample as `number/name`."""
    heads, arrays = [], {}
    for number, item in enumerate(items):
        named: dict[str, Any] = {
            "positions": item.sample.positions,
            "types": item.sample.types,
            "pbc": item.sample.pbc,
        }
        if item.sample.cell is not None:
            named["cell"] = item.sample.cell
        for name in ATOMS:
            if getattr(item.sample, name) is not None:
                named[name] = getattr(item.sample, name)
        named |= {f"fields/{k}": v for k, v in item.sample.fields.items()}
        named |= {f"extras/{k}": v for k, v in item.sample.extras.items()}
        named |= {f"labels/{k}": v for k, v in item.sample.labels.items()}
        heads.append({**_head(item.sample, item.split), "arrays": list(named)})
        arrays.update({f"{number}/{k}": v for k, v in named.items()})
    arrays[MARK] = np.array(json.dumps(heads))
    with atomic(path) as scratch:
        np.savez_compressed(scratch, **arrays)


def write_folder(folder: Path, items: Sequence[Item], *, name: str | None = None) -> None:
    """A dataset folder; samples of one system at several levels become one row.

    Raises:
        InputError: no labels, or samples that do not fit into one table.
    """
    unlabelled = [i.sample.id for i in items if not i.sample.labels]
    if unlabelled or not items:
        named = unlabelled[0] if unlabelled else "nothing"
        raise InputError(f"{named}: has no labels, so it cannot be a row of a dataset; write .npz")
    without = next((i.sample.id for i in items if i.sample.level is None), None)
    if without is not None:
        raise InputError(f"{without}: its labels have no level of theory: give --level NAME")
    domains = {i.sample.domain for i in items}
    if len(domains) > 1:
        raise InputError(f"a dataset has one domain, these samples have {sorted(domains)}")
    rows: dict[str, list[Item]] = {}
    for item in items:
        base = item.sample.id.removesuffix(f"@{item.sample.level}")
        rows.setdefault(base, []).append(item)
    columns = _columns([i.sample for i in items])
    info = {"name": name or folder.name, "domain": items[0].sample.domain}
    source = next((i.sample.dataset for i in items if i.sample.dataset), None)
    if source:
        info["converted_from"] = source
    table = (_row(base, same, columns) for base, same in rows.items())
    write_dataset(folder, columns, table, info)


def _columns(samples: Sequence[Sample]) -> list[Column]:
    from sfm.registry import length_unit, quantities

    units = {name: q.unit for name, q in quantities().items()}
    length = length_unit(samples[0].domain)
    columns = [ID, SPLIT]
    if any(len(s.types) for s in samples):
        columns += [TYPES, positions_column(length, "float64")]
    if any(s.cell is not None for s in samples):
        columns += [cell_column(length), Column("pbc", shape=(3,), dtype="bool")]
    for name, (unit, shape) in ATOMS.items():
        if any(getattr(s, name) is not None for s in samples):
            kind = KINDS.get(name, "float64")
            columns.append(Column(name, unit.format(length), "input", None, shape, kind))
    for field in dict.fromkeys(k for s in samples for k in s.fields):
        shape, dtype = _form(field, [s.fields[field] for s in samples if field in s.fields])
        columns.append(Column(field, units.get(field, "1"), "field", None, shape, dtype))
    for condition in dict.fromkeys(k for s in samples for k in s.conditions):
        columns.append(Column(condition, units.get(condition, "1"), "condition", dtype="float64"))
    for level, label in dict.fromkeys((s.level, k) for s in samples for k in s.labels):
        same = [s.labels[label] for s in samples if s.level == level and label in s.labels]
        shape, dtype = _form(label, same)
        columns.append(Column(label, units.get(label, "1"), "label", level, shape, dtype))
    return columns


def _form(name: str, arrays: Sequence[Any]) -> tuple[tuple[int, ...], str]:
    """Shape and dtype that hold all the arrays of one column."""
    arrays = [np.asarray(a) for a in arrays]
    shapes = {a.shape for a in arrays}
    dtype = str(np.result_type(*arrays))
    if len(shapes) == 1:
        return shapes.pop(), dtype
    if len({(len(s), s[1:]) for s in shapes}) == 1:
        return (-1, *next(iter(shapes))[1:]), dtype
    raise InputError(f"'{name}' has shapes {sorted(shapes)}, which do not fit into one column")


def _row(base: str, items: Sequence[Item], columns: Sequence[Column]) -> dict[str, Any]:
    row: dict[str, Any] = {"id": base, "split": items[-1].split or assign(base)}
    for item in items:
        s = item.sample
        inputs = {"positions": s.positions, "types": s.types} if len(s.types) else {}
        inputs |= {"cell": s.cell, "pbc": s.pbc} if s.cell is not None else {}
        inputs |= {k: getattr(s, k) for k in ATOMS if getattr(s, k) is not None}
        tables = {"input": inputs, "field": s.fields, "condition": s.conditions, "label": s.labels}
        for column in columns:
            if column.level in (None, s.level) and column.quantity in tables.get(column.role, {}):
                row[column.name] = tables[column.role][column.quantity]
    return row
