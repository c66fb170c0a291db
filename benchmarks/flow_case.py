"""The flow that every solver advances: decaying two-dimensional turbulence, the same numbers.

    d omega/dt + u . grad omega = nu lap omega    on [0, 2 pi)^2, periodic

without drag and force: what all peers solve. (A Kolmogorov force costs ours and Exponax nothing,
and two more transforms in each evaluation of jax-cfd and torch-cfd.) The initial flow is the same
trigonometric polynomial on every grid, of root-mean-square velocity 1. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZES = (64, 128, 256, 512)
STEPS = 50
SEED = 20260
HIGHEST, PEAK = 6, 2.5


@dataclass(frozen=True)
class Case:
    """omega (N, N) float64, axes (y, x), omega = dv/dx - du/dy; and how it is advanced."""

    vorticity: np.ndarray
    viscosity: float
    dt: float
    steps: int

    @property
    def size(self) -> int:
        return len(self.vorticity)

    @property
    def summary(self) -> str:
        return f"nu = {self.viscosity:g}, dt = {self.dt:g}, {self.steps} steps"


def make(size: int, steps: int = STEPS) -> Case:
    """Viscosity 2.56 / N and dt = 1.28 / N: resolved, at a Courant number of about 0.5."""
    generator = np.random.default_rng(SEED)
    x = 2 * np.pi * np.arange(size) / size
    wave = np.exp(1j * np.outer(np.arange(-HIGHEST, HIGHEST + 1), x))
    k = np.arange(-HIGHEST, HIGHEST + 1)
    square = k[:, None] ** 2 + k[None, :] ** 2
    scale = np.sqrt(square) * np.exp(-square / PEAK**2)
    scale[square > HIGHEST**2] = 0.0
    modes = scale * np.exp(2j * np.pi * generator.random(scale.shape))
    vorticity = np.einsum("kl,ky,lx->yx", modes, wave, wave).real
    # the real part of a mode and its mirror image, so the velocity is taken from the field itself
    hat = np.fft.fft2(vorticity) / size**2
    number = np.fft.fftfreq(size, 1 / size)
    laplacian = number[:, None] ** 2 + number[None, :] ** 2
    laplacian[0, 0] = 1.0
    speed = np.sqrt((np.abs(hat) ** 2 / laplacian).sum())
    return Case(vorticity / speed, 2.56 / size, 1.28 / size, steps)


def save(path: Path, case: Case) -> None:
    """Write the case for the processes that measure."""
    numbers = np.array([case.viscosity, case.dt])
    np.savez(path, vorticity=case.vorticity, numbers=numbers, steps=case.steps)


def load(path: Path) -> Case:
    """Read what `save` wrote."""
    with np.load(path) as data:
        viscosity, dt = (float(v) for v in data["numbers"])
        return Case(data["vorticity"], viscosity, dt, int(data["steps"]))
