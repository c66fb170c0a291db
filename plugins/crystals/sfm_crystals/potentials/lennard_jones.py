"""Lennard-Jones energy of periodic cells.

The cutoff is in units of sigma, so that every length scales with it exactly. J. E. Lennard-Jones,
Proc. Phys. Soc. 43, 461 (1931).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm_crystals.cells import Cells, bonds
from sfm_crystals.potentials.switching import BENDS, ONSET, SWITCHES


def pair_energy(
    r2: Float[Tensor, " P"],
    epsilon: Float[Tensor, ""],
    sigma: Float[Tensor, ""],
    *,
    cutoff: float = 3.0,
    switch: str = "quintic",
) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
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


@dataclass(frozen=True)
class LennardJones:
    """`pair_energy` with a derivative in closed form, for `sfm.simulate.dynamics.pairwise`.

    Attributes:
        cutoff: in units of sigma. switch: as in `lennard_jones`.
    """

    cutoff: float
    switch: str

    def __call__(self, r2: Tensor, epsilon: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """`pair_energy` (eV) at r2 (P,) angstrom^2."""
        return pair_energy(r2, epsilon, sigma, cutoff=self.cutoff, switch=self.switch)

    def pulled(
        self,
        r2: Float[Tensor, " P"],
        parameters: Sequence[Float[Tensor, ""]],
        share: Float[Tensor, " P"] | None,
        weight: Float[Tensor, " P"],
    ) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"], list[Float[Tensor, ""]]]:
        """Slopes e' (P,), the slope of e share + e' weight in r^2 (P,), and of its sum in epsilon
        and sigma; r2 (P,) angstrom^2, share (None: 0) and weight (P,).

        e is epsilon f(r^2 / sigma^2), so that sigma de/dsigma = -2 r^2 e', and
        sigma de'/dsigma = -2 (e' + r^2 e'').
        """
        epsilon, sigma = parameters
        energy, slope = self(r2, epsilon, sigma)
        bend = self._bend(r2, epsilon, sigma)
        by_place, stretched = weight * bend, weight * slope
        by_epsilon = stretched.sum()
        by_sigma = by_epsilon + (r2 * by_place).sum()
        if share is not None:
            moved = share * slope
            by_epsilon = by_epsilon + (share * energy).sum()
            by_sigma = by_sigma + (r2 * moved).sum()
            by_place = by_place + moved
        return slope, by_place, [by_epsilon / epsilon, by_sigma * (-2 / sigma)]

    def _bend(self, r2: Tensor, epsilon: Tensor, sigma: Tensor) -> Tensor:
        """e'' (P,), eV/angstrom^4."""
        reach = self.cutoff * sigma
        inverse = 1 / r2
        ratio = sigma**2 * inverse
        sixth = ratio * ratio * ratio
        scaled = 4 * epsilon * sixth
        bend = scaled * (42 * sixth - 12) * (inverse * inverse)
        if self.switch == "shift":
            return bend * (r2 < reach**2).to(r2)
        ends = (r2, ONSET * reach, reach)
        (s, slope), curve = SWITCHES[self.switch](*ends), BENDS[self.switch](*ends)
        falls = scaled * (6 - 12 * sixth) * inverse  # twice the slope
        return bend * s + falls * slope + scaled * (sixth - 1) * curve


def lennard_jones(
    cells: Cells,
    epsilon: Float[Tensor, ""],
    sigma: Float[Tensor, ""],
    *,
    cutoff: float = 3.0,
    switch: str = "quintic",
) -> Float[Tensor, " S"]:
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
