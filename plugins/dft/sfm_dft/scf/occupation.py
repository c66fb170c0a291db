"""How electrons fill levels: the lowest ones, or Fermi's distribution at a finite temperature.

Whole electrons in the lowest levels are the rule. Where the highest filled level is degenerate with
the lowest empty one (atoms with open p shells, stretched bonds) no such choice is smooth;
``smearing`` kT > 0 then shares the electrons among them,

    f = 1 / (1 + exp((e - mu) / kT)),   sum f = number of electrons of that spin,

and the energy becomes the free energy E - T S, which is what is stationary (Mermin).

Reference: Mermin, Phys. Rev. 137, A1441 (1965).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

UNREACHABLE = 1e6  # hartree: levels of dropped directions
SMALLEST_GAP = 1e-6  # hartree


def occupations(
    energies: Float[Tensor, "*rows m"], electrons: Int[Tensor, "*rows"], smearing: float = 0.0
) -> Float[Tensor, "*rows m"]:
    """Occupation (..., m) from 0 to 1 of ascending levels (..., m) by ``electrons`` (...)."""
    if smearing <= 0.0:
        order = torch.arange(energies.shape[-1], device=energies.device)
        return (order < electrons[..., None]).to(energies.dtype)
    count = electrons.to(energies.dtype)
    possible = (energies < 0.5 * UNREACHABLE).sum(-1)
    count = torch.minimum(count, possible - 1e-9)  # a full basis has no finite mu
    low = energies.min(-1).values - 40.0 * smearing - 1.0
    high = torch.where(energies < 0.5 * UNREACHABLE, energies, low[..., None]).max(-1).values
    high = high + 40.0 * smearing + 1.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        few = torch.sigmoid((middle[..., None] - energies) / smearing).sum(-1) < count
        low, high = torch.where(few, middle, low), torch.where(few, high, middle)
    return torch.sigmoid((0.5 * (low + high)[..., None] - energies) / smearing)


def entropy_energy(filling: Float[Tensor, "*rows m"], smearing: float) -> Float[Tensor, "*rows"]:
    """-T S (...) = kT sum f ln f + (1 - f) ln(1 - f) of occupations (..., m) of one spin."""
    empty = 1.0 - filling
    terms = torch.special.xlogy(filling, filling) + torch.special.xlogy(empty, empty)
    energy: Tensor = smearing * terms.sum(-1)
    return energy


def susceptibility(
    energies: Float[Tensor, "*rows m"], filling: Float[Tensor, "*rows m"], smearing: float
) -> tuple[Float[Tensor, "*rows m m"], Float[Tensor, "*rows m"]]:
    """How the density matrix answers to a change of the Fock matrix, both in orbitals.

    Returns W (..., m, m) = -(f_p - f_q) / (e_p - e_q) >= 0, and v (..., m) = -df/de, which is zero
    without smearing. dD = -W * dF, and mu moves so that the trace of dD vanishes: to the diagonal
    comes + v (v . diag dF) / sum v.
    """
    gaps = energies[..., :, None] - energies[..., None, :]
    steps = filling[..., :, None] - filling[..., None, :]
    if smearing <= 0.0:
        # a filled and an empty level at one energy have no finite answer: the smallest gap keeps
        # the equations finite, and badly conditioned
        return steps.abs() / gaps.abs().clamp_min(SMALLEST_GAP), torch.zeros_like(filling)
    slope = filling * (1.0 - filling) / smearing
    close = gaps.abs() < 1e-6 * smearing
    mean = 0.5 * (slope[..., :, None] + slope[..., None, :])
    quotient = -steps / torch.where(close, torch.ones_like(gaps), gaps)
    return torch.where(close, mean, quotient).clamp_min(0.0), slope
