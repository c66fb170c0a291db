"""What a learned functional sees of a density: bounded, dimensionless, smooth at every point.

With s the reduced gradient, tau_W = |grad n|^2 / 8n von Weizsaecker's and tau_0 the (polarised)
uniform gas's kinetic energy density:

    x = s^2 / (1 + s^2)                  0 where uniform, towards 1 far from nuclei
    u = b^2 (3 - 2 b),  b = (tau - tau_W) / (tau + tau_0)
                                         0 for one orbital, 1/2 uniform, towards 1 between shells
    z = ((n_up - n_down) / n)^2          even in the polarisation
    r = 1 / (1 + r_s)                    1 at high density

`departure` is 0 for the uniform gas and at most 1 elsewhere: a correction multiplied with it keeps
the uniform limit. b: Furness and Sun, Phys. Rev. B 99, 041119 (2019); u is stationary where one
orbital holds everything, so no potential there feels the slope of a network.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.xc.contract import Rung
from sfm_dft.xc.reduced import Gas, Spins

_LEAST = -0.05  # of b; below zero only by rounding, or with a tau that no orbitals have


def local_features(
    gas: Gas, rung: Rung, spins: Spins | None = None
) -> tuple[Float[Tensor, "*points F"], Float[Tensor, "*points"]]:
    """(..., F) features x and u, as many as the rung has, and (...) departure.

    Without a gradient (`lda`) there are none, and nothing is known to be uniform: departure is 1.
    """
    if rung == "lda":
        return gas.n.new_zeros(*gas.n.shape, 0), torch.ones_like(gas.n)
    s2 = gas.gradient2()
    x = s2 / (1.0 + s2)
    if rung == "gga":
        return x[..., None], x
    w = gas.kinetic()
    uniform = 1.0 if spins is None else spins.kinetic
    b = ((w - 5.0 / 3.0 * s2) / (w + uniform)).clamp(min=_LEAST)
    u = b.square() * (3.0 - 2.0 * b)
    departure = 1.0 - (1.0 - x) * (4.0 * u * (1.0 - u)).clamp(min=0.0)
    return torch.stack([x, u], -1), departure


def all_features(
    gas: Gas, rung: Rung, spins: Spins | None
) -> tuple[Float[Tensor, "G F"], Float[Tensor, " G"]]:
    """(G, F + 2) features x, u, z and r of the total density, and (G,) departure."""
    local, departure = local_features(gas, rung, spins)
    z = torch.zeros_like(gas.n) if spins is None else spins.zeta2
    r = 1.0 / (1.0 + gas.rs)
    return torch.cat([local, torch.stack([z, r], -1)], -1), departure
