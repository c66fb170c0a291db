"""Thermodynamics of harmonic vibrations: sums over the phonons of a crystal or a molecule's modes.

    F = 1/2 sum h nu + k_B T sum ln(1 - exp(-h nu / k_B T)),   per cell, the mean over wave vectors

M. T. Dove, Introduction to Lattice Dynamics (1993), chapter 5. Imaginary and zero frequencies are
left out, as phonopy does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm import constants
from sfm.constants import BOLTZMANN

PLANCK = constants.PLANCK / 1000  # eV / THz


class Thermal(NamedTuple):
    """Of one cell or molecule at T temperatures.

    Attributes:
        free_energy: (T,) eV, with the zero point's.
        entropy: (T,) eV/kelvin.
        heat_capacity: (T,) eV/kelvin, at constant volume.
    """

    free_energy: Float[Tensor, " T"]
    entropy: Float[Tensor, " T"]
    heat_capacity: Float[Tensor, " T"]


def mesh(size: int) -> Float[Tensor, "Q 3"]:
    """(Q, 3) wave vectors, size^3 of them, between the planes through the origin.

    H. J. Monkhorst, J. D. Pack, Phys. Rev. B 13, 5188 (1976); `size` even, dimensionless: in units
    of the reciprocal vectors.
    """
    line = (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5
    return torch.cartesian_prod(line, line, line)


def thermal(frequencies: Float[Tensor, "Q B"], temperatures: Float[Tensor, " T"]) -> Thermal:
    """Sums over frequencies (Q, B) in THz, at temperatures (T,) in kelvin; Q = 1 for a molecule."""
    real = frequencies > 0
    quantum = PLANCK * torch.where(real, frequencies, 1.0)
    count = len(frequencies)

    def mean(values: Tensor) -> Tensor:
        return torch.where(real, values, 0.0).sum() / count

    rows = []
    for t in temperatures.to(quantum):
        zero = quantum / 2
        if float(t.detach()) <= 0:
            rows.append((mean(zero), 0 * mean(zero), 0 * mean(zero)))
            continue
        heat = BOLTZMANN * t
        x = quantum / heat
        empty = -torch.expm1(-x)  # 1 - exp(-x)
        occupied = torch.exp(-x) / empty
        free = zero + heat * torch.log(empty)
        entropy = BOLTZMANN * (x * occupied - torch.log(empty))
        capacity = BOLTZMANN * x.square() * occupied / empty
        rows.append((mean(free), mean(entropy), mean(capacity)))
    return Thermal(*(torch.stack(column) for column in zip(*rows, strict=True)))


def density_of_states(
    frequencies: Float[Tensor, "Q B"], places: Float[Tensor, " F"], width: float
) -> Float[Tensor, " F"]:
    """(F,) states per THz and cell at `places` (F,) THz, of frequencies (Q, B).

    Args:
        frequencies: (Q, B) THz. places: (F,) THz.
        width: standard deviation of the Gaussian of each, THz.
    """
    gap = (places.unsqueeze(1) - frequencies.reshape(1, -1)) / width
    peaks = torch.exp(-gap.square() / 2) / (width * math.sqrt(2 * math.pi))
    return peaks.sum(1) / len(frequencies)
