"""SMILES, in `.smi` and `.csv` files and as text, to samples of the molecules domain."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sfm.data.rows import row
from sfm.data.sample import Sample
from sfm.errors import InputError, WrongDomain, did_you_mean
from sfm_molecules.data.cells import label_of, with_cells
from sfm_molecules.data.converters import from_rdkit
from sfm_molecules.data.readers import text_of
from sfm_molecules.geometry.embedding import embed, parse_smiles


def read_smiles(path: str | Path) -> list[Sample]:
    """Molecules of a `.smi` file (SMILES, then a name) or of a `.csv` with a column `smiles`.

    A `.csv` may be divided by commas, semicolons or tabs. Geometries are made with ETKDG and
    MMFF94; the same SMILES gives the same one. What the other columns become is in
    `sfm_molecules.data.cells`.

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
    _check_headers(path, names)
    title = header.get("id", header.get("name", ""))
    others = [n for n in names if n not in (header["smiles"], title)]
    try:
        for cells in reader:
            yield (
                reader.line_num,
                {
                    "column": header["smiles"],
                    "smiles": cells[header["smiles"]],
                    "name": (cells.get(title) or "") if title else "",
                    "cells": {c.strip(): cells[c] for c in others},
                },
            )
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _delimiter(text: str) -> str:
    """Comma, semicolon or tab: the one that divides the header line most often."""
    header = text.splitlines()[0] if text.strip() else ""
    return max((",", ";", "\t"), key=header.count)


def _check_headers(path: Path, names: list[str]) -> None:
    for column in names:
        try:
            label_of(column)
        except InputError as error:
            raise InputError(f"{path}, column '{column}': {error}") from None


def _sample(entry: Mapping[str, Any]) -> Sample:
    smiles = (entry["smiles"] or "").strip()
    if not smiles:
        raise InputError(f"column '{entry.get('column', 'smiles')}': empty")
    sample = from_rdkit(embed(smiles), name=entry["name"] or smiles)
    return with_cells(sample, entry.get("cells", {}))
