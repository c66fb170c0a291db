"""Body forces, given by their curl: Kolmogorov forcing and a random ring of wavenumbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .grid import Grid


def kolmogorov_curl(grid: Grid, wavenumber: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Curl (H, W) of the unit force f = (sin(q y), 0), q = 2 pi wavenumber / length_y.

    curl f = -df_x/dy = -q cos(q y).
    """
    _, y = grid.coordinates()
    q = 2 * math.pi * wavenumber / grid.length_y
    return (-q * torch.cos(q * y)).to(dtype)


def ring_curl(grid: Grid, wavenumber: float, width: float, generator: torch.Generator) -> Tensor:
    """Curl (H, W) of a steady random-phase force with modes |k - wavenumber| <= width.

    The force has a root-mean-square of 1/sqrt(2), as the Kolmogorov force has. Phases come
    from a fixed list of modes, so the field does not depend on the resolution.
    """
    x, y = grid.coordinates()
    reach = math.ceil(wavenumber + width)
    curl = torch.zeros(grid.shape, dtype=torch.float64)
    power = 0.0
    for ny in range(-reach, reach + 1):
        for nx in range(0, reach + 1):
            if nx == 0 and ny <= 0:
                continue
            phase = 2 * math.pi * torch.rand((), generator=generator, dtype=torch.float64)
            k = math.hypot(nx, ny)
            if abs(k - wavenumber) > width:
                continue
            kx, ky = 2 * math.pi * nx / grid.length_x, 2 * math.pi * ny / grid.length_y
            norm = math.hypot(kx, ky)
            curl += norm * torch.cos(kx * x + ky * y + phase)
            power += 0.5
    return curl * math.sqrt(0.5 / power)
