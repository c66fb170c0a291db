"""The unit cell of phonopy's files: `phonopy.yaml`, `phonopy_disp.yaml`, `phonopy_params.yaml`.

Only the lines of the unit cell are parsed: force constants and displacements can be many megabytes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.conditions import ANGSTROM, BOHR, BOHR_RADIUS
from sfm.data.elements import NUMBERS
from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning, RecipeError
from sfm.formats.yaml12 import read

UNUSED = {
    "force_constants": "force constants",
    "displacements": "displacements",
    "dataset": "displacements",
    "born_effective_charge": "Born charges",
    "dielectric_constant": "dielectric constant",
    "supercell_matrix": "supercell",
}
MASS_ERROR = 0.02  # amu: tables of elements differ by less, isotopes by more


def read_phonopy(path: str | Path) -> list[Sample]:
    """The unit cell of a file that phonopy, or `crystals/phonons` with `--output FILE.yaml`, wrote.

    What else it holds, supercell, displacements, force constants, is named in a warning: the
    settings `repeat` and `mesh` of a run state the first, and its potential makes the rest.

    Raises:
        InputError: missing, or not phonopy's; an unknown element, mass or unit, zero volume.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    text = path.read_text(encoding="utf-8", errors="replace")
    parts = re.split(r"^(?=\w+:)", text, flags=re.M)
    sections = {part.partition(":")[0]: part for part in parts}
    if "unit_cell" not in sections:
        raise InputError(f"{path}: of yaml files only phonopy's, with a `unit_cell`, are read")
    try:
        body = read(sections["unit_cell"] + sections.get("physical_unit", ""), path.name)
        sample = _sample(body, path.name)
    except (RecipeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a readable unit cell of phonopy ({error})") from None
    stated = list(dict.fromkeys(words for key, words in UNUSED.items() if key in sections))
    if stated:
        line = f"{path.name}: only its unit cell is used, not its {', '.join(stated)}"
        warnings.warn(line, InputWarning, stacklevel=3)
    return [sample]


def _sample(body: Mapping[str, Any], name: str) -> Sample:
    cell = body["unit_cell"]
    points = cell["points"]
    symbols = [str(point["symbol"]) for point in points]
    if unknown := [symbol for symbol in symbols if not NUMBERS.get(symbol)]:
        raise ValueError(f"unknown element '{unknown[0]}'")
    types = np.array([NUMBERS[symbol] for symbol in symbols], dtype=np.int64)
    unit = str((body.get("physical_unit") or {}).get("length", "angstrom")).lower()
    if unit not in (*ANGSTROM, *BOHR):
        raise ValueError(f"unknown unit of length '{unit}'")
    box = np.array(cell["lattice"], dtype=np.float64)
    box = box * (BOHR_RADIUS if unit in BOHR else 1.0)
    fractional = np.array([point["coordinates"] for point in points], dtype=np.float64)
    return Sample(
        id=name,
        domain="crystals",
        positions=fractional @ box,
        types=types,
        cell=box,
        pbc=np.ones(3, dtype=bool),
        masses=_masses(points, types),
    )


def _masses(points: list[Any], types: np.ndarray) -> np.ndarray | None:
    """(n,) amu where they are not the elements'; None where they are, or none is stated."""
    from ase.data import atomic_masses

    if not all("mass" in point for point in points):
        return None
    stated = np.array([point["mass"] for point in points], dtype=np.float64)
    return stated if np.abs(stated - atomic_masses[types]).max() > MASS_ERROR else None
