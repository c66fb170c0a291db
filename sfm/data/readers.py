"""From a user's file or object to samples, through the readers that plugins supply.

A plugin's `readers` maps file suffixes (`".cif"`, `".smi,.csv"`) or classes
(`"object:ase.atoms.Atoms"`) to callables that return `list[Sample]`. Where two plugins claim a
suffix, each is asked in turn; a reader says `WrongDomain` of a file that is another domain's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sfm.data import extxyz
from sfm.data.sample import Sample
from sfm.errors import InputError, did_you_mean
from sfm.registry import Part, parts

OBJECT = "object:"


class WrongDomain(InputError):
    """A reader was given something that belongs to another domain."""


def suffixes(domain: str | None = None) -> dict[str, list[Part]]:
    """Readers of files, by lower-case suffix."""
    table: dict[str, list[Part]] = {}
    for part in parts("readers", domain=domain):
        if not part.name.startswith(OBJECT):
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
    if path.suffix.lower() in (".xyz", ".extxyz") and extxyz.version(path) == extxyz.VERSION:
        own = [sample for sample, _ in extxyz.read_extxyz(path)]
        return own if domain is None else [s.replace(domain=domain) for s in own]
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


def _for(path: Path, table: dict[str, list[Part]]) -> list[Part]:
    if path.name.upper().startswith(("POSCAR", "CONTCAR")) and "poscar" in table:
        return table["poscar"]
    return table.get(path.suffix.lower(), [])


def read_object(value: Any, *, domain: str | None = None) -> list[Sample]:
    """Samples of an object that a plugin knows: ase.Atoms, rdkit Mol, pymatgen Structure, arrays.

    Raises:
        InputError: no installed plugin knows its class.
    """
    if isinstance(value, Sample):
        return [value]
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


def _object_readers(domain: str | None) -> Iterator[tuple[str, Part]]:
    for part in parts("readers", domain=domain):
        if part.name.startswith(OBJECT):
            yield part.name.removeprefix(OBJECT), part


def _ask(readers: list[Part], value: Any, name: str) -> list[Sample]:
    refusals = []
    for part in readers:
        try:
            samples = part.load()(value)
        except WrongDomain as refusal:
            refusals.append(str(refusal))
            continue
        samples = [samples] if isinstance(samples, Sample) else list(samples)
        if not samples:
            raise InputError(f"{name}: holds no system")
        return samples
    raise InputError("; ".join(refusals))
