"""A trained model as the subgrid closure of the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError

if TYPE_CHECKING:
    from sfm.model import FoundationModel
    from sfm_fluids.patches.encoder import PatchEncoder

SHIFTS = ("one", "all")


class PatchClosure(nn.Module):
    """velocity (B, 2, H, W), spacing -> tau (B, 2, 2, H, W): encoder, trunk and head in one call.

    Differentiable in the velocity and in the model's weights. The stress scales with the square
    of the velocity and knows no length: the model holds for the ratio of filter width to spacing
    that it was trained at (3 in the bundled data).

    Args:
        model: trained on `sgs_stress`.
        encoder: the model's encoder of fields.
        level: level of theory, where the model knows several.
        no_backscatter: drop the deviatoric stress of cells that would feed energy back from the
            subgrid scales; the usual clipping, which keeps long runs stable.
        collapsed: merge the mixture of experts first (faster; the weights get no gradient).
        shifts: `one` tiles the grid with patches once, from its first cell: the stress follows
            shifts by whole patches only. `all` averages over the s^2 places of the tiling (s cells
            a patch's side), so the stress follows every shift by a cell, at s^2 times the cost. A
            model with patch=1 needs neither.

    Raises:
        InputError: the model was not trained on `sgs_stress`, or `shifts` is neither.
    """

    def __init__(
        self,
        model: FoundationModel,
        encoder: PatchEncoder,
        *,
        level: str | None = None,
        no_backscatter: bool = False,
        collapsed: bool = False,
        shifts: str = "one",
    ) -> None:
        super().__init__()
        if shifts not in SHIFTS:
            raise InputError(f"shifts='{shifts}' is not one of {', '.join(SHIFTS)}")
        self.shifts = shifts
        self.part = encoder.part
        level = model.level(self.part, level, "sgs_stress")
        if collapsed:
            model = model.collapsed(self.part, level)
        self.context = model.context(self.part, level)
        self.model = model
        self.no_backscatter = no_backscatter
        if not any(t.quantity == "sgs_stress" for t in model.targets(encoder=self.part)):
            raise InputError(f"model '{model.config.name}' was not trained on sgs_stress")

    def forward(
        self, velocity: Float[Tensor, "B 2 H W"], spacing: float
    ) -> Float[Tensor, "B 2 2 H W"]:
        """Stress of velocities (B, 2, H, W), in the square of their unit."""
        size = int(self.model.encoder(self.part).patch) if self.shifts == "all" else 1  # type: ignore[arg-type]
        if size == 1:
            stress = self._stress(velocity)
        else:
            places = [(-i, -j) for i in range(size) for j in range(size)]
            moved = torch.cat([velocity.roll(place, (-2, -1)) for place in places])
            stresses = self._stress(moved).chunk(len(places))
            back = [s.roll((-i, -j), (-2, -1)) for s, (i, j) in zip(stresses, places, strict=True)]
            stress = torch.stack(back).mean(0)
        return clip_backscatter(velocity, stress) if self.no_backscatter else stress

    def _stress(self, velocity: Tensor) -> Tensor:
        """With the patches' first corner at the first cell."""
        batch, _, height, width = velocity.shape
        encoder = self.model.encoder(self.part)
        tokens = encoder.tokenize_field(velocity.to(self.model.dtype))  # type: ignore[operator]
        tokens = tokens.replace(context=torch.full_like(tokens.context, self.context))
        values = self.model({self.part: tokens}, {self.part: ("sgs_stress",)})
        rows = values[self.part]["sgs_stress"].to(velocity.dtype)
        tau: Tensor = rows.reshape(batch, height, width, 2, 2).permute(0, 3, 4, 1, 2)
        return tau


def clip_backscatter(
    velocity: Float[Tensor, "B 2 H W"], stress: Float[Tensor, "B 2 2 H W"]
) -> Float[Tensor, "B 2 2 H W"]:
    """The stress (B, 2, 2, H, W), in any unit, without its deviator where -tau_ij S_ij < 0.

    velocity: (B, 2, H, W).
    """
    from sfm_fluids.closures.classical import subgrid_dissipation

    flux = subgrid_dissipation(velocity, stress, 1.0)
    trace = 0.5 * (stress[:, 0, 0] + stress[:, 1, 1])
    isotropic = torch.zeros_like(stress)
    isotropic[:, 0, 0] = isotropic[:, 1, 1] = trace
    forward = (flux >= 0).to(stress.dtype)[:, None, None]
    return isotropic + forward * (stress - isotropic)
