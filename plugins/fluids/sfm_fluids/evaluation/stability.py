"""What a closure does in a long run: whether it survives, and the energy spectrum it settles at."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm_fluids.evaluation.decorrelation import Protocol, simulator
from sfm_fluids.spectral.grid_2d import Grid, energy_spectrum, velocity

LOST = 100.0


@dataclass(frozen=True)
class LongRun:
    """A run of an ensemble over many steps.

    Attributes:
        survived: for each flow, the steps after which it was last seen with a finite energy below
            100 times the first one.
        spectrum: (K,) mean over flows and the second half of the run of the energy in shells;
            only of flows that survived, NaN if none did.
        energy: (samples,) mean kinetic energy, of flows that survive at that time.
    """

    survived: list[int]
    spectrum: np.ndarray
    energy: np.ndarray


@torch.no_grad()
def stability(
    protocol: Protocol,
    points: int,
    dt: float,
    *,
    steps: int = 10_000,
    every: int = 100,
    width: float = 0.0,
    closure: nn.Module | None = None,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> LongRun:
    """Run the protocol's flows for `steps` steps on a grid of `points`."""
    grid = Grid(points, points)
    sim = simulator(protocol, grid, dt, width=width, closure=closure, dtype=dtype, **options)
    omega = protocol.windows(protocol.reference.on(grid, width))[0]
    state = sim.from_velocity(velocity(omega, grid))
    limit = LOST * _energy(energy_spectrum(state.vorticity.double(), grid)[1])
    alive = torch.ones(len(omega), dtype=torch.bool)
    survived, energies, spectra = [0] * len(omega), [], []
    for done in range(every, steps + 1, every):
        state = sim(state, every)
        _, spectrum = energy_spectrum(state.vorticity.double(), grid)
        energy = _energy(spectrum)
        alive &= torch.isfinite(energy) & (energy < limit)
        if not alive.any():
            break
        for index in torch.nonzero(alive).flatten().tolist():
            survived[index] = done
        energies.append(float(energy[alive].mean()))
        if done > steps // 2:
            spectra.append(spectrum[alive].mean(0))
    kept = torch.stack(spectra).mean(0) if spectra else torch.full((points,), float("nan"))
    return LongRun(survived, kept.numpy(), np.array(energies))


def _energy(spectrum: Tensor) -> Tensor:
    return spectrum.sum(-1)


def spectrum_error(
    spectrum: Float[np.ndarray, " K"],
    exact: Float[np.ndarray, " K"],
    edges: Sequence[int] = (1, 4, 8, 11),
) -> list[float]:
    """|log10 E / E_exact| of the energy in bands of shells, [edges[i], edges[i + 1]) each.

    Spectra are (K,), an entry for each shell from 0 on.
    """
    bands = itertools.pairwise(edges)
    return [
        float(abs(np.log10(spectrum[low:high].sum() / exact[low:high].sum())))
        for low, high in bands
    ]
