"""Samples as the Kohn-Sham simulator solves them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning
from sfm.model import FoundationModel
from sfm_dft.basis.library import AUXILIARY_BASIS, EXCHANGE_AUXILIARY_BASIS
from sfm_dft.density.guess import density_matrix
from sfm_dft.scf.guesses import GUESSES
from sfm_dft.scf.molecule import Molecule
from sfm_dft.scf.preparation import prepare
from sfm_dft.simulators.kohn_sham_settings import KohnShamSettings
from sfm_dft.xc.contract import Functional


def molecule_of(sample: Sample, settings: KohnShamSettings) -> Molecule:
    """A sample with integrals and grid, as the settings want them.

    Raises:
        InputError: periodic or without atoms, an impossible spin or charge, an unknown basis.
    """
    if sample.pbc.any():
        raise InputError(f"{sample.id}: {settings.part} takes open molecules, not periodic cells")
    if len(sample.positions) == 0 or (sample.types == 0).any():
        raise InputError(f"{sample.id}: {settings.part} needs atoms with atomic numbers")
    if settings.vibrations and sample.fixed is not None:
        warnings.warn(
            f"{sample.id}: its fixed atoms move in {settings.part}'s vibrations",
            InputWarning,
            stacklevel=4,
        )
    exchange = any(f.exact_exchange for f in settings.on_grid)
    return prepare(
        sample.types,
        sample.positions,
        charge=_whole(sample, "charge") or 0,
        spin=_whole(sample, "spin"),
        basis=settings.basis,
        coulomb=settings.coulomb,
        auxiliary=EXCHANGE_AUXILIARY_BASIS if exchange else AUXILIARY_BASIS,
        grid_level=settings.grid_level,
        prune=settings.grid_pruning == "nwchem",
        gradient=any(f.rung != "lda" for f in settings.on_grid),
        closure=settings.closure is not None and not isinstance(settings.closure, Functional),
        integrals=settings.integrals,
        guess=settings.guess if settings.guess in GUESSES else partial(_predicted, settings.guess),
        masses=sample.masses,
        device=settings.exchange_scale.device,
    )


def _predicted(name: str, molecule: Any, coulomb: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """First density matrix of a PySCF molecule from the model called `name`."""
    return density_matrix(molecule, _model(name), coulomb=coulomb)


@lru_cache(maxsize=2)
def _model(name: str) -> FoundationModel:
    """A model by name; not an attribute, or it would be a part of the simulator."""
    return FoundationModel.from_pretrained(name)


def _whole(sample: Sample, name: str) -> int | None:
    if name not in sample.conditions:
        return None
    value = float(sample.conditions[name])
    if not value.is_integer():
        raise InputError(f"{sample.id}: {name} {value} is not a whole number")
    return int(value)
