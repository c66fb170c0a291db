"""Lennard-Jones energy of periodic cells.

The cutoff is in units of sigma, so that every length scales with sigma exactly.
"""

from __future__ import annotations

from torch import Tensor

from sfm.data.tokens import system_sum
from sfm_crystals.cells import Cells, bonds
from sfm_crystals.potentials.switching import ONSET, SWITCHES


def pair_energy(
    r2: Tensor, epsilon: Tensor, sigma: Tensor, *, cutoff: float = 3.0, switch: str = "quintic"
) -> tuple[Tensor, Tensor]:
    """Energies (P,) eV of pairs at squared distances (P,) angstrom^2, and their slopes in these.

    Both are zero from the cutoff on. Arguments as in `lennard_jones`.
    """
    reach = cutoff * sigma
    inverse = 1 / r2
    ratio = sigma**2 * inverse
    sixth = ratio * ratio * ratio
    scaled = 4 * epsilon * sixth
    energy = scaled * (sixth - 1)
    slope = scaled * (3 - 6 * sixth) * inverse
    if switch == "shift":
        within = (r2 < reach**2).to(r2)  # torch.where takes ten times as long
        rest = 4 * epsilon * (cutoff**-12 - cutoff**-6)
        return (energy - rest) * within, slope * within
    s, bend = SWITCHES[switch](r2, ONSET * reach, reach)
    return energy * s, slope * s + energy * bend


def lennard_jones(
    cells: Cells, epsilon: Tensor, sigma: Tensor, *, cutoff: float = 3.0, switch: str = "quintic"
) -> Tensor:
    """(S,) energy in eV: sum over pairs of 4 eps [(sigma/r)^12 - (sigma/r)^6] s(r).

    Args:
        cells: all atoms are of one kind.
        epsilon: well depth, eV.
        sigma: length, angstrom.
        cutoff: in units of sigma.
        switch: `quintic` or `xplor` switch the pair energy off between 0.66 and 1 cutoff; `shift`
            subtracts its value at the cutoff (forces then jump there).
    """
    pairs = bonds(cells, float((cutoff * sigma).detach()))
    r2 = pairs.vectors.square().sum(1)
    pair, _ = pair_energy(r2, epsilon, sigma, cutoff=cutoff, switch=switch)
    return system_sum(pair / 2, cells.system[pairs.receiver], cells.n_systems)
