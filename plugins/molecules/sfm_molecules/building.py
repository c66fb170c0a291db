"""Building the datasets of this plugin from their archives, each by one function."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

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
from sfm.errors import InputError
from sfm_molecules.catalogues import canonical, ccd_smiles, robocrys_smiles
from sfm_molecules.embedding import embed, geometry, parse_smiles
from sfm_molecules.labelling import Settings, label_all, select
from sfm_molecules.specs import DFT, GFN2, MOLECULES_XTB, POLARIZABILITY_DFT

ROBOCRYS = ("robocrys", "0.2.13", "962044ac35afb659")
BIOTITE = ("biotite", "1.6.0", "f1179c10d8beeb95")
CHEMML = ("chemml", "1.3", "2897bd32446d63ab")
POLARIZABILITIES = "chemml/published/RI/input_files/properties_10k.csv"

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
POLARIZABILITY_COLUMNS = (
    ID,
    SPLIT,
    GROUP,
    TYPES,
    positions_column(),
    Column("polarizability", "bohr**3", role="label", level=DFT, dtype="float64"),
)


def main(name: str, folder: Path, argv: Sequence[str] | None = None) -> None:
    """The command line of a `build.py`.

    Args:
        name: the dataset.
        folder: where it goes unless `--out` says otherwise.
        argv: arguments; those of the process if None.
    """
    size, build = {
        "molecules-xtb": (10_000, build_xtb),
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


def build_xtb(out: Path, size: int, workers: int, seed: int) -> list[Path]:
    """Conformers of real molecules, labelled with GFN2-xTB; see `sfm_molecules.labelling`."""
    settings = Settings(seed=seed)
    wanted = -(-size * 21 // (20 * settings.conformers))  # 5% more: some conformers fail
    molecules = select(_candidates().items(), wanted, seed)

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
            yield {
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

    return write_dataset(out, XTB_COLUMNS, rows(), MOLECULES_XTB.info())


def build_polarizability(out: Path, size: int, workers: int, seed: int) -> list[Path]:
    """The `size` smallest molecules of the table, with geometries; `workers` is not used."""
    table = sorted(polarizabilities().items(), key=lambda item: (_atoms(item[0]), item[0]))

    def rows() -> Iterator[dict[str, Any]]:
        done = 0
        for smiles, value in table:
            if done == size:
                return
            try:
                types, positions = geometry(embed(smiles, seed=seed))
            except InputError:
                continue
            done += 1
            yield {
                "id": _name(smiles),
                "split": assign(smiles),
                "group": smiles,
                "types[1]": types,
                "positions[angstrom]": positions - positions.mean(0),
                f"polarizability[bohr**3]@{DFT}": value,
            }

    return write_dataset(out, POLARIZABILITY_COLUMNS, rows(), POLARIZABILITY_DFT.info())


def polarizabilities() -> dict[str, float]:
    """Polarizability (bohr^3) by canonical SMILES, all 10,000 molecules of the table."""
    text = read_member(fetch(*CHEMML), POLARIZABILITIES).decode()
    found = {}
    for row in csv.DictReader(io.StringIO(text)):
        smiles = canonical(row["Mol_Smiles"], max_atoms=1000)
        if smiles is not None:
            found[smiles] = float(row["Pol_DFT"])
    return found


def _candidates() -> dict[str, int]:
    """Number of atoms by canonical SMILES, without the held-out molecules."""
    held_out = polarizabilities().keys()
    archive = read_member(fetch(*ROBOCRYS), "robocrys/condense/molecule_db.json.gz")
    smiles = robocrys_smiles(archive)
    archive = read_member(fetch(*BIOTITE), "biotite/structure/info/components.bcif")
    found: dict[str, int] = {}
    for one in (*smiles, *ccd_smiles(archive)):
        key = canonical(one)
        if key is not None and key not in held_out and key not in found:
            found[key] = _atoms(key)
    return found


def _atoms(smiles: str) -> int:
    return int(parse_smiles(smiles).GetNumAtoms())


def _name(smiles: str) -> str:
    return hashlib.sha256(smiles.encode()).hexdigest()[:12]


def _report(what: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        print(f"{done} of {total} {what}", file=sys.stderr, flush=True)

    return report
