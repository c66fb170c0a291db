"""The flows of the simulated ensembles: what each starts from and what drives it.

| kind | initial field | force | drag |
|---|---|---|---|
| `kolmogorov` | random | (sin 4y, 0) | 0.1 |
| `ring` | random | steady, random phases, wavenumbers 3.25 to 4.75 | 0.1 |
| `jet` | random | steady jet along x, half-width 0.35 | 0.1 |
| `decaying` | random | none | 0 |
| `shear` | two shear layers (Kelvin-Helmholtz), disturbed | none | 0 |

All forces have a root-mean-square of 1/sqrt(2); lengths are such that the box is 2 pi.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_fluids.flows.flows_2d import random_vorticity
from sfm_fluids.spectral.forcing import kolmogorov_curl, ring_curl
from sfm_fluids.spectral.grid_2d import Grid

FLOWS = ("kolmogorov", "ring", "decaying", "shear", "jet")
UNFORCED = ("decaying", "shear")
JET_WIDTH = 0.35
LAYER = 0.25  # thickness of a shear layer
SHEAR = 1.5  # speed on either side of it


@dataclass(frozen=True)
class Member:
    """One trajectory: `kind` is one of `FLOWS`; `seed` draws its phases."""

    kind: str
    seed: int

    @property
    def drag(self) -> float:
        return 0.0 if self.kind in UNFORCED else 0.1


def shear_layers(grid: Grid, seed: int) -> Float[Tensor, "H W"]:
    """(H, W) float64: vorticity of u = U tanh(sin(y - y0) / delta) and a random disturbance.

    A periodic form of the double shear layer of J. B. Bell, P. Colella and H. M. Glaz, J. Comput.
    Phys. 85, 257 (1989).
    """
    _, y = grid.coordinates()
    y = y - 2 * math.pi * torch.rand((), generator=torch.Generator().manual_seed(seed)).item()
    profile = torch.tanh(torch.sin(y) / LAYER)
    omega = -SHEAR * (1 - profile**2) * torch.cos(y) / LAYER
    return omega + random_vorticity(grid, 3.0, 0.05, seed)


def initial_vorticity(member: Member, grid: Grid) -> Float[Tensor, "H W"]:
    """Vorticity (H, W), float64, that the member starts from."""
    if member.kind == "shear":
        return shear_layers(grid, member.seed)
    if member.kind == "decaying":
        return random_vorticity(grid, 4.0, 2.0, member.seed)
    return random_vorticity(grid, 3.0, 1.5, member.seed)


def jet_curl(grid: Grid, half_width: float) -> Float[Tensor, "H W"]:
    """Curl (H, W) of a steady jet f = (F(y), 0) in the middle of the box, without mean.

    F is proportional to exp((cos(y - pi) - 1) / half_width^2) less its mean, y scaled to 2 pi: a
    periodic Gaussian. The force has a root-mean-square of 1/sqrt(2), as the Kolmogorov force has.
    """
    unit = 2 * math.pi / grid.length_y
    # normalised on a fine line, so that the force does not depend on the resolution
    line = torch.arange(256, dtype=torch.float64) * (2 * math.pi / 256)
    fine = torch.exp((torch.cos(line - math.pi) - 1) / half_width**2)
    amplitude = math.sqrt(0.5) / float((fine - fine.mean()).square().mean().sqrt())
    _, y = grid.coordinates()
    phase = unit * y - math.pi
    profile = torch.exp((torch.cos(phase) - 1) / half_width**2)
    return amplitude * unit * torch.sin(phase) / half_width**2 * profile


def curl_of_force(member: Member, grid: Grid) -> Float[Tensor, "H W"]:
    """Curl (H, W) of the member's force; zero where there is none."""
    if member.kind == "kolmogorov":
        return kolmogorov_curl(grid, 4)
    if member.kind == "ring":
        return ring_curl(grid, 4.0, 0.75, torch.Generator().manual_seed(member.seed))
    if member.kind == "jet":
        return jet_curl(grid, JET_WIDTH)
    return torch.zeros(grid.shape, dtype=torch.float64)
