"""Forces of a nudged elastic band with a climbing image.

    F_i = f_i - (f_i . t_i) t_i + k (|R_i+1 - R_i| - |R_i - R_i-1|) t_i,   images between the ends
    F_i = f_i - 2 (f_i . t_i) t_i,                                         the highest one

with the tangents t of G. Henkelman, H. Jonsson, J. Chem. Phys. 113, 9978 (2000), and the climbing
image of G. Henkelman, B. P. Uberuaga, H. Jonsson, ibid. 9901. At the end the highest image is the
saddle point, whatever the spring.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

TINY = 1e-12  # angstrom


def tangents(
    energies: Float[Tensor, " I"], places: Float[Tensor, "I n 3"]
) -> Float[Tensor, "I n 3"]:
    """(I, n, 3) unit vectors along the band, zero at its ends.

    Args:
        energies: (I,) eV of the images.
        places: (I, n, 3) angstrom.
    """
    ahead = places[2:] - places[1:-1]
    behind = places[1:-1] - places[:-2]
    rise, fall = energies[2:] - energies[1:-1], energies[1:-1] - energies[:-2]
    large = torch.maximum(rise.abs(), fall.abs())
    small = torch.minimum(rise.abs(), fall.abs())
    up = energies[2:] > energies[:-2]
    mixed_ahead = torch.where(up, large, small)
    mixed_behind = torch.where(up, small, large)
    climbs, sinks = (rise > 0) & (fall > 0), (rise < 0) & (fall < 0)
    a = torch.where(climbs, 1.0, torch.where(sinks, 0.0, mixed_ahead))
    b = torch.where(climbs, 0.0, torch.where(sinks, 1.0, mixed_behind))
    along = a[:, None, None] * ahead + b[:, None, None] * behind
    unit = along / along.square().sum((1, 2), keepdim=True).sqrt().clamp(min=TINY)
    none = torch.zeros_like(places[:1])
    return torch.cat([none, unit, none])


def band_forces(
    energies: Float[Tensor, " I"],
    places: Float[Tensor, "I n 3"],
    forces: Float[Tensor, "I n 3"],
    spring: float,
    project: Callable[[Float[Tensor, "I n 3"]], Float[Tensor, "I n 3"]] | None = None,
    climbing: bool = True,
) -> Float[Tensor, "I n 3"]:
    """(I, n, 3) eV/angstrom on the images, zero at the ends.

    Args:
        energies: (I,) eV.
        places: (I, n, 3) angstrom.
        forces: (I, n, 3) eV/angstrom, minus the slope of the energy; zero where an atom is fixed.
        spring: k, eV/angstrom^2.
        project: (I, n, 3) without what does not count, as rotations of an open molecule; then no
            image is pulled along that, and the forces have none of it.
        climbing: whether the highest image climbs.
    """
    t = tangents(energies, places)
    if project is not None:
        t = project(t)
        t = t / t.square().sum((1, 2), keepdim=True).sqrt().clamp(min=TINY)
    along = (forces * t).sum((1, 2), keepdim=True)
    gaps = distances(places)
    pull = torch.zeros_like(energies)
    pull = torch.cat([pull[:1], spring * (gaps[1:] - gaps[:-1]), pull[:1]])
    nudged = forces - along * t + pull[:, None, None] * t
    inside = torch.arange(len(energies), device=energies.device)
    top = (inside == 1 + energies.detach()[1:-1].argmax()) & climbing
    forces_of_band = torch.where(top[:, None, None], forces - 2 * along * t, nudged)
    between = (inside > 0) & (inside < len(energies) - 1)
    return torch.where(between[:, None, None], forces_of_band, 0.0)


def distances(places: Float[Tensor, "I n 3"]) -> Float[Tensor, " I-1"]:
    """(I - 1,) angstrom from image to image of places (I, n, 3)."""
    return (places[1:] - places[:-1]).square().sum((1, 2)).clamp(min=TINY**2).sqrt()
