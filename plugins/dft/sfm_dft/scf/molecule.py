"""What a Kohn-Sham calculation needs of one molecule, as torch tensors: integrals and grid.

PySCF (libcint) or `sfm_dft.integrals` computes the Gaussian integrals once per geometry
(`sfm_dft.basis.library` says who); grid, orbitals on it and everything after that is torch. All of
it is constant here: derivatives by positions are the business of `sfm_dft.gradients.forces`.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfm.errors import InputError, did_you_mean
from sfm_dft import integrals as torch_integrals
from sfm_dft.basis import density_basis
from sfm_dft.basis import library as basis_sets
from sfm_dft.basis.library import AUXILIARY_BASIS
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.grid.molecular import BLOCK, Grid, build_grid
from sfm_dft.integrals.shells import Shells
from sfm_dft.scf.minao import minimal_density
from sfm_dft.xc.dispersion import d3

COULOMB = ("fitted", "exact")
FirstDensity = Callable[[Any, Callable[[np.ndarray], np.ndarray]], np.ndarray]
GUESSES = ("minao", "atoms", "core")
MAX_EXACT_ORBITALS = 60
SMALLEST_DISTANCE = 1e-3  # bohr
LARGEST_ON_GRID = 8  # l
BOHR = 0.52917721092  # angstrom; PySCF's, so that both see one geometry


@dataclass(frozen=True, eq=False)
class Molecule:
    """One molecule in a Gaussian basis. Atomic units (hartree, bohr), float64. Never changed.

    Attributes:
        numbers: (A,) atomic numbers. positions: (A, 3) bohr. charge: total charge, e.
        spin: number of unpaired electrons.
        overlap, core, kinetic: (n, n); core is kinetic plus nuclear attraction.
        dipole: (3, n, n), <mu|r|nu> about the origin.
        coulomb: (P, n, n) fitted factors, (mu nu|la si) = sum_P L_P,mn L_P,ls, or (n^2, n^2) exact
            four-centre integrals.
        grid: points, weights and orbital values.
        density_functions: (A, 45, n, n) overlaps <mu|phi_Ak|nu> with the density basis, or None.
        guess: (n, n) density matrix of all electrons to start from.
        nuclear: nuclear repulsion, hartree.
        basis, auxiliary: what `prepare` was given, to make the functions again elsewhere.
        masses: (A,) amu, where they are not the elements' averages.
    """

    numbers: Tensor
    positions: Tensor
    charge: int
    spin: int
    overlap: Tensor
    core: Tensor
    kinetic: Tensor
    dipole: Tensor
    coulomb: Tensor
    grid: Grid
    density_functions: Tensor | None
    guess: Tensor
    nuclear: float
    basis: Any
    auxiliary: str
    masses: Tensor | None = None

    @property
    def orbitals(self) -> int:
        """Number n of orbitals."""
        return len(self.overlap)

    @property
    def electrons(self) -> tuple[int, int]:
        """Electrons of either spin, up first."""
        count = int(self.numbers.sum()) - self.charge
        return (count + self.spin) // 2, (count - self.spin) // 2

    @property
    def fitted(self) -> bool:
        """Whether Coulomb integrals are density-fitted."""
        return self.coulomb.dim() == 3

    def to(self, device: torch.device | str) -> Molecule:
        """The same on another device."""
        tensors: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, (Tensor, Grid))
        }
        return replace(self, **tensors)

    def density_at(self, density_matrix: Tensor, points: np.ndarray) -> np.ndarray:
        """Density (K,) of a matrix (n, n) at points (K, 3) in bohr, electrons per bohr^3."""
        matrix, found = self.grid.sort(density_matrix.detach()), []
        for part in torch.as_tensor(points).to(matrix).split(BLOCK):
            (values,) = self.grid.jets(0, part, self.positions)
            found.append(((matrix @ values) * values).sum(0))
        return torch.cat(found).cpu().numpy() if found else np.zeros(0)

    def superposed_atoms(self) -> Tensor:
        """Density matrix (n, n) of free atoms side by side, in a minimal basis."""
        if not basis_sets.has_pyscf():
            shells = basis_sets.shells(self.basis, self.numbers, self.positions)
            return minimal_density(shells, self.numbers)
        return _tensor(first_density(self.pyscf(), "minao"), self.positions.device)

    def pyscf(self) -> Any:
        """The PySCF molecule.

        Raises:
            InputError: PySCF is not installed.
        """
        if not basis_sets.has_pyscf():
            raise InputError("this part of dft/kohn-sham needs PySCF: pip install pyscf")
        numbers, positions = self.numbers.cpu().numpy(), self.positions.cpu().numpy()
        return build_molecule(numbers, positions, self.basis, self.charge, "Bohr", spin=self.spin)

    def hartree_matrix(self, total: Tensor) -> Tensor:
        """Coulomb matrix J (n, n) of a density matrix (n, n) of all electrons."""
        if not self.fitted:
            return (self.coulomb @ total.reshape(-1)).reshape(total.shape)
        flat = self.coulomb.flatten(1)
        return ((flat @ total.reshape(-1)) @ flat).reshape(total.shape)

    def exchange_matrix(self, density_matrix: Tensor) -> Tensor:
        """Exchange matrix K (n, n) of a density matrix (n, n): K_mn = (m l|n s) D_ls."""
        n = len(density_matrix)
        if not self.fitted:
            integrals = self.coulomb.reshape(n, n, n, n).transpose(1, 2).reshape(n * n, n * n)
            return (integrals @ density_matrix.reshape(-1)).reshape(n, n)
        half = self.coulomb @ density_matrix
        return torch.tensordot(half, self.coulomb, dims=([0, 2], [0, 2]))

    @cached_property
    def _dispersion(self) -> dict[str, Tensor]:
        return {}

    def dispersion(self, functional: str | None, positions: Tensor | None = None) -> Tensor:
        """D3(BJ) energy with a functional's parameters, () hartree; zero without one.

        positions: (A, 3) bohr elsewhere, differentiable.
        """
        if functional is None:
            return self.positions.new_zeros(())
        if positions is not None:
            return d3(self.numbers, positions, functional)
        if functional not in self._dispersion:
            self._dispersion[functional] = d3(self.numbers, self.positions, functional)
        return self._dispersion[functional]

    def projections(self, total: Tensor) -> Tensor:
        """Projections of a density matrix of all electrons on the density basis, (A, 45)."""
        if self.density_functions is None:
            raise InputError("this molecule was prepared without the density basis (closure=False)")
        functions = self.density_functions
        return functions.reshape(*functions.shape[:2], -1) @ total.reshape(-1)


def prepare(
    numbers: np.ndarray,
    positions: np.ndarray,
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
    masses: np.ndarray | None = None,
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
    electrons = int(np.sum(numbers)) - charge
    if spin is None:
        spin = electrons % 2
    if electrons <= 0 or spin < 0 or spin > electrons or (electrons - spin) % 2:
        raise InputError(
            f"{electrons} electrons cannot have {spin} unpaired: change the charge or the spin"
        )
    places = np.asarray(positions, dtype=np.float64).reshape(-1, 3) / BOHR
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    if (np.triu(distances < SMALLEST_DISTANCE, 1)).any():
        i, j = np.argwhere(np.triu(distances < SMALLEST_DISTANCE, 1))[0] + 1
        raise InputError(f"atoms {i} and {j} are at one place: move or remove one of them")
    charges = torch.tensor(np.asarray(numbers, dtype=np.int64), device=device)
    shells = basis_sets.shells(
        basis, charges, torch.tensor(places, device=device), largest=LARGEST_ON_GRID
    )
    if shells.size < (electrons + spin) // 2:
        raise InputError(
            f"basis '{basis}' has {shells.size} orbitals for {electrons} electrons; "
            "take a larger one"
        )
    if coulomb == "fitted":
        _check_fitting(auxiliary, charges)
    molecule = None
    if basis_sets.has_pyscf():
        molecule = build_molecule(numbers, places, basis, charge, "Bohr", spin=spin)
        _check_electrons(molecule, basis)
    if integrals == "torch":
        found = _torch_integrals(basis, charges, shells.positions, auxiliary, closure)
    else:
        found = _integrals(molecule, coulomb, auxiliary, closure)
    tensors: dict[str, Any] = {name: _tensor(array, device) for name, array in found.items()}
    tensors.setdefault("density_functions", None)
    made = Molecule(
        numbers=charges,
        positions=shells.positions,
        charge=charge,
        spin=spin,
        grid=build_grid(charges, shells, grid_level, prune=prune, gradient=gradient),
        guess=torch.zeros_like(tensors["core"]),
        nuclear=_repulsion(charges.cpu().numpy(), distances),
        basis=basis,
        auxiliary=auxiliary,
        masses=None if masses is None else _tensor(masses, device),
        **tensors,
    )
    return replace(made, guess=_tensor(_guess(guess, molecule, shells, made), device))


def _repulsion(numbers: np.ndarray, distances: np.ndarray) -> float:
    i, j = np.triu_indices(len(numbers), 1)
    return float((numbers[i] * numbers[j] / distances[i, j]).sum())


def _guess(kind: str | FirstDensity, molecule: Any, shells: Shells, made: Molecule) -> Any:
    """The first density of a molecule made so far, by PySCF where it is."""
    if isinstance(kind, str) and kind not in GUESSES:
        raise InputError(
            f"guess '{kind}' is not known.{did_you_mean(kind, GUESSES)} Choose "
            f"{', '.join(GUESSES)}, or give a function"
        )
    if kind == "core":
        return torch.zeros_like(made.core)
    if molecule is None:
        if kind == "minao":
            return minimal_density(shells, made.numbers)
        what = f"guess '{kind}'" if isinstance(kind, str) else "a predicted first density"
        raise InputError(f"{what} needs PySCF: pip install pyscf; or take guess='minao'")
    if isinstance(kind, str):
        return first_density(molecule, kind)

    def coulomb(total: np.ndarray) -> np.ndarray:
        matrix = made.hartree_matrix(_tensor(total, made.core.device))
        return np.asarray(matrix.cpu().numpy())

    found = kind(molecule, coulomb)
    return found.sum(0) if found.ndim == 3 else found


def _check_fitting(auxiliary: str, numbers: Tensor) -> None:
    """Refuse elements that the basis of density fitting does not have."""
    for number in sorted(set(numbers.tolist())):
        try:
            basis_sets.table(auxiliary, number)
        except InputError as error:
            raise InputError(f"density fitting: {error}; coulomb='exact' needs none") from None


def _check_electrons(molecule: Any, basis: Any) -> None:
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


def first_density(molecule: Any, kind: str) -> np.ndarray:
    """Density matrix (n, n) of all electrons of a PySCF molecule: ``minao`` or ``atoms``."""
    from pyscf import scf

    make = {"minao": scf.hf.init_guess_by_minao, "atoms": scf.hf.init_guess_by_atom}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # files of PySCF's atoms, and its own deprecations
        found = np.asarray(make(molecule))
        if kind == "atoms":
            gc.collect()  # closes these files while nobody is told
        return found


def _integrals(molecule: Any, coulomb: str, auxiliary: str, closure: bool) -> dict[str, Any]:
    """Everything by libcint."""
    kinetic = molecule.intor_symmetric("int1e_kin")
    found = {
        "overlap": molecule.intor_symmetric("int1e_ovlp"),
        "kinetic": kinetic,
        "core": kinetic + molecule.intor_symmetric("int1e_nuc"),
        "dipole": molecule.intor_symmetric("int1e_r", comp=3),
        "coulomb": _coulomb(molecule, coulomb, auxiliary),
    }
    if closure:
        found["density_functions"] = density_basis.overlap_integrals(molecule)
    return found


@torch.no_grad()
def _torch_integrals(
    basis: Any, numbers: Tensor, positions: Tensor, auxiliary: str, closure: bool
) -> dict[str, Any]:
    """The same in torch, with density fitting, on the device of the nuclei."""
    shells = basis_sets.shells(basis, numbers, positions)
    kinetic = torch_integrals.kinetic(shells)
    try:
        functions = basis_sets.shells(auxiliary, numbers, positions)
    except InputError as error:
        raise InputError(f"integrals='torch': {auxiliary} has {error}; use 'libcint'") from None
    found: dict[str, Any] = {
        "overlap": torch_integrals.overlap(shells),
        "kinetic": kinetic,
        "core": kinetic + torch_integrals.nuclear(shells, numbers.to(positions.dtype)),
        "dipole": torch_integrals.dipole(shells),
        "coulomb": torch_integrals.fitted_factors(shells, functions),
    }
    if closure:
        projectors = density_basis.shells(numbers, positions)
        values = torch_integrals.three_centre_overlap(shells, projectors)
        rotation = torch.tensor(density_basis.atom_rotation(), device=positions.device)
        stacked = values.permute(2, 0, 1).unflatten(0, (-1, density_basis.DIM))
        found["density_functions"] = torch.einsum("pq,aqij->apij", rotation, stacked)
    return found


def _tensor(array: Any, device: torch.device) -> Tensor:
    if isinstance(array, Tensor):
        return array.to(device).contiguous()
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float64, device=device)


def _coulomb(molecule: Any, kind: str, auxiliary: str) -> np.ndarray:
    from pyscf import df

    n = molecule.nao
    if kind == "exact":
        if n > MAX_EXACT_ORBITALS:
            raise InputError(
                f"{n} orbitals: exact Coulomb integrals would need {8 * n**4 / 1e9:.1f} GB; "
                "set coulomb='fitted'"
            )
        return molecule.intor("int2e").reshape(n * n, n * n)
    functions = df.make_auxmol(molecule, auxiliary)
    three = df.incore.aux_e2(molecule, functions, "int3c2e").reshape(n * n, -1)
    triangle = np.linalg.cholesky(functions.intor("int2c2e"))
    return np.linalg.solve(triangle, three.T).reshape(-1, n, n)
