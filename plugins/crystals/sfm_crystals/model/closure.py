"""The model's energy as the closure of `crystals/lattice`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.data.tokens import Tokens
from sfm.model.guard import Guard
from sfm_crystals.cells import Cells, image_pairs

if TYPE_CHECKING:
    from sfm.model import FoundationModel


class CrystalClosure(nn.Module):
    """(positions, types, cell, system) -> (S,) energy in eV, differentiable in all but the types.

    The network is evaluated in float64, since a fixed point cannot be found to 1e-9 eV/angstrom in
    float32; its parameters stay what they are, and gradients reach them.

    Args:
        model: a model with an energy head for crystals.
        part: its encoder.
        level: level of theory; may be left out if the model knows one only.
        double: evaluate in float64.
        extrapolate: warn of what lies outside the training data instead of refusing it.

    Raises:
        InputError: the model gives no energy of crystals, or several levels fit.
        OutsideError: in a call, elements or distances outside the training data.
    """

    def __init__(
        self,
        model: FoundationModel,
        part: str,
        *,
        level: str | None = None,
        double: bool = True,
        extrapolate: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.part = part
        self.level = model.level(part, level, "energy")
        self.context = model.context(part, self.level)
        self.double_precision = double
        self.guard = Guard(model, part, self.level, extrapolate=extrapolate)

    def forward(
        self,
        positions: Float[Tensor, "N 3"],
        types: Int[Tensor, " N"],
        cell: Float[Tensor, "S 3 3"],
        system: Int[Tensor, " N"],
    ) -> Float[Tensor, " S"]:
        """Energies (S,) in eV.

        Args:
            positions: (N, 3) angstrom.
            types: (N,) atomic numbers.
            cell: (S, 3, 3) angstrom, rows are lattice vectors, periodic along all of them.
            system: (N,) index of each atom's cell, ascending.
        """
        dtype = torch.float64 if self.double_precision else self.model.dtype
        tokens = self.tokens(positions, types, cell, system).to(dtype=dtype)
        self.guard.check(tokens, quantities=("energy",))
        values = self.model.in_precision(dtype, {self.part: tokens}, {self.part: ("energy",)})
        return values[self.part]["energy"]

    def tokens(
        self,
        positions: Float[Tensor, "N 3"],
        types: Int[Tensor, " N"],
        cell: Float[Tensor, "S 3 3"],
        system: Int[Tensor, " N"],
    ) -> Tokens:
        """A batch of tokens with the graph of positions and cell, routed to the level."""
        cells = Cells(positions=positions, types=types, cell=cell, system=system)
        cutoff = self.model.encoder(self.part).cutoff
        edges, shifts = image_pairs(cells, cutoff)
        return Tokens.points(
            positions=positions,
            types=types,
            system=system,
            n_systems=len(cell),
            edges=edges,
            shifts=shifts,
            cell=cell,
            cutoff=cutoff,
            context=self.context,
            ids=tuple(f"cell {i}" for i in range(len(cell))),
        )
