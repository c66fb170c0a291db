"""Building `dft-levels`: order of molecules, labelling one of them, rows of the table.

Values in the units of the quantities; lengths in angstrom.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sfm.data.atomic import write_text
from sfm.data.rounding import to_step
from sfm.data.sources import fetch, read_member
from sfm.data.splits import SPLITS, assign
from sfm.data.storage import GROUP, ID, SPLIT, TYPES, Column, positions_column
from sfm.units import factor
from sfm_dft.basis import density_basis
from sfm_dft.data.building_small import ARCHIVE, MEMBER, minimum
from sfm_dft.data.geometry import displace, small_molecules
from sfm_dft.data.label_folder import keep, stable_hash, work_file
from sfm_dft.data.labelling_levels import label_levels
from sfm_dft.data.specs import B3LYP_ON_PBE, LDA_ON_PBE, PBE, R2SCAN_ON_PBE

ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17)
MAX_ATOMS, MAX_HEAVY = 12, 9
LEVELS = (PBE, LDA_ON_PBE, R2SCAN_ON_PBE, B3LYP_ON_PBE)
DISPLACEMENTS = (0.0, 0.05, 0.10)  # angstrom per coordinate; one of them for each molecule
CLOSEST = 0.65  # in sums of covalent radii; closer, forces are above 50 eV/angstrom
# stored numbers are whole multiples of these, in the columns' units: see `stored`
STEPS = {
    "positions": 2.0**-12,  # before labelling: labels are those of the stored positions
    "energy": 2.0**-16,
    "forces": 2.0**-12,
    "dipole": 2.0**-12,
    "homo": 2.0**-12,
    "lumo": 2.0**-12,
    "density_coefficients": 2.0**-13,
}


def stored(quantity: str, values: Any) -> Float[np.ndarray, "*shape"]:
    """Values of any shape, rounded to the quantity's step: half the bytes.

    The step is far below the labels' error.
    """
    return to_step(values, STEPS[quantity])


def schedule(smiles: Iterable[str], seed: int) -> list[str]:
    """Cheap molecules first, mixed: sorted by an estimate of the cost times exp(0 ... 1).

    A calculation costs about the power 1.5 of the number of orbitals; the hash-based factor
    spreads sizes, so that a build that is cut short is still diverse.
    """
    from rdkit import Chem

    def cost(text: str) -> float:
        molecule = Chem.AddHs(Chem.MolFromSmiles(text))
        orbitals = sum(_orbitals(atom.GetAtomicNum()) for atom in molecule.GetAtoms())
        return float(orbitals**1.5 * np.exp(stable_hash(f"{seed}/{text}") / 2**64))

    return [text for _, text in sorted((cost(text), text) for text in smiles)]


def _orbitals(number: int) -> int:
    """def2-SVP functions of one atom."""
    return 5 if number == 1 else 14 if number < 10 else 18


def candidates(seed: int) -> list[str]:
    """SMILES of all molecules that may be labelled, in order of labelling."""
    from rdkit import Chem

    small = small_molecules(read_member(fetch(*ARCHIVE), MEMBER), MAX_ATOMS, ELEMENTS)
    heavy = [s for s in small if Chem.MolFromSmiles(s).GetNumHeavyAtoms() <= MAX_HEAVY]
    return schedule(heavy, seed)


def geometry(
    smiles: str, seed: int
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]] | str:
    """Atomic numbers (n,) and stored positions (n, 3), angstrom; or the reason why not."""
    start = minimum(smiles, seed)
    if isinstance(start, str):
        return start
    numbers, relaxed = start
    scale = DISPLACEMENTS[stable_hash(f"{seed}/{smiles}/scale") % len(DISPLACEMENTS)]
    moved = displace(relaxed, stable_hash(f"{seed}/{smiles}/move"), scale)
    moved = stored("positions", moved - moved.mean(0))
    return "atoms too close" if closest(numbers, moved) < CLOSEST else (numbers, moved)


def closest(numbers: Int[np.ndarray, " A"], positions: Float[np.ndarray, "A 3"]) -> float:
    """Smallest distance of two atoms (A, 3) over the sum of their covalent radii."""
    from rdkit.Chem import GetPeriodicTable

    radii = np.array([GetPeriodicTable().GetRcovalent(int(z)) for z in numbers])
    ratios = np.linalg.norm(positions[:, None] - positions, axis=-1) / (radii[:, None] + radii)
    return float(ratios[np.triu_indices(len(numbers), 1)].min())


def label_one(smiles: str, seed: int, folder: Path) -> None:
    """Label one molecule and keep the result, or the reason why there is none, in `folder`."""
    keep(folder, smiles, _labels(smiles, seed))


def _labels(smiles: str, seed: int) -> dict[str, Any] | str:
    start = geometry(smiles, seed)
    if isinstance(start, str):
        return start
    numbers, positions = start
    labels = label_levels(numbers, positions)
    if labels is None:
        return "SCF not converged"
    entry: dict[str, Any] = {"numbers": numbers, "positions": positions}
    entry |= {f"energy/{level}": value for level, value in labels.energies.items()}
    for name in ("forces", "dipole", "homo", "lumo", "cycles"):
        entry[name] = getattr(labels, name)
    if labels.coefficients is not None:
        entry["density_coefficients"] = labels.coefficients
    # other descriptions of the density may be wanted later
    lower = np.tril_indices(len(labels.density_matrix))
    entry["density_matrix"] = labels.density_matrix[lower].astype(np.float32)
    return entry


def columns() -> list[Column]:
    """Columns of `dft-levels`."""
    listed = [ID, SPLIT, GROUP, positions_column(), TYPES, Column("charge", "e", "condition")]
    listed += [Column("energy", "eV", "label", level, (), "float64") for level in LEVELS]
    listed.append(Column("forces", "eV/angstrom", "label", PBE, (-1, 3)))
    listed.append(Column("dipole", "e*angstrom", "label", PBE, (3,)))
    listed += [Column(name, "eV", "label", PBE) for name in ("homo", "lumo")]
    listed.append(Column("density_coefficients", "1", "label", PBE, (-1, density_basis.DIM)))
    return listed


def rows(done: Sequence[str], folder: Path, coefficients: int) -> Iterator[dict[str, Any]]:
    """One row per labelled molecule; the first `coefficients` that have them, with coefficients."""
    ev = factor("hartree", "eV")
    left = coefficients
    for smiles in done:
        with np.load(work_file(folder, smiles)) as entry:
            row: dict[str, Any] = {
                "id": smiles,
                "split": assign(smiles),
                "group": smiles,
                "positions[angstrom]": entry["positions"],
                "types[1]": entry["numbers"],
                "charge[e]": 0.0,
            }
            values = {(name, PBE): entry[name] * ev for name in ("homo", "lumo")}
            values |= {("energy", level): entry[f"energy/{level}"] * ev for level in LEVELS}
            values["forces", PBE] = entry["forces"] * ev / factor("bohr", "angstrom")
            values["dipole", PBE] = entry["dipole"] * factor("e*bohr", "e*angstrom")
            if left > 0 and "density_coefficients" in entry:
                values["density_coefficients", PBE] = entry["density_coefficients"]
                left -= 1
        named = {(c.quantity, c.level): c.name for c in columns()}
        row |= {named[key]: stored(key[0], value) for key, value in values.items()}
        yield row


START, END = "<!-- counts -->", "<!-- /counts -->"


def counts(table: Sequence[Mapping[str, Any]], failed: Sequence[tuple[str, str]]) -> str:
    """Markdown: how many molecules there are, by split, size and element, and what failed."""
    from sfm.data.elements import SYMBOLS

    types = [row["types[1]"] for row in table]
    splits = Counter(row["split"] for row in table)
    sizes = Counter(len(numbers) for numbers in types)
    heavy = Counter(int((numbers > 1).sum()) for numbers in types)
    elements = Counter(int(z) for numbers in types for z in set(numbers))
    reasons = Counter(reason for _, reason in failed)
    fitted = sum(f"density_coefficients[1]@{PBE}" in row for row in table)

    def listed(items: Iterable[tuple[Any, int]]) -> str:
        return ", ".join(f"{key}: {value}" for key, value in items)

    return "\n".join(
        [
            "| | |",
            "|---|---|",
            f"| molecules | {len(table)} |",
            f"| with density coefficients | {fitted} |",
            f"| by split | {listed((s, splits[s]) for s in SPLITS)} |",
            f"| by number of atoms | {listed(sorted(sizes.items()))} |",
            f"| by number of heavy atoms | {listed(sorted(heavy.items()))} |",
            f"| with element | {listed((SYMBOLS[z], n) for z, n in sorted(elements.items()))} |",
            f"| failed (`failures.csv`) | {len(failed)}; {listed(sorted(reasons.items()))} |",
        ]
    )


def write_counts(card: Path, text: str) -> None:
    """Put the table between the card's marks."""
    head, _, rest = card.read_text().partition(START)
    tail = rest.partition(END)[2]
    write_text(card, f"{head}{START}\n{text}\n{END}{tail}")
