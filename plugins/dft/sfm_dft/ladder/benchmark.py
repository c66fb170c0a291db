"""How far a functional is from the exact curves of `hydrogen-1d`: largest and mean errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sfm.data.sample import Sample
from sfm.data.storage import open_dataset
from sfm.units import factor
from sfm_dft.ladder.kohn_sham_1d import KohnSham1D
from sfm_dft.ladder.molecules import Molecules
from sfm_dft.ladder.training import Labels
from sfm_dft.specs import HYDROGEN_1D

FAMILIES = ("H2", "H2+", "H4", "H2-H2")


@dataclass(frozen=True)
class Curve:
    """One family of molecules: exact, and as a functional gives it.

    Attributes:
        separations: (R,) bohr. exact, energy: (R,) hartree; NaN where not self-consistent.
        density_error: (R,) integral of |n - n_exact|, electrons. cycles: (R,).
    """

    separations: np.ndarray
    exact: np.ndarray
    energy: np.ndarray
    density_error: np.ndarray
    cycles: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """(R,) mHa, signed."""
        return 1e3 * (self.energy - self.exact)

    def summary(self, last: float = np.inf) -> dict[str, float]:
        """Errors in mHa up to a separation, and how many did not converge; those do not count."""
        near = self.errors[self.separations <= last + 1e-9]
        good = near[np.isfinite(near)]
        return {
            "max": float(np.abs(good).max()) if len(good) else float("nan"),
            "mean": float(np.abs(good).mean()) if len(good) else float("nan"),
            "not converged": float(len(near) - len(good)),
        }


def samples() -> list[Sample]:
    """All molecules of the dataset."""
    return list(open_dataset(HYDROGEN_1D.folder))


def labels_of(
    name: str, separations: Sequence[float] | None = None, found: Sequence[Sample] | None = None
) -> tuple[np.ndarray, Labels]:
    """Separations (R,) and labels of one family, all of it or the given separations.

    Raises:
        KeyError: a separation is not in the dataset.
    """
    own = {
        round(float(s.conditions["separation"]), 2): s
        for s in (samples() if found is None else found)
        if s.id.startswith(f"{name}/")
    }
    keys = sorted(own) if separations is None else [round(r, 2) for r in separations]
    chosen = [own[k] for k in keys]
    positions = np.stack([s.positions[:, 0] for s in chosen]) * factor("angstrom", "bohr")
    charges = np.stack([s.types for s in chosen]).astype(float)
    charge = np.array([s.conditions["charge"] for s in chosen])
    molecules = Molecules(
        torch.from_numpy(positions),
        torch.from_numpy(charges),
        torch.from_numpy(np.rint(charges.sum(1) - charge).astype(np.int64)),
    )
    energy = np.array([float(s.labels["energy_1d"]) for s in chosen])
    density = np.stack([s.labels["density_1d"] for s in chosen])
    return np.array(keys), Labels(molecules, torch.from_numpy(energy), torch.from_numpy(density))


def curve(
    functional: nn.Module | None,
    name: str,
    *,
    separations: Sequence[float] | None = None,
    found: Sequence[Sample] | None = None,
    max_cycles: int = 60,
    tolerance: float = 1e-7,
) -> Curve:
    """One family through the self-consistent field, from non-interacting densities.

    Args:
        functional: None for the LDA. found: the dataset's samples, read already.
    """
    keys, labels = labels_of(name, separations, found)
    simulator = KohnSham1D(closure=functional, max_cycles=max_cycles, tolerance=tolerance)
    state = simulator(simulator.start(labels.molecules), max_cycles)
    with torch.no_grad():
        energy = simulator.energy(state)
    wrong = (state.field.density - labels.density).abs().sum(-1) * simulator.dx
    return Curve(
        keys,
        labels.energy.numpy(),
        energy.numpy(),
        wrong.numpy(),
        state.field.cycle.numpy(),
    )


def table(functional: nn.Module | None) -> Mapping[str, Curve]:
    """All families."""
    found = samples()
    return {name: curve(functional, name, found=found) for name in FAMILIES}
