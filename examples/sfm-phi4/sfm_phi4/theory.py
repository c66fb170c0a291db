"""S[phi] = sum_x  1/2 sum_mu (phi_x - phi_{x+mu})^2 + m2/2 phi_x^2 + lambda phi_x^4, periodic."""

from __future__ import annotations

import torch
from torch import Tensor

MU = (-2, -1)  # the lattice's axes


def action(phi: Tensor, m2: Tensor | float, coupling: Tensor | float) -> Tensor:
    """S of fields (..., L, L): (...), without unit."""
    hops = sum((phi - phi.roll(-1, mu)).square() for mu in MU)
    return (0.5 * hops + 0.5 * m2 * phi.square() + coupling * phi**4).sum(MU)


def drift(phi: Tensor, m2: Tensor | float, coupling: Tensor | float) -> Tensor:
    """-dS/dphi of fields (..., L, L), the same shape."""
    hops = sum(2 * phi - phi.roll(1, mu) - phi.roll(-1, mu) for mu in MU)
    return -(hops + m2 * phi + 4 * coupling * phi**3)


def momenta(size: int) -> Tensor:
    """Eigenvalues k^2 = sum_mu 4 sin^2(pi n_mu / L) of minus the lattice Laplacian, (L, L)."""
    k = 4 * torch.sin(torch.pi * torch.arange(size, dtype=torch.float64) / size) ** 2
    return k[:, None] + k[None, :]


def free_phi_squared(size: int, m2: float) -> float:
    """<phi^2> = (1 / L^2) sum_k 1 / (k^2 + m2), the exact value at lambda = 0."""
    return float((1 / (momenta(size) + m2)).mean())
