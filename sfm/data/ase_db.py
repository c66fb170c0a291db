"""Samples in an ASE database (SQLite or LMDB), as ASE's own tools read it, and back without loss.

What ASE has a place for stands there: positions, cell, masses, momenta, fixed atoms, `energy`,
`forces`, `stress`, `dipole`, `charges` (eV, angstrom, e); charge and spin are the key-value pairs
`total_charge` and `unpaired_electrons`, for ASE keeps `charge` for the sum of initial charges. The
rest lies in the row's `data["sfm"]`, the units of the labels in the metadata of the database.
"""

from __future__ import annotations

import itertools
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.data.ase_atoms import extras, said, stored_labels, write_to
from sfm.data.atomic import atomic
from sfm.data.extxyz import DAMAGED, MARK, refuse_infinite
from sfm.data.file_units import scale_from, unit_of
from sfm.data.rigid import KEYS
from sfm.data.sample import Sample
from sfm.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

VERSION = "1"
PAIRS = {"charge": "total_charge", "spin": "unpaired_electrons"}
GROUPS = ("labels", "fields", "extras")
LMDB = ".aselmdb"
SUFFIXES = (".db", LMDB)
TURN = 1000  # rows in memory: of one transaction of LMDB, of one answer of SQLite


def is_ours(path: Path) -> bool:
    """Whether `write_db` wrote the file.

    Raises:
        InputError: LMDB without its package.
    """
    if path.suffix.lower() == LMDB:
        database = connected(path)
        try:
            return MARK in database.metadata
        except faults():
            return False  # whoever reads such files says what is wrong with it
    with path.open("rb") as file:
        if not file.read(16).startswith(b"SQLite format 3"):
            return False
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            query = "SELECT value FROM information WHERE name='metadata'"
            rows = connection.execute(query).fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, *DAMAGED):
        return False  # whoever reads such files says what is wrong with it
    return bool(rows) and f'"{MARK}": {{' in str(rows[0][0])


def connected(path: Path, *, write: bool = False) -> Any:
    """The database of ASE; by itself LMDB's is read without a lock.

    Raises:
        InputError: a package is missing, or the file is damaged.
    """
    if path.suffix.lower() == LMDB:
        return _lmdb(path, write)
    try:
        from ase.db import connect
    except ModuleNotFoundError:
        raise InputError(
            f"{path}: ASE reads and writes databases; pip install 'sfm-hub[molecules]'"
        ) from None
    return connect(str(path), type="db", use_lock_file=False, serial=True)


def _lmdb(path: Path, write: bool) -> Any:
    try:
        import lmdb
        from ase_db_backends.aselmdb import LMDBDatabase
    except ModuleNotFoundError:
        raise InputError(
            f"{path}: {LMDB} needs ase-db-backends; pip install 'sfm-hub[aselmdb]'"
        ) from None
    try:
        if not write:
            with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as file:
                size = (file.info()["last_pgno"] + 1) * file.stat()["psize"]
            if size > path.stat().st_size:
                raise ValueError("truncated")  # to read beyond its end would kill the process
        return LMDBDatabase(path, use_lock_file=False, readonly=not write)
    except faults() as error:
        raise InputError(f"{path}: damaged or no LMDB database ({error})") from None


def rows_of(database: Any, path: Path) -> Iterator[Any]:
    """The rows one after another; of SQLite, ASE would fetch all of them at once."""
    if path.suffix.lower() == LMDB:
        yield from database.select()
        return
    with database:  # one connection: ASE would leave one of every answer to the garbage collector
        last, count = 0, TURN
        while count == TURN:
            count = 0
            for row in database.select(f"id>{last}", limit=TURN):
                last, count = row.id, count + 1
                yield row


def faults() -> tuple[type[Exception], ...]:
    """What a damaged database may raise."""
    lmdb = sys.modules.get("lmdb")
    return (sqlite3.Error, zlib.error, *DAMAGED, *((lmdb.Error,) if lmdb else ()))


# ------------------------------------------------------------------ writing


def write_db(path: Path, items: Iterable[tuple[Sample, str | None]]) -> int:
    """One row per sample, all or none; returns how many.

    Raises:
        InputError: nothing to write, a sample without atoms, lengths that are not in angstrom, or a
            label that is no number.
    """
    count = 0
    units: dict[str, str] = {}
    with atomic(path) as scratch:
        database = connected(scratch, write=True)
        with database:
            for sample, split in items:
                atoms, pairs, data = _row(sample, split, units)
                database.write(atoms, key_value_pairs=pairs, data=data)
                count += 1
                if path.suffix.lower() == LMDB:
                    _turned_over(database, count)
            if not count:
                raise InputError(f"{path}: nothing to write")
            database.metadata = {MARK: {"version": VERSION, "units": units}}
    return count


def _turned_over(database: Any, count: int) -> None:
    """Little memory, and no search through all rows for each new one."""
    database.ids.clear()
    if count % TURN == 0:
        database.txn.commit()
        database.txn = database.env.begin(write=True)


def _row(
    sample: Sample, split: str | None, units: dict[str, str]
) -> tuple[Atoms, dict[str, Any], dict[str, Any]]:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.constraints import FixBondLengths

    from sfm.registry import length_unit

    unit = length_unit(sample.domain)
    if not len(sample.types) or unit != "angstrom":
        why = f"its lengths are in '{unit}'" if len(sample.types) else "it has no atoms"
        raise InputError(f"{sample.id}: {why}, which an ASE database cannot hold; write .h5")
    atoms = Atoms(sample.types, sample.positions, cell=sample.cell, pbc=sample.pbc)
    write_to(atoms, sample)
    # ASE projects stored forces on rigid bonds, which does not always converge: they go into `data`
    atoms.set_constraint([c for c in atoms.constraints if not isinstance(c, FixBondLengths)])
    results, rest = _results(sample)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    pairs = {
        PAIRS[k]: int(v) if float(v).is_integer() else float(v)
        for k, v in sample.conditions.items()
        if k in PAIRS
    }
    head: dict[str, Any] = {
        **{k: getattr(sample, k) for k in ("id", "domain", "level", "dataset", "group")},
        "split": split,
        "stated": [
            k for k in ("cell", "fixed", "velocities", *KEYS) if getattr(sample, k) is not None
        ],
        "conditions": {k: float(v) for k, v in sample.conditions.items() if k not in PAIRS},
        "labels": rest,
        "results": sorted(results),
        **{k: {n: np.asarray(v) for n, v in getattr(sample, k).items()} for k in GROUPS[1:]},
    }
    if sample.rigid_pairs is not None:
        head |= {key: getattr(sample, key) for key in KEYS}
    for name in (*sample.labels, *sample.fields):
        if (known := unit_of("labels", name, sample.domain)) is not None:
            units[name] = known
    return atoms, pairs, {MARK: head}


def _results(sample: Sample) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Labels that are results of ASE with nothing lost, and the others."""
    from ase.stress import full_3x3_to_voigt_6_stress

    n = len(sample.types)
    shapes = {"energy": (), "forces": (n, 3), "stress": (3, 3), "dipole": (3,), "charges": (n,)}
    results: dict[str, Any] = {}
    rest: dict[str, np.ndarray] = {}
    for name, value in sample.labels.items():
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise InputError(f"{sample.id}: '{name}' holds what is no number")
        if array.dtype != np.float64 or shapes.get(name) != array.shape:
            rest[name] = array
        elif name != "stress":
            results[name] = float(array) if name == "energy" else array
        elif np.array_equal(array, array.T):
            results[name] = full_3x3_to_voigt_6_stress(array)
        else:
            rest[name] = array
    return results, rest


# ------------------------------------------------------------------ reading


def read_db(path: Path, foreign: Callable[[Atoms], Sample]) -> Iterator[tuple[Sample, str | None]]:
    """Samples and splits of a database that `write_db` wrote, one row in memory at a time.

    Args:
        path: the database.
        foreign: makes a sample of a row that was added by others.

    Raises:
        InputError: damaged, of a later version, or a number that is not finite.
    """
    database = connected(path)
    try:
        about = database.metadata[MARK]
        if about["version"] != VERSION:
            raise InputError(f"{path}: not of version {VERSION}, the one that this sfm reads")
        scales = {
            name: scale_from(path, name, unit, unit_of("labels", name, ""))
            for name, unit in about["units"].items()
        }
    except faults() as error:
        raise InputError(f"{path}: damaged or truncated ({error})") from None
    rows = rows_of(database, path)
    for number in itertools.count(1):
        where = f"{path}, row {number}"
        try:
            row = next(rows, None)
            if row is None:
                return
            head = row.data.get(MARK)
            sample = foreign(whole(row)) if head is None else _sample(row, head, scales, where)
            split = None if head is None else head["split"]
        except faults() as error:
            raise InputError(f"{where}: damaged ({type(error).__name__}: {error})") from None
        refuse_infinite(sample, where)
        yield sample, split


def whole(row: Any) -> Atoms:
    """The atoms of a row with everything that it states in `info`: pairs, and numbers of `data`."""
    atoms: Atoms = row.toatoms()
    # `row.charge` is the sum of initial charges, whatever a pair of that name says
    pairs = {key: vars(row)[key] for key in row._keys if key in vars(row)}
    data = {k: v for k, v in dict(row.data).items() if not isinstance(v, dict)}
    atoms.info = {"unique_id": row.unique_id, **data, **pairs}
    return atoms


def _named(arrays: dict[Any, Any]) -> dict[str, Any]:
    """Names are texts, which the JSON of LMDB turns into numbers where they look like some."""
    return {str(name): value for name, value in arrays.items()}


def _sample(row: Any, head: dict[str, Any], scales: dict[str, float], where: str) -> Sample:
    atoms = row.toatoms()
    pairs = row.key_value_pairs
    conditions = {k: float(pairs[v]) for k, v in PAIRS.items() if v in pairs}
    # what others have added to the row since
    atoms.info = {k: v for k, v in pairs.items() if k not in PAIRS.values()}
    more = extras(atoms, head["results"])
    atoms.info = {key: head[key] for key in KEYS if key in head}
    stated = said(atoms, where).changes() | {
        "conditions": conditions | {k: float(v) for k, v in _named(head["conditions"]).items()}
    }
    for name in ("fixed", "velocities"):  # none of them, but stated all the same
        if name in head["stated"] and stated[name] is None:
            stated[name] = np.zeros((len(atoms), 3), bool if name == "fixed" else float)
    groups: dict[str, Any] = {name: _named(head[name]) for name in GROUPS}
    groups["labels"] = {**stored_labels(atoms, head["results"], where), **groups["labels"]}
    groups["extras"] |= more
    for name, scale in scales.items():
        for group in ("labels", "fields"):
            if scale != 1.0 and name in groups[group]:
                groups[group][name] = groups[group][name] * scale
    return Sample(
        **{k: head[k] for k in ("id", "domain", "level", "dataset")},
        group=head.get("group"),
        positions=atoms.positions,
        types=atoms.numbers,
        cell=np.array(atoms.cell.array) if "cell" in head["stated"] else None,
        pbc=atoms.pbc,
        **stated,
        **groups,
    )
