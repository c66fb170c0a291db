"""The radial distribution and coordination of particles in periodic cells, differentiable."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm.simulate.dynamics.neighbours import VerletList


def distances(reach: float, points: int) -> Float[Tensor, " {points}"]:
    """(B,) angstrom, evenly spaced from reach / B to `reach`: where `radial_distribution` looks."""
    return torch.arange(1, points + 1, dtype=torch.float64) * (reach / points)


def radial_distribution(
    positions: Float[Tensor, "N 3"],
    cell: Float[Tensor, "S 3 3"],
    system: Int[Tensor, " N"],
    *,
    reach: float,
    points: int,
    near: VerletList | None = None,
) -> Float[Tensor, "S {points}"]:
    """(S, B) g(r) of each system at `distances`: pairs by those of an ideal gas of its density.

    Each pair counts for the two points beside its distance, in proportion to its nearness, and a
    point is normalised by the integral of this hat over the shell: g is differentiable in positions
    and cell, and unbiased for a uniform density. Images count as particles, so beyond half the cell
    g repeats what is nearer.

    Args:
        positions: (N, 3) angstrom. cell: (S, 3, 3) angstrom. system: (N,) ascending.
        reach: angstrom. points: B.
        near: a list of neighbours, which spares a search where it serves as it is.
    """
    width = reach / points
    sought = positions, cell, system, reach + width
    pairs = None if near is None else near.at_hand(*sought)
    if pairs is None:
        pairs = VerletList(0.0)(*sought)
    place = pairs.vectors(positions, cell).square().sum(1).sqrt() / width
    lower = place.detach().floor().clamp_max(points + 1)
    upper = place - lower  # the share of the point above
    count, size = len(cell), points + 2
    index = pairs.system * size + lower.long()
    seen = positions.new_zeros(count * size + 1)
    seen = seen.index_add(0, index, 1 - upper).index_add(0, index + 1, upper)
    histogram = 2 * seen[:-1].reshape(count, size)[:, 1 : points + 1]
    r = distances(reach, points).to(positions)
    shell = 4 * math.pi * width * (r.square() + width**2 / 6)
    volume = torch.linalg.det(cell).abs()
    particles = system_sum(torch.ones_like(positions[:, 0]), system, count)
    g: Tensor = histogram * (volume / particles**2)[:, None] / shell
    return g


def coordination(
    positions: Float[Tensor, "N 3"],
    cell: Float[Tensor, "S 3 3"],
    system: Int[Tensor, " N"],
    *,
    radius: float,
    width: float,
) -> Float[Tensor, " N"]:
    """(N,) neighbours of each particle within `radius`, each image counted.

    A neighbour counts fully up to radius - width, half at `radius`, and not beyond radius + width:
    1 - 10 t^3 + 15 t^4 - 6 t^5 between, twice continuously differentiable.

    Args:
        positions: (N, 3) angstrom. cell: (S, 3, 3) angstrom. system: (N,) ascending.
        radius, width: angstrom; for the first shell, the place of g's first minimum.
    """
    pairs = VerletList(0.0)(positions, cell, system, radius + width)
    r = pairs.vectors(positions, cell).square().sum(1).sqrt()
    t = ((r - radius + width) / (2 * width)).clamp(0.0, 1.0)
    near = 1 - t**3 * (10 - 15 * t + 6 * t * t)
    count = torch.zeros_like(positions[:, 0]).index_add(0, pairs.first, near)
    return count.index_add(0, pairs.second, near)


def first_peak(
    r: Float[Tensor, " B"], g: Float[Tensor, " B"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Place (angstrom) and height of the highest point of g (B,) over r (B,), by the parabola
    through it and its neighbours."""
    k = min(max(int(g.argmax()), 1), len(g) - 2)
    left, top, right = g[k - 1], g[k], g[k + 1]
    bend = left - 2 * top + right
    offset = 0.5 * (left - right) / bend
    return r[k] + offset * (r[1] - r[0]), top - (left - right) ** 2 / (8 * bend)
