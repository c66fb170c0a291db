"""What a trajectory says of transport and heat; differentiable.

D. Frenkel, B. Smit, Understanding Molecular Simulation, 2nd ed. (2002), chapters 4 and 6.
J. L. Lebowitz, J. K. Percus, L. Verlet, Phys. Rev. 153, 250 (1967), for the heat capacity of an
isolated system.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.constants import BOLTZMANN
from sfm.errors import InputError


def mean_square_displacement(
    positions: Float[Tensor, "T N 3"], origins: int = 1
) -> Float[Tensor, " T"]:
    """(T,) angstrom^2 over lags of 0 to T - 1 records, averaged over particles and start times.

    Args:
        positions: (T, N, 3) angstrom, not wrapped into the cell, at equal intervals.
        origins: start at each `origins`-th record.
    """
    count = len(positions)
    means = []
    for lag in range(count):
        moved = positions[lag:] - positions[: count - lag]
        means.append(moved[::origins].square().sum(-1).mean())
    return torch.stack(means)


def diffusion(
    times: Float[Tensor, " T"], displacement: Float[Tensor, " T"], *, skip: float = 0.5
) -> Float[Tensor, ""]:
    """Diffusion coefficient, angstrom^2/fs (0.1 cm^2/s): a sixth of the slope of `displacement`.

    Args:
        times: (T,) fs.
        displacement: (T,) angstrom^2.
        skip: fraction of the times that are left out at the beginning, where motion is ballistic.

    Raises:
        InputError: fewer than two times are left.
    """
    first = int(skip * len(times))
    t, y = times[first:].to(displacement), displacement[first:]
    if len(t) < 2:
        raise InputError(f"diffusion: {len(t)} times are left of {len(times)}; record more")
    t = t - t.mean()
    return (t * y).sum() / t.square().sum() / 6


def heat_capacity(
    energy: Float[Tensor, " T"], temperature: Float[Tensor, ""] | float
) -> Float[Tensor, ""]:
    """C_V in eV/kelvin of a canonical run: the variance of (T,) total energies by k_B T^2.

    Args:
        energy: potential and kinetic energy, eV, of equilibrated records.
        temperature: of the bath, kelvin.
    """
    return energy.var(0) / (BOLTZMANN * temperature**2)


def heat_capacity_isolated(kinetic: Float[Tensor, " T"], degrees: float) -> Float[Tensor, ""]:
    """C_V in eV/kelvin of a run at constant energy, from the variance of its kinetic energy.

    <dK^2> = (n / 2) (k_B T)^2 (1 - n k_B / 2 C_V), the relation of the source for n degrees of
    freedom.

    Args:
        kinetic: (T,) eV of equilibrated records.
        degrees: n.
    """
    heat = 2 * kinetic.mean(0) / degrees  # k_B T
    share = 1 - kinetic.var(0) / (0.5 * degrees * heat**2)
    return 0.5 * degrees * BOLTZMANN / share
