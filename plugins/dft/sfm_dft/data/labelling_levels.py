"""Four levels of theory from one density of PySCF: the labels of `dft-levels`.

PBE/def2-SVP is self-consistent (restricted, density fitting with def2-universal-jfit). Every other
level X is written X@PBE: its energy is evaluated once on the PBE density matrix D,

    E_X = T[D] + V[D] + J[D] + E_nn + E_xc^X[D],

by definition, so it costs one quadrature, B3LYP also one exact-exchange matrix. X@PBE is not a
self-consistent energy of X: it lies above that, to second order in the difference of the two
densities.

The density comes from a small grid, whose error is of second order in E_PBE; all E_xc are then
evaluated together on a larger one, which r2SCAN needs. Forces are those of PBE on the small grid
with its response. Numbers are in hartree and bohr.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sfm_dft.basis.density_basis import ELEMENTS, fit
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.data.labelling import kohn_sham
from sfm_dft.data.specs import B3LYP_ON_PBE, LDA_ON_PBE, PBE, R2SCAN_ON_PBE

FUNCTIONALS = {
    PBE: "GGA_X_PBE,GGA_C_PBE",
    LDA_ON_PBE: "LDA_X,LDA_C_PW",
    R2SCAN_ON_PBE: "MGGA_X_R2SCAN,MGGA_C_R2SCAN",
    B3LYP_ON_PBE: "HYB_GGA_XC_B3LYP",  # the VWN(RPA) form, PySCF's `b3lyp`
}
ENERGY_GRID = 3  # PySCF's grid level of the energies


@dataclass(frozen=True)
class LevelLabels:
    """What one converged PBE density gives (hartree, bohr, e*bohr).

    energies: by level. forces: (n, 3), PBE. homo, lumo: PBE orbital levels. coefficients: (n, 45)
    of `density_basis.fit`, or None where an element has no basis. density_matrix: (o, o), PySCF's
    orbital order. cycles: of the self-consistency.
    """

    energies: dict[str, float]
    forces: np.ndarray
    dipole: np.ndarray
    homo: float
    lumo: float
    coefficients: np.ndarray | None
    density_matrix: np.ndarray
    cycles: int


def label_levels(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    energy_grid: int = ENERGY_GRID,
) -> LevelLabels | None:
    """Labels of one closed-shell molecule, or None if the PBE calculation does not converge.

    numbers: (n,). positions: (n, 3) angstrom. energy_grid: PySCF's grid level of the energies.
    """
    molecule = build_molecule(numbers, positions)
    with kohn_sham(molecule, "PBE") as mean_field:
        mean_field.with_df.build()  # else PySCF recomputes these integrals in each cycle
        mean_field.kernel()
        if not mean_field.converged:
            return None
        density_matrix = np.asarray(mean_field.make_rdm1())
        gradient = mean_field.nuc_grad_method()
        gradient.grid_response = True
        forces = -np.asarray(gradient.kernel())
        base = _base_energy(mean_field, density_matrix)
        dipole = mean_field.dip_moment(molecule, density_matrix, unit="AU", verbose=0)
        orbitals, occupied = mean_field.mo_energy, molecule.nelectron // 2
        cycles = int(mean_field.cycles)
    xc = xc_energies(molecule, density_matrix, energy_grid)
    fitted = set(map(int, numbers)) <= set(ELEMENTS)
    return LevelLabels(
        energies={level: base + value for level, value in xc.items()},
        forces=forces,
        dipole=np.asarray(dipole),
        homo=float(orbitals[occupied - 1]),
        lumo=float(orbitals[occupied]),
        coefficients=fit(molecule, density_matrix) if fitted else None,
        density_matrix=density_matrix,
        cycles=cycles,
    )


def _base_energy(mean_field: Any, density_matrix: np.ndarray) -> float:
    """Kinetic, external, Hartree and nuclear energy: what all levels share."""
    one_electron = np.einsum("ij,ji", mean_field.get_hcore(), density_matrix)
    hartree = 0.5 * np.einsum("ij,ji", mean_field.get_j(dm=density_matrix), density_matrix)
    return float(one_electron + hartree + mean_field.mol.energy_nuc())


def xc_energies(
    molecule: Any, density_matrix: Float[np.ndarray, "o o"], grid_level: int
) -> dict[str, float]:
    """E_xc of each level on one density matrix (o, o), hartree; the density is evaluated once."""
    from pyscf import dft, scf

    grid = dft.gen_grid.Grids(molecule)
    grid.level = grid_level
    grid.build()
    integrator = dft.numint.NumInt()
    totals = dict.fromkeys(FUNCTIONALS, 0.0)
    occupations, orbitals = np.linalg.eigh(density_matrix)
    kept = np.abs(occupations) > 1e-15 * np.abs(occupations).max()
    occupations, orbitals = occupations[kept], orbitals[:, kept]  # a quarter of the columns
    for values, mask, weights, _ in integrator.block_loop(molecule, grid, molecule.nao, 1):
        rho = integrator.eval_rho2(
            molecule, values, orbitals, occupations, mask, "MGGA", with_lapl=False
        )
        for level, name in FUNCTIONALS.items():
            kind = integrator._xc_type(name)
            part = {"LDA": rho[0], "GGA": rho[:4], "MGGA": rho}[kind]
            density = integrator.eval_xc_eff(name, part, deriv=0, xctype=kind)[0]
            totals[level] += float(np.dot(density * rho[0], weights))
    fractions = {level: integrator.hybrid_coeff(name) for level, name in FUNCTIONALS.items()}
    if any(fractions.values()):
        exchange = scf.hf.get_jk(molecule, density_matrix, with_j=False)[1]
        exact = -0.25 * float(np.einsum("ij,ji", exchange, density_matrix))
        for level, fraction in fractions.items():
            totals[level] += fraction * exact
    return totals
