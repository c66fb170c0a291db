"""Becke's partition of space into atoms, as PySCF does it, differentiable in all nuclei.

    w_g = v_g P_A(r_g) / sum_B P_B(r_g),   P_A = prod_B (1 - f(f(f(nu_AB)))) / 2,
    f(x) = x (3 - x^2) / 2,   nu = mu + a_AB (1 - mu^2),   mu_AB = (|r-A| - |r-B|) / |A-B|

with a_AB from the square roots of the Bragg radii (Treutler and Ahlrichs).

References: Becke, J. Chem. Phys. 88, 2547 (1988); Treutler, Ahlrichs, J. Chem. Phys. 102, 346
(1995).

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm_dft.basis.elements import BRAGG_RADII


def size_adjustment(numbers: Int[Tensor, " A"]) -> Float[Tensor, "A A"]:
    """a_AB (A, A) of atomic numbers (A,)."""
    radii = torch.tensor(BRAGG_RADII, dtype=torch.float64, device=numbers.device)[numbers].sqrt()
    ratio = radii[:, None] / radii
    return (0.25 * (ratio.mT - ratio)).clamp(-0.5, 0.5)


def becke_weights(
    displacements: Float[Tensor, "3 A G"],
    positions: Float[Tensor, "A 3"],
    adjustment: Float[Tensor, "A A"],
    owner: Int[Tensor, " G"],
    volumes: Float[Tensor, " G"],
) -> Float[Tensor, " G"]:
    """Weights (G,) of points given by their displacements (3, A, G) from the atoms.

    positions: (A, 3). adjustment: (A, A). owner: (G,) the atom whose grid each point belongs to.
    volumes: (G,) weights of the points in that atom's own grid.
    """
    atoms = len(positions)
    if atoms == 1:
        return volumes
    distance = displacements.square().sum(0).sqrt()  # (A, G)
    first, second = torch.triu_indices(atoms, atoms, 1, device=positions.device)
    between = (positions[first] - positions[second]).norm(dim=1)
    nu = (distance[first] - distance[second]) / between[:, None]
    nu = nu + adjustment[first, second][:, None] * (1.0 - nu.square())
    for _ in range(3):
        nu = 0.5 * nu * (3.0 - nu.square())
    half = 0.5 * nu
    rows = []
    for atom in range(atoms):
        mine, other = 0.5 - half[first == atom], 0.5 + half[second == atom]
        rows.append(torch.cat([mine, other]).prod(0))
    cells = torch.stack(rows)
    return volumes * cells.gather(0, owner[None])[0] / cells.sum(0)
