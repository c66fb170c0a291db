"""A trained model as the step of a flow: from the velocity now to that an interval later.

Units are those of the data: lengths of a box of 2 pi, forces of amplitude 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm_fluids.box import check_periodic, square_spacing
from sfm_fluids.spectral.grid_2d import Grid, velocity, vorticity

if TYPE_CHECKING:
    from sfm.model import FoundationModel

QUANTITY = "velocity_change"


class FlowSurrogate(nn.Module):
    """velocity (B, 2, H, W) -> velocity (B, 2, H, W) one `interval` later, free of divergence.

    Equivariant under the grid's rotations, reflections and shifts by whole patches; differentiable
    in the velocity and in the model's weights. A uniform wind is taken off and carries the result
    along exactly; with a force it is refused.

    Args:
        model: trained on `velocity_change` with the encoder `fluids/flow`.
        interval: time to bridge; that of the training data (0.1 in `turbulence-2d-steps`).
        viscosity: nu.
        drag: linear drag.
        force: (2, H, W) or (B, 2, H, W), steady; None for none.
        spacing: of the grid.
        level: level of theory, where the model knows several.
        collapsed: merge the mixture of experts first (faster; the weights get no gradient).

    Raises:
        InputError: the model was not trained on `velocity_change`.
    """

    def __init__(
        self,
        model: FoundationModel,
        *,
        interval: float,
        viscosity: float,
        spacing: float,
        drag: float = 0.0,
        force: Tensor | None = None,
        level: str | None = None,
        collapsed: bool = False,
    ) -> None:
        super().__init__()
        self.part = "fluids/flow"
        level = model.level(self.part, level, QUANTITY)
        if collapsed:
            model = model.collapsed(self.part, level)
        self.context = model.context(self.part, level)
        self.model = model
        self.interval, self.viscosity, self.drag = interval, viscosity, drag
        self.spacing = spacing
        self.force: Tensor | None
        self.register_buffer("force", force)

    def forward(self, field: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 2 H W"]:
        batch, _, height, width = field.shape
        encoder = self.model.encoder(self.part)
        grid = Grid(height, width, height * self.spacing, width * self.spacing)
        inner = field.to(self.model.dtype)
        force = None if self.force is None else self.force.to(inner).expand_as(inner)

        def whole(value: float) -> Tensor:
            return inner.new_full((batch,), value)

        tokens = encoder.tokenize_flow(  # type: ignore[operator]
            inner,
            force,
            spacing=self.spacing,
            interval=whole(self.interval),
            viscosity=whole(self.viscosity),
            drag=whole(self.drag),
        )
        tokens = tokens.replace(context=torch.full_like(tokens.context, self.context))
        rows = self.model({self.part: tokens}, {self.part: (QUANTITY,)})[self.part][QUANTITY]
        change = rows.reshape(batch, height, width, 2).permute(0, 3, 1, 2).to(field)
        moved = velocity(self._curl(field + change, grid), grid)
        mean = field.mean((-2, -1))
        # at rest the wind still has a derivative
        if mean.requires_grad or bool((mean != 0).any()):
            moved = _carried(moved, mean * self._travel_time(), grid)
        return moved + (math.exp(-self.drag * self.interval) * mean)[..., None, None]

    def _travel_time(self) -> float:
        """Distance that a uniform wind of speed 1 covers in the interval, slowed by drag."""
        if self.drag == 0:
            return self.interval
        return -math.expm1(-self.drag * self.interval) / self.drag

    @staticmethod
    def _curl(field: Tensor, grid: Grid) -> Tensor:
        """Vorticity with the modes that the 2/3 rule keeps."""
        hat = torch.fft.rfft2(vorticity(field, grid)) * grid.dealias_mask(device=field.device)
        omega: Tensor = torch.fft.irfft2(hat, s=grid.shape)
        return omega

    def rollout(self, field: Float[Tensor, "B 2 H W"], steps: int) -> Float[Tensor, "T B 2 H W"]:
        """(steps + 1, B, 2, H, W): the field and the states after each interval."""
        states = [field]
        for _ in range(steps):
            states.append(self(states[-1]))
        return torch.stack(states)


def _carried(field: Tensor, displacement: Tensor, grid: Grid) -> Tensor:
    """field(x - displacement), exact for a band-limited field; displacement (B, 2)."""
    ky, kx = (k.to(field.dtype) for k in grid.wavenumbers(device=field.device))
    x, y = (displacement[:, i, None, None, None] for i in (0, 1))
    moved: Tensor = torch.fft.irfft2(
        torch.fft.rfft2(field) * torch.exp(-1j * (kx * x + ky * y)), s=grid.shape
    )
    return moved


def for_sample(model: FoundationModel, sample: Sample, **options: Any) -> FlowSurrogate:
    """The surrogate for the flow of a sample of `turbulence-2d-steps`.

    Raises:
        InputError: the sample names no interval or viscosity, has walls, no box, or cells that
            are not square.
    """
    for name in ("interval", "viscosity"):
        if name not in sample.conditions:
            raise InputError(f"{sample.id}: no condition '{name}'")
    check_periodic(sample, 2, "a surrogate")
    spacing = square_spacing(sample, "a surrogate")
    if spacing is None:
        raise InputError(f"{sample.id}: states no box, so its viscosity has no meaning")
    force = sample.fields.get("force")
    return FlowSurrogate(
        model,
        interval=sample.conditions["interval"],
        viscosity=sample.conditions["viscosity"],
        drag=sample.conditions.get("drag", 0.0),
        spacing=spacing,
        force=None if force is None else torch.tensor(force),
        **options,
    )


def velocities(samples: Sequence[Sample]) -> Float[Tensor, "T 2 H W"]:
    """(T + 1, 2, H, W) float64: consecutive samples of one trajectory, and the state after them."""
    fields = [torch.tensor(s.fields["velocity"], dtype=torch.float64) for s in samples]
    last = torch.tensor(samples[-1].labels[QUANTITY], dtype=torch.float64)
    return torch.stack([*fields, fields[-1] + last.T.reshape(fields[-1].shape)])
