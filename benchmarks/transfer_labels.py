"""Labels that the transfer benchmark makes itself, once: they stay in the cache.

`conformers`: drug molecules, each embedded anew (ETKDG, MMFF94) and displaced thermally at 500 K,
with energy and forces of GFN1-xTB (tblite). `hartree_fock`: small molecules out of the tables of
solubilities and hydration free energies, in MMFF94 geometry, with energy and highest occupied level
of restricted Hartree-Fock in 6-31G (PySCF).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from sfm.data.extxyz import read_extxyz, write_extxyz
from sfm.data.sample import Sample
from sfm.data.storage import cache_dir
from sfm.errors import InputError
from sfm.units import factor

DRUGS = {
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "naproxen": "COc1ccc2cc(ccc2c1)C(C)C(=O)O",
}
TEMPERATURE = 500.0
VERSION = "1"


def kept(name: str, make: Callable[[], Iterable[Sample]]) -> list[Sample]:
    """What `make` gives, out of the cache where it was made before."""
    path = cache_dir() / "benchmarks" / f"{name}-{VERSION}.extxyz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_extxyz(path, list(make()))
    return [sample for sample, _ in read_extxyz(Path(path))]


def conformers(drug: str, n: int) -> list[Sample]:
    """`n` labelled conformers of one of `DRUGS`."""
    return kept(f"gfn1-{drug}-{n}", lambda: _conformers(drug, n))


def _conformers(drug: str, n: int) -> Iterable[Sample]:
    from sfm_molecules.geometry.conformers import force_field, geometry
    from sfm_molecules.geometry.displacement import displace, force_field_hessian, modes
    from sfm_molecules.geometry.embedding import embed
    from tblite.interface import Calculator

    bohr, hartree = factor("bohr", "angstrom"), factor("hartree", "eV")
    for seed in range(n):
        molecule = embed(DRUGS[drug], seed=seed)
        field = force_field(molecule)
        assert field is not None
        field.Initialize()
        types, start = geometry(molecule)
        soft = modes(force_field_hessian(field, start), start)
        positions = displace(start, *soft, TEMPERATURE, np.random.default_rng(seed))
        engine = Calculator("GFN1-xTB", types, positions / bohr)
        engine.set("verbosity", 0)
        results = engine.singlepoint()
        yield Sample(
            id=f"{drug}-{seed}",
            domain="molecules",
            level="GFN1-xTB",
            types=types,
            positions=positions,
            labels={
                "energy": np.asarray(float(results.get("energy")) * hartree),
                "forces": -np.asarray(results.get("gradient")) * (hartree / bohr),
            },
        )


def hartree_fock(smiles: Callable[[], Iterable[str]], n: int) -> list[Sample]:
    """The first `n` of the molecules that have a geometry, labelled."""
    return kept(f"hartree-fock-{n}", lambda: _hartree_fock(smiles(), n))


def _hartree_fock(smiles: Iterable[str], n: int) -> Iterable[Sample]:
    from pyscf import gto, scf
    from sfm_molecules.geometry.conformers import geometry
    from sfm_molecules.geometry.embedding import embed

    hartree, count = factor("hartree", "eV"), 0
    for line in smiles:
        if count == n:
            return
        try:
            types, positions = geometry(embed(line))
        except InputError:
            continue
        atoms = list(zip(types.tolist(), positions.tolist(), strict=True))
        solver = scf.RHF(gto.M(atom=atoms, basis="6-31g", verbose=0)).density_fit()
        energy = solver.kernel()
        if not solver.converged:
            continue
        homo = solver.mo_energy[solver.mo_occ > 0].max()
        count += 1
        yield Sample(
            id=line,
            domain="dft",
            level="HF/6-31G",
            types=types,
            positions=positions,
            labels={
                "energy": np.asarray(float(energy) * hartree),
                "homo": np.asarray(float(homo) * hartree),
            },
        )
