"""The learned energy as a closure of molecular dynamics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from sfm.data.neighbours import neighbour_list
from sfm.data.tokens import Tokens
from sfm.errors import InputError

if TYPE_CHECKING:
    from sfm.model import FoundationModel


class EnergyClosure(nn.Module):
    """`(positions (N, 3), types (N,), system (N,)) -> energies (S,)` in eV, from a model.

    The neighbour list reaches `skin` beyond the cutoff and is made again (by vesin) when an atom
    has moved more than half of that, or when the atoms are others. Pairs beyond the cutoff have no
    weight, so the energy does not depend on the skin.

    Args:
        model: has an energy head for encoder `part`.
        part: the encoder.
        level: level of theory; the only one if None.
        charge: total charge of each system, e. spin: number of its unpaired electrons.
        skin: angstrom; 0 makes the list at every call.

    Raises:
        InputError: the model has no energy, or the level is unknown or ambiguous.
    """

    def __init__(
        self,
        model: FoundationModel,
        part: str,
        *,
        level: str | None = None,
        charge: float = 0.0,
        spin: float = 0.0,
        skin: float = 0.5,
    ) -> None:
        super().__init__()
        if skin < 0:
            raise InputError(f"closure of '{part}': skin={skin} angstrom must not be negative")
        self.model, self.part = model, part
        self.level = model.level(part, level, "energy")
        self.context = model.context(part, self.level)
        self.values = {"charge": float(charge), "spin": float(spin)}
        self.skin = skin
        self._reference: tuple[Tensor, Tensor, Tensor] | None = None
        self._edges = torch.zeros(2, 0, dtype=torch.long)

    def forward(self, positions: Tensor, types: Tensor, system: Tensor) -> Tensor:
        encoder = self.model.encoder(self.part)
        dtype, device = self.model.dtype, self.model.device
        positions, system = positions.to(device, dtype), system.to(device)
        n = int(system[-1]) + 1
        new = positions.new_zeros
        edges = self._neighbours(positions.detach(), types, system, encoder.cutoff)
        row = [self.values.get(name, 0.0) for name in encoder.conditions]
        tokens = Tokens(
            positions=positions,
            types=types.to(device),
            scalars=new(len(types), 0),
            vectors=new(len(types), 3, 0),
            tensors=new(len(types), 5, 0),
            edges=edges,
            shifts=new(edges.shape[1], 3),
            system=system,
            cell=new(n, 3, 3),
            cutoff=positions.new_full((n,), encoder.cutoff),
            context=torch.full((n,), self.context, dtype=torch.long, device=device),
            conditions=positions.new_tensor(row).expand(n, -1),
        )
        return self.model({self.part: tokens}, {self.part: ("energy",)})[self.part]["energy"]

    def _neighbours(
        self, positions: Tensor, types: Tensor, system: Tensor, cutoff: float
    ) -> Tensor:
        """(2, E) edges shorter than the cutoff, out of the list that is kept."""
        if self._stale(positions, types, system):
            parts, start = [], 0
            x = positions.double().cpu().numpy()
            for count in torch.bincount(system).tolist():
                found, _ = neighbour_list(x[start : start + count], cutoff + self.skin)
                parts.append(found + start)
                start += count
            self._edges = torch.from_numpy(np.concatenate(parts, axis=1)).to(positions.device)
            self._reference = (positions.clone(), types.clone(), system.clone())
        sender, receiver = self._edges
        near = (positions[sender] - positions[receiver]).square().sum(-1) < cutoff**2
        return self._edges[:, near]

    def _stale(self, positions: Tensor, types: Tensor, system: Tensor) -> bool:
        if self._reference is None or self.skin == 0:
            return True
        old, old_types, old_system = self._reference
        if old.shape != positions.shape or old.device != positions.device:
            return True
        if not (torch.equal(old_types, types) and torch.equal(old_system, system)):
            return True
        return float((positions - old).square().sum(-1).max()) > (0.5 * self.skin) ** 2
