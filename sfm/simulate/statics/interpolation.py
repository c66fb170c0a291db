"""A first way between two geometries of an open molecule: superposed ends, images between them.

    S(r) = sum_(i<j) (d_ij - |r_i - r_j|)^2 / |r_i - r_j|^4,   d_ij between those of the ends

An image on the straight line has atoms run into each other where a group turns; the image whose
distances lie between those of the ends does not: S. Smidstrup, A. Pedersen, K. Stokbro, H. Jonsson,
J. Chem. Phys. 140, 214106 (2014). Superposition: W. Kabsch, Acta Cryst. A 32, 922 (1976).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sfm.simulate.statics.elastic_band import band_forces
from sfm.simulate.statics.fire import LARGEST_MOVE, Inertia, fire_step

STIFFNESS = 10.0  # of S at a bond of an angstrom, angstrom^-4
SPRING = 1.0  # between images, in the same unit
AT_REST = 0.01  # largest force of S, angstrom^-3
MAX_STEPS = 500


@torch.no_grad()
def superposed(moving: Float[Tensor, "n 3"], onto: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """(n, 3) `moving`, shifted and turned onto `onto` with the least squares of distances.

    Args:
        moving: (n, 3) angstrom, or any length; it keeps its handedness.
        onto: (n, 3), atoms in the same order.
    """
    centre = onto.mean(0)
    x, y = moving - moving.mean(0), onto - centre
    left, _, right = torch.linalg.svd(x.mT @ y)
    signs = torch.ones_like(centre)
    signs[2] = torch.linalg.det(left @ right).sign()
    turned: Tensor = x @ (left * signs) @ right + centre
    return turned


@torch.no_grad()
def deviation(x: Float[Tensor, "n 3"], y: Float[Tensor, "n 3"]) -> float:
    """Root of the mean squared distance of two geometries (n, 3) angstrom as they stand."""
    return float((x - y).square().sum(1).mean().sqrt())


def straight(
    first: Float[Tensor, "n 3"], last: Float[Tensor, "n 3"], count: int
) -> Float[Tensor, "{count} n 3"]:
    """(count, n, 3) angstrom in equal steps from `first` to `last`, both included."""
    weights = torch.linspace(0, 1, count, dtype=first.dtype, device=first.device)
    return first + weights[:, None, None] * (last - first)


@torch.no_grad()
def between_distances(
    first: Float[Tensor, "n 3"],
    last: Float[Tensor, "n 3"],
    count: int,
    free: Bool[Tensor, "n 3"] | None = None,
) -> Float[Tensor, "{count} n 3"]:
    """(count, n, 3) angstrom from `first` to `last`, both included: a band at rest on S.

    Args:
        first: (n, 3) angstrom. last: (n, 3), superposed.
        count: of images, with the ends.
        free: (n, 3) false for coordinates that are fixed. None: all are free.
    """
    places = straight(first, last, count)
    ends = torch.stack([_distances(first), _distances(last)])
    weights = torch.linspace(0, 1, count, dtype=first.dtype, device=first.device)
    goal = ends[0] + weights[:, None, None] * (ends[1] - ends[0])
    system = torch.arange(count, device=first.device).repeat_interleave(len(first))
    largest = first.new_full((count,), LARGEST_MOVE * len(first) ** 0.5)
    inertia = Inertia.at_rest(places.reshape(-1, 3), count)
    for _ in range(MAX_STEPS):
        with torch.enable_grad():
            x = places.clone().requires_grad_()
            energies = mismatch(x, goal)
            (slope,) = torch.autograd.grad(energies.sum(), x)
        forces = -slope if free is None else -slope * free
        pulls = band_forces(energies.detach(), places, forces, SPRING, climbing=False)
        if float(pulls.abs().max()) <= AT_REST:
            break
        inertia, move = fire_step(inertia, pulls.reshape(-1, 3) / STIFFNESS, system, largest)
        places = places + move.view_as(places)
    return places


def mismatch(places: Float[Tensor, "I n 3"], goal: Float[Tensor, "I n n"]) -> Float[Tensor, " I"]:
    """S (I,) in angstrom^-2 of images (I, n, 3) angstrom with distances `goal` (I, n, n)."""
    lengths, n = _distances(places), places.shape[1]
    rows, columns = torch.triu_indices(n, n, offset=1)
    d, target = lengths[:, rows, columns], goal[:, rows, columns]
    return ((target - d).square() / d**4).sum(1)


def _distances(places: Tensor) -> Tensor:
    """(..., n, n) angstrom; one on the diagonal, which nobody asks for and which has a slope."""
    apart = places.unsqueeze(-2) - places.unsqueeze(-3)
    same = torch.eye(places.shape[-2], dtype=places.dtype, device=places.device)
    return (apart.square().sum(-1) + same).sqrt()
