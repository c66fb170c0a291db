"""Interaction energies of pairs of molecules: a model, the mean, and a classical force field.

    python benchmarks/dimers.py [--model sfm-tiny] [--model FOLDER ...] [--json dimers.json]

On the test split of `molecules-dimers`, whose neutral molecules are in no training split, of it
or of the other GFN2-xTB sets. A model without a head for it answers E(AB) - E(A) - E(B), three
predictions at one geometry; so does rdkit's MMFF94, or UFF where that has no types. The mean is
that of the training split's labels at the same place (wall, contact, near, far). Mean absolute
errors in meV; `covered` are pairs that every model answers without being told to extrapolate.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sfm_molecules.constants import KCAL_PER_MOL
from sfm_molecules.data.dimers import fragments
from sfm_molecules.data.specs import GFN2, MOLECULES_DIMERS

import sfm
from sfm.data.rows import Skipped, collecting
from sfm.data.sample import Sample
from sfm.data.storage import open_dataset
from sfm.errors import InputWarning

QUANTITY = "interaction_energy"
PLACES = ("wall", "contact", "near", "far")
FAR = 1e4  # angstrom along each axis, beyond the force fields' cutoffs


def parts(sample: Sample) -> list[Sample]:
    """Each molecule of a pair alone, where it lies, with its charge and spin."""
    start, alone = 0, []
    for number, (_, atoms, charge, spin) in enumerate(fragments(str(sample.group))):
        here = slice(start, start + atoms)
        alone.append(
            Sample(
                id=f"{sample.id}/{number}",
                domain="molecules",
                types=sample.types[here],
                positions=sample.positions[here],
                conditions={"charge": float(charge), "spin": float(spin)},
            )
        )
        start += atoms
    assert start == len(sample.types)
    return alone


def by_model(name: str, samples: list[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """(pairs,) interaction energies of a model, eV, and whether its training data cover the pair.

    Outside of them the model refuses, and is asked to extrapolate.
    """
    model: Any = sfm.load(name)
    if any(t.quantity == QUANTITY and t.level == GFN2 for t in model.targets()):
        pairs = [s.replace(labels={}) for s in samples]
        answers = model.predict(pairs, level=GFN2, quantities=[QUANTITY], extrapolate=True)
        return np.array([float(a[QUANTITY]) for a in answers]), np.ones(len(samples), bool)
    every = [one for s in samples for one in (s.replace(labels={}), *parts(s))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        with collecting(Skipped(len(every))):
            known = {answer.id for answer in model.predict(every, level=GFN2)}
        said = model.predict(every, level=GFN2, extrapolate=True)
    covered = np.array([one.id in known for one in every]).reshape(-1, 3).all(1)
    energies = np.array([float(answer["energy"]) for answer in said]).reshape(-1, 3)
    return energies[:, 0] - energies[:, 1] - energies[:, 2], covered


def by_force_field(samples: list[Sample]) -> np.ndarray:
    """(pairs,) of MMFF94, or of UFF, eV: less the same pair with the second molecule far away.

    NaN where neither has types for the molecules.
    """
    from rdkit import Chem
    from sfm_molecules.geometry.conformers import force_field
    from sfm_molecules.geometry.embedding import parse_smiles

    def energy(molecule: Any, positions: np.ndarray) -> float:
        molecule.GetConformer().SetPositions(positions)
        field = force_field(molecule)
        return np.nan if field is None else float(field.CalcEnergy()) * KCAL_PER_MOL

    answers = []
    for sample in samples:
        first, second = (parse_smiles(smiles) for smiles in str(sample.group).split("."))
        both = Chem.CombineMols(first, second)
        Chem.SanitizeMol(both)
        both.AddConformer(Chem.Conformer(both.GetNumAtoms()))
        x = sample.positions.astype(float)
        away = x.copy()
        away[first.GetNumAtoms() :] += FAR
        answers.append(energy(both, x) - energy(both, away))
    return np.array(answers)


def kind(sample: Sample) -> str:
    """`neutral`, `ion` or `radical`."""
    if sample.conditions["charge"]:
        return "ion"
    return "radical" if sample.conditions["spin"] else "neutral"


def place(sample: Sample) -> str:
    return PLACES[int(sample.id.rpartition("-")[2])]


def mean_predictor(train: list[Sample], test: list[Sample]) -> np.ndarray:
    """(pairs,) eV: the training labels' mean at the place of each pair."""
    means = {name: np.mean([truth(s) for s in train if place(s) == name]) for name in PLACES}
    return np.array([means[place(s)] for s in test])


def truth(sample: Sample) -> float:
    return float(sample.labels[QUANTITY])


def table(
    samples: list[Sample], answers: dict[str, np.ndarray], covered: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Mean absolute error in meV of each answer, in all, by place and by kind; with counts."""
    labels = np.array([truth(s) for s in samples])
    groups: dict[str, np.ndarray] = {"all": np.ones(len(samples), bool), "covered": covered}
    for classify, names in ((place, PLACES), (kind, ("neutral", "ion", "radical"))):
        of: Callable[[Sample], str] = classify
        groups |= {name: np.array([of(s) == name for s in samples]) for name in names}
    rows: dict[str, dict[str, Any]] = {"pairs": {k: int(m.sum()) for k, m in groups.items()}}
    for name, values in answers.items():
        there = np.isfinite(values)
        errors = 1e3 * np.abs(values - labels)
        rows[name] = {k: float(errors[m & there].mean()) for k, m in groups.items()}
        rows[name]["answered"] = int(there.sum())
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", help="name or folder; may be repeated")
    parser.add_argument("--json", type=Path, help="file to write to")
    options = parser.parse_args()
    split = {
        name: list(open_dataset(MOLECULES_DIMERS.folder, split=name)) for name in ("train", "test")
    }
    test = split["test"]
    answers = {
        "zero": np.zeros(len(test)),
        "mean of the training split": mean_predictor(split["train"], test),
        "MMFF94 or UFF": by_force_field(test),
    }
    covered = np.ones(len(test), bool)
    for name in options.model or ["sfm-tiny"]:
        answers[name], inside = by_model(name, test)
        covered &= inside
    rows = table(test, answers, covered)
    columns = list(rows["pairs"])
    print("| meV | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for name, row in rows.items():
        numbers = (f"{row[c]:.0f}" for c in columns)
        print(f"| {name} | " + " | ".join(numbers) + " |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
