"""CIF files through pymatgen, with what it passes over refused or read.

Blocks without atoms (`data_global`) are none of our business, an occupancy of 0 is a vacancy,
`1/2` is a number. Sites without coordinates, occupancies above 1, symbols of groups (`OH`, `Wat`,
whose hydrogens nobody placed) and two atoms in one place are refused by name.
"""

from __future__ import annotations

import io
import re
import warnings
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.data.neighbours import neighbour_list
from sfm.data.rows import row
from sfm.data.sample import Sample
from sfm.data.xyz import first_line
from sfm.errors import InputError, InputWarning
from sfm_crystals.data.converters import from_pymatgen

if TYPE_CHECKING:
    from pymatgen.core import Structure

FRACTIONS = tuple(f"_atom_site_fract_{axis}" for axis in "xyz")
OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
MOST_SITES = 100_000  # sites times symmetry operations
GROUPS = re.compile(r"(OH2?|Wat|wat|NO3)(?![a-z])")
OVERLAP = 0.3  # angstrom
UNKNOWN = ("?", ".", "")


def read_cif(path: str | Path) -> list[Sample]:
    """All structures of a CIF file.

    Raises:
        InputError: missing, unreadable, partly occupied, an unknown element, zero volume; see the
            module.
    """
    from pymatgen.io.cif import CifParser

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parser = CifParser(io.StringIO(text), occupancy_tolerance=1.0)
            blocks = dict(parser._cif.data)  # type: ignore[attr-defined]
        except Exception as error:
            raise InputError(f"{path}: not a readable CIF file ({first_line(error)})") from None
    with_atoms = {
        name: block for name, block in blocks.items() if any(k in block.data for k in FRACTIONS)
    }
    if not with_atoms:
        raise InputError(f"{path}: not a readable CIF file: no block has atoms with coordinates")
    samples = []
    for number, (name, block) in enumerate(with_atoms.items(), 1):
        where = f"{path}" if len(with_atoms) == 1 else f"{path}, block {name}"
        with row(where):
            structure = _structure(parser, name, block)
            label = path.name if len(with_atoms) == 1 else f"{path.name}#{number}"
            try:
                sample = from_pymatgen(structure, name=label)
            except InputError as error:
                raise InputError(str(error).removeprefix(f"{label}: ")) from None
            _refuse_overlap(sample, structure)
            samples.append(sample)
    return samples


def _structure(parser: Any, name: str, block: Any) -> Structure:
    """The structure of one block.

    Raises:
        InputError: what is wrong with it.
    """
    _mend(block)
    parser._cif.data = {name: block}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            structures = parser.parse_structures(
                primitive=False, check_occu=False, on_error="raise"
            )
        except Exception as error:
            reason = error.__cause__ or error.__context__ or error
            raise InputError(f"not a readable CIF file ({first_line(reason)})") from None  # type: ignore[arg-type]
    if not structures:
        raise InputError("not a readable CIF file: no atoms")
    structure: Structure = structures[0]
    return structure


def _mend(block: Any) -> None:  # noqa: C901, PLR0912
    """Refuse what pymatgen would pass over; take vacancies out; fractions to numbers."""
    data = block.data
    for key in LENGTHS:
        value = _number(str(data.get(key, "")))
        if value is None or not value > 0:
            raise InputError(f"{key} is {data.get(key, 'missing')}")
    columns = {k: v for k, v in data.items() if k.startswith("_atom_site_")}
    labels = data.get("_atom_site_label")
    if labels is None and "_atom_site_type_symbol" in data:
        labels = data["_atom_site_label"] = list(data["_atom_site_type_symbol"])
    if not isinstance(labels, list) or any(not isinstance(data.get(k), list) for k in FRACTIONS):
        raise InputError("its sites need labels and three coordinates in one loop")
    for key, values in columns.items():
        if isinstance(values, list) and len(values) != len(labels):
            raise InputError(f"{len(labels)} sites, but {len(values)} values of {key}")
    operations = max((len(data[k]) for k in OPERATIONS if isinstance(data.get(k), list)), default=1)
    if len(labels) * operations > MOST_SITES:
        raise InputError(
            f"{len(labels)} sites and {operations} symmetry operations are more than {MOST_SITES}"
        )
    if "_atom_site_type_symbol" not in data:
        _say_guesses([str(label) for label in labels])
    keep = []
    symbols = data.get("_atom_site_type_symbol", labels)
    for index, label in enumerate(labels):
        if GROUPS.match(str(symbols[index])):
            raise InputError(f"site {label} is a group of atoms ({symbols[index]}), not an element")
        occupancy = _occupancy(data, index, label)
        if occupancy == 0:
            continue
        keep.append(index)
        for key in FRACTIONS:
            value = _number(str(data[key][index]))
            if value is None:
                raise InputError(f"site {label} has no coordinates ({data[key][index]})")
            if "/" in str(data[key][index]):
                data[key][index] = repr(value)
    if not keep:
        raise InputError("all its sites are empty")
    if len(keep) < len(labels):
        for key, values in columns.items():
            if isinstance(values, list) and len(values) == len(labels):
                data[key] = [values[i] for i in keep]
        data["_atom_site_label"] = [labels[i] for i in keep]


def _say_guesses(labels: list[str]) -> None:
    """Labels in capitals of which two letters are taken for one element (`HO1` for holmium)."""
    from pymatgen.core import Element

    taken = [x for x in labels if x[1:2].isupper() and Element.is_valid_symbol(x[:2].title())]
    if taken:
        said = ", ".join(f"{x} as {x[:2].title()}" for x in dict.fromkeys(taken))
        warnings.warn(
            f"the file has no _atom_site_type_symbol; labels are read {said}",
            InputWarning,
            stacklevel=4,
        )


def _occupancy(data: Any, index: int, label: str) -> float:
    values = data.get("_atom_site_occupancy")
    if not isinstance(values, list) or str(values[index]) in UNKNOWN:
        return 1.0
    value = _number(str(values[index]))
    if value is None or not 0 <= value <= 1 + 1e-6:
        raise InputError(f"site {label} has occupancy {values[index]}, which is not within 0 to 1")
    return value


def _number(text: str) -> float | None:
    """`0.25`, `0.2500(3)`, `1/4`; None if it is none of these."""
    bare = re.sub(r"\(\d*\)$", "", text.strip())
    try:
        value = float(Fraction(bare)) if "/" in bare else float(bare)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return value if np.isfinite(value) else None


def _refuse_overlap(sample: Sample, structure: Structure) -> None:
    edges, _ = neighbour_list(sample.positions, OVERLAP, sample.cell, sample.pbc)
    if not edges.size:
        return
    i, j = (int(k) for k in edges[:, 0])
    distance = structure.get_distance(i, j) if i != j else 0.0
    names = [structure[k].label or str(structure[k].species) for k in (i, j)]
    raise InputError(
        f"sites {names[0]} and {names[1]} are {distance:.3f} angstrom apart: a disordered "
        "structure needs occupancies, and an ordered cell made of it"
    )
