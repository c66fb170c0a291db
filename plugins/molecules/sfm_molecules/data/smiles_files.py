"""SMILES, in `.smi` and `.csv` files and as text, to samples of the molecules domain."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.conditions import meaning, read_conditions
from sfm.data.rows import row
from sfm.data.sample import Sample
from sfm.errors import InputError, WrongDomain, did_you_mean
from sfm_molecules.data.converters import UNKNOWN_LEVEL, from_rdkit
from sfm_molecules.data.readers import text_of
from sfm_molecules.geometry.embedding import embed, parse_smiles


def read_smiles(path: str | Path) -> list[Sample]:
    """Molecules of a `.smi` file (SMILES, then a name) or of a `.csv` with a column `smiles`.

    A `.csv` may be divided by commas, semicolons or tabs. Geometries are made with ETKDG and
    MMFF94; the same SMILES gives the same one. Columns that are called `quantity[unit]` become
    labels, in the quantity's canonical unit; other numbers are the sample's extras.

    Raises:
        InputError: names file, line and column.
    """
    path = Path(path)
    text = text_of(path)
    samples = []
    for line, entry in _csv(path, text) if path.suffix.lower() == ".csv" else _smi(text):
        with row(f"{path}, line {line}"):
            samples.append(_sample(entry))
    return samples


def from_smiles(text: str) -> Sample:
    """The molecule of a SMILES string.

    Raises:
        WrongDomain: it is none.
        InputError: no geometry can be made for it.
    """
    try:
        parse_smiles(text)
    except InputError as error:
        raise WrongDomain(str(error)) from None
    return from_rdkit(embed(text), name=text)


def _smi(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(maxsplit=1)
        if not words or words[0].startswith("#") or (number == 1 and words[0].lower() == "smiles"):
            continue
        smiles, name = words[0], words[1].strip() if len(words) > 1 else ""
        if name.startswith("|") and name.find("|", 1) > 0:  # a CXSMILES extension
            end = name.find("|", 1) + 1
            smiles, name = f"{smiles} {name[:end]}", name[end:].strip()
        yield number, {"smiles": smiles, "name": name}


def _csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), delimiter=_delimiter(text))
    names = [name for name in reader.fieldnames or () if name and name.strip()]
    header = {name.strip().lower(): name for name in names}
    if "smiles" not in header:
        raise WrongDomain(
            f"{path}: no column 'smiles' (columns: {', '.join(names) or 'none'})."
            f"{did_you_mean('smiles', header)}"
        )
    labels = _label_columns(path, names)
    others = [n for n in names if n not in labels and n != header["smiles"]]
    title = header.get("id", header.get("name", ""))
    try:
        for cells in reader:
            yield (
                reader.line_num,
                {
                    "column": header["smiles"],
                    "smiles": cells[header["smiles"]],
                    "name": (cells.get(title) or "") if title else "",
                    "labels": {c: (cells[c], *what) for c, what in labels.items()},
                    "others": {c.strip(): cells[c] for c in others if c != title},
                },
            )
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _delimiter(text: str) -> str:
    """Comma, semicolon or tab: the one that divides the header line most often."""
    header = text.splitlines()[0] if text.strip() else ""
    return max((",", ";", "\t"), key=header.count)


def _label_columns(path: Path, names: list[str]) -> dict[str, tuple[str, float]]:
    """Quantity and conversion factor of each column called `quantity[unit]`."""
    from sfm.registry import quantities
    from sfm.units import factor

    table, labels = quantities(), {}
    for column in names:
        quantity, bracket, unit = column.strip().partition("[")
        if not bracket or not unit.endswith("]"):
            continue
        try:
            labels[column] = (quantity, factor(unit[:-1], table[quantity].unit))
        except InputError as error:
            raise InputError(f"{path}, column '{column}': {error}") from None
    return labels


def _sample(entry: Mapping[str, Any]) -> Sample:
    smiles = (entry["smiles"] or "").strip()
    if not smiles:
        raise InputError(f"column '{entry.get('column', 'smiles')}': empty")
    labels = {
        quantity: np.asarray(_number(column, cell) * factor)
        for column, (cell, quantity, factor) in entry.get("labels", {}).items()
    }
    name = entry["name"] or smiles
    sample = from_rdkit(embed(smiles), name=name)
    extras, stated = {}, {}
    for column, cell in entry.get("others", {}).items():
        if meaning(column) in ("charge", "spin") and (cell or "").strip():
            stated[column] = cell
        elif (value := _maybe(cell)) is not None:
            extras[column] = np.asarray(value)
    conditions = dict(sample.conditions)
    if stated:
        said = read_conditions(stated, sample.types, name)
        charge = conditions.get("charge", 0.0)
        if said.get("charge", charge) != charge:
            raise InputError(
                f"'{smiles}' has charge {charge:+g}, the file's column says {said['charge']:+g}"
            )
        conditions |= said
    level = UNKNOWN_LEVEL if labels else None
    return sample.replace(id=name, labels=labels, level=level, extras=extras, conditions=conditions)


def _number(column: str, cell: str | None) -> float:
    value = _maybe(cell)
    if value is None:
        raise InputError(f"column '{column}': '{cell}' is not a number")
    return value


def _maybe(cell: str | None) -> float | None:
    """The finite number that a cell holds, if it is one."""
    try:
        value = float(cell or "")
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None
