"""Thermostats, each a pure function of velocities and noise.

Langevin's friction in a BAOAB step: B. Leimkuhler, C. Matthews, Appl. Math. Res. Express 2013, 34.
Nose-Hoover chain: G. J. Martyna, M. L. Klein, M. Tuckerman, J. Chem. Phys. 97, 2635 (1992), by the
reversible steps of G. J. Martyna, M. Tuckerman, D. J. Tobias, M. L. Klein, Mol. Phys. 87, 1117
(1996). Stochastic velocity rescaling: G. Bussi, D. Donadio, M. Parrinello, J. Chem. Phys. 126,
014101 (2007).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.constants import ACCELERATION, BOLTZMANN

TINY = 1e-30  # eV, in place of no kinetic energy at all


def langevin(
    velocities: Float[Tensor, "N 3"],
    masses: Float[Tensor, "N 1"],
    dt: float,
    *,
    friction: Float[Tensor, ""],
    temperature: Float[Tensor, ""],
    noise: Float[Tensor, "N 3"],
) -> Float[Tensor, "N 3"]:
    """Velocities (N, 3) after friction and noise for `dt` fs, exactly.

    Args:
        masses: (N, 1) amu.
        friction: 1/fs. temperature: kelvin.
        noise: (N, 3) standard normal numbers, zero where a coordinate is fixed.
    """
    keep = torch.exp(-friction * dt)
    width = ((1 - keep.square()) * BOLTZMANN * temperature * ACCELERATION / masses).sqrt()
    return keep * velocities + width * noise


def rescaling(
    kinetic: Float[Tensor, " S"],
    dt: float,
    *,
    time: Float[Tensor, ""],
    temperature: Float[Tensor, ""],
    normal: Float[Tensor, " S"],
    rest: Float[Tensor, " S"],
) -> Float[Tensor, " S"]:
    """(S,) factors for the velocities of systems with kinetic energies (S,) eV, for `dt` fs.

    The kinetic energy follows dK = (K0 - K) dt / tau + 2 sqrt(K K0 / n) dW / sqrt(tau), solved
    exactly (appendix A of the source).

    Args:
        time: tau, fs. temperature: kelvin.
        normal: (S,) standard normal numbers.
        rest: (S,) chi-squares with one degree less than the system has degrees of freedom, n.
    """
    kinetic = kinetic.clamp_min(TINY)
    keep = torch.exp(-dt / time)
    width = (1 - keep) * BOLTZMANN * temperature / 2
    root = (keep * kinetic).sqrt() + normal * width.sqrt()
    size = ((root.square() + width * rest) / kinetic).sqrt()
    return torch.where(root < 0, -size, size)


def chain_masses(
    degrees: Float[Tensor, " S"],
    length: int,
    time: Float[Tensor, ""],
    temperature: Float[Tensor, ""],
) -> Float[Tensor, "S {length}"]:
    """(S, length) eV fs^2: n k_B T tau^2 for the first thermostat, k_B T tau^2 for the others."""
    unit = BOLTZMANN * temperature * time**2
    counts = torch.ones(len(degrees), length, dtype=degrees.dtype, device=degrees.device)
    counts = torch.cat([degrees.unsqueeze(1), counts[:, 1:]], dim=1)
    return unit * counts


def nose_hoover(
    kinetic: Float[Tensor, " S"],
    chain: Float[Tensor, "S 2 M"],
    dt: float,
    *,
    degrees: Float[Tensor, " S"],
    time: Float[Tensor, ""],
    temperature: Float[Tensor, ""],
) -> tuple[Float[Tensor, " S"], Float[Tensor, "S 2 M"]]:
    """Half of a time step `dt` of a chain of thermostats.

    Args:
        kinetic: (S,) eV.
        chain: (S, 2, M) coordinates and velocities (1/fs).
        degrees: (S,) degrees of freedom. time: tau, fs. temperature: kelvin.

    Returns:
        (S,) factors for the velocities, and the new chain.
    """
    heat = BOLTZMANN * temperature
    masses = chain_masses(degrees, chain.shape[2], time, temperature)
    x, v = chain[:, 0], list(chain[:, 1].unbind(1))
    last = len(v) - 1
    twice = 2 * kinetic

    def pull(k: int) -> Tensor:
        drive = twice - degrees * heat if k == 0 else masses[:, k - 1] * v[k - 1] ** 2 - heat
        return drive / masses[:, k] * (dt / 4)

    def kick(k: int) -> None:
        slow = torch.exp(-v[k + 1] * (dt / 8)) if k < last else 1.0
        v[k] = (v[k] * slow + pull(k)) * slow

    for k in range(last, -1, -1):
        kick(k)
    scale = torch.exp(-v[0] * (dt / 2))
    twice = twice * scale.square()
    x = x + torch.stack(v, 1) * (dt / 2)
    for k in range(last + 1):
        kick(k)
    return scale, torch.stack([x, torch.stack(v, 1)], 1)


def chain_energy(
    chain: Float[Tensor, "S 2 M"],
    degrees: Float[Tensor, " S"],
    time: Float[Tensor, ""],
    temperature: Float[Tensor, ""],
) -> Float[Tensor, " S"]:
    """(S,) eV of a Nose-Hoover chain; with the particles' energy it is conserved."""
    masses = chain_masses(degrees, chain.shape[2], time, temperature)
    x, v = chain[:, 0], chain[:, 1]
    return (masses * (0.5 * v**2 + x / time**2)).sum(1)
