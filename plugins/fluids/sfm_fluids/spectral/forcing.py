"""Body forces, given by their curl: Kolmogorov forcing, steady patterns, white noise on a ring."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sfm.errors import InputError
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.spectral.transforms_2d import columns


def kolmogorov_curl(
    grid: Grid, wavenumber: int, *, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "H W"]:
    """Curl (H, W) of the unit force f = (sin(q y), 0), q = 2 pi wavenumber / length_y.

    By definition curl f = -df_x/dy = -q cos(q y).
    """
    _, y = grid.coordinates()
    q = 2 * math.pi * wavenumber / grid.length_y
    return (-q * torch.cos(q * y)).to(dtype)


def ring_curl(
    grid: Grid, wavenumber: float, width: float, generator: torch.Generator
) -> Float[Tensor, "H W"]:
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


class RingNoise:
    """A random force, white in time, on the ring |k - wavenumber| <= width: its curl's modes.

    In step n every mode of the ring gets a kick of fixed size and random phase, spread evenly over
    the step,

        curl f = H W |k| sqrt(eps / (M dt)) exp(i theta),    theta uniform in [0, 2 pi)

    for M modes k of a half-plane (|k| in radians per length; the ring is counted in units of
    2 pi / max length). All M modes take equal shares of the energy, and its mean supply is eps per
    unit mass and time for any flow, up to terms of relative size dt times the rates of the flow:
    the force does not correlate with the velocity that it finds (derived here).

    theta comes from a counter-based generator (Philox), so step n of seed s has the same kick in
    every run, resumed or not. Members of a batch have kicks of their own.

    Raises:
        InputError: the ring holds no mode of the grid.
    """

    def __init__(self, grid: Grid, wavenumber: float, width: float, dt: float, seed: int) -> None:
        self.grid, self.dt, self.seed = grid, dt, seed
        ky, kx = grid.wavenumbers()
        k = torch.sqrt(ky**2 + kx**2)[:, : columns(grid)]
        unit = 2 * math.pi / max(grid.length_x, grid.length_y)
        ring = ((k / unit - wavenumber).abs() <= width + 1e-9) & (k > 0)
        ring &= grid.dealias_mask()[:, : columns(grid)]
        ring[:, 0] &= ky[:, 0] > 0  # the other half of the first column is its conjugate
        rows, cols = ring.nonzero(as_tuple=True)
        if not len(rows):
            raise InputError(
                f"no mode with |k - {wavenumber:g}| <= {width:g} on a grid of "
                f"{grid.height} x {grid.width} points: widen or move the ring"
            )
        self.count = len(rows)
        self.twins = (cols == 0).nonzero().flatten()
        self.rows = torch.cat((rows, (grid.height - rows)[self.twins]))
        self.columns = torch.cat((cols, cols[self.twins]))
        self.size = k[rows, cols] * (grid.height * grid.width / math.sqrt(self.count * dt))

    def phases(self, n: int, members: range) -> Complex[Tensor, "{len(members)} M"]:
        """exp(i theta) of step n, (members, M) complex128."""
        bits = np.random.Philox(key=self.seed % 2**64, counter=[0, 0, n % 2**64, 1])
        turns = np.random.Generator(bits).random((members.stop, self.count))[members.start :]
        theta = torch.from_numpy(2 * math.pi * turns)
        return torch.polar(torch.ones_like(theta), theta)

    def modes(
        self,
        n: int,
        members: range,
        rate: Float[Tensor, "*B"],
        dtype: torch.dtype,
        device: torch.device,
    ) -> Complex[Tensor, "{len(members)} H K"]:
        """Modes (members, H, K) of the curl in step n for the energy supply `rate`, () or (B,)."""
        kicks = self.phases(n, members) * self.size
        kicks = torch.cat((kicks, kicks[:, self.twins].conj()), -1)
        kicks = kicks.to(device=device, dtype=dtype.to_complex())
        values = rate.sqrt().reshape(-1, 1) * kicks
        empty = values.new_zeros(len(members), self.grid.height, columns(self.grid))
        where = (torch.arange(len(members))[:, None], self.rows, self.columns)
        return empty.index_put(tuple(i.to(device) for i in where), values)
