"""What an energy of atoms depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Systems(NamedTuple):
    """S systems with N atoms in all, one after another.

    Attributes:
        positions: (N, 3) angstrom.
        cell: (S, 3, 3) angstrom, rows are lattice vectors; zeros for open systems.
        types: (N,) atomic numbers.
        system: (N,) index of each atom's system, ascending.
        conditions: of each system by name, (S,): `charge` in e, `spin`, the number of unpaired
            electrons.
    """

    positions: Float[Tensor, "N 3"]
    cell: Float[Tensor, "S 3 3"]
    types: Int[Tensor, " N"]
    system: Int[Tensor, " N"]
    conditions: Mapping[str, Float[Tensor, " S"]]
