"""Building `dft-small`: which molecules, labelling one of them, and rows of the table.

Cheap molecules come first, shuffled by a hash, so that a run that is cut short is still diverse.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sfm.data.atomic import write_text
from sfm.data.sources import fetch, read_member
from sfm.data.splits import assign
from sfm.data.storage import GROUP, ID, SPLIT, TYPES, Column, positions_column
from sfm.units import factor
from sfm_dft.basis import density_basis
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.data.geometry import count_electrons, displace, embed, relax, small_molecules
from sfm_dft.data.label_folder import keep, stable_hash, work_file
from sfm_dft.data.labelling import label
from sfm_dft.data.specs import LDA, PBE

ARCHIVE = ("robocrys", "0.2.13", "962044ac35afb659")
MEMBER = "robocrys/condense/molecule_db.json.gz"
LEVELS = {"PBE": PBE, "LDA": LDA}
GEOMETRIES = ("minimum", "displaced")
ENERGIES = {
    "energy": "total",
    "kinetic_energy": "kinetic",
    "external_energy": "external",
    "hartree_energy": "hartree",
    "xc_energy": "xc",
    "homo": "homo",
    "lumo": "lumo",
}


def schedule(smiles: Iterable[str], seed: int) -> list[str]:
    """Cheap molecules first: sorted by electrons times a hash-based factor from 0.5 to 1.5."""

    def cost(text: str) -> float:
        return count_electrons(text) * (0.5 + stable_hash(f"{seed}/{text}") / 2**64)

    return sorted(smiles, key=lambda text: (cost(text), text))


def candidates(seed: int) -> list[str]:
    """SMILES of all molecules that may be labelled, in order of labelling."""
    return schedule(small_molecules(read_member(fetch(*ARCHIVE), MEMBER)), seed)


def minimum(smiles: str, seed: int) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]] | str:
    """Atomic numbers (n,) and relaxed positions (n, 3), angstrom; or the reason why not."""
    start = embed(smiles, stable_hash(f"{seed}/{smiles}/embed"))
    if start is None:
        return "no embedding"
    numbers, positions = start
    relaxed = relax(numbers, positions)
    return "no minimum" if relaxed is None else (numbers, relaxed)


def label_one(smiles: str, seed: int, folder: Path) -> None:
    """Label a molecule's minimum and one displaced geometry; keep the result in `folder`."""
    keep(folder, smiles, _labels(smiles, seed))


def _labels(smiles: str, seed: int) -> dict[str, Any] | str:
    start = minimum(smiles, seed)
    if isinstance(start, str):
        return start
    numbers, relaxed = start
    moved = displace(relaxed, stable_hash(f"{seed}/{smiles}/move"))
    entry: dict[str, Any] = {"numbers": numbers}
    for tag, geometry in zip(GEOMETRIES, (relaxed, moved), strict=True):
        levels = label(numbers, geometry)
        if levels is None:
            return "SCF not converged"
        entry[f"{tag}/positions"] = geometry
        for level, values in levels.items():
            entry |= {f"{tag}/{level}/{name}": value for name, value in vars(values).items()}
    return entry


def columns() -> list[Column]:
    """Columns of `dft-small`; coefficients at PBE only, to keep the file small."""
    listed = [ID, SPLIT, GROUP, positions_column(), TYPES, Column("charge", "e", "condition")]
    for level in LEVELS.values():
        listed += [Column(name, "eV", "label", level, (), "float64") for name in ENERGIES]
        listed.append(Column("xc_correction", "eV", "label", level, (), "float64"))
        listed.append(Column("dipole", "e*angstrom", "label", level, (3,)))
        listed.append(Column("density_projections", "1", "label", level, (-1, density_basis.DIM)))
    listed.append(Column("density_coefficients", "1", "label", PBE, (-1, density_basis.DIM)))
    return listed


def rows(done: Sequence[str], folder: Path) -> Iterator[dict[str, Any]]:
    """One row per geometry of the labelled molecules `done`, in their order."""
    for smiles in done:
        with np.load(work_file(folder, smiles)) as entry:
            for tag in GEOMETRIES:
                yield _row(smiles, tag, entry)


def _row(smiles: str, tag: str, entry: Any) -> dict[str, Any]:
    ev = factor("hartree", "eV")
    numbers, positions = entry["numbers"], entry[f"{tag}/positions"]
    molecule = build_molecule(numbers, positions)
    row: dict[str, Any] = {
        "id": f"{smiles}/{tag}",
        "split": assign(smiles),
        "group": smiles,
        "positions[angstrom]": positions,
        "types[1]": numbers,
        "charge[e]": 0.0,
    }
    for short, level in LEVELS.items():
        at = f"{tag}/{short}"
        density_matrix = entry[f"{at}/density_matrix"]
        for quantity, name in ENERGIES.items():
            row[f"{quantity}[eV]@{level}"] = ev * float(entry[f"{at}/{name}"])
        correction = float(entry[f"{at}/xc_pbe"]) - float(entry[f"{at}/xc_lda"])
        row[f"xc_correction[eV]@{level}"] = ev * correction
        dipole = entry[f"{at}/dipole"] * factor("e*bohr", "e*angstrom")
        row[f"dipole[e*angstrom]@{level}"] = dipole
        row[f"density_projections[1]@{level}"] = density_basis.project(molecule, density_matrix)
        if level == PBE:
            row[f"density_coefficients[1]@{level}"] = density_basis.fit(molecule, density_matrix)
    return row


def write_statistics(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Mean by element and scale of the projections of the training split, for the encoder."""
    train = [row for row in table if row["split"] == "train"]
    name = f"density_projections[1]@{PBE}"
    values = np.concatenate([row[name] for row in train])
    numbers = np.concatenate([row["types[1]"] for row in train])
    scalars = density_basis.COUNTS[0]
    mean = {int(z): values[numbers == z, :scalars].mean(0) for z in np.unique(numbers)}
    rest = values.copy()
    for z, row in mean.items():
        rest[numbers == z, :scalars] -= row
    scale = np.empty(density_basis.DIM)
    start = 0
    for degree, count in enumerate(density_basis.COUNTS):
        for _ in range(count):
            stop = start + 2 * degree + 1
            scale[start:stop] = np.sqrt((rest[:, start:stop] ** 2).mean())
            start = stop
    content = {
        "mean": {str(z): [float(f"{x:.7g}") for x in row] for z, row in mean.items()},
        "scale": [float(f"{x:.5g}") for x in scale],
    }
    write_text(path, json.dumps(content, indent=1) + "\n")
