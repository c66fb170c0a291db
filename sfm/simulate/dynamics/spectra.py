"""Spectra of what a trajectory records at equal intervals; differentiable.

The infrared spectrum is the power of the dipole's rate of change, and the density of vibrational
states that of velocities weighted by mass: M. Thomas et al., Phys. Chem. Chem. Phys. 15, 6608
(2013); J. M. Dickey, A. Paskin, Phys. Rev. 188, 1407 (1969). Nuclei are classical: no quantum
correction is applied.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.constants import ACCELERATION, LIGHT
from sfm.errors import InputError


def wavenumbers(records: int, interval: float) -> Float[Tensor, " {records}//2+1"]:
    """(F,) 1/cm, F = records // 2 + 1: where the spectra of this module look.

    Args:
        interval: between records, fs.
    """
    places: Tensor = torch.fft.rfftfreq(records, interval, dtype=torch.float64) / LIGHT
    return places


def power_spectrum(signal: Float[Tensor, "T ..."], interval: float) -> Float[Tensor, "T//2+1 ..."]:
    """(F, ...) power of a signal (T, ...) less its mean, in its unit squared times fs.

    Over frequencies in 1/fs, from 0 on, it integrates to the signal's variance. A Hann window keeps
    a peak from leaking into others.

    Args:
        interval: between records, fs.

    Raises:
        InputError: fewer than 8 records.
    """
    count = len(signal)
    if count < 8:
        raise InputError(f"spectrum: {count} records; give at least 8")
    window = torch.hann_window(count, periodic=False, dtype=signal.dtype, device=signal.device)
    shape = (-1, *[1] * (signal.ndim - 1))
    parts = torch.fft.rfft((signal - signal.mean(0)) * window.reshape(shape), dim=0)
    power: Tensor = (
        2 * interval / window.square().sum() * (parts.real.square() + parts.imag.square())
    )
    return power


def infrared_spectrum(dipoles: Float[Tensor, "T 3"], interval: float) -> Float[Tensor, " T//2"]:
    """(F - 1,) intensities at `wavenumbers(T, interval)[1:]`, in the dipoles' unit squared per fs.

    Args:
        dipoles: (T, 3) at equal intervals, e angstrom or any other unit; of a periodic system
            without jumps.
        interval: fs.
    """
    power = power_spectrum(dipoles, interval).sum(1)[1:]
    circular = 2 * math.pi * LIGHT * wavenumbers(len(dipoles), interval)[1:].to(power)
    return circular.square() * power


def vibrational_density(
    velocities: Float[Tensor, "T N 3"], masses: Float[Tensor, "N 1"], interval: float
) -> Float[Tensor, " T//2+1"]:
    """(F,) eV fs at `wavenumbers(T, interval)`: kinetic energy, twice, by frequency.

    Divided by k_B T it integrates over frequencies in 1/fs to the number of degrees of freedom.

    Args:
        velocities: (T, N, 3) angstrom/fs at equal intervals. masses: (N, 1) amu.
        interval: fs.
    """
    power = power_spectrum(velocities, interval)
    return (masses / ACCELERATION * power).sum((1, 2))
