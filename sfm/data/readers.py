"""From a user's file or object to samples, through the readers that plugins supply.

A plugin's `readers` maps file suffixes (`".cif"`, `".smi,.csv"`), the first letters of file names
(`"poscar"`), classes (`"object:ase.atoms.Atoms"`) or strings that are no file (`"text:smiles"`) to
callables that return `list[Sample]`. Where two plugins claim a
suffix, each is asked in turn; a reader says `WrongDomain` of a file that is another domain's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sfm.data import ase_db, extxyz, hdf5
from sfm.data.rows import RowError, Skipped, collecting, rows_left_out
from sfm.data.sample import Sample
from sfm.errors import InputError, WrongDomain, did_you_mean
from sfm.registry import Part, parts

OBJECT = "object:"
TEXT = "text:"


def suffixes(domain: str | None = None) -> dict[str, list[Part]]:
    """Readers of files, by lower-case suffix."""
    table: dict[str, list[Part]] = {}
    for part in parts("readers", domain=domain):
        if not part.name.startswith((OBJECT, TEXT)):
            for suffix in part.name.split(","):
                table.setdefault(suffix.strip().lower(), []).append(part)
    return table


def read_file(path: str | Path, *, domain: str | None = None) -> list[Sample]:
    """All systems in the file.

    Args:
        path: a file of a format that an installed plugin reads.
        domain: the systems are of this domain. Its own readers are asked; where it has none for
            the format, the other domains' (a molecule's file as input of `dft`).

    Raises:
        InputError: no such file, an unknown suffix, or bad content (file, row and column named).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if (ours := read_ours(path)) is not None:
        samples = [sample for sample, _ in ours]
        return samples if domain is None else [s.replace(domain=domain) for s in samples]
    table = suffixes(domain)
    readers = _for(path, table)
    if not readers and domain is not None:
        table = suffixes()
        if readers := _for(path, table):
            return [s.replace(domain=domain) for s in _ask(readers, path, str(path))]
    if not readers:
        raise InputError(
            f"{path}: no installed plugin reads '{path.suffix}' files "
            f"(known: {', '.join(sorted(table)) or 'none'}).{did_you_mean(path.suffix, table)}"
        )
    return _ask(readers, path, str(path))


def read_ours(path: Path) -> Iterator[tuple[Sample, str | None]] | None:
    """Samples and splits of a file that sfm wrote, one after another; None if others wrote it.

    Raises:
        InputError: damaged; file and row are named.
    """
    suffix = path.suffix.lower()
    if suffix in (".xyz", ".extxyz") and extxyz.version(path) not in (None, "1"):
        return extxyz.read_extxyz(path)
    if suffix in ase_db.SUFFIXES and ase_db.is_ours(path):
        return ase_db.read_db(path, lambda atoms: read_object(atoms)[0])
    if suffix in hdf5.SUFFIXES and hdf5.is_ours(path):
        return hdf5.read_hdf5(path)
    return None


def _for(path: Path, table: dict[str, list[Part]]) -> list[Part]:
    if path.suffix.lower() in table:
        return table[path.suffix.lower()]
    # run3.OUTCAR, POSCAR_300K, CONTCAR-relaxed
    words = re.split(r"[^a-z]+", path.name.lower())
    named = (name for name in table if not name.startswith("."))
    return next((table[name] for name in named if name in words), [])


def is_file(name: str | Path) -> bool:
    """Whether a file of that name is there; False for text that cannot be a name."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def read_object(value: Any, *, domain: str | None = None) -> list[Sample]:
    """Samples of an object that a plugin knows: ase.Atoms, rdkit Mol, pymatgen Structure, arrays.

    A string is the name of a file, or text that a plugin reads: `CCO`, a SMILES.

    Raises:
        InputError: no installed plugin knows its class.
    """
    if isinstance(value, Sample):
        return [value]
    if isinstance(value, str) and not is_file(value) and not _for(Path(value), suffixes()):
        read = _read_text(value)
        return read if domain is None else [s.replace(domain=domain) for s in read]
    if isinstance(value, (str, Path)):
        return read_file(value, domain=domain)
    if isinstance(value, (list, tuple)):
        return [sample for item in value for sample in read_object(item, domain=domain)]
    names = {f"{c.__module__}.{c.__qualname__}" for c in type(value).__mro__}
    known = list(_object_readers(domain))
    readers = [part for name, part in known if name in names]
    if not readers:
        raise InputError(
            f"{type(value).__module__}.{type(value).__qualname__}: no installed plugin reads it "
            f"(known: {', '.join(sorted({name for name, _ in known})) or 'none'})"
        )
    return _ask(readers, value, type(value).__name__)


def _read_text(text: str) -> list[Sample]:
    refusals = []
    for part in parts("readers"):
        if not part.name.startswith(TEXT):
            continue
        try:
            read = part.load()(text)
        except WrongDomain as refusal:
            refusals.append(str(refusal))
            continue
        return [read] if isinstance(read, Sample) else list(read)
    raise InputError("; ".join([f"{text[:200]}: no such file", *refusals]))


def _object_readers(domain: str | None) -> Iterator[tuple[str, Part]]:
    for part in parts("readers", domain=domain):
        if part.name.startswith(OBJECT):
            yield part.name.removeprefix(OBJECT), part


def _ask(readers: list[Part], value: Any, name: str) -> list[Sample]:
    refusals = []
    skipped = rows_left_out()
    before = list(skipped.rows) if skipped else []
    for part in readers:
        try:
            samples = part.load()(value)
        except WrongDomain as refusal:
            refusals.append(str(refusal))
            if skipped:
                skipped.rows[:] = before
            continue
        samples = [samples] if isinstance(samples, Sample) else list(samples)
        if not samples and skipped and len(skipped.rows) > len(before):
            raise InputError(f"{name}: no row of it can be used; {skipped.rows[len(before)]}")
        if not samples:
            raise InputError(f"{name}: holds no system")
        return samples
    if skipped and (samples := _of_one_domain(readers, value, skipped)):
        return samples
    raise RowError("; ".join(refusals))


def _of_one_domain(readers: list[Part], value: Any, skipped: Skipped) -> list[Sample]:
    """What the reader of most rows makes of a file of several domains; the rest is left out."""
    best: tuple[list[Sample], Skipped] = ([], Skipped())
    for part in readers:
        rest = Skipped(others=True)
        try:
            with collecting(rest):
                samples = list(part.load()(value))
        except InputError:
            continue
        if len(samples) > len(best[0]):
            best = (samples, rest)
    for line in best[1].rows:
        skipped.add(RowError(line))
    return best[0]
