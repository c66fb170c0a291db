"""Building the datasets of this plugin from their archives, each by one function."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from sfm_molecules.data.candidates import (
    CHEMICALS,
    WIDE,
    candidates,
    held_out,
    number_of_atoms,
    polarizabilities,
    wide_candidates,
)
from sfm_molecules.data.catalogues import canonical
from sfm_molecules.data.dimers import DimerSettings, label_dimers, write_failures
from sfm_molecules.data.ions import relatives
from sfm_molecules.data.labelling import Conformer, Settings, label_all, select
from sfm_molecules.data.measured import measured, smiles_by_cas
from sfm_molecules.data.properties import Properties
from sfm_molecules.data.specs import (
    DFT,
    EXPERIMENT,
    GFN2,
    MOLECULES_DIMERS,
    MOLECULES_IONS,
    MOLECULES_MEASURED,
    MOLECULES_XTB,
    MOLECULES_XTB_WIDE,
    POLARIZABILITY_DFT,
)
from sfm_molecules.geometry.conformers import geometry
from sfm_molecules.geometry.embedding import embed, parse_smiles
from sfm_molecules.quantities import ALL

UNITS = {quantity.name: quantity.unit for quantity in ALL}
HEAD = (ID, SPLIT, GROUP, TYPES, positions_column())


def _labels(names: Iterable[str], level: str) -> tuple[Column, ...]:
    """Columns of one number a system each, in the quantities' own units."""
    return tuple(Column(n, UNITS[n], role="label", level=level, dtype="float64") for n in names)


XTB_COLUMNS = (
    *HEAD,
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
RICH_STEPS = {**XTB_STEPS, "quadrupole": 2.0**-13, "valences": 2.0**-15}
# where no label was computed at the positions; force fields' minima are found to 1e-5 ... 1e-3
FORCE_FIELD_STEPS = {"positions": 2.0**-13}
RICH_COLUMNS = (
    *XTB_COLUMNS,
    Column("quadrupole", UNITS["quadrupole"], role="label", level=GFN2, shape=(3, 3)),
    Column("valences", UNITS["valences"], role="label", level=GFN2, shape=(-1,)),
    Column("charge", "e", role="condition"),
    Column("spin", role="condition"),
)
WIDE_COLUMNS = (*RICH_COLUMNS, *_labels(Properties.names(), GFN2))
DIMER_COLUMNS = (*RICH_COLUMNS, *_labels(("interaction_energy", "homo", "lumo"), GFN2))
LARGEST_OF_PAIR, POOL = 10, 4_000  # atoms of a molecule of a pair, and number of such molecules
POLARIZABILITY_COLUMNS = (
    *HEAD,
    Column("polarizability", "bohr**3", role="label", level=DFT, dtype="float64"),
)
MEASURED_COLUMNS = (*HEAD, *_labels(MOLECULES_MEASURED.quantities, EXPERIMENT))


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
        "molecules-dimers": (1_200, build_dimers),
        "molecules-ions": (2_400, build_ions),
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
    molecules = select(candidates().items(), count, seed)

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
    molecules = select(wide_candidates().items(), count, seed)

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
                **_rich(row),
                **{f"{name}[{UNITS[name]}]@{GFN2}": value for name, value in more.items()},
            }

    return write_dataset(
        out, WIDE_COLUMNS, rounded(rows(), WIDE_COLUMNS, RICH_STEPS), MOLECULES_XTB_WIDE.info()
    )


def build_ions(out: Path, size: int, workers: int, seed: int) -> list[Path]:
    """Closed-shell ions and radicals of real molecules; see `sfm_molecules.data.ions`."""
    settings = Settings(seed=seed)
    # one in two molecules has a relative, and some conformers fail
    count = -(-size * 5 // (2 * settings.conformers))
    parents = dict(relatives(select(wide_candidates().items(), count, seed)))

    def rows() -> Iterator[dict[str, Any]]:
        conformers = label_all(
            list(parents),
            settings,
            cache_dir() / "build" / MOLECULES_IONS.name,
            workers=workers,
            report=_report("chunks labelled"),
        )
        for row in itertools.islice(conformers, size):
            parent = parents[row.smiles]
            yield {**_row(row), **_rich(row), "split": assign(parent), "group": parent}

    return write_dataset(
        out, RICH_COLUMNS, rounded(rows(), RICH_COLUMNS, RICH_STEPS), MOLECULES_IONS.info()
    )


def build_dimers(out: Path, size: int, workers: int, seed: int) -> list[Path]:
    """Pairs of small molecules; see `sfm_molecules.data.dimers`. Failures stand beside them."""
    small = {s: n for s, n in wide_candidates().items() if n <= LARGEST_OF_PAIR}
    rows, failures = label_dimers(
        select(small.items(), POOL),
        size,
        DimerSettings(seed=seed),
        cache_dir() / "build" / MOLECULES_DIMERS.name,
        workers=workers,
    )
    named = ({column.name: row[column.quantity] for column in DIMER_COLUMNS} for row in rows)
    paths = write_dataset(
        out, DIMER_COLUMNS, rounded(named, DIMER_COLUMNS, RICH_STEPS), MOLECULES_DIMERS.info()
    )
    write_failures(failures, out / "failures.csv")
    return paths


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


def _rich(row: Conformer) -> dict[str, Any]:
    """What `RICH_COLUMNS` has besides `XTB_COLUMNS`."""
    return {
        f"quadrupole[{UNITS['quadrupole']}]@{GFN2}": row.labels.quadrupole,
        f"valences[1]@{GFN2}": row.labels.valences,
        "charge[e]": row.charge,
        "spin[1]": row.spin,
    }


def build_polarizability(out: Path, size: int, workers: int, seed: int) -> list[Path]:
    """The `size` smallest molecules of the table, with geometries; `workers` is not used."""
    table = sorted(polarizabilities().items(), key=lambda item: (number_of_atoms(item[0]), item[0]))
    column = f"polarizability[bohr**3]@{DFT}"
    rows = _embedded(((smiles, {column: value}) for smiles, value in table), seed)
    first = rounded(itertools.islice(rows, size), POLARIZABILITY_COLUMNS, FORCE_FIELD_STEPS)
    return write_dataset(out, POLARIZABILITY_COLUMNS, first, POLARIZABILITY_DFT.info())


def build_measured(out: Path, size: int, workers: int, seed: int) -> list[Path]:
    """Measured properties of at most `size` chemicals, in order of size; `workers` is not used."""
    read = partial(read_member, fetch(*CHEMICALS))
    names, excluded = smiles_by_cas(read), held_out()
    measured_values: dict[str, dict[str, float]] = {}
    for number, values in sorted(measured(read).items()):
        smiles = canonical(names.get(number, ""), **WIDE)
        # without carbon, registry and SMILES too often mean different things (an acid, its gas)
        if smiles is not None and smiles not in excluded and _has_carbon(smiles):
            measured_values.setdefault(smiles, {}).update(values)
    table = sorted(measured_values.items(), key=lambda item: (number_of_atoms(item[0]), item[0]))
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


def _has_carbon(smiles: str) -> bool:
    return any(atom.GetAtomicNum() == 6 for atom in parse_smiles(smiles).GetAtoms())


def _name(smiles: str) -> str:
    return hashlib.sha256(smiles.encode()).hexdigest()[:12]


def _report(what: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        print(f"{done} of {total} {what}", file=sys.stderr, flush=True)

    return report
