"""What is read off the orbitals of a calculation.

Atomic units (hartree, bohr) unless said otherwise.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.scf.diis import Orbitals
from sfm_dft.scf.system import KohnShamSystem


def frontier_levels(
    system: KohnShamSystem, solution: Orbitals, fock: Float[Tensor, "M s n n"]
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Highest filled and lowest empty level (M,) of either spin, hartree; NaN if there is none."""
    levels = ((fock @ solution.coefficients) * solution.coefficients).sum(-2)  # (M, s, n)
    order = torch.arange(levels.shape[-1], device=levels.device)
    count = system.electrons[..., None]
    exists = (solution.coefficients != 0).any(-2)
    kinds = []
    for candidates, sign in ((order == count - 1, 1.0), ((order == count) & exists, -1.0)):
        height = torch.where(candidates, sign * levels.detach(), -torch.inf).flatten(1)
        index = height.argmax(1, keepdim=True)
        value = levels.flatten(1).gather(1, index)[:, 0]
        kinds.append(torch.where(height.isfinite().any(1), value, torch.nan))
    return kinds[0], kinds[1]


def spin_squared(system: KohnShamSystem, d: Float[Tensor, "M s n n"]) -> Float[Tensor, " M"]:
    """<S^2> (M,) of the determinant: 0 for a closed shell, 0.75 for a pure doublet."""
    if system.spins == 1:
        return d.new_zeros(len(system))
    up, down = system.electrons.to(d.dtype).unbind(1)
    half = 0.5 * (up - down)
    product = (d[:, 0] @ system.overlap) * (d[:, 1] @ system.overlap).mT
    return half * (half + 1.0) + down - product.sum((-2, -1))
