"""Fourier calculus on a periodic line: wavenumbers, the 2/3 rule, transforms.

The last axis of an array is x; any axes before it are batch axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from sfm.errors import InputError


@dataclass(frozen=True)
class Line:
    """A periodic line of `points` points and length `length`.

    Raises `InputError` for fewer than four points or a length that is not positive.
    """

    points: int
    length: float = 2 * math.pi

    def __post_init__(self) -> None:
        if self.points < 4:
            raise InputError(f"a line needs 4 points or more, got {self.points}")
        if not 0 < self.length < math.inf:
            raise InputError(f"a line needs a positive length, got {self.length}")

    @property
    def spacing(self) -> float:
        """Distance of neighbouring points."""
        return self.length / self.points

    @property
    def modes(self) -> int:
        """Index of the highest mode that the 2/3 rule keeps: quadratic terms are alias-free."""
        return (self.points - 1) // 3

    def wavenumbers(self, *, device: torch.device | str = "cpu") -> Float[Tensor, " K"]:
        """(N//2+1,) float64, radians per length."""
        return _wavenumbers(self, str(device))

    def dealias_mask(self, *, device: torch.device | str = "cpu") -> Bool[Tensor, " K"]:
        """Bool (K,), as long as a half spectrum: modes 0 to `modes`."""
        return _dealias_mask(self, str(device))

    def coordinates(
        self, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> Float[Tensor, " N"]:
        """x (N,), the first point at 0."""
        return torch.arange(self.points, dtype=dtype, device=device) * self.spacing

    def to_spectrum(self, field: Float[Tensor, "*B N"]) -> Complex[Tensor, "*B N//2+1"]:
        """(..., N) -> (..., N//2+1), the modes that the 2/3 rule keeps."""
        hat: Tensor = torch.fft.rfft(field) * self.dealias_mask(device=field.device)
        return hat

    def to_field(self, hat: Complex[Tensor, "*B K"]) -> Float[Tensor, "*B N"]:
        """(..., N//2+1) -> (..., N)."""
        field: Tensor = torch.fft.irfft(hat, n=self.points)
        return field

    def derivative_factor(
        self, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> Complex[Tensor, " K"]:
        """(N//2+1,) i k on the retained modes, else zero, in the complex type of `dtype`."""
        return _derivative_factor(self, dtype, str(device))

    def derivative(self, field: Float[Tensor, "*B N"]) -> Float[Tensor, "*B N"]:
        """d/dx of a field (..., N), without the modes that the 2/3 rule drops."""
        return self.to_field(
            torch.fft.rfft(field) * self.derivative_factor(field.dtype, field.device)
        )


def resampled(field: Float[Tensor, "*B N"], points: int) -> Float[Tensor, "*B {points}"]:
    """Fourier interpolation of a periodic field (..., N) to (..., points), from x = 0 on.

    Exact for fields that the coarser of the two lines resolves; the unpaired Nyquist mode of an
    even N is a cosine.
    """
    n = field.shape[-1]
    hat = torch.fft.rfft(field, norm="forward")
    kept = min(n, points) // 2 + 1
    hat = torch.nn.functional.pad(hat[..., :kept], (0, points // 2 + 1 - kept))
    if n < points and n % 2 == 0:
        weight = torch.ones(hat.shape[-1], dtype=field.dtype, device=field.device)
        weight[n // 2] = 0.5
        hat = hat * weight
    resampled: Tensor = torch.fft.irfft(hat, n=points, norm="forward")
    return resampled


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def _wavenumbers(line: Line, device: str) -> Tensor:
    k: Tensor = 2 * math.pi * torch.fft.rfftfreq(line.points, line.spacing, dtype=torch.float64)
    return k.to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def _dealias_mask(line: Line, device: str) -> Tensor:
    return torch.arange(line.points // 2 + 1, device=device) <= line.modes


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def _derivative_factor(line: Line, dtype: torch.dtype, device: str) -> Tensor:
    factor = 1j * _wavenumbers(line, device) * _dealias_mask(line, device)
    return factor.to(torch.complex64 if dtype == torch.float32 else torch.complex128)
