"""Datasets on disk: Parquet whose columns carry quantity, unit, level and role.

One row is one system. A column is named `quantity[unit]` for an input and
`quantity[unit]@level` for a label, and its Arrow field's metadata hold the same in JSON, so that a
file explains itself. Arrays are flattened in C order; the shape in the metadata may hold one -1.

Reading goes through an Arrow file in the cache (`SFM_CACHE`, else `~/.cache/sfm`), which is
memory-mapped: a dataset costs no memory until its rows are asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int

from sfm.data.atomic import atomic, disk_errors
from sfm.data.lock import only_run
from sfm.data.replacing import replacing, settle
from sfm.data.sample import Sample
from sfm.data.splits import SPLITS
from sfm.errors import InputError, SfmError, SfmWarning
from sfm.units import check_unit, factor

Role = Literal["id", "split", "group", "input", "field", "condition", "label"]
KEY = b"sfm"
FORMAT = 1
PACKED = "packed_from"  # of what a part of a dataset says: the whole that it was taken from
LEFT_OUT = "levels_left_out"  # of what a part of a dataset says: it names samples as the whole does


@dataclass(frozen=True)
class Column:
    """One typed column.

    Attributes:
        quantity: `id`, `split`, `group`, `positions`, `types`, ..., or a quantity's name.
        unit: the unit of the stored numbers.
        role: `input` (positions, types, cell, pbc), `field` (input grids), `condition`, ...
        level: level of theory; labels have one, nothing else does.
        shape: of one row's value; `()` is a number; one entry may be -1.
        dtype: of the stored numbers: `float32`, `float64`, `int16`, `bool`, `string`, ...
    """

    quantity: str
    unit: str = "1"
    role: Role = "input"
    level: str | None = None
    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        check_unit(self.unit)
        if (self.level is not None) != (self.role == "label"):
            raise InputError(
                f"column '{self.quantity}': a label needs a level of theory, "
                "and only a label has one"
            )
        if self.shape.count(-1) > 1:
            raise InputError(f"column '{self.quantity}': shape {self.shape} has more than one -1")

    @property
    def name(self) -> str:
        if self.role in ("id", "split", "group"):
            return self.quantity
        return f"{self.quantity}[{self.unit}]" + (f"@{self.level}" if self.level else "")


ID = Column("id", role="id", dtype="string")
SPLIT = Column("split", role="split", dtype="string")
GROUP = Column("group", role="group", dtype="string")
TYPES = Column("types", shape=(-1,), dtype="int16")


def positions_column(unit: str = "angstrom", dtype: str = "float32") -> Column:
    """Column of positions, (n, 3)."""
    return Column("positions", unit, shape=(-1, 3), dtype=dtype)


def cell_column(unit: str = "angstrom", dtype: str = "float64") -> Column:
    """Column of lattice vectors in rows, (3, 3)."""
    return Column("cell", unit, shape=(3, 3), dtype=dtype)


def _arrow_type(column: Column) -> Any:
    import pyarrow as pa

    scalar = {"string": pa.string(), "bool": pa.bool_()}.get(column.dtype)
    if scalar is None:
        scalar = pa.from_numpy_dtype(np.dtype(column.dtype))
    return scalar if column.shape == () else pa.list_(scalar)


def _schema(columns: Sequence[Column], info: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    fields = [
        pa.field(c.name, _arrow_type(c), metadata={KEY: json.dumps(asdict(c)).encode()})
        for c in columns
    ]
    head = json.dumps({"format": FORMAT, **info}).encode()
    return pa.schema(fields, metadata={KEY: head})


def _flatten(column: Column, value: Any, row: int) -> Any:
    if value is None:
        return None
    if column.dtype == "string":
        return str(value)
    array = np.asarray(value, dtype=np.dtype(column.dtype))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"row {row}, column '{column.name}': a value is not a finite number")
    if column.shape == ():
        if array.ndim:
            raise InputError(f"row {row}, column '{column.name}': {array.shape} is not one number")
        return array.item()
    fits = array.ndim == len(column.shape) and all(
        want in (-1, have) for want, have in zip(column.shape, array.shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"row {row}, column '{column.name}': shape {array.shape} does not fit {column.shape}"
        )
    return array.ravel()


def write_dataset(
    folder: str | Path,
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, Any]],
    info: Mapping[str, Any],
    *,
    max_rows_per_file: int = 5_000,
) -> list[Path]:
    """Write rows to `folder/data/part-00000-of-0000N.parquet`, all files or none.

    They replace those of an earlier build in one step.

    Args:
        folder: the dataset's folder.
        columns: the columns; `ID` and `SPLIT` are required.
        rows: dictionaries by column name; a missing label is absent or None.
        info: kept in the schema: name, licence, origin, citation, ...
        max_rows_per_file: rows of one file.

    Raises:
        InputError: a value has the wrong shape or is not finite (row and column are named), an id
            occurs twice, a split is not train, validation or test, `folder` cannot be written, or
            another process is writing it.
        RunError: the disk is full; the old files are untouched.
    """
    with only_run(folder), _scratch(folder) as scratch:
        parts = [
            write_part(table, columns, scratch / str(number))
            for number, table in enumerate(_tables(columns, rows, info, max_rows_per_file))
        ]
        names = [f"part-{i:05d}-of-{len(parts):05d}.parquet" for i in range(len(parts))]
        target = Path(folder) / "data"
        with replacing(target, stale=("*.parquet",)) as new:
            for part, name in zip(parts, names, strict=True):
                shutil.move(part, new / name)
        return [target / name for name in names]


@contextmanager
def _scratch(folder: str | Path) -> Iterator[Path]:
    """A folder inside `folder` for parts whose number is not yet known."""
    with disk_errors(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(
            dir=folder, prefix=".sfm-parts-", ignore_cleanup_errors=True
        )
    with scratch as place:
        yield Path(place)


def write_part(table: Any, columns: Sequence[Column], path: Path) -> Path:
    """One Parquet file of an Arrow table with these columns, compressed as well as we can.

    Raises:
        InputError: the place cannot be written.
        RunError: the disk is full.
    """
    import pyarrow.parquet as pq

    with disk_errors(path.parent.parent):
        pq.write_table(
            table,
            path,
            compression="zstd",
            compression_level=19,
            # floats hardly repeat, but their exponents do: half the size of a dictionary
            use_dictionary=[c.name for c in columns if c.dtype == "string"],
            use_byte_stream_split=[
                c.name + (".list.element" if c.shape else "")
                for c in columns
                if c.dtype in ("float32", "float64")
            ],
        )
    return path


def _tables(
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, Any]],
    info: Mapping[str, Any],
    max_rows_per_file: int,
) -> Iterator[Any]:
    """The rows, checked, as one table per file."""
    import pyarrow as pa

    schema = _schema(columns, info)
    seen: set[str] = set()
    chunk: list[list[Any]] = []

    def closed() -> Any:
        arrays = [pa.array([r[i] for r in chunk], type=f.type) for i, f in enumerate(schema)]
        chunk.clear()
        return pa.Table.from_arrays(arrays, schema=schema)

    for number, row in enumerate(rows):
        unknown = set(row) - {c.name for c in columns}
        if unknown:
            raise InputError(f"row {number}: no column is called {sorted(unknown)}")
        if row["id"] in seen:
            raise InputError(f"row {number}: the id '{row['id']}' occurs twice")
        if row["split"] not in SPLITS:
            raise InputError(f"row {number}: split '{row['split']}' is not one of {SPLITS}")
        seen.add(row["id"])
        chunk.append([_flatten(c, row.get(c.name), number) for c in columns])
        if len(chunk) == max_rows_per_file:
            yield closed()
    if chunk or not seen:
        yield closed()


def cache_dir() -> Path:
    """Folder of everything that can be made again: `SFM_CACHE`, else `~/.cache/sfm`."""
    return Path(os.environ.get("SFM_CACHE") or Path.home() / ".cache" / "sfm")


def stamp(paths: Sequence[Path]) -> str:
    """What changes when one of the files does: their places, sizes and times."""
    return "|".join(f"{p.resolve()}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in paths)


def _memory_map(paths: Sequence[Path]) -> Any:
    """The rows of `paths` as one table backed by a memory-mapped Arrow file."""
    import pyarrow as pa

    name = hashlib.sha256(f"{FORMAT}|{stamp(paths)}".encode()).hexdigest()[:24] + ".arrow"
    target = cache_dir() / "arrow" / name
    if not target.is_file():
        tables = (_read_table(path) for path in paths)
        try:
            with atomic(target) as scratch, pa.OSFile(str(scratch), "wb") as sink:
                table = next(tables)
                with pa.ipc.new_file(sink, table.schema) as writer:
                    writer.write_table(table, max_chunksize=1024)
                    for table in tables:
                        writer.write_table(table, max_chunksize=1024)
        except InputError:
            raise
        except SfmError as error:
            text = f"no cache of '{paths[0].parents[1].name}', so it is held in memory: {error}"
            warnings.warn(f"{text} (SFM_CACHE names another place)", SfmWarning, stacklevel=2)
            return pa.concat_tables(_read_table(path) for path in paths)
    with pa.memory_map(str(target)) as source:
        return pa.ipc.open_file(source).read_all()


def _read_table(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"{path}: damaged or truncated Parquet file ({first}); build or fetch it again"
        ) from None


def explained(schema: Any, path: Path) -> tuple[dict[str, Any], tuple[Column, ...]]:
    """What an Arrow schema says of the dataset (name, domain, ...) and of its columns.

    Raises:
        InputError: `path`, which it is from, was not written by sfm or is damaged.
    """
    head = (schema.metadata or {}).get(KEY)
    if head is None:
        raise InputError(f"{path}: not written by sfm; convert it with `sfm dataset convert`")
    try:
        info: dict[str, Any] = json.loads(head)
        info["domain"] = str(info["domain"])
        return info, tuple(Column(**json.loads(f.metadata[KEY])) for f in schema if f.metadata)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: what it says of its columns is damaged "
            f"({type(error).__name__}: {str(error)[:200]}); build or fetch it again"
        ) from None


class Dataset:
    """Samples of a dataset's folder, memory-mapped. A row with labels at two levels is two samples.

    Args:
        folder: holds `data/*.parquet`.
        split: `train`, `validation`, `test`, or None for all.
        level: only this level of theory, or None for all of them.
        length_unit: unit of positions and cell in the samples, or a function of the domain that
            says it.
        quantity_units: canonical units by quantity; the files' own where a name is absent.

    Raises:
        InputError: no data, a damaged file, no such split or level, or a unit of wrong dimension.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        split: str | None = None,
        level: str | None = None,
        length_unit: str | Callable[[str], str] = "angstrom",
        quantity_units: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        settle(self.folder / "data")
        paths = sorted((self.folder / "data").glob("*.parquet"))
        if not paths:
            raise InputError(
                f"{self.folder}: no data/*.parquet here; build it with "
                f"`sfm dataset build {self.folder.name}`"
            )
        self.paths = tuple(paths)
        self._table = _memory_map(paths)
        self.info, self.columns = explained(self._table.schema, paths[0])
        self.name: str = str(self.info.get("name", self.folder.name))
        self.domain: str = str(self.info["domain"])
        self.split, self.level = split, level
        units = dict(quantity_units or {})
        length = length_unit if isinstance(length_unit, str) else length_unit(self.domain)
        units.update(positions=length, cell=length)
        self._scale = {c.name: factor(c.unit, units.get(c.quantity, c.unit)) for c in self.columns}
        self.levels = tuple(dict.fromkeys(c.level for c in self.columns if c.level))
        if split is not None and split not in SPLITS:
            raise InputError(f"split '{split}' is not one of {', '.join(SPLITS)}")
        if level is not None and level not in self.levels:
            raise InputError(
                f"dataset '{self.name}' has no level '{level}'; it has: {', '.join(self.levels)}"
            )

    @cached_property
    def _index(self) -> np.ndarray:
        """(samples, 2): row and level number, rows in file order."""
        keep = np.ones(self._table.num_rows, dtype=bool)
        if self.split is not None:
            splits = self._table.column("split").to_numpy(zero_copy_only=False)
            keep = splits == self.split
        pairs = []
        for number, level in enumerate(self.levels):
            if self.level in (None, level):
                rows = np.flatnonzero(keep & self.holding(self.of_level(level)))
                pairs.append(np.stack([rows, np.full(len(rows), number)], axis=1))
        if not pairs:
            return np.zeros((0, 2), dtype=np.int64)
        index = np.concatenate(pairs)
        return index[np.lexsort((index[:, 1], index[:, 0]))]

    def of_level(self, level: str) -> list[Column]:
        """The columns of labels at a level of theory."""
        return [column for column in self.columns if column.level == level]

    def holding(self, columns: Iterable[Column]) -> Bool[np.ndarray, " rows"]:
        """(rows,) whether a row of the files holds a value in at least one of the columns."""
        has = np.zeros(self._table.num_rows, dtype=bool)
        for column in columns:
            has |= self._table.column(column.name).is_valid().to_numpy(zero_copy_only=False)
        return has

    def __len__(self) -> int:
        return len(self._index)

    @property
    def rows(self) -> Int[np.ndarray, " samples"]:
        """(samples,) int64, the row of each sample: those of one row differ in level alone."""
        numbers: np.ndarray = self._index[:, 0]
        return numbers

    def _value(self, column: Column, row: int) -> Any:
        scalar = self._table.column(column.name)[row]
        if not scalar.is_valid:
            return None
        if column.dtype == "string":
            return scalar.as_py()
        scale = self._scale[column.name]
        if column.shape == ():
            return scalar.as_py() * scale if scale != 1.0 else scalar.as_py()
        array = scalar.values.to_numpy(zero_copy_only=False).reshape(column.shape)
        return array * scale if scale != 1.0 else array

    def __getitem__(self, item: int) -> Sample:
        row, number = (int(i) for i in self._index[item])
        level = self.levels[number]
        parts: dict[str, Any] = {"fields": {}, "conditions": {}, "labels": {}}
        for column in self.columns:
            if column.level not in (None, level):
                continue
            value = self._value(column, row)
            if value is None:
                continue
            if column.role == "label":
                parts["labels"][column.quantity] = np.asarray(value)
            elif column.role == "field":
                parts["fields"][column.quantity] = value
            elif column.role == "condition":
                parts["conditions"][column.quantity] = float(value)
            elif column.role in ("id", "group", "input"):
                parts[column.quantity] = value
        if "cell" in parts and "pbc" not in parts:
            parts["pbc"] = (True, True, True)
        name = parts.pop("id")
        if len(self.levels) > 1 or self.info.get(LEFT_OUT):
            name = f"{name}@{level}"
        return Sample(id=name, domain=self.domain, dataset=self.name, level=level, **parts)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def sizes(self) -> Int[np.ndarray, " n"]:
        """(n,) number of positions of each sample (zeros for pure fields), without reading them."""
        import pyarrow.compute as pc

        if "types[1]" not in self._table.column_names:
            return np.zeros(len(self), dtype=np.int64)
        lengths = pc.list_value_length(self._table.column("types[1]")).to_numpy()
        sizes: np.ndarray = lengths[self._index[:, 0]].astype(np.int64)
        return sizes


def open_dataset(folder: str | Path, **options: Any) -> Dataset:
    """`Dataset(folder, ...)` with the installed plugins' canonical units.

    Options are those of `Dataset`: `split`, `level`, `length_unit`; the latter is that of the
    dataset's domain if not given.
    """
    from sfm.registry import length_unit, quantities

    units = {name: q.unit for name, q in quantities().items()}
    return Dataset(folder, quantity_units=units, **{"length_unit": length_unit, **options})
