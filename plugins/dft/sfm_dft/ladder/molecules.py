"""Chains of hydrogen on a line: where the nuclei are and how many electrons there are.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

H2_BOND = 1.52  # bohr; close to the minimum of H2 in the exponential model


@dataclass(frozen=True)
class Molecules:
    """Nuclei on a line, one molecule or a batch (...).

    Attributes:
        positions: (..., A) bohr. charges: (..., A), 0 where there is no nucleus.
        electrons: (...) int64.
    """

    positions: Tensor
    charges: Tensor
    electrons: Tensor


def _molecule(positions: Tensor, electrons: int) -> Molecules:
    number = torch.full(positions.shape[:-1], electrons, dtype=torch.int64)
    return Molecules(positions, torch.ones_like(positions), number)


def hydrogen_chain(atoms: int, separation: Float[Tensor, " ..."], electrons: int) -> Molecules:
    """`atoms` protons, `separation` (...) apart, centred."""
    at = torch.arange(atoms, dtype=torch.float64) - (atoms - 1) / 2
    return _molecule(separation[..., None] * at, electrons)


def two_h2(separation: Float[Tensor, " ..."], bond: float = H2_BOND) -> Molecules:
    """Two H2 molecules of bond length `bond`; their inner atoms are `separation` (...) apart."""
    half = 0.5 * separation
    return _molecule(torch.stack([-half - bond, -half, half, half + bond], dim=-1), 4)


def build(name: str, separation: Float[Tensor, " ..."] | float) -> Molecules:
    """A named molecule at one or more separations (...) in bohr.

    `H`, `H2`, `H2+`, `H4` (equal distances), `H2-H2` (bond 1.52 bohr, distance of inner atoms).
    """
    distance: Any = torch.as_tensor(separation, dtype=torch.float64)
    if name == "H":
        return hydrogen_chain(1, distance, 1)
    if name == "H2-H2":
        return two_h2(distance)
    atoms, electrons = {"H2": (2, 2), "H2+": (2, 1), "H4": (4, 4)}[name]
    return hydrogen_chain(atoms, distance, electrons)


NAMES = ("H2", "H2+", "H4", "H2-H2", "H")


def batch(molecules: list[Molecules]) -> Molecules:
    """One batch of single molecules of any size; shorter ones get nuclei of charge 0."""
    most = max(m.positions.shape[-1] for m in molecules)

    def padded(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (0, most - x.shape[-1]))

    return Molecules(
        torch.stack([padded(m.positions) for m in molecules]),
        torch.stack([padded(m.charges) for m in molecules]),
        torch.stack([m.electrons for m in molecules]),
    )
