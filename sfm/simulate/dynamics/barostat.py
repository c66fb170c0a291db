"""Stochastic cell rescaling: volumes of the isothermal-isobaric ensemble.

M. Bernetti, G. Bussi, J. Chem. Phys. 153, 114107 (2020), isotropic. With lambda = V^(1/2),

    d lambda = -(beta lambda / 2 tau) (P0 - P - c k_B T / V - k_B T / 2 V) dt
               + sqrt(k_B T beta / 2 tau) dW,

whose noise does not depend on the volume. P is the pressure -d(K + E)/dV of scaling positions by s
and velocities by 1/s, with s = V^(1/3). c counts whole bodies whose momentum is held at zero while
their place still scales: 1 where the total momentum stays zero, else 0. Only beta / tau matters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sfm.constants import BOLTZMANN


def stretch(
    volume: Tensor,
    pressure: Tensor,
    dt: float,
    *,
    target: Tensor,
    temperature: Tensor,
    rate: Tensor,
    at_rest: Tensor,
    noise: Tensor,
) -> Tensor:
    """(S,) factors by which lengths grow in `dt` fs.

    Args:
        volume: (S,) angstrom^3.
        pressure: (S,) eV/angstrom^3, from kinetic energy and virial.
        target: P0, eV/angstrom^3. temperature: kelvin.
        rate: beta / tau, angstrom^3 / (eV fs).
        at_rest: (S,) c.
        noise: (S,) standard normal numbers.
    """
    heat = BOLTZMANN * temperature
    root = volume.sqrt()
    excess = target - pressure - (at_rest + 0.5) * heat / volume
    moved = root - 0.5 * rate * root * excess * dt + (0.5 * heat * rate * dt).sqrt() * noise
    return (moved / root).abs() ** (2 / 3)


def pressure(kinetic: Tensor, virial: Tensor, volume: Tensor) -> Tensor:
    """(S,) eV/angstrom^3: (2 K + W) / 3 V, W the trace of minus dE/dstrain."""
    return (2 * kinetic + virial) / (3 * volume)


def volume(cell: Tensor) -> Tensor:
    """(S,) angstrom^3 of cells (S, 3, 3)."""
    size: Tensor = torch.linalg.det(cell).abs()
    return size
