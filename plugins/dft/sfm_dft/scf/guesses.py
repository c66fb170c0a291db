"""The density that self-consistency starts from. Atomic units (hartree, bohr)."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.errors import InputError, did_you_mean
from sfm_dft.integrals.shells import Shells
from sfm_dft.scf.minao import minimal_density
from sfm_dft.scf.molecular_integrals import as_tensor

Coulomb = Callable[[Float[np.ndarray, "n n"]], Float[np.ndarray, "n n"]]
FirstDensity = Callable[[Any, Coulomb], Float[np.ndarray, "*spins n n"]]
GUESSES = ("minao", "atoms", "core")


def first_guess(
    kind: str | FirstDensity,
    shells: Shells,
    numbers: Int[Tensor, " A"],
    pyscf_molecule: Any,
    hartree: Callable[[Float[Tensor, "n n"]], Float[Tensor, "n n"]],
) -> Any:
    """The first density matrix (n, n) of all electrons, by PySCF where it is.

    kind: of `GUESSES`, or a function (see `preparation.prepare`). numbers: (A,) atomic numbers.
    hartree: Coulomb matrix (n, n), hartree, of a density matrix (n, n).

    Raises:
        InputError: an unknown guess, or one that needs PySCF where it is not.
    """
    if isinstance(kind, str) and kind not in GUESSES:
        raise InputError(
            f"guess '{kind}' is not known.{did_you_mean(kind, GUESSES)} Choose "
            f"{', '.join(GUESSES)}, or give a function"
        )
    device = shells.positions.device
    if kind == "core":
        return torch.zeros(shells.size, shells.size, dtype=torch.float64, device=device)
    if pyscf_molecule is None:
        if kind == "minao":
            return minimal_density(shells, numbers)
        what = f"guess '{kind}'" if isinstance(kind, str) else "a predicted first density"
        raise InputError(f"{what} needs PySCF: pip install pyscf; or take guess='minao'")
    if isinstance(kind, str):
        return first_density(pyscf_molecule, kind)

    def coulomb(total: np.ndarray) -> np.ndarray:
        return np.asarray(hartree(as_tensor(total, device)).cpu().numpy())

    density = kind(pyscf_molecule, coulomb)
    return density.sum(0) if density.ndim == 3 else density


def first_density(molecule: Any, kind: str) -> Float[np.ndarray, "n n"]:
    """Density matrix (n, n) of all electrons of a PySCF molecule: ``minao`` or ``atoms``."""
    from pyscf import scf

    make = {"minao": scf.hf.init_guess_by_minao, "atoms": scf.hf.init_guess_by_atom}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # files of PySCF's atoms, and its own deprecations
        matrix = np.asarray(make(molecule))
        if kind == "atoms":
            gc.collect()  # closes these files while nobody is told
        return matrix
