"""What a Kohn-Sham calculation needs of one molecule, as torch tensors: integrals and grid.

PySCF (libcint) or `sfm_dft.integrals` computes the Gaussian integrals once per geometry, PySCF the
Becke grid and the orbital values; everything after that is torch. All of it is constant here:
derivatives by positions are the business of `sfm_dft.forces`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfm.errors import InputError, did_you_mean
from sfm_dft import density_basis
from sfm_dft.labelling import AUXILIARY_BASIS, build_molecule

COULOMB = ("fitted", "exact")
INTEGRALS = ("libcint", "torch")
MAX_EXACT_ORBITALS = 60


class KohnShamSystem:
    """One molecule in a Gaussian basis. Atomic units (hartree, bohr), float64. Never changed.

    Attributes:
        numbers: (A,) atomic numbers. positions: (A, 3) bohr. charge: total charge, e.
        electrons: number of electrons, even.
        overlap, core: (n, n); core is kinetic plus nuclear attraction.
        kinetic: (n, n).
        dipole: (3, n, n), <mu|r|nu> about the origin.
        coulomb: (P, n, n) fitted factors with J = sum_P L_P tr(L_P D), or (n^2, n^2) exact
            four-centre integrals (mu nu|la si).
        orbitals: (1, G, n) orbital values on the grid, or (4, G, n) with x, y, z derivatives.
        weights: (G,) grid weights, bohr^3. points: (G, 3) bohr.
        owners: (G,) atom whose grid a point belongs to. volumes: (G,) its weight in that atom's
            own grid, before Becke's partition; zero for points that only pad.
        density_functions: (A, 45, n, n) overlaps <mu|phi_Ak|nu> with the density basis, or None.
        guess: (n, n) density matrix to start from (superposition of minimal-basis atoms).
        nuclear: nuclear repulsion, hartree.
        basis: what `prepare` was given, to evaluate the orbitals elsewhere.
    """

    numbers: Tensor
    positions: Tensor
    charge: int
    electrons: int
    overlap: Tensor
    core: Tensor
    kinetic: Tensor
    dipole: Tensor
    coulomb: Tensor
    orbitals: Tensor
    weights: Tensor
    points: Tensor
    owners: Tensor
    volumes: Tensor
    density_functions: Tensor | None
    guess: Tensor
    nuclear: float
    basis: Any

    def __init__(self, **values: Any) -> None:
        names = set(type(self).__annotations__)
        if set(values) != names:
            raise TypeError(f"give exactly {sorted(names)}")
        self.__dict__.update(values)

    @property
    def occupied(self) -> int:
        """Number of doubly occupied orbitals."""
        return self.electrons // 2

    def density(self, density_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """rho (G,) in electrons per bohr^3 and sigma = |grad rho|^2 (G,) on the grid.

        sigma is zero where the system was prepared without orbital gradients.
        """
        half = self.orbitals[0] @ density_matrix
        rho = (self.orbitals[0] * half).sum(-1)
        if len(self.orbitals) == 1:
            return rho, torch.zeros_like(rho)
        gradient = 2.0 * (self.orbitals[1:] * half).sum(-1)
        return rho, gradient.square().sum(0)

    def density_at(self, density_matrix: Tensor, points: np.ndarray) -> np.ndarray:
        """The density at (K, 3) points in bohr, electrons per bohr^3, (K,). Not differentiable."""
        from pyscf import dft

        molecule = build_molecule(
            self.numbers.numpy(), self.positions.numpy(), self.basis, self.charge, "Bohr"
        )
        values = dft.numint.eval_ao(molecule, points)
        return ((values @ density_matrix.detach().numpy()) * values).sum(1)

    def hartree_matrix(self, density_matrix: Tensor) -> Tensor:
        """Coulomb matrix J (n, n) of a density matrix."""
        if self.coulomb.dim() == 2:
            return (self.coulomb @ density_matrix.reshape(-1)).reshape(density_matrix.shape)
        flat = self.coulomb.reshape(len(self.coulomb), -1)
        return ((flat @ density_matrix.reshape(-1)) @ flat).reshape(density_matrix.shape)

    def projections(self, density_matrix: Tensor) -> Tensor:
        """Projections of the density on the density basis, (A, 45)."""
        if self.density_functions is None:
            raise InputError("this system was prepared without the density basis (closure=False)")
        functions = self.density_functions
        return functions.reshape(*functions.shape[:2], -1) @ density_matrix.reshape(-1)


def prepare(
    numbers: np.ndarray,
    positions: np.ndarray,
    *,
    charge: int = 0,
    basis: Any = "def2-svp",
    coulomb: str = "fitted",
    grid_level: int = 3,
    prune: bool = True,
    gradient: bool = True,
    closure: bool = True,
    integrals: str = "libcint",
) -> KohnShamSystem:
    """Integrals and grid of a closed-shell molecule.

    Args:
        numbers: (A,) atomic numbers. positions: (A, 3) in angstrom. charge: in e.
        basis: a name that PySCF knows, or a dictionary of its own form by element.
        coulomb: ``fitted`` (def2-universal-jfit, an error of about 1e-4 hartree) or ``exact``
            (memory n^4, at most 60 orbitals).
        grid_level: PySCF's Becke grid, 0 (coarse) to 9. prune: NWChem's pruning of it.
        gradient: also orbital gradients, which PBE needs.
        closure: also the overlaps with the density basis, which a closure needs.
        integrals: ``libcint`` or ``torch`` (`sfm_dft.integrals`: equal to 1e-11, slower, without
            the four-centre integrals of ``exact``).

    Raises:
        InputError: odd number of electrons, unknown basis, too many orbitals for ``exact``, or
            ``exact`` with integrals in torch.
    """
    from pyscf import dft, scf
    from pyscf.lib.exceptions import BasisNotFoundError

    if coulomb not in COULOMB:
        raise InputError(
            f"coulomb '{coulomb}' is not known.{did_you_mean(coulomb, COULOMB)} "
            "Choose 'fitted' or 'exact'"
        )
    if integrals == "torch" and coulomb == "exact":
        raise InputError("integrals='torch' has no four-centre integrals; set coulomb='fitted'")
    electrons = int(np.sum(numbers)) - charge
    if electrons % 2 or electrons <= 0:
        raise InputError(
            f"{electrons} electrons: this simulator is restricted to closed shells, "
            "so it needs a positive even number; change the charge"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an advice to install another package
            molecule = build_molecule(numbers, positions, basis, charge)
    except (BasisNotFoundError, KeyError) as error:
        raise InputError(f"no basis '{basis}' for these elements: {error}") from None
    if molecule.nao < electrons // 2 + 1:
        raise InputError(
            f"basis '{basis}' has {molecule.nao} orbitals for {electrons} electrons; "
            "take a larger one, so that there is an empty orbital"
        )
    grid = dft.gen_grid.Grids(molecule)
    grid.level = grid_level
    if not prune:
        grid.prune = None
    grid.build(with_non0tab=False)
    values = dft.numint.eval_ao(molecule, grid.coords, deriv=1 if gradient else 0)
    tensors: dict[str, Any] = {
        **(_torch_integrals if integrals == "torch" else _integrals)(molecule, coulomb, closure),
        "orbitals": values if gradient else values[None],
        "weights": grid.weights,
        "points": grid.coords,
        "volumes": grid.quadrature_weights,
        "guess": np.asarray(scf.hf.init_guess_by_minao(molecule)),
        "positions": molecule.atom_coords(),
    }
    made = {name: _tensor(array) for name, array in tensors.items()}
    made.setdefault("density_functions", None)  # type: ignore[arg-type]
    return KohnShamSystem(
        numbers=torch.as_tensor(np.asarray(numbers, dtype=np.int64)),
        charge=charge,
        electrons=electrons,
        nuclear=float(molecule.energy_nuc()),
        owners=torch.as_tensor(np.maximum(grid.atm_idx, 0), dtype=torch.int64),
        basis=basis,
        **made,  # type: ignore[arg-type]
    )


def _integrals(molecule: Any, coulomb: str, closure: bool) -> dict[str, Any]:
    """Everything by libcint."""
    kinetic = molecule.intor_symmetric("int1e_kin")
    found = {
        "overlap": molecule.intor_symmetric("int1e_ovlp"),
        "kinetic": kinetic,
        "core": kinetic + molecule.intor_symmetric("int1e_nuc"),
        "dipole": molecule.intor_symmetric("int1e_r", comp=3),
        "coulomb": _coulomb(molecule, coulomb),
    }
    if closure:
        found["density_functions"] = density_basis.overlap_integrals(molecule)
    return found


@torch.no_grad()
def _torch_integrals(molecule: Any, coulomb: str, closure: bool) -> dict[str, Any]:
    """The same in torch, with density fitting."""
    from pyscf import df

    from sfm_dft import integrals as torch_integrals

    shells = torch_integrals.Shells.of(molecule)
    charges = torch.tensor(molecule.atom_charges(), dtype=torch.float64)
    kinetic = torch_integrals.kinetic(shells)
    auxiliary = torch_integrals.Shells.of(df.make_auxmol(molecule, AUXILIARY_BASIS))
    found: dict[str, Any] = {
        "overlap": torch_integrals.overlap(shells),
        "kinetic": kinetic,
        "core": kinetic + torch_integrals.nuclear(shells, charges),
        "dipole": torch_integrals.dipole(shells),
        "coulomb": torch_integrals.fitted_factors(shells, auxiliary),
    }
    if closure:
        functions = torch_integrals.Shells.of(density_basis.auxiliary_molecule(molecule))
        values = torch_integrals.three_centre_overlap(shells, functions)
        found["density_functions"] = density_basis.to_e3nn(values.permute(2, 0, 1).numpy())
    return found


def _tensor(array: Any) -> Tensor:
    if isinstance(array, Tensor):
        return array.contiguous()
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float64)


def _coulomb(molecule: Any, kind: str) -> np.ndarray:
    from pyscf import df

    n = molecule.nao
    if kind == "exact":
        if n > MAX_EXACT_ORBITALS:
            raise InputError(
                f"{n} orbitals: exact Coulomb integrals would need {8 * n**4 / 1e9:.1f} GB; "
                "set coulomb='fitted'"
            )
        return molecule.intor("int2e").reshape(n * n, n * n)
    auxiliary = df.make_auxmol(molecule, AUXILIARY_BASIS)
    three = df.incore.aux_e2(molecule, auxiliary, "int3c2e").reshape(n * n, -1)
    triangle = np.linalg.cholesky(auxiliary.intor("int2c2e"))
    return np.linalg.solve(triangle, three.T).reshape(-1, n, n)
