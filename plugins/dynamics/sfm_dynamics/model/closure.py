"""The learned energy of bodies as the closure of `dynamics/bodies`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.data.tokens import Tokens
from sfm.model.guard import Guard
from sfm_dynamics.model.features import mass_features

if TYPE_CHECKING:
    from sfm.model import FoundationModel


class BodyClosure(nn.Module):
    """`(positions (N, 3), types (N,), system (N,), masses (N,)) -> energies (S,)` in eV.

    All pairs within the cutoff are edges, found anew at every call: bodies are few.

    Args:
        model: has an energy head for encoder `part`.
        part: the encoder.
        level: level of theory (the law of force); the only one if None.
        extrapolate: warn of what lies outside the training data instead of refusing it.

    Raises:
        InputError: the model has no energy, or the level is unknown or ambiguous.
        OutsideError: in a call, a system outside the training data.
    """

    def __init__(
        self,
        model: FoundationModel,
        part: str,
        *,
        level: str | None = None,
        extrapolate: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.part = model, part
        self.level = model.level(part, level, "energy")
        self.context = model.context(part, self.level)
        self.guard = Guard(model, part, self.level, extrapolate=extrapolate)

    def forward(
        self,
        positions: Float[Tensor, "N 3"],
        types: Int[Tensor, " N"],
        system: Int[Tensor, " N"],
        masses: Float[Tensor, " N"] | None = None,
    ) -> Float[Tensor, " S"]:
        encoder = self.model.encoder(self.part)
        dtype, device = self.model.dtype, self.model.device
        positions, system = positions.to(device, dtype), system.to(device)
        n = int(system[-1]) + 1
        masses = torch.ones_like(positions[:, 0]) if masses is None else masses.to(positions)
        tokens = Tokens.points(
            positions=positions,
            types=types.to(device),
            scalars=mass_features(masses),
            edges=_pairs(positions.detach(), system, encoder.cutoff),
            system=system,
            n_systems=n,
            cutoff=encoder.cutoff,
            context=self.context,
        )
        self.guard.check(tokens, [{}] * n, ("energy",))
        values = self.model({self.part: tokens}, {self.part: ("energy",)})[self.part]
        energy: Tensor = values["energy"]
        return energy


def _pairs(positions: Tensor, system: Tensor, cutoff: float) -> Tensor:
    """(2, E) ordered pairs of one system closer than `cutoff`, by receiver."""
    near = torch.cdist(positions, positions) < cutoff
    near &= system[:, None] == system[None, :]
    near.fill_diagonal_(False)
    receiver, sender = near.nonzero(as_tuple=True)
    return torch.stack((sender, receiver))
