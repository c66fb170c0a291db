"""Thermodynamics of a gas of molecules that do not meet: rigid rotors with harmonic vibrations.

    G = E + F_vib - k_B T ln(k_B T / (p L^3)) - k_B T ln Z_rot - k_B T ln(2 S + 1)
    L = h / sqrt(2 pi m k_B T),   Z_rot = sqrt(pi)/s prod_i sqrt(8 pi^2 I_i k_B T / h^2),
    linear: Z_rot = 8 pi^2 I k_B T / (s h^2),   an atom: 1

F_vib holds the zero point. T. L. Hill, An Introduction to Statistical Thermodynamics (1960),
chapters 8 and 9; `ase.thermochemistry.IdealGasThermo` has the same, without gradients.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.constants import ACCELERATION, BOLTZMANN, PLANCK
from sfm.simulate.statics.harmonic import thermal
from sfm.simulate.statics.vibrations import THZ_OF_WAVENUMBER

BAR = 6.241509074e-7  # eV/angstrom^3
# h^2 / (8 pi^2 amu angstrom^2), eV: by hbar = h / 2 pi in eV fs
ROTATION = (PLANCK / (2 * math.pi)) ** 2 * ACCELERATION / 2
STRAIGHT = 1e-6  # relative: a moment of inertia that counts as none


class GasThermo(NamedTuple):
    """Per molecule.

    Attributes:
        enthalpy: () eV. entropy: () eV/kelvin. gibbs_energy: () eV.
    """

    enthalpy: Float[Tensor, ""]
    entropy: Float[Tensor, ""]
    gibbs_energy: Float[Tensor, ""]


def moments_of_inertia(
    positions: Float[Tensor, "n 3"], masses: Float[Tensor, " n"]
) -> Float[Tensor, " 3"]:
    """(3,) amu angstrom^2, ascending; positions (n, 3) angstrom, masses (n,) amu."""
    centred = positions - (masses @ positions) / masses.sum()
    square = (masses * centred.square().sum(1)).sum()
    identity = torch.eye(3, dtype=positions.dtype, device=positions.device)
    moments: Tensor = torch.linalg.eigvalsh(
        square * identity - centred.mT @ (masses[:, None] * centred)
    )
    return moments


def ideal_gas(
    energy: Float[Tensor, ""],
    wavenumbers: Float[Tensor, " K"],
    positions: Float[Tensor, "n 3"],
    masses: Float[Tensor, " n"],
    *,
    temperature: Float[Tensor, ""],
    pressure: Float[Tensor, ""],
    symmetry: int = 1,
    unpaired: Float[Tensor, ""] | None = None,
) -> GasThermo:
    """Enthalpy, entropy and Gibbs free energy of one molecule of the gas; differentiable.

    Args:
        energy: () eV, at rest.
        wavenumbers: (K,) cm^-1; imaginary ones (negative) are left out.
        positions: (n, 3) angstrom. masses: (n,) amu.
        temperature: () kelvin, above 0. pressure: () bar.
        symmetry: s, by how many turns the molecule comes onto itself.
        unpaired: () electrons, 2 S; none if None.
    """
    heat = BOLTZMANN * temperature
    vibrational = thermal(THZ_OF_WAVENUMBER * wavenumbers[None], temperature[None])
    free, vib_entropy = vibrational.free_energy[0], vibrational.entropy[0]
    mass = masses.sum()
    # h^2 / (2 pi m k_B T) in angstrom^2; an amu is 1/ACCELERATION eV fs^2/angstrom^2
    square = PLANCK**2 * ACCELERATION / (2 * math.pi * mass * heat)
    translation = -heat * torch.log(heat / (BAR * pressure) / square**1.5)
    moments = moments_of_inertia(positions, masses)
    turning = moments > STRAIGHT * moments[-1].clamp_min(STRAIGHT)
    ratio = torch.where(turning, heat * moments / ROTATION, 1.0)
    degrees = int(turning.sum())
    spread = math.sqrt(math.pi) * ratio.prod().sqrt() if degrees == 3 else ratio[-1]
    states = spread / symmetry if degrees else torch.ones_like(heat)
    rotation = -heat * torch.log(states)
    electrons = torch.zeros_like(heat) if unpaired is None else unpaired.to(heat)
    electronic = -heat * torch.log1p(electrons)
    gibbs = energy + free + translation + rotation + electronic
    # translation and p V, rotation: k_B T by degree of freedom and for the volume
    classical = (2.5 + degrees / 2) * heat
    enthalpy = energy + free + temperature * vib_entropy + classical
    return GasThermo(enthalpy, (enthalpy - gibbs) / temperature, gibbs)
