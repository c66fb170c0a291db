"""The embedded-atom method.

    E = sum_i F_i(rho_i) + 1/2 sum_i sum_j phi_ij(r_ij),    rho_i = sum_j f_j(r_ij)

M. S. Daw, M. I. Baskes, Phys. Rev. B 29, 6443 (1984). Where the functions come from: files
(`setfl`) or formulas (`metals`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.data.tokens import system_sum
from sfm_crystals.cells import Cells, bonds
from sfm_crystals.potentials.elements import rows_of


class EmbeddedAtom(nn.Module, ABC):
    """The energy of cells of K elements, from three functions that a subclass gives.

    Attributes:
        elements: K symbols.
        where: what has the functions, for messages.
    """

    elements: tuple[str, ...]
    where: str

    @abstractmethod
    def reach(self, kinds: Int[Tensor, " N"]) -> float:
        """Angstrom, beyond which atoms of `kinds` (N,) have no effect."""

    @abstractmethod
    def density(self, r: Float[Tensor, " P"], kind: Int[Tensor, " P"]) -> Float[Tensor, " P"]:
        """(P,) electron density at distances r (P,) angstrom from atoms of kinds (P,)."""

    @abstractmethod
    def pair(
        self, r: Float[Tensor, " P"], one: Int[Tensor, " P"], two: Int[Tensor, " P"]
    ) -> Float[Tensor, " P"]:
        """(P,) eV of pairs of kinds `one` and `two` (P,) at distances r (P,) angstrom."""

    @abstractmethod
    def embedding(
        self, density: Float[Tensor, " N"], kind: Int[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        """(N,) eV of atoms of kinds (N,) in electron densities (N,)."""

    def forward(self, cells: Cells) -> Float[Tensor, " S"]:
        """(S,) energy in eV.

        Raises:
            InputError: an element without parameters.
        """
        kinds = rows_of(cells.types, self.elements, where=self.where)
        pairs = bonds(cells, self.reach(kinds))
        r, one, two = pairs.lengths(), kinds[pairs.receiver], kinds[pairs.sender]
        density = system_sum(self.density(r, two), pairs.receiver, len(kinds))
        energy = system_sum(self.embedding(density, kinds), cells.system, cells.n_systems)
        pair = self.pair(r, one, two) / 2
        return energy + system_sum(pair, cells.system[pairs.receiver], cells.n_systems)
