"""Reference densities on grids, made once by PySCF: what a functional is trained on.

    python -m sfm_dft.neural.densities FOLDER [NAME ...] [--basis BASIS]

One compressed file per species, so a run may be stopped and started again. Failures are listed in
`failures.json`. Integer occupations; open shells unrestricted, so atoms with open p shells break
spherical symmetry (real orbitals). Density fitting for Coulomb and exchange.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfm.data.atomic import atomic, write_text
from sfm.errors import InputError
from sfm_dft.neural.species import Species, species
from sfm_dft.xc.density import GridDensity, GridPoints

BASIS = "6-311++g(3df,3pd)"
SUBSTITUTE = "aug-cc-pvqz"  # for helium, which the first lacks in PySCF's tables
FITTING = "def2-universal-jkfit"
COARSE, FINE = 1, 3  # PySCF's grid levels: for the SCF, for the stored density
VANISHING = 1e-10  # electrons per bohr^3: points below carry less than 1e-9 hartree in all


@dataclass(frozen=True)
class PreparedDensity:
    """A density on its grid and everything of the total energy that no XC functional touches.

    rest: kinetic, external, Coulomb and nuclear energy, hartree. exact_exchange: of the same
    orbitals, hartree. total: of the functional that made the density, hartree.
    """

    name: str
    density: GridDensity
    weights: torch.Tensor
    rest: float
    exact_exchange: float
    total: float


def prepare(one: Species, *, basis: str = BASIS, xc: str = "pbe") -> dict[str, Any]:
    """Self-consistent density of `xc`, its energy parts and its values on the fine grid.

    Returns arrays by the names that `load` reads. `converged` says whether the SCF did.
    """
    from pyscf import gto

    atoms = [[s, tuple(p)] for s, p in zip(one.symbols, one.positions, strict=True)]
    bases = {symbol: _basis_of(symbol, basis) for symbol in set(one.symbols)}
    mol = gto.M(atom=atoms, basis=bases, charge=one.charge, spin=one.spin, verbose=0)
    mean_field = _self_consistent(mol, xc)
    matrix = np.asarray(mean_field.make_rdm1())
    spins = matrix[None] / 2 if one.spin == 0 else matrix
    total = spins.sum(0) * (2 if one.spin == 0 else 1)
    j, k = mean_field.with_df.get_jk(spins)
    coulomb = j.sum(0) * (2 if one.spin == 0 else 1)
    exchange = -0.5 * np.einsum("sij,sji->", k, spins) * (2 if one.spin == 0 else 1)
    rest = np.einsum("ij,ji->", mean_field.get_hcore() + 0.5 * coulomb, total) + mol.energy_nuc()
    grid = _fine_grid(mol)
    values = _on_grid(mol, spins, grid.coords)
    keep = values[:, 0].max(0) > VANISHING
    kept = values[:, :, keep]
    return {
        "rho": kept[:, 0].astype(np.float32),
        "gradient": kept[:, 1:4].astype(np.float32),
        "tau": kept[:, 4].astype(np.float32),
        "weights": grid.weights[keep],
        "rest": rest,
        "exact_exchange": exchange,
        "total": mean_field.e_tot,
        "converged": mean_field.converged,
        "electrons": float((values[:, 0].sum(0) * grid.weights).sum()) * (2 - (one.spin > 0)),
        "basis": basis,
        "xc": xc,
    }


def _fine_grid(mol: Any) -> Any:
    from pyscf import dft

    grid = dft.Grids(mol)
    grid.level = FINE
    grid.build(with_non0tab=False)
    return grid


def _basis_of(symbol: str, basis: str) -> Any:
    """The element's functions, of `SUBSTITUTE` where the basis lacks the element."""
    from pyscf import gto
    from pyscf.lib.exceptions import BasisNotFoundError

    try:
        return gto.basis.load(basis, symbol)
    except BasisNotFoundError:
        return gto.basis.load(SUBSTITUTE, symbol)


def _self_consistent(mol: Any, xc: str) -> Any:
    """SCF on the coarse grid; with a level shift, then second order, where DIIS fails."""
    from pyscf import dft

    kind = dft.RKS if mol.spin == 0 else dft.UKS
    mean_field = kind(mol, xc=xc).density_fit(auxbasis=FITTING)
    mean_field.grids.level = FINE if mol.natm == 1 else COARSE
    mean_field.conv_tol = 1e-6  # hartree; the density's error enters energies squared
    mean_field.max_cycle = 60
    mean_field.kernel()
    if not mean_field.converged:
        mean_field.level_shift, mean_field.max_cycle = 0.3, 150
        mean_field.kernel(mean_field.make_rdm1())
    if not mean_field.converged:
        mean_field.level_shift = 0.0
        guess = mean_field.make_rdm1()
        mean_field = mean_field.newton()
        mean_field.kernel(guess)
    return mean_field


def _on_grid(mol: Any, spins: np.ndarray, points: np.ndarray, block: int = 20000) -> np.ndarray:
    """(s, 5, G) density, gradient and kinetic energy density of each spin's matrix."""
    from pyscf.dft import numint

    rows = []
    for start in range(0, len(points), block):
        ao = numint.eval_ao(mol, points[start : start + block], deriv=1)
        rho = [numint.eval_rho(mol, ao, m, xctype="MGGA", hermi=1, with_lapl=False) for m in spins]
        rows.append(np.stack(rho))
    return np.concatenate(rows, axis=2)


def load(path: Path, dtype: torch.dtype = torch.float64) -> PreparedDensity:
    """One prepared density from its file."""
    with np.load(path) as data:

        def field(name: str) -> torch.Tensor:
            return torch.as_tensor(data[name]).to(dtype)

        return PreparedDensity(
            path.stem,
            GridDensity(field("rho"), field("gradient"), field("tau")),
            torch.as_tensor(data["weights"]),
            float(data["rest"]),
            float(data["exact_exchange"]),
            float(data["total"]),
        )


def located(prepared: PreparedDensity) -> PreparedDensity:
    """The same with its points' places, which the file does not hold.

    They are those of PySCF's grid, made again: its weights, in their order, say which were kept.

    Raises:
        InputError: the grid of the installed PySCF is another one.
    """
    from ase.data import atomic_numbers
    from pyscf import gto

    one = species(prepared.name)
    atoms = [[s, tuple(p)] for s, p in zip(one.symbols, one.positions, strict=True)]
    # a grid depends on elements and places only
    mol = gto.M(atom=atoms, basis="sto-3g", charge=one.charge, spin=one.spin, verbose=0)
    grid = _fine_grid(mol)
    kept = _among(prepared.weights.numpy(), grid.weights)
    if kept is None:
        raise InputError(
            f"{prepared.name}: its density was not made on the grid of this PySCF; prepare it again"
        )
    place = GridPoints(
        points=torch.tensor(grid.coords[kept]),
        weights=prepared.weights,
        owners=torch.tensor(np.maximum(grid.atm_idx[kept], 0), dtype=torch.int64),
        positions=torch.tensor(mol.atom_coords()),
        numbers=torch.tensor([atomic_numbers[s] for s in one.symbols]),
        molecule=torch.zeros(len(atoms), dtype=torch.int64),
    )
    return replace(prepared, density=replace(prepared.density, grid=place))


def _among(part: np.ndarray, whole: np.ndarray) -> np.ndarray | None:
    """Where the numbers of `part` stand in `whole`, in order; None if one is missing."""
    places, place = np.empty(len(part), dtype=np.int64), 0
    values, given = part.tolist(), whole.tolist()
    for row, value in enumerate(values):
        while place < len(given) and abs(given[place] - value) > 1e-12 * abs(value):
            place += 1
        if place == len(given):
            return None
        places[row] = place
        place += 1
    return places


def prepare_all(names: Sequence[str], folder: Path, *, basis: str = BASIS) -> dict[str, str]:
    """Prepare what `folder` lacks; returns and writes the failures by name."""
    folder.mkdir(parents=True, exist_ok=True)
    failures: dict[str, str] = {}
    for name in names:
        path = folder / f"{name}.npz"
        if path.exists():
            continue
        started = time.perf_counter()
        prepared = prepare(species(name), basis=basis)
        if not prepared["converged"]:
            failures[name] = "the SCF did not converge"
        else:
            with atomic(path) as scratch:
                np.savez(scratch, **prepared)
        seconds = time.perf_counter() - started
        print(f"{name}: {failures.get(name, 'done')}, {seconds:.1f} s", file=sys.stderr, flush=True)
    write_text(folder / "failures.json", json.dumps(failures, indent=1))
    return failures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this file."""
    from sfm_dft.neural.reactions import names_of, reactions

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="species; all of the reactions where none is")
    parser.add_argument("--basis", default=BASIS)
    options = parser.parse_args(argv)
    failures = prepare_all(
        options.names or names_of(reactions()), options.folder, basis=options.basis
    )
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
