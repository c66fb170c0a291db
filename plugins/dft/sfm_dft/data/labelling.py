"""Kohn-Sham labels of one molecule from PySCF: energies by component, orbital levels, density.

The self-consistent calculation is PySCF's (restricted, closed shell, def2-SVP, density fitting
with def2-universal-jfit for the Coulomb term). Two levels of theory are computed per geometry:
PBE first, then Slater exchange with PW92 correlation started from the PBE density. On each
density both functionals' exchange-correlation energies are evaluated, so that

    xc_correction = E_xc^PBE[n] - E_xc^LDA[n]

by definition is known for one and the same density n. All numbers leave this module in hartree and
bohr.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sfm_dft.basis.library import AUXILIARY_BASIS
from sfm_dft.basis.pyscf_molecule import build_molecule

FUNCTIONALS = {"PBE": "GGA_X_PBE,GGA_C_PBE", "LDA": "LDA_X,LDA_C_PW"}
GRID_LEVEL = 1
CONVERGENCE = 1e-8  # hartree; PySCF's default gradient threshold is its square root


@dataclass(frozen=True)
class KohnShamLabels:
    """Converged restricted Kohn-Sham results at one level (hartree, bohr, e*bohr).

    ``xc`` is this level's exchange-correlation energy, ``xc_lda`` and ``xc_pbe`` those of either
    functional on this level's density; ``density_matrix`` is (n, n) in PySCF's orbital order.
    """

    total: float
    kinetic: float
    external: float
    hartree: float
    xc: float
    xc_lda: float
    xc_pbe: float
    nuclear: float
    dipole: np.ndarray
    homo: float
    lumo: float
    cycles: int
    density_matrix: np.ndarray


@contextmanager
def kohn_sham(molecule: Any, level: str, grid_level: int = GRID_LEVEL) -> Iterator[Any]:
    """PySCF's restricted Kohn-Sham object with density fitting; its scratch files are closed."""
    from pyscf import dft

    mean_field = dft.RKS(molecule).density_fit(auxbasis=AUXILIARY_BASIS)
    mean_field.xc = FUNCTIONALS[level]
    mean_field.conv_tol = CONVERGENCE
    mean_field.grids.level = grid_level
    mean_field._numint.eval_ao = _kept(mean_field._numint.eval_ao)
    try:
        yield mean_field
    finally:
        for owner, name in ((mean_field, "_chkfile"), (mean_field.with_df, "_cderi_to_save")):
            file: Any = getattr(owner, name, None)
            if hasattr(file, "close"):
                file.close()


def _kept(eval_ao: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """PySCF's orbital values kept for each block of points; it computes them anew in each cycle.

    A tenth of the time of `dft-levels`, for 32 bytes per orbital and point: 80 MB for ten atoms.
    """
    kept: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray]] = {}

    def evaluate(molecule: Any, coords: np.ndarray, deriv: int = 0, **options: Any) -> np.ndarray:
        key = (id(molecule), coords.ctypes.data, coords.shape, deriv)
        if key not in kept:
            options["out"] = None  # the caller's buffer serves all blocks in turn
            # the points are held too, so that no other array can take their address
            kept[key] = coords, eval_ao(molecule, coords, deriv, **options)
        return kept[key][1]

    return evaluate


def label(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    grid_level: int = GRID_LEVEL,
) -> dict[str, KohnShamLabels] | None:
    """Labels of one molecule at PBE and at LDA, or None if either SCF does not converge.

    numbers: (n,) atomic numbers. positions: (n, 3) angstrom. grid_level: PySCF's grid level.
    """
    molecule = build_molecule(numbers, positions)
    results: dict[str, KohnShamLabels] = {}
    guess = None
    for level in FUNCTIONALS:
        with kohn_sham(molecule, level, grid_level) as mean_field:
            mean_field.with_df.build()  # else PySCF recomputes these integrals in each cycle
            mean_field.kernel(guess)
            if not mean_field.converged:
                return None
            guess = mean_field.make_rdm1()
            results[level] = _collect(mean_field, guess)
    return results


def _collect(mean_field: Any, density_matrix: Any) -> KohnShamLabels:
    molecule = mean_field.mol
    density_matrix = np.asarray(density_matrix)
    kinetic = np.einsum("ij,ji", molecule.intor_symmetric("int1e_kin"), density_matrix)
    external = np.einsum("ij,ji", molecule.intor_symmetric("int1e_nuc"), density_matrix)
    hartree = 0.5 * np.einsum("ij,ji", mean_field.get_j(molecule, density_matrix), density_matrix)
    both = {
        level: float(mean_field._numint.nr_rks(molecule, mean_field.grids, name, density_matrix)[1])
        for level, name in FUNCTIONALS.items()
    }
    occupied = molecule.nelectron // 2
    levels = mean_field.mo_energy
    return KohnShamLabels(
        total=float(mean_field.e_tot),
        kinetic=float(kinetic),
        external=float(external),
        hartree=float(hartree),
        xc=float(mean_field.scf_summary["exc"]),
        xc_lda=both["LDA"],
        xc_pbe=both["PBE"],
        nuclear=float(molecule.energy_nuc()),
        dipole=mean_field.dip_moment(molecule, density_matrix, unit="AU", verbose=0),
        homo=float(levels[occupied - 1]),
        lumo=float(levels[occupied]) if occupied < len(levels) else float("nan"),
        cycles=int(mean_field.cycles),
        density_matrix=density_matrix,
    )
