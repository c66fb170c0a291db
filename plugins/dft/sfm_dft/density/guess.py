"""A density written in atom-centred functions as the start of self-consistency.

    F = T + V + J[rho] + v_xc[rho],   F C = S C e,   D = C f C^T

with rho = sum_Ak c_Ak phi_Ak of `sfm_dft.basis.density_basis`: its Coulomb potential is exact, its
exchange-correlation potential is that of a local or semilocal functional on a Becke grid, and one
diagonalisation gives the orbitals in those potentials. The coefficients come from a trained model
(`predicted`) or from a fit.

One diagonalisation makes the error of rho larger, as electrons are not yet pushed back by their
own charge. `relaxed` therefore keeps v_xc[rho] and lets J[D] become self-consistent, which needs no
further integration on a grid.

Inside: hartree, bohr, PySCF's order of orbitals. The equations are C. C. J. Roothaan's, Rev. Mod.
Phys. 23, 69 (1951); DIIS: P. Pulay, J. Comput. Chem. 3, 556 (1982).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.units import factor
from sfm_dft.basis.density_basis import (
    DIM,
    ELEMENTS,
    auxiliary_molecule,
    coulomb_metric,
    electrons_per_function,
    evaluate,
    fit,
    from_e3nn,
    to_e3nn,
)
from sfm_dft.basis.library import AUXILIARY_BASIS
from sfm_dft.scf.guesses import Coulomb, first_density

if TYPE_CHECKING:
    from sfm.model import FoundationModel

ENCODER, QUANTITY = "dft/atoms", "density_coefficients"
FUNCTIONAL = "GGA_X_PBE,GGA_C_PBE"
GRID_LEVEL = 1
TOLERANCE, CYCLES = 1e-3, 30  # of `relaxed`: largest commutator in hartree, number of cycles
SMALLEST = 1e-8  # electrons per bohr^3: below, a fitted density is noise and may be negative


def density_matrix(
    molecule: Any,
    model: FoundationModel,
    *,
    level: str | None = None,
    functional: str = FUNCTIONAL,
    relax: bool = True,
    coulomb: Coulomb | None = None,
) -> Float[np.ndarray, "*spins n n"]:
    """First density matrix of a PySCF molecule from a model's predicted density.

    Args:
        molecule: PySCF molecule, any basis. A model knows neither spin nor basis: unpaired
            electrons fill the orbitals of the same potential.
        model: trained on `density_coefficients` with encoder `dft/atoms`.
        level: level of theory of the prediction; the model's only one if None.
        functional: of the potential, local or semilocal, in libxc's words; it need not be the one
            of the calculation that starts here.
        relax: make the Coulomb potential self-consistent (`relaxed`).
        coulomb: J (n, n) of a density matrix (n, n) of all electrons, where its integrals are at
            hand, such as ``lambda d: mf.get_j(mol, d)``; made here by density fitting if None.

    Returns:
        (n, n) for closed shells, all electrons; (2, n, n) for up and down where spins differ.

    Raises:
        InputError: the model predicts no densities, or not at this level, or an element has none.
    """
    coefficients = conserve(molecule, predicted(molecule, model, level))
    return start(molecule, coefficients, functional, relax=relax, coulomb=coulomb)


def start(
    molecule: Any,
    coefficients: Float[np.ndarray, " ..."],
    functional: str = FUNCTIONAL,
    *,
    relax: bool = True,
    coulomb: Coulomb | None = None,
) -> Float[np.ndarray, "*spins n n"]:
    """First density matrix, as `density_matrix` gives it, from coefficients (A, 45)."""
    fixed = _fixed(molecule, coefficients, functional)  # refuses what does not fit
    first = occupied(molecule, fixed + _hartree(molecule, coefficients))
    if not relax:
        return first
    if coulomb is not None:
        return relaxed(molecule, fixed, first, coulomb)
    with fitting(molecule) as fitted:
        return relaxed(molecule, fixed, first, fitted)


def predicted(
    molecule: Any, model: FoundationModel, level: str | None = None
) -> Float[np.ndarray, "A 45"]:
    """A model's density coefficients (A, 45) of a PySCF molecule.

    Raises:
        InputError: the model predicts no densities, or not at this level, or an element has none.
    """
    from sfm.model.predict import predict

    strange = [i for i in range(molecule.natm) if molecule.atom_charge(i) not in ELEMENTS]
    if strange:
        raise InputError(
            f"no density basis for {molecule.atom_pure_symbol(strange[0])} (atom {strange[0]}): "
            "models predict densities of H, C, N, O and F; start from 'minao'"
        )
    sample = Sample(
        id="molecule",
        domain="dft",
        types=molecule.atom_charges(),
        positions=molecule.atom_coords() * factor("bohr", "angstrom"),
        conditions={"charge": float(molecule.charge)},
    )
    chosen = model.level(ENCODER, level, QUANTITY)
    # a start claims nothing: the self-consistent field mends what lies outside the training data
    prediction: Any = predict(model, sample, level=chosen, quantities=[QUANTITY], extrapolate=True)
    return np.asarray(prediction[QUANTITY], dtype=np.float64)


def superposed(molecule: Any) -> Float[np.ndarray, "A 45"]:
    """Coefficients (A, 45) of spherical atoms, each self-consistent by itself: the baseline."""
    return fit(molecule, first_density(molecule, "atoms"))


def conserve(molecule: Any, coefficients: Float[np.ndarray, "A 45"]) -> Float[np.ndarray, "A 45"]:
    """The nearest coefficients (A, 45), by Coulomb energy, with the right number of electrons."""
    metric = coulomb_metric(auxiliary_molecule(molecule))
    charges = from_e3nn(np.tile(electrons_per_function(), (molecule.natm, 1)))
    direction = np.linalg.solve(metric, charges)
    missing = molecule.nelectron - charges @ from_e3nn(coefficients)
    adjusted: np.ndarray = coefficients + to_e3nn(direction * (missing / (charges @ direction)))
    return adjusted


def fock(
    molecule: Any, coefficients: Float[np.ndarray, " ..."], functional: str = FUNCTIONAL
) -> Float[np.ndarray, "n n"]:
    """Fock matrix (n, n), hartree, of the density with coefficients (A, 45).

    Raises:
        InputError: coefficients of another shape, or a functional that needs more than the density
            and its gradient.
    """
    fixed, hartree = _fixed(molecule, coefficients, functional), _hartree(molecule, coefficients)
    matrix: np.ndarray = fixed + hartree
    return matrix


def _fixed(molecule: Any, coefficients: np.ndarray, functional: str) -> np.ndarray:
    """`fock` without the Coulomb potential of the electrons."""
    from pyscf import scf

    if coefficients.shape != (molecule.natm, DIM):
        raise InputError(
            f"density coefficients have shape {coefficients.shape}, expected "
            f"({molecule.natm}, {DIM}): one row per atom"
        )
    core, potential = scf.hf.get_hcore(molecule), _potential(molecule, coefficients, functional)
    matrix: np.ndarray = core + potential
    return matrix


def _hartree(molecule: Any, coefficients: np.ndarray) -> np.ndarray:
    """<mu|J|nu> of the density with coefficients (A, 45)."""
    from pyscf import df

    functions = auxiliary_molecule(molecule)
    three = df.incore.aux_e2(molecule, functions, "int3c2e", aosym="s2ij")
    out = np.zeros((molecule.nao, molecule.nao))
    out[np.tril_indices(molecule.nao)] = three @ from_e3nn(coefficients)
    return out + np.tril(out, -1).T


def _potential(molecule: Any, coefficients: np.ndarray, functional: str) -> np.ndarray:
    """<mu|v_xc|nu> of the density with coefficients (A, 45)."""
    from pyscf import dft

    integrator = dft.numint.NumInt()
    kind = integrator._xc_type(functional)
    if kind not in ("LDA", "GGA") or integrator.libxc.is_hybrid_xc(functional):
        raise InputError(f"functional '{functional}' is {kind} or hybrid: name an LDA or a GGA")
    grid = dft.gen_grid.Grids(molecule)
    grid.level = GRID_LEVEL
    grid.build()
    out = np.zeros((molecule.nao, molecule.nao))
    rows = 1 if kind == "LDA" else 4
    centres = molecule.atom_coords()
    for values, _, weights, points in integrator.block_loop(
        molecule, grid, molecule.nao, int(kind == "GGA")
    ):
        rho = evaluate(centres, coefficients, points, gradient=kind == "GGA").reshape(rows, -1)
        inside = rho[0] > SMALLEST
        rho = np.where(inside, rho, 0.0)
        rho[0] += ~inside * SMALLEST
        potential = integrator.eval_xc_eff(functional, rho, deriv=1, xctype=kind)[1]
        potential = potential.reshape(rows, -1) * (weights * inside)
        potential[0] *= 0.5
        orbitals = values.reshape(rows, *values.shape[-2:])
        out += orbitals[0].T @ np.einsum("xgi,xg->gi", orbitals, potential)
    return out + out.T


@contextmanager
def fitting(molecule: Any) -> Iterator[Coulomb]:
    """J (n, n) of a density matrix (n, n) by PySCF's density fitting; integrals made once."""
    from pyscf import df

    fit_basis = df.DF(molecule, AUXILIARY_BASIS).build()
    try:
        yield lambda total: np.asarray(fit_basis.get_jk(total, with_k=False)[0])
    finally:
        for file in (fit_basis._cderi_to_save, fit_basis._cderi):
            if hasattr(file, "close"):
                file.close()


def relaxed(
    molecule: Any,
    fixed: Float[np.ndarray, "n n"],
    first: Float[np.ndarray, "*spins n n"],
    coulomb: Coulomb,
) -> Float[np.ndarray, "*spins n n"]:
    """Density matrix that is self-consistent in F = fixed + J[D], by DIIS, from a first one.

    Stops when the commutator F D S - S D F is below `TOLERANCE`, or after `CYCLES` with the best
    there was: this is a guess, which need not be converged.

    fixed: (n, n) core Hamiltonian and exchange-correlation potential. first: (n, n) or (2, n, n).
    coulomb: J of a density matrix of all electrons.
    """
    from pyscf import scf

    overlap = molecule.intor_symmetric("int1e_ovlp")
    diis = scf.diis.CDIIS()
    best, smallest, current = first, np.inf, first
    for _ in range(CYCLES):
        total = current if current.ndim == 2 else current.sum(0)
        matrix = fixed + coulomb(total)
        product = matrix @ total @ overlap
        residual = float(np.abs(product - product.T).max())
        if residual < smallest:
            best, smallest = current, residual
        if residual < TOLERANCE:
            break
        current = occupied(molecule, diis.update(overlap, total, matrix))
    return best


def occupied(molecule: Any, matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "*spins n n"]:
    """Density matrix of the lowest orbitals of a Fock matrix (n, n), as PySCF takes it."""
    from scipy.linalg import eigh

    orbitals = eigh(matrix, molecule.intor_symmetric("int1e_ovlp"))[1]
    spins = [orbitals[:, :n] @ orbitals[:, :n].T for n in molecule.nelec]
    return 2.0 * spins[0] if molecule.spin == 0 else np.stack(spins)
