"""Morse's energy of pairs.

    E = sum over pairs of D [exp(-2 a (r - r0)) - 2 exp(-a (r - r0))] s(r)

P. M. Morse, Phys. Rev. 34, 57 (1929). Copper: D = 0.3429 eV, a = 1.3588 / angstrom, r0 = 2.866
angstrom, from L. A. Girifalco, V. G. Weizer, Phys. Rev. 114, 687 (1959), who fitted sums to
infinity; with a cutoff of 3 r0 copper is softer by about a percent.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm_crystals.cells import Cells, bonds
from sfm_crystals.potentials.switching import ended


def morse(
    cells: Cells,
    well_depth: Float[Tensor, ""],
    stiffness: Float[Tensor, ""],
    bond_length: Float[Tensor, ""],
    *,
    cutoff: float = 3.0,
    switch: str = "quintic",
) -> Float[Tensor, " S"]:
    """(S,) energy in eV.

    Args:
        cells: all atoms are of one kind.
        well_depth: D, eV. stiffness: a, 1/angstrom. bond_length: r0, angstrom.
        cutoff: in units of r0.
        switch: see `sfm_crystals.potentials.switching.ended`.
    """

    def pair(r: Tensor) -> Tensor:
        decay = torch.exp(-stiffness * (r - bond_length))
        return well_depth * decay * (decay - 2)

    reach = cutoff * bond_length
    pairs = bonds(cells, float(reach.detach()))
    energy = ended(pair, pairs.lengths(), reach, switch=switch)
    return system_sum(energy / 2, cells.system[pairs.receiver], cells.n_systems)
