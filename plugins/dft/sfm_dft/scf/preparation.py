"""Integrals and grid of one molecule, made once per geometry.

PySCF (libcint) or `sfm_dft.integrals` computes the Gaussian integrals (`sfm_dft.basis.library` says
who); grid and orbitals on it are torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.errors import InputError, did_you_mean
from sfm_dft.basis import library as basis_sets
from sfm_dft.basis.library import AUXILIARY_BASIS
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.grid.molecular import build_grid
from sfm_dft.integrals.shells import Shells
from sfm_dft.scf.guesses import FirstDensity, first_guess
from sfm_dft.scf.molecular_integrals import as_tensor, by_libcint, by_torch
from sfm_dft.scf.molecule import Molecule

COULOMB = ("fitted", "exact")
SMALLEST_DISTANCE = 1e-3  # bohr
LARGEST_ON_GRID = 8  # l
BOHR = 0.52917721092  # angstrom; PySCF's, so that both see one geometry


def prepare(
    numbers: Int[np.ndarray, " A"],
    positions: Float[np.ndarray, "A 3"],
    *,
    charge: int = 0,
    spin: int | None = None,
    basis: Any = "def2-svp",
    coulomb: str = "fitted",
    auxiliary: str = AUXILIARY_BASIS,
    grid_level: int = 3,
    prune: bool = True,
    gradient: bool = True,
    closure: bool = True,
    integrals: str = "auto",
    guess: str | FirstDensity = "minao",
    masses: Float[np.ndarray, " A"] | None = None,
    device: torch.device | str = "cpu",
) -> Molecule:
    """Integrals and grid of a molecule.

    Args:
        numbers: (A,) atomic numbers. positions: (A, 3) in angstrom. charge: in e.
        spin: number of unpaired electrons; None takes 0 or 1, whichever is possible.
        basis: a name that PySCF knows (without PySCF: the Basis Set Exchange package), or a
            dictionary of PySCF's form by element.
        coulomb: ``fitted`` (an error of about 1e-4 hartree) or ``exact`` (memory n^4, at most 60
            orbitals).
        auxiliary: basis of density fitting, by PySCF's name; def2-universal-jfit serves the Coulomb
            energy, exact exchange wants def2-universal-jkfit.
        grid_level: Becke's grid, 0 (coarse) to 9, as in PySCF. prune: NWChem's pruning of it.
        gradient: also orbital gradients, which GGAs need.
        closure: also the overlaps with the density basis, which a closure needs.
        integrals: ``libcint``, ``torch`` (`sfm_dft.integrals`: equal to 1e-11, slower on a CPU,
            without the four-centre integrals of ``exact``), or ``auto``: libcint on the CPU where
            PySCF is, torch elsewhere.
        guess: density to start from: ``minao`` (atoms in a minimal basis), ``atoms`` (spherical
            atoms, each self-consistent), ``core`` (electrons that do not see each other), or a
            function that gives (n, n), or (2, n, n) of up and down, from the PySCF molecule and
            the Coulomb matrix of a density matrix (n, n), as a function.
            Without PySCF: ``minao`` or ``core``.
        masses: (A,) in amu of isotopes, for vibrations; None takes the elements' averages.
        device: where everything is to live.

    Raises:
        InputError: no electrons or an impossible number of unpaired ones, unknown basis or one
            made for a pseudopotential, nuclei that coincide, too many orbitals for ``exact``, or
            ``exact`` with integrals in torch.
    """
    if coulomb not in COULOMB:
        raise InputError(
            f"coulomb '{coulomb}' is not known.{did_you_mean(coulomb, COULOMB)} "
            "Choose 'fitted' or 'exact'"
        )
    device = torch.device(device)
    integrals = basis_sets.integrals_by(integrals, coulomb, device)
    electrons, spin = _electrons(numbers, charge, spin)
    places, distances = _places(positions)
    charges = torch.tensor(np.asarray(numbers, dtype=np.int64), device=device)
    shells = _shells(basis, charges, torch.tensor(places, device=device), electrons, spin)
    if coulomb == "fitted":
        _check_fitting(auxiliary, charges)
    pyscf_molecule = None
    if basis_sets.has_pyscf():
        pyscf_molecule = build_molecule(numbers, places, basis, charge, "Bohr", spin=spin)
        _check_all_electrons(pyscf_molecule, basis)
    if integrals == "torch":
        arrays = by_torch(basis, charges, shells.positions, auxiliary, closure)
    else:
        arrays = by_libcint(pyscf_molecule, coulomb, auxiliary, closure)
    tensors: dict[str, Any] = {name: as_tensor(array, device) for name, array in arrays.items()}
    tensors.setdefault("density_functions", None)
    molecule = Molecule(
        numbers=charges,
        positions=shells.positions,
        charge=charge,
        spin=spin,
        grid=build_grid(charges, shells, grid_level, prune=prune, gradient=gradient),
        guess=torch.zeros_like(tensors["core"]),
        nuclear=_repulsion(charges.cpu().numpy(), distances),
        basis=basis,
        auxiliary=auxiliary,
        masses=None if masses is None else as_tensor(masses, device),
        **tensors,
    )
    first = first_guess(guess, shells, charges, pyscf_molecule, molecule.hartree_matrix)
    return replace(molecule, guess=as_tensor(first, device))


def _electrons(numbers: np.ndarray, charge: int, spin: int | None) -> tuple[int, int]:
    """How many electrons there are, and how many unpaired ones."""
    electrons = int(np.sum(numbers)) - charge
    if spin is None:
        spin = electrons % 2
    if electrons <= 0 or spin < 0 or spin > electrons or (electrons - spin) % 2:
        raise InputError(
            f"{electrons} electrons cannot have {spin} unpaired: change the charge or the spin"
        )
    return electrons, spin


def _shells(basis: Any, charges: Tensor, places: Tensor, electrons: int, spin: int) -> Shells:
    """The orbital basis, with room for all electrons."""
    shells = basis_sets.shells(basis, charges, places, largest=LARGEST_ON_GRID)
    if shells.size < (electrons + spin) // 2:
        raise InputError(
            f"basis '{basis}' has {shells.size} orbitals for {electrons} electrons; "
            "take a larger one"
        )
    return shells


def _places(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (A, 3) in bohr and their distances (A, A); no two are at one place."""
    places = np.asarray(positions, dtype=np.float64).reshape(-1, 3) / BOHR
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    if (np.triu(distances < SMALLEST_DISTANCE, 1)).any():
        i, j = np.argwhere(np.triu(distances < SMALLEST_DISTANCE, 1))[0] + 1
        raise InputError(f"atoms {i} and {j} are at one place: move or remove one of them")
    return places, distances


def _repulsion(numbers: np.ndarray, distances: np.ndarray) -> float:
    i, j = np.triu_indices(len(numbers), 1)
    return float((numbers[i] * numbers[j] / distances[i, j]).sum())


def _check_fitting(auxiliary: str, numbers: Tensor) -> None:
    """Refuse elements that the basis of density fitting does not have."""
    for number in sorted(set(numbers.tolist())):
        try:
            basis_sets.table(auxiliary, number)
        except InputError as error:
            raise InputError(f"density fitting: {error}; coulomb='exact' needs none") from None


def _check_all_electrons(molecule: Any, basis: Any) -> None:
    """Refuse a basis without core orbitals: nuclei keep all their electrons here."""
    from pyscf.gto.basis import load_ecp

    for symbol in sorted({molecule.atom_pure_symbol(i) for i in range(molecule.natm)}):
        name = basis.get(symbol, basis.get("default")) if isinstance(basis, Mapping) else basis
        if not isinstance(name, str):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                replaced = load_ecp(name, symbol)
        except (KeyError, OSError, RuntimeError):  # PySCF's ways to say that there is none
            continue
        if replaced:
            raise InputError(
                f"basis '{name}' of {symbol} stands on a pseudopotential for {replaced[0]} core "
                "electrons, which Kohn-Sham does not have; take an all-electron basis, such as "
                "sto-3g or 3-21g"
            )
