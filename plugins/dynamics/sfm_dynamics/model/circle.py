"""`dynamics/circle`: a field at equally spaced points of a circle becomes tokens, one per point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.ring import ring
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.nn.encoder import Encoder


class CircleEncoder(Encoder):
    """Field `state` (n,) with the condition `length` of the circle -> n tokens.

    Raw features: 8 scalars (the value, its first two derivatives along the circle by Fourier, each
    in two or three sizes, and the logarithm of the spacing) and 1 vector (which way is ahead).
    Positions are in spacings. Shifts by whole points act exactly; reflections do not act: an
    equation on a circle may know left from right.

    Args:
        channels: width of the trunk.
        cutoff: interaction range in spacings.

    Raises:
        InputError: no field, fewer than 4 points, or no positive length.
    """

    part: ClassVar[str] = "dynamics/circle"
    domain: ClassVar[str] = "dynamics"
    length_unit: ClassVar[str] = "1"
    raw: ClassVar[tuple[int, int, int]] = (8, 1, 0)
    fields: ClassVar[tuple[str, ...]] = ("state",)
    default_cutoff: ClassVar[float] = 4.5
    largest_cutoff: ClassVar[float] = 1000.0
    token: ClassVar[str] = "point"

    def accepts(self, sample: Sample) -> bool:
        return super().accepts(sample) and "length" in sample.conditions

    def tokenize(self, sample: Sample) -> Tokens:
        u, length = self._field(sample)
        n = len(u)
        spacing = length / n
        slope, bend = derivatives(u, length)
        ahead = torch.zeros(n, 3, 1, dtype=torch.float64)
        ahead[:, 0] = 1.0
        scalars = [0.1 * u, torch.tanh(u), torch.asinh(u), 0.1 * slope, torch.asinh(slope)]
        scalars += [0.01 * bend, torch.asinh(bend), torch.full_like(u, spacing).log()]
        return Tokens.make(
            **ring(n, self.cutoff),
            scalars=torch.stack(scalars, -1),
            vectors=ahead,
            conditions=self.condition_values(sample),
            id=sample.id,
        )

    def _field(self, sample: Sample) -> tuple[Tensor, float]:
        """The field (n,) in float64, and the length of the circle."""
        if "state" not in sample.fields:
            raise InputError(f"{sample.id}: no field 'state', which encoder '{self.part}' needs")
        u = torch.from_numpy(np.array(sample.fields["state"], dtype=np.float64))
        if u.ndim != 1 or len(u) < 4:
            raise InputError(f"{sample.id}: state {tuple(u.shape)} is not (n,), n at least 4")
        length = float(sample.conditions.get("length", 0.0))
        if not length > 0:
            raise InputError(f"{sample.id}: no positive condition 'length', that of the circle")
        return u, length

    def symmetries(
        self, generator: torch.Generator
    ) -> Iterator[tuple[str, Callable[[Sample], Sample], Callable[[str, Tensor], Tensor]]]:
        """A shift by whole points, in any unit; outputs are (n,) per token, () per system."""
        by = int(torch.randint(1, 4, (1,), generator=generator))

        def move(sample: Sample) -> Sample:
            moved = np.ascontiguousarray(np.roll(sample.fields["state"], by))
            return sample.replace(fields={**sample.fields, "state": moved})

        def turn(_: str, value: Tensor) -> Tensor:
            return value.roll(by, 0) if len(value) > 1 else value

        yield "translation", move, turn


def derivatives(
    u: Float[Tensor, " n"], length: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """du/dx and d2u/dx2 (n,), in the field's unit over that of `length`, by Fourier."""
    n = len(u)
    k = 2 * torch.pi / length * torch.arange(n // 2 + 1, dtype=u.dtype)
    modes = torch.fft.rfft(u)
    return torch.fft.irfft(1j * k * modes, n), torch.fft.irfft(-(k**2) * modes, n)
