"""Metal-organic frameworks of CoRE MOF 2019: structures and pores, out of the package core-mof.

Y. G. Chung et al., J. Chem. Eng. Data 64, 5985 (2019), doi:10.1021/acs.jced.9b00835, the part "all
solvent removed". Its table does not name its units; its own columns give them away: an area per
volume by one per mass is the column `cm3_g`, and so is the void fraction by the pore volume per
mass. So `cm3_g` is the density in g/cm^3, and that of a structure has to be the same, or structure
and pores do not belong together.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from sfm.data.atomic import atomic
from sfm.data.sources import read_member
from sfm.errors import InputError
from sfm.units import factor
from sfm_crystals.data.materials_project import reduced_formula
from sfm_crystals.data.perturbation import CLOSEST, closest_approach

PACKAGE, VERSION = "core-mof", "2019.1"
SHA256 = "852af4c604148585eca6cfd75832c4b4967a1bded76381d4b914dcd2317f6823"
TABLE = "CoRE_MOF/data/2019-ASR.csv"
STRUCTURES = "CoRE_MOF/data/2019-ASR.tar.xz"
PORES = {
    "largest_cavity_diameter": "LCD",
    "pore_limiting_diameter": "PLD",
    "accessible_surface_area": "ASA_m2_cm3",
    "void_fraction": "AV_VF",
}
DENSITY = "cm3_g"
SMALL = 60  # atoms of the cell
AGREEMENT = 0.01  # of the two densities, relative
REFCODE = re.compile(
    r"([A-Z]{6})(?:\d\d)?_"
)  # of the Cambridge Structural Database, and its family


@dataclass(frozen=True, eq=False)
class Framework:
    """A metal-organic framework.

    Attributes:
        id: name of its file in the archive, `ABAVIJ_clean`: a refcode and what was done to it.
        formula: reduced formula, elements in alphabetical order.
        types: (n,) atomic numbers.
        positions: (n, 3) angstrom. cell: (3, 3) angstrom, rows are lattice vectors.
        pores: by quantity: diameters in angstrom, area in m^2/cm^3, a fraction of the volume.
        group: its family, see `families`.
    """

    id: str
    formula: str
    types: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pores: dict[str, float]
    group: str = ""


def read_frameworks(archive: Path) -> tuple[list[Framework], dict[str, str]]:
    """The frameworks of the archive by name, and why others are left out.

    Left out are files with symmetry or partly occupied sites, structures whose density is not that
    of their row, and those with two atoms closer than `CLOSEST` of the sum of their covalent radii
    (one in eight: disorder).

    Raises:
        InputError: the archive is another one.
    """
    text = read_member(archive, TABLE).decode("utf-8-sig")
    table = {row["filename"]: row for row in csv.DictReader(io.StringIO(text))}
    kept, left_out = [], {}
    for name, content in sorted(_texts(archive, table)):
        try:
            kept.append(_framework(name, content, table[name]))
        except InputError as error:
            left_out[name] = str(error)
    groups = families(kept)
    return [replace(f, group=g) for f, g in zip(kept, groups, strict=True)], left_out


def _texts(archive: Path, names: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    with tarfile.open(fileobj=io.BytesIO(read_member(archive, STRUCTURES))) as files:
        for member in files:
            name = Path(member.name).name.removesuffix(".cif")
            handle = files.extractfile(member) if name in names else None
            if handle is not None:
                yield name, handle.read().decode(errors="replace")


def _framework(name: str, text: str, row: Mapping[str, str]) -> Framework:
    types, positions, cell = read_cell(text)
    ratio = density(types, cell) / float(row[DENSITY])
    if abs(ratio - 1) > AGREEMENT:
        raise InputError(f"its density is {ratio:.3f} times the table's")
    closest = closest_approach(types, positions, cell)
    if closest < CLOSEST:
        raise InputError(f"atoms overlap ({closest:.2f})")
    return Framework(
        id=name,
        formula=reduced_formula(types),
        types=types,
        positions=positions,
        cell=cell,
        pores={quantity: float(row[column]) for quantity, column in PORES.items()},
    )


def density(types: Int[np.ndarray, " n"], cell: Float[np.ndarray, "3 3"]) -> float:
    """Mass of the atoms by the volume of the cell, g/cm^3.

    types: (n,) atomic numbers. cell: (3, 3) angstrom, rows are lattice vectors.
    """
    from ase.data import atomic_masses

    volume = abs(np.linalg.det(cell))
    return float(atomic_masses[types].sum() / volume * factor("amu/angstrom**3", "g/cm**3"))


def skeleton(types: Int[np.ndarray, " n"]) -> str:
    """Reduced formula without hydrogen, every metal an M: equal for isostructural frameworks.

    types: (n,) atomic numbers.

    >>> skeleton(np.array([30, 12, 6, 6, 8, 8, 1]))
    'C1M1O1'
    """
    from ase.data import chemical_symbols

    heavy = [int(z) for z in types if z != 1]
    names = np.array([chemical_symbols[z] if z in NONMETALS else "M" for z in heavy])
    symbols, counts = np.unique(names, return_counts=True)
    divisor = np.gcd.reduce(counts)
    return "".join(f"{s}{n // divisor}" for s, n in zip(symbols, counts, strict=True))


NONMETALS = frozenset(
    (2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 33, 34, 35, 36, 52, 53, 54, 85, 86)
)


def families(frameworks: Sequence[Framework]) -> list[str]:
    """The family of each framework, which one split must hold as a whole.

    Frameworks with the same `skeleton` are of one family, and so are those whose names have the
    same six letters of a refcode (determinations of one compound, at two temperatures, say). A
    family is named by the first of its skeletons.
    """
    skeletons = [skeleton(f.types) for f in frameworks]
    first: dict[str, str] = {}  # a skeleton, and one of its family that comes earlier, or itself

    def head(name: str) -> str:
        while first.setdefault(name, name) != name:
            name = first[name]
        return name

    of_letters: dict[str, str] = {}
    for framework, name in zip(frameworks, skeletons, strict=True):
        match = REFCODE.match(framework.id)
        other = of_letters.setdefault(match[1], name) if match else name
        early, late = sorted((head(name), head(other)))
        first[late] = early
    return [head(name) for name in skeletons]


def write_left_out(reasons: Mapping[str, str], path: Path) -> None:
    """A table `id,reason` of what is left out, replaced in one step."""
    with atomic(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerows([("id", "reason"), *sorted(reasons.items())])


def read_cell(
    text: str,
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"], Float[np.ndarray, "3 3"]]:
    """Atomic numbers (n,), positions (n, 3) and cell (3, 3) in angstrom, of a file of the archive.

    All of them but eight list every atom of the cell. A general file needs `sfm_crystals.data.cif`,
    which takes a second for it.

    Raises:
        InputError: a site is partly occupied, the file has symmetry, or it is damaged.
    """
    from ase.cell import Cell
    from ase.data import atomic_numbers

    tags, names, sites, operations = _fields(text)
    if operations > 1:
        raise InputError(f"{operations} symmetry operations stand in for atoms")
    fractions = [f"_atom_site_fract_{axis}" for axis in "xyz"]
    try:
        columns = dict(zip(names, zip(*sites, strict=True), strict=True))
        occupied = {_number(v) for v in columns.get("_atom_site_occupancy", ("1",))}
        scaled = np.array([[_number(v) for v in columns[name]] for name in fractions]).T
        lengths = [_number(tags[f"_cell_length_{axis}"]) for axis in "abc"]
        angles = [_number(tags[f"_cell_angle_{name}"]) for name in ("alpha", "beta", "gamma")]
        types = np.array([atomic_numbers[v] for v in columns["_atom_site_type_symbol"]])
    except (KeyError, ValueError) as error:
        raise InputError(f"no readable list of atoms ({type(error).__name__}: {error})") from None
    if occupied != {1.0}:
        raise InputError("a site is partly occupied")
    cell = np.array(Cell.fromcellpar([*lengths, *angles]))
    return types, scaled @ cell, cell


def _fields(text: str) -> tuple[Mapping[str, str], list[str], list[list[str]], int]:
    """Single values by name, the names and rows of the sites, and how many operations there are."""
    tags: dict[str, str] = {}
    names: list[str] = []
    sites: list[list[str]] = []
    operations = 0
    within = False  # the loop of the sites
    for line in map(str.strip, text.splitlines()):
        if line == "loop_":
            within = False
        elif line.startswith("_"):
            name, _, value = line.partition(" ")
            tags[name] = value.strip()
            within = name.startswith("_atom_site_")
            if within:
                names.append(name)
        elif within and line and not line.startswith("#"):
            sites.append(line.split())
        elif line.replace(" ", "").strip("'\"").count(",") == 2:
            operations += 1
    return tags, names, sites, operations


def _number(text: str) -> float:
    """A number of a CIF file, without the uncertainty in parentheses."""
    return float(text.partition("(")[0])
