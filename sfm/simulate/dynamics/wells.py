"""Crystals whose free energy is known: atoms bound harmonically to their sites.

    U = U_sites + 1/2 sum_ij u_i Phi_ij u_j,   u_i = x_i - site_i - mean of (x - site)

The whole is free to drift, which changes no u. Classically, at the kT of a bath and apart from the
momenta, ln of the integral over all shapes is the sum of ln(2 pi kT / kappa) / 2 over the 3 n - 3
eigenvalues kappa of Phi that are not zero: J. M. Polson, E. Trizac, S. Pronk, D. Frenkel, J. Chem.
Phys. 112, 5339 (2000) has the same for springs of one kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sfm.constants import ACCELERATION, BOLTZMANN, PLANCK


@dataclass(frozen=True, eq=False)
class Wells:
    """The energy of atoms at or near their sites, of as many copies of a crystal as are asked for.

    Attributes:
        sites: (n, 3) angstrom, of one copy.
        constants: (3 n, 3 n) eV/angstrom^2, rows adding up to zero over atoms; or () the stiffness
            of springs that are all alike.
        bottom: eV, with all atoms at their sites.
    """

    sites: Tensor
    constants: Tensor
    bottom: float

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (S,) eV and forces (N, 3) eV/angstrom at (N, 3) angstrom, N = S n; not wrapped.

        Differentiable.
        """
        moved = positions.reshape(-1, *self.sites.shape) - self.sites
        moved = moved - moved.mean(1, keepdim=True)
        if self.constants.dim():
            pull = (moved.flatten(1) @ self.constants).reshape(moved.shape)
        else:
            pull = self.constants * moved
        return self.bottom + 0.5 * (moved * pull).sum((1, 2)), -pull.reshape(-1, 3)


def of_springs(count: int, stiffness: float, temperature: float) -> float:
    """eV: -kT sum ln(2 pi kT / k) / 2 over the 3 n - 3 modes of n equal springs, k in
    eV/angstrom^2, at `temperature` kelvin; the unit of volume is angstrom^3."""
    heat = BOLTZMANN * temperature
    return 1.5 * (count - 1) * heat * math.log(stiffness / (2 * math.pi * heat))


def of_modes(stiffness: Float[Tensor, "*wave_vectors M"], temperature: float) -> Float[Tensor, ""]:
    """() eV: the same for modes (M,), (Q, 3 n), ... of stiffness kappa, eV/angstrom^2, all above
    zero: of (Q, 3 n) the mean over Q wave vectors."""
    heat = BOLTZMANN * temperature
    each = 0.5 * heat * (stiffness / (2 * math.pi * heat)).log()
    return each.sum() if each.dim() == 1 else each.sum(1).mean()


def of_momenta(masses: Float[Tensor, " n *one"], temperature: float) -> Float[Tensor, ""]:
    """() eV: sum of 3 kT ln(Lambda) for masses (n,) or (n, 1) amu, the thermal wavelength Lambda =
    h / (2 pi m kT)^(1/2) in angstrom."""
    heat = BOLTZMANN * temperature
    square = PLANCK**2 * ACCELERATION / (2 * math.pi * heat * masses)
    return 1.5 * heat * square.log().sum()
