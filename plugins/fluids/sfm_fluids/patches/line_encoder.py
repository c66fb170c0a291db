"""`fluids/line`: a velocity on a periodic line becomes tokens, one per point.

Tokens carry what the classical solver forecasts from the points (`sfm_fluids.periodic.
burgers_points`), in units of the field's own deviation from its mean; positions are in spacings.
Velocities are vectors along x, so shifts by whole points and u(x) -> -u(-x) act exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sfm.data.ring import ring
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.nn.encoder import Encoder
from sfm.nn.harmonics import from_matrix
from sfm_fluids.box import check_periodic, lengths
from sfm_fluids.periodic.burgers_points import later_states

STEPS = 16  # states ahead, as in `burgers-neuraloperator`


class LineEncoder(Encoder):
    """Velocity (N,) with conditions `interval` and `viscosity` -> N tokens.

    Raw features: 5 scalars (logarithms of distance per interval and of viscosity, slopes now, after
    the first and after the last interval), 17 vectors (velocity now and forecast at 16 times,
    without the mean) and 1 tensor (the line's direction).

    Args:
        channels: width of the trunk.
        cutoff: interaction range in spacings.

    Raises:
        InputError: no interval or viscosity, no box, or ends that are not periodic.
    """

    part: ClassVar[str] = "fluids/line"
    domain: ClassVar[str] = "fluids"
    length_unit: ClassVar[str] = "1"
    raw: ClassVar[tuple[int, int, int]] = (5, STEPS + 1, 1)
    fields: ClassVar[tuple[str, ...]] = ("velocity",)
    default_cutoff: ClassVar[float] = 5.0
    largest_cutoff: ClassVar[float] = 1000.0
    token: ClassVar[str] = "point"

    def accepts(self, sample: Sample) -> bool:
        return (
            super().accepts(sample)
            and np.ndim(sample.fields["velocity"]) == 1
            and {"interval", "viscosity"} <= set(sample.conditions)
        )

    def tokenize(self, sample: Sample) -> Tokens:
        """Tokens; extras `forecast` (N, 16), `velocity_scale` and `grid_cells` (S,)."""
        velocity, length = self._field(sample)
        interval, viscosity = (float(sample.conditions[name]) for name in ("interval", "viscosity"))
        n = len(velocity)
        forecast = later_states(
            velocity[None], length=length, viscosity=viscosity, interval=interval, steps=STEPS
        )[0]
        mean = velocity.mean()
        scale = (velocity - mean).square().mean().sqrt().clamp_min(1e-12)
        states = (torch.cat((velocity[None], forecast)) - mean) / scale  # (17, N)
        slope = torch.asinh((states.roll(-1, 1) - states.roll(1, 1)) / 2)[[0, 1, -1]]
        spacing = length / n
        of_flow = torch.stack((scale * interval / spacing, viscosity / (scale * spacing))).log()
        vectors = torch.zeros(n, 3, STEPS + 1, dtype=torch.float64)
        vectors[:, 0] = states.T
        along = torch.zeros(n, 3, 3, 1, dtype=torch.float64)
        along[:, 0, 0] = 1.0
        return Tokens.make(
            **ring(n, self.cutoff),
            scalars=torch.cat((of_flow.expand(n, 2), slope.T), 1),
            vectors=vectors,
            tensors=from_matrix(along),
            conditions=self.condition_values(sample),
            extras={
                "forecast": forecast.T,
                "velocity_scale": scale[None],
                "grid_cells": torch.tensor([STEPS * n]),
            },
            id=sample.id,
        )

    def _field(self, sample: Sample) -> tuple[Tensor, float]:
        """The velocity (N,) float64, and the length of the line."""
        if "velocity" not in sample.fields:
            raise InputError(f"{sample.id}: no field 'velocity', which '{self.part}' needs")
        velocity = torch.from_numpy(np.array(sample.fields["velocity"], dtype=np.float64))
        if velocity.ndim != 1 or len(velocity) < 4:
            raise InputError(
                f"{sample.id}: velocity {tuple(velocity.shape)} is not (N,), N at least 4"
            )
        for name in ("interval", "viscosity"):
            if not sample.conditions.get(name, 0.0) > 0:
                raise InputError(f"{sample.id}: no positive condition '{name}'")
        check_periodic(sample, 1, f"encoder '{self.part}'")
        box = lengths(sample, 1)
        if not box:
            raise InputError(f"{sample.id}: states no box, so its viscosity has no meaning")
        return velocity, box["x"]

    def symmetries(
        self, generator: torch.Generator
    ) -> Iterator[tuple[str, Callable[[Sample], Sample], Callable[[str, Tensor], Tensor]]]:
        """A shift by whole points, and u(x) -> -u(-x); outputs are (16 N,), in any unit."""
        by = int(torch.randint(1, 4, (1,), generator=generator))

        def moving(
            field: Callable[[np.ndarray], np.ndarray],
        ) -> Callable[[Sample], Sample]:
            def move(sample: Sample) -> Sample:
                moved = np.ascontiguousarray(field(sample.fields["velocity"]))
                return sample.replace(fields={**sample.fields, "velocity": moved})

            return move

        def rows(value: Tensor) -> Tensor:
            return value.reshape(STEPS, -1)

        yield (
            "translation",
            moving(lambda u: np.roll(u, by)),
            lambda _, value: rows(value).roll(by, 1).reshape(value.shape),
        )
        yield (
            "reflection",
            moving(lambda u: -u[::-1]),
            lambda _, value: -rows(value).flip(1).reshape(value.shape),
        )
