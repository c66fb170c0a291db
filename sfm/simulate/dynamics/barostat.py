"""Stochastic cell rescaling: volumes of the isothermal-isobaric ensemble.

M. Bernetti, G. Bussi, J. Chem. Phys. 153, 114107 (2020), isotropic. With lambda = V^(1/2),

    d lambda = -(beta lambda / 2 tau) (P0 - P - c k_B T / V - k_B T / 2 V) dt
               + sqrt(k_B T beta / 2 tau) dW,

whose noise does not depend on the volume. P is the pressure -d(K + E)/dV of scaling positions by s
and velocities by 1/s, with s = V^(1/3). c counts whole bodies whose momentum is held at zero while
their place still scales: 1 where the total momentum stays zero, else 0. Only beta / tau matters.

Anisotropic: V. Del Tatto, P. Raiteri, M. Bernetti, G. Bussi, Appl. Sci. 12, 1139 (2022). The cell,
rows h, follows (Ito; P now a tensor, W nine independent noises)

    dh = h [(beta / 3 tau) (P - P0 + (1 + c) k_B T / V) dt + (2 beta k_B T / 3 tau V)^(1/2) dW]

whose stationary density in h is V^(N - 2) exp(-(E + P0 V) / k_B T), so that volumes are distributed
as in the isotropic ensemble. What turns the cell as a whole is no change of its shape and is left
out: the noise is the symmetric part of dW, and a step multiplies by exp(e) of a symmetric e, which
keeps volumes positive. exp contributes k_B T / V of the drift by Ito's rule, e holds the rest.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.constants import BOLTZMANN


def stretch(
    volume: Float[Tensor, " S"],
    pressure: Float[Tensor, " S"],
    dt: float,
    *,
    target: Float[Tensor, ""],
    temperature: Float[Tensor, ""],
    rate: Float[Tensor, ""],
    at_rest: Float[Tensor, " S"],
    noise: Float[Tensor, " S"],
) -> Float[Tensor, " S"]:
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


def strain(
    volume: Float[Tensor, " S"],
    pressure: Float[Tensor, "S 3 3"],
    dt: float,
    *,
    target: Float[Tensor, ""],
    temperature: Float[Tensor, ""],
    rate: Float[Tensor, ""],
    at_rest: Float[Tensor, " S"],
    noise: Float[Tensor, "S 3 3"],
) -> Float[Tensor, "S 3 3"]:
    """(S, 3, 3) symmetric e of `dt` fs: the cell becomes h exp(e), momenta p exp(-e).

    Arguments as in `stretch`, but pressure and noise (S, 3, 3).
    """
    heat = BOLTZMANN * temperature
    unit = torch.eye(3, dtype=volume.dtype, device=volume.device)
    excess = pressure - (target - at_rest * heat / volume)[:, None, None] * unit
    width = (2 / 3 * heat * rate * dt / volume).sqrt()[:, None, None]
    return (rate * dt / 3) * excess + width * (noise + noise.mT) / 2


def pressure(
    kinetic: Float[Tensor, "S 3 3"], virial: Float[Tensor, "S 3 3"], volume: Float[Tensor, " S"]
) -> Float[Tensor, "S 3 3"]:
    """(S, 3, 3) eV/angstrom^3: sums of m v v plus W, by the volume; W is minus dE/dstrain."""
    return (kinetic + virial) / volume[:, None, None]


def volume(cell: Float[Tensor, "S 3 3"]) -> Float[Tensor, " S"]:
    """(S,) angstrom^3 of cells (S, 3, 3)."""
    size: Tensor = torch.linalg.det(cell).abs()
    return size
