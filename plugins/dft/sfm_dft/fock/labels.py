"""Labels: converged restricted PBE/STO-3G Fock matrices, and the cheap matrix that starts them.

    F C = S C e,   F0 = T + V_ne + V_SAP,   V_SAP = sum_A V_A(|r - R_A|)

F0 is the superposition of atomic potentials (Lehtola, J. Chem. Theory Comput. 15, 1593 (2019);
fitted to Gaussians in Lehtola, Visscher, Engel, J. Chem. Phys. 152, 144105 (2020)): three-centre
integrals of a one-electron operator, no self-consistency. A model learns F - F0.

One file per molecule, so that an interrupted run goes on where it stopped. Hartree, PySCF's order
of functions.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sfm.data.atomic import atomic
from sfm.data.labelling import note
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.data.labelling import CONVERGENCE, FUNCTIONALS, GRID_LEVEL
from sfm_dft.fock.basis import BASIS

LEVEL = "PBE/STO-3G"
SAP_BASIS = "sapgrasplarge"


@dataclass(frozen=True)
class FockLabel:
    """One molecule: types (A,), positions (A, 3) angstrom; fock, overlap, start (n, n).

    `start` is F0; `cycles` are those of a self-consistent field from PySCF's `minao`.
    """

    types: np.ndarray
    positions: np.ndarray
    fock: np.ndarray
    overlap: np.ndarray
    start: np.ndarray
    cycles: int

    @property
    def occupied(self) -> int:
        """Number of doubly occupied orbitals of the neutral molecule."""
        return int(np.sum(self.types)) // 2


def minimal_molecule(types: Int[np.ndarray, " A"], positions: Float[np.ndarray, "A 3"]) -> Any:
    """Neutral closed-shell PySCF molecule in STO-3G; positions (A, 3) in angstrom."""
    return build_molecule(types, positions, basis=BASIS)


def starting_matrix(molecule: Any) -> Float[np.ndarray, "n n"]:
    """F0 (n, n), hartree: core Hamiltonian and superposed atomic potentials."""
    from pyscf import scf
    from pyscf.gto.basis import load

    potentials = {}
    for symbol in {molecule.atom_symbol(i) for i in range(molecule.natm)}:
        potentials[symbol] = np.asarray(load(SAP_BASIS, symbol)[0][1:], dtype=float)
    matrix: np.ndarray = scf.hf.get_hcore(molecule) + scf.hf.make_sap(molecule, potentials)
    return matrix


def self_consistent(molecule: Any, density: Float[np.ndarray, "n n"] | None = None) -> Any:
    """PySCF's restricted PBE, run from a density matrix (n, n), or from `minao` if None."""
    from pyscf import dft

    mean_field = dft.RKS(molecule)
    mean_field.xc = FUNCTIONALS["PBE"]
    mean_field.conv_tol = CONVERGENCE
    mean_field.grids.level = GRID_LEVEL
    mean_field.chkfile = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a scratch file that PySCF leaves open
        mean_field.kernel(density)
    return mean_field


def label(types: Int[np.ndarray, " A"], positions: Float[np.ndarray, "A 3"]) -> FockLabel | None:
    """The label of one geometry, or None if its self-consistent field does not converge.

    types: (A,) atomic numbers. positions: (A, 3) angstrom.
    """
    molecule = minimal_molecule(types, positions)
    mean_field = self_consistent(molecule)
    if not mean_field.converged:
        return None
    return FockLabel(
        types=np.array(types),
        positions=np.array(positions),
        fock=np.asarray(mean_field.get_fock(dm=mean_field.make_rdm1())),
        overlap=molecule.intor_symmetric("int1e_ovlp"),
        start=starting_matrix(molecule),
        cycles=int(mean_field.cycles),
    )


def label_all(samples: Sequence[Sample], folder: Path) -> dict[str, FockLabel]:
    """Labels by the samples' ids, from `folder` where they are, else computed and kept there.

    What does not converge is left out and said.

    Raises:
        InputError: a file of the folder cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out = {}
    for count, sample in enumerate(samples, start=1):
        name = hashlib.sha256(np.asarray(sample.positions, dtype=np.float64).tobytes())
        path = folder / f"{name.hexdigest()[:20]}.npz"
        labelled = _read(path) if path.exists() else label(sample.types, sample.positions)
        if labelled is None:
            note(f"{sample.id}: no self-consistent field, left out")
            continue
        if not path.exists():
            _write(path, labelled)
        out[sample.id] = labelled
        if count % 100 == 0 or count == len(samples):
            note(f"labels: {count}/{len(samples)}")
    return out


def _write(path: Path, labelled: FockLabel) -> None:
    values: dict[str, Any] = {
        f.name: np.asarray(getattr(labelled, f.name)) for f in fields(labelled)
    }
    with atomic(path) as scratch:
        np.savez(scratch, **values)


def _read(path: Path) -> FockLabel:
    try:
        with np.load(path) as stored:
            values: dict[str, Any] = {f.name: stored[f.name] for f in fields(FockLabel)}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: no Fock label ({error}); delete the file to make it anew"
        ) from None
    return FockLabel(**{**values, "cycles": int(values["cycles"])})
