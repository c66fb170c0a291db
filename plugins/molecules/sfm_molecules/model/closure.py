"""The learned energy as a closure of molecular dynamics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.data.neighbours import neighbour_list
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.model.guard import Guard

if TYPE_CHECKING:
    from sfm.model import FoundationModel


class MoleculeClosure(nn.Module):
    """`(positions (N, 3), types (N,), system (N,), conditions) -> energies (S,)` in eV, of a model.

    Charge and spin of each system come with the call, by name (S,); those that were given to the
    constructor stand in where a call has none.

    The neighbour list reaches `skin` beyond the cutoff and is made again (by vesin) when an atom
    has moved more than half of that, or when the atoms are others. Pairs beyond the cutoff have no
    weight, so the energy does not depend on the skin.

    Args:
        model: has an energy head for encoder `part`.
        part: the encoder.
        level: level of theory; the only one if None.
        charge: total charge of each system, e. spin: number of its unpaired electrons. None: what
            the call says, else zero, and the fewest that there can be.
        skin: angstrom; 0 makes the list at every call.
        extrapolate: warn of what lies outside the training data instead of refusing it.

    Raises:
        InputError: the model has no energy, or the level is unknown or ambiguous; in a call, a
            charge or spin other than the one that was given.
        OutsideError: in a call, elements, charge, spin or distances outside the training data.
    """

    conditions: ClassVar[tuple[str, ...]] = ("charge", "spin")

    def __init__(
        self,
        model: FoundationModel,
        part: str,
        *,
        level: str | None = None,
        charge: float | None = None,
        spin: float | None = None,
        skin: float = 0.5,
        extrapolate: bool = False,
    ) -> None:
        super().__init__()
        if skin < 0:
            raise InputError(f"closure of '{part}': skin={skin} angstrom must not be negative")
        self.model, self.part = model, part
        self.level = model.level(part, level, "energy")
        self.context = model.context(part, self.level)
        given = {"charge": charge, "spin": spin}
        self.given = {name: float(value) for name, value in given.items() if value is not None}
        self.skin = skin
        self.guard = Guard(model, part, self.level, extrapolate=extrapolate)
        self._kept: _Neighbours | None = None

    def forward(
        self,
        positions: Float[Tensor, "N 3"],
        types: Int[Tensor, " N"],
        system: Int[Tensor, " N"],
        conditions: Mapping[str, Float[Tensor, " S"]] | None = None,
    ) -> Float[Tensor, " S"]:
        encoder = self.model.encoder(self.part)
        dtype, device = self.model.dtype, self.model.device
        positions, system = positions.to(device, dtype), system.to(device)
        n = int(system[-1]) + 1
        edges = self._neighbours(positions.detach(), types, system, encoder.cutoff)
        known = {name: self._condition(name, conditions or {}, n) for name in ("charge", "spin")}
        known["spin"] = _unpaired(known, types, system)
        columns = [known[name] for name in encoder.conditions]
        tokens = Tokens.points(
            positions=positions,
            types=types.to(device),
            system=system,
            n_systems=n,
            edges=edges,
            cutoff=encoder.cutoff,
            context=self.context,
            conditions=torch.stack(columns, 1).to(positions),
        )
        rows = tokens.conditions.tolist()
        stated = [dict(zip(encoder.conditions, row, strict=True)) for row in rows]
        self.guard.check(tokens, stated, ("energy",))
        values = self.model({self.part: tokens}, {self.part: ("energy",)})[self.part]
        energy: Tensor = values["energy"]
        return energy

    def _condition(self, name: str, conditions: Mapping[str, Tensor], n: int) -> Tensor:
        """(S,) a condition of each system."""
        said = conditions.get(name)
        if name not in self.given:
            return torch.zeros(n) if said is None else said
        if said is not None and bool(((said != 0) & (said != self.given[name])).any()):
            raise InputError(
                f"closure of '{self.part}': made for {name} {self.given[name]:g}, but the systems "
                f"have {name} {said.tolist()}; leave {name} out of the closure's options"
            )
        return torch.full((n,), self.given[name])

    def _neighbours(
        self, positions: Tensor, types: Tensor, system: Tensor, cutoff: float
    ) -> Tensor:
        """(2, E) edges shorter than the cutoff, out of the list that is kept."""
        kept = self._kept  # one look: another thread may put its own there meanwhile
        if kept is None or self.skin == 0 or kept.stale(positions, types, system, self.skin):
            parts, start = [], 0
            x = positions.double().cpu().numpy()
            for count in torch.bincount(system).tolist():
                atoms, _ = neighbour_list(x[start : start + count], cutoff + self.skin)
                parts.append(atoms + start)
                start += count
            edges = torch.from_numpy(np.concatenate(parts, axis=1)).to(positions.device)
            kept = _Neighbours(edges, positions.clone(), types.clone(), system.clone())
            self._kept = kept
        sender, receiver = kept.edges
        near = (positions[sender] - positions[receiver]).square().sum(-1) < cutoff**2
        return kept.edges[:, near]


def _unpaired(stated: Mapping[str, Tensor], types: Tensor, system: Tensor) -> Tensor:
    """(S,) unpaired electrons: as stated, else 0 or 1, by parity (`sfm.data.conditions`)."""
    charge, spin = (stated[name].to(system.device) for name in ("charge", "spin"))
    atoms = torch.zeros(len(charge), dtype=torch.int64, device=system.device)
    electrons = atoms.index_add(0, system, types.to(atoms)) - charge.round().long()
    return torch.where(spin == 0, electrons % 2, spin)


class _Neighbours(NamedTuple):
    """Edges (2, E) within cutoff and skin, and the atoms that they were made for."""

    edges: Tensor
    positions: Tensor
    types: Tensor
    system: Tensor

    def stale(self, positions: Tensor, types: Tensor, system: Tensor, skin: float) -> bool:
        old = self.positions
        if old.shape != positions.shape or old.device != positions.device:
            return True
        if not (torch.equal(self.types, types) and torch.equal(self.system, system)):
            return True
        return float((positions - old).square().sum(-1).max()) > (0.5 * skin) ** 2
