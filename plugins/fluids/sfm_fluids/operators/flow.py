"""An operator learner as the step of a flow, on the contract of the trunk's surrogate.

Units are those of the data: lengths of a box of 2 pi, forces of amplitude 1.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm_fluids.box import check_periodic, lengths
from sfm_fluids.operators.operator import Operator
from sfm_fluids.spectral.grid_2d import Grid, velocity, vorticity


class FlowOperator(nn.Module):
    """velocity (2, H, W) or (1, 2, H, W) -> velocity one interval later, free of divergence.

    One flow, without gradients. As in `sfm_fluids.patches.surrogate.FlowSurrogate` the same modes
    are kept, and `rollout` goes on.

    Args:
        operator: of the task `turbulence`.
        sample: its force, interval, viscosity, drag and box.

    Raises:
        InputError: an operator of another task; a sample with walls, without a box or conditions;
            in a call, several flows, or another grid than the sample's.
    """

    def __init__(self, operator: Operator, sample: Sample) -> None:
        super().__init__()
        if operator.name != "turbulence":
            raise InputError(f"an operator of the task '{operator.name}' is no step of a flow")
        check_periodic(sample, 2, "an operator of flows")
        box = lengths(sample, 2)
        missing = [n for n in ("interval", "viscosity") if n not in sample.conditions]
        if missing or not box:
            raise InputError(f"{sample.id}: states no {missing[0] if missing else 'box'}")
        self.operator, self.sample = operator, sample
        height, width = sample.fields["velocity"].shape[-2:]
        self.grid = Grid(height, width, box["y"], box["x"])

    def forward(self, field: Float[Tensor, "*B 2 H W"]) -> Float[Tensor, "*B 2 H W"]:
        if field.numel() != 2 * math.prod(self.grid.shape):
            raise InputError(
                f"a velocity {tuple(field.shape)}: an operator moves one flow, (2, H, W) or "
                f"(1, 2, H, W), on {self.grid.shape} cells"
            )
        here = self.sample.replace(
            fields={
                **self.sample.fields,
                "velocity": field.detach().cpu().reshape(2, *self.grid.shape).numpy(),
            }
        )
        answer = self.operator.predict([here]).to(field)
        hat = torch.fft.rfft2(vorticity(answer, self.grid)) * self.grid.dealias_mask()
        mean = field.mean((-2, -1), keepdim=True)
        moved = velocity(torch.fft.irfft2(hat, s=self.grid.shape), self.grid)
        return moved.reshape(field.shape) + mean

    def rollout(
        self, field: Float[Tensor, "*B 2 H W"], steps: int
    ) -> Float[Tensor, "{steps+1} *B 2 H W"]:
        """(steps + 1, ...) of a field (...): it and the states after each interval."""
        states = [field]
        for _ in range(steps):
            states.append(self(states[-1]))
        return torch.stack(states)
