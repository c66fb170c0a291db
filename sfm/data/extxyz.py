"""Extended XYZ that ASE, OVITO and everybody else read, and that comes back exactly.

Everything stands under the word that others use for it: `energy`, `stress`, `dipole`, `charge`,
`spin` as keys; `forces`, `charges`, `masses`, `move_mask`, `momenta` as columns. A quantity is a
column if it lives on tokens (`Quantity.per`), never because of its length. Numbers have all their
digits. Keys that start with `sfm` say the rest: name, domain, dataset, group, split, and which
of the keys are labels and which conditions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from sfm.data.atomic import atomic
from sfm.data.elements import NUMBERS, SYMBOLS
from sfm.data.rigid import KEYS
from sfm.data.sample import Sample
from sfm.errors import InputError

MARK = "sfm"
# what a damaged file of our own may raise on its way to a sample
DAMAGED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
VERSION = "2"
RESERVED = ("Properties", "Lattice", "pbc", "level", *KEYS)
_PAIR = re.compile(r'("(?:\\.|[^"\\])*"|[^\s="]+)\s*=\s*("(?:\\.|[^"\\])*"|\S*)')
_BARE = re.compile(r"[A-Za-z0-9_.+@/*-]+")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_.+@/*-]*")


def version(path: Path) -> str | None:
    """Version of the format if sfm wrote the file, else None; 1 had everything in JSON."""
    with path.open(encoding="utf-8", errors="replace") as file:
        next(file, None)
        mark = re.search(rf"(?:^|\s){MARK}=(\S)", next(file, None) or "")
    return None if mark is None else "1" if mark[1] == "'" else mark[1]


# ------------------------------------------------------------------ writing


def write_extxyz(
    path: Path, samples: Sequence[Sample], splits: Sequence[str | None] | None = None
) -> None:
    """One frame per sample.

    Raises:
        InputError: a sample has fields, or a label is called as a condition is; neither fits.
    """
    splits = splits or [None] * len(samples)
    write_frames(path, zip(samples, splits, strict=True))


def write_frames(path: Path, items: Iterable[tuple[Sample, str | None]]) -> int:
    """As `write_extxyz`, of samples and splits one after another; returns how many."""
    count = 0
    with atomic(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        for sample, split in items:
            file.write(_frame(sample, split))
            count += 1
    return count


def _frame(sample: Sample, split: str | None) -> str:
    if sample.fields:
        raise InputError(f"{sample.id}: fields do not fit into extended XYZ; write .npz")
    columns = _columns(sample)
    keys: dict[str, str] = {}
    if sample.cell is not None:
        keys["Lattice"] = " ".join(map(repr, sample.cell.ravel().tolist()))
    keys["Properties"] = ":".join(
        ["species:S:1:pos:R:3", *(f"{k}:{t}:{v.shape[1]}" for k, (t, v) in columns.items())]
    )
    keys["pbc"] = " ".join("FT"[int(p)] for p in sample.pbc)
    if sample.level is not None:
        keys["level"] = sample.level
    groups: dict[str, Mapping[str, Any]] = {
        "conditions": sample.conditions,
        "labels": sample.labels,
        "extras": sample.extras,
    }
    for group in groups.values():
        for name, value in group.items():
            if name in columns:
                continue
            if name in keys or name in RESERVED or name.startswith(MARK):
                raise InputError(
                    f"{sample.id}: '{name}' stands for two things, which extended XYZ cannot hold; "
                    "write .npz"
                )
            keys[name] = _value(name, np.asarray(value), condition=group is sample.conditions)
    if sample.rigid_pairs is not None and sample.rigid_lengths is not None:
        for key, values in zip(KEYS, (sample.rigid_pairs, sample.rigid_lengths), strict=True):
            keys[key] = " ".join(map(repr, values.ravel().tolist()))
    keys |= _marks(sample, split, groups)
    lines = [
        str(len(sample.types)),
        " ".join(f"{_quoted(k)}={_quoted(v)}" for k, v in keys.items()),
    ]
    lines += [" ".join(row) for row in _rows(sample, columns)]
    return "\n".join(lines) + "\n"


def _columns(sample: Sample) -> dict[str, tuple[str, np.ndarray]]:
    """Kind (`R`, `I`, `L`) and (n, width) values of each column besides element and position."""
    columns: dict[str, tuple[str, np.ndarray]] = {}
    n = len(sample.types)
    if sample.masses is not None:
        columns["masses"] = ("R", sample.masses[:, None])
    if sample.fixed is not None:
        whole = (sample.fixed == sample.fixed[:, :1]).all()
        columns["move_mask"] = ("L", ~sample.fixed[:, :1] if whole else ~sample.fixed)
    if sample.velocities is not None:
        columns["momenta"] = ("R", sample.velocities * _momentum(sample))
    for name, value in sample.labels.items():
        kind = value.dtype.kind
        if _on_tokens(name) and n > 0 and value.ndim in (1, 2) and len(value) == n:
            flat = value.reshape(n, -1)
            column = value.ndim == 1 or flat.shape[1] > 1
            if kind in "fi" and column and _COLUMN.fullmatch(name):
                columns[name] = ("R" if kind == "f" else "I", flat)
    return columns


def _on_tokens(name: str) -> bool:
    from sfm.registry import quantities

    table = quantities()
    base = name.partition("@")[0]
    return base in table and table[base].per == "token"


def _momentum(sample: Sample) -> np.ndarray:
    """(n, 1) momentum in ASE's unit at 1 angstrom/fs."""
    from ase import units
    from ase.data import atomic_masses

    masses = atomic_masses[sample.types] if sample.masses is None else sample.masses
    return np.asarray(masses)[:, None] / units.fs


def _rows(sample: Sample, columns: Mapping[str, tuple[str, np.ndarray]]) -> Iterator[list[str]]:
    for i, z in enumerate(sample.types):
        words = [SYMBOLS[z], *(repr(float(x)) for x in sample.positions[i])]
        for kind, values in columns.values():
            for x in values[i]:
                words.append("FT"[int(x)] if kind == "L" else repr(x.item()))
        yield words


def _value(name: str, value: np.ndarray, *, condition: bool) -> str:
    if condition and value.ndim == 0 and float(value).is_integer():
        return str(int(value))
    if name == "stress" and value.shape == (3, 3):
        value = value.ravel(order="F")
    if value.dtype.kind in "fi" and (value.ndim == 0 or (value.ndim == 1 and value.size > 1)):
        return " ".join(repr(x) for x in np.atleast_1d(value).tolist())
    return f"_JSON {json.dumps(value.tolist())}"


def _marks(
    sample: Sample, split: str | None, groups: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    said = {k: getattr(sample, k) for k in ("id", "domain", "dataset", "group")} | {"split": split}
    marks = {MARK: VERSION} | {f"{MARK}_{k}": v for k, v in said.items() if v is not None}
    for group, values in groups.items():
        if values:
            marks[f"{MARK}_{group}"] = " ".join(quote(name, safe="@/().+*'") for name in values)
    return marks


def _quoted(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise InputError(
            f"'{' '.join(text.split())}': a line break, which extended XYZ cannot hold"
        )
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# ------------------------------------------------------------------ reading


def read_extxyz(path: Path) -> Iterator[tuple[Sample, str | None]]:
    """Samples and splits of a file that `write_extxyz` wrote, or ASE wrote again after it.

    Raises:
        InputError: truncated or damaged; file and line are named.
    """
    start = 1
    with path.open(encoding="utf-8", errors="replace") as file:
        while first := file.readline():
            where = f"{path}, line {start}"
            try:
                n = int(first)
                if n < 1:
                    raise InputError(f"{where}: {n} atoms")
                comment = file.readline().rstrip("\n")
                rows = [line.split() for line in islice(file, n)]
                if len(rows) < n:
                    raise InputError(f"{where}: truncated, {len(rows)} of {n} atoms")
                sample, split = _sample(comment, rows)
            except DAMAGED as error:
                said = f"{type(error).__name__}: {error}"
                raise InputError(f"{where}: damaged frame ({said})") from None
            refuse_infinite(sample, where)
            yield sample, split
            start += 2 + n


def refuse_infinite(sample: Sample, where: str) -> None:
    """Of a sample that came out of a file: each label and extra number, whatever its unit.

    Raises:
        InputError: one of them is not finite, or no number.
    """
    for name, value in {**sample.labels, **sample.extras}.items():
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise InputError(f"{where}: '{name}' holds what is no finite number")


def _sample(comment: str, rows: list[list[str]]) -> tuple[Sample, str | None]:
    keys = {_unquoted(k): _unquoted(v) for k, v in _PAIR.findall(comment)}
    columns = _read_columns(keys.get("Properties", "species:S:1:pos:R:3"), rows)
    groups = ("conditions", "labels", "extras")
    names = {k: [unquote(x) for x in keys.get(f"{MARK}_{k}", "").split()] for k in groups}

    def values(group: str) -> dict[str, np.ndarray]:
        return {
            name: columns[name] if name in columns else _array(name, keys[name])
            for name in names[group]
            if name in columns or name in keys
        }

    cell = [float(x) for x in keys["Lattice"].split()] if "Lattice" in keys else None
    sample = Sample(
        id=keys[f"{MARK}_id"],
        domain=keys[f"{MARK}_domain"],
        level=keys.get("level"),
        dataset=keys.get(f"{MARK}_dataset"),
        group=keys.get(f"{MARK}_group"),
        positions=columns["pos"].reshape(-1, 3),
        types=np.array([NUMBERS[row[0]] for row in rows], dtype=np.int64),
        cell=None if cell is None else np.array(cell).reshape(3, 3),
        pbc=np.array([p in ("T", "True") for p in keys["pbc"].split()]),
        conditions={k: float(v) for k, v in values("conditions").items()},
        labels=values("labels"),
        extras=values("extras"),
        masses=columns.get("masses"),
        fixed=~columns["move_mask"] if "move_mask" in columns else None,
        **_bonds(keys),
    )
    if "momenta" in columns:
        sample = sample.replace(velocities=columns["momenta"] / _momentum(sample))
    return sample, keys.get(f"{MARK}_split")


def _bonds(keys: Mapping[str, str]) -> dict[str, Any]:
    """What `keys` say of bonds that keep their lengths."""
    return {k: [float(x) for x in keys[k].split()] for k in KEYS if k in keys}


def _read_columns(properties: str, rows: list[list[str]]) -> dict[str, np.ndarray]:
    words, columns, at = properties.split(":"), {}, 0
    for name, kind, width in zip(words[::3], words[1::3], map(int, words[2::3]), strict=True):
        cells = [row[at : at + width] for row in rows]
        at += width
        if any(len(cell) < width for cell in cells):
            raise ValueError(f"a row without {name}")
        if kind == "S":
            continue
        table: Any = np.array(cells).reshape(len(rows), width)
        if kind == "L":
            table = np.isin(table, ("T", "True"))
        else:
            table = table.astype(np.float64 if kind == "R" else np.int64)
        columns[{"charge": "charges"}.get(name, name)] = table[:, 0] if width == 1 else table
    return columns


def _array(name: str, text: str) -> np.ndarray:
    if text.startswith("_JSON "):
        return np.array(json.loads(text.removeprefix("_JSON ")))
    words = text.split()
    try:
        value = np.array([int(x) for x in words])
    except ValueError:
        value = np.array([float(x) for x in words])
    if name == "stress" and value.size == 9:
        return value.reshape(3, 3, order="F")
    return np.asarray(value[0]) if len(words) == 1 else value


def _unquoted(text: str) -> str:
    if text[:1] != '"':
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1])
