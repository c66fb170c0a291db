"""A periodic box in three dimensions, and the modes of it that are kept.

Arrays are volumes: the last axis (W) is x, the one before (H) is y, the one before (D) is z.
Component 0 of a velocity is along x, 1 along y, 2 along z.

Spectra hold only the modes that the 2/3 rule keeps, |index| <= (N - 1) // 3 on each axis: shape
(2 Kz + 1, 2 Ky + 1, Kx + 1), indices 0 ... K, -K ... -1 along z and y, and 0 ... K along x, where
the other half follows from u being real. They are 0.3 times as large as full half-spectra. A
coefficient is the mean of u exp(-i k x), so it does not depend on the number of points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from sfm.errors import InputError


@dataclass(frozen=True)
class Grid3D:
    """A periodic box of `depth` x `height` x `width` points with side lengths z, y, x.

    Raises `InputError` for fewer than four points a side or a length that is not positive.
    """

    depth: int
    height: int
    width: int
    length_z: float = 2 * math.pi
    length_y: float = 2 * math.pi
    length_x: float = 2 * math.pi

    def __post_init__(self) -> None:
        if min(self.shape) < 4:
            raise InputError(
                f"a grid needs 4 x 4 x 4 points or more, got {' x '.join(map(str, self.shape))}"
            )
        if not min(self.lengths) > 0:
            raise InputError(
                f"the box needs positive lengths, got {' x '.join(f'{n:g}' for n in self.lengths)}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        return self.depth, self.height, self.width

    @property
    def lengths(self) -> tuple[float, float, float]:
        """(z, y, x)."""
        return self.length_z, self.length_y, self.length_x

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(dz, dy, dx)."""
        dz, dy, dx = (length / n for length, n in zip(self.lengths, self.shape, strict=True))
        return dz, dy, dx

    @property
    def isotropic_spacing(self) -> float:
        """The spacing h of cubic cells; closures need it. Raises `InputError` otherwise."""
        dz, dy, dx = self.spacing
        if max(abs(dx - dy), abs(dx - dz)) > 1e-9 * dx:
            raise InputError(
                f"a subgrid closure needs cubic cells, got dx={dx:.6g}, dy={dy:.6g} and "
                f"dz={dz:.6g}; choose points in proportion to the box lengths"
            )
        return dx

    @property
    def cutoff(self) -> tuple[int, int, int]:
        """(Kz, Ky, Kx): the largest index that the 2/3 rule keeps on each axis."""
        return (self.depth - 1) // 3, (self.height - 1) // 3, (self.width - 1) // 3

    @property
    def spectral_shape(self) -> tuple[int, int, int]:
        """Shape of a spectrum: (2 Kz + 1, 2 Ky + 1, Kx + 1)."""
        kz, ky, kx = self.cutoff
        return 2 * kz + 1, 2 * ky + 1, kx + 1

    def indices(
        self, *, device: torch.device | str = "cpu"
    ) -> tuple[Float[Tensor, "kz 1 1"], Float[Tensor, "ky 1"], Float[Tensor, " kx"]]:
        """Float64 mode numbers z (Z, 1, 1), y (Y, 1), x (X,)."""
        kz, ky, kx = self.cutoff
        z, y = (torch.cat((torch.arange(k + 1), torch.arange(-k, 0))).double() for k in (kz, ky))
        x = torch.arange(kx + 1).double()
        return z[:, None, None].to(device), y[:, None].to(device), x.to(device)

    def wavenumbers(
        self, *, device: torch.device | str = "cpu"
    ) -> tuple[Float[Tensor, "kz 1 1"], Float[Tensor, "ky 1"], Float[Tensor, " kx"]]:
        """Float64 kz (Z, 1, 1), ky (Y, 1), kx (X,) in radians per length."""
        z, y, x = self.indices(device=device)
        lz, ly, lx = self.lengths
        return 2 * math.pi / lz * z, 2 * math.pi / ly * y, 2 * math.pi / lx * x

    def square_wavenumber(self, *, device: torch.device | str = "cpu") -> Float[Tensor, "kz ky kx"]:
        """k^2 of every mode, float64 (Z, Y, X)."""
        kz, ky, kx = self.wavenumbers(device=device)
        return kz**2 + ky**2 + kx**2

    def weights(self, *, device: torch.device | str = "cpu") -> Float[Tensor, " kx"]:
        """(X,) how many modes of a full spectrum a coefficient stands for: 1 at kx = 0, else 2."""
        weights = torch.full((self.cutoff[2] + 1,), 2.0, dtype=torch.float64, device=device)
        weights[0] = 1.0
        return weights

    def coordinates(
        self, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> tuple[Float[Tensor, "D H W"], Float[Tensor, "D H W"], Float[Tensor, "D H W"]]:
        """(x, y, z), each (D, H, W), of the grid points, the first at the origin."""
        z, y, x = (
            torch.arange(n, dtype=dtype, device=device) * d
            for n, d in zip(self.shape, self.spacing, strict=True)
        )
        zz, yy, xx = torch.meshgrid(z, y, x, indexing="ij")
        return xx, yy, zz


def curl(hat: Complex[Tensor, "*B 3 kz ky kx"], grid: Grid3D) -> Complex[Tensor, "*B 3 kz ky kx"]:
    """Curl of vector spectra (..., 3, *spectral_shape)."""
    kz, ky, kx = (1j * k.to(hat.real.dtype) for k in grid.wavenumbers(device=hat.device))
    u, v, w = hat.unbind(-4)
    return torch.stack((ky * w - kz * v, kz * u - kx * w, kx * v - ky * u), dim=-4)


def divergence(
    hat: Complex[Tensor, "*B 3 kz ky kx"], grid: Grid3D
) -> Complex[Tensor, "*B kz ky kx"]:
    """Divergence of vector spectra (..., 3, *spectral_shape)."""
    kz, ky, kx = (1j * k.to(hat.real.dtype) for k in grid.wavenumbers(device=hat.device))
    u, v, w = hat.unbind(-4)
    return kx * u + ky * v + kz * w


def project(
    hat: Complex[Tensor, "*B 3 kz ky kx"], grid: Grid3D
) -> Complex[Tensor, "*B 3 kz ky kx"]:
    """Vector spectra (..., 3, *spectral_shape) without their divergent part; the mean stays."""
    kz, ky, kx = (k.to(hat.real.dtype) for k in grid.wavenumbers(device=hat.device))
    u, v, w = hat.unbind(-4)
    inverse = inverse_square(grid, hat.real.dtype, str(hat.device))
    pressure = (kx * u + ky * v + kz * w) * inverse
    return torch.stack((u - kx * pressure, v - ky * pressure, w - kz * pressure), dim=-4)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is kept must serve training too
def inverse_square(grid: Grid3D, dtype: torch.dtype, device: str) -> Float[Tensor, "kz ky kx"]:
    """1 / k^2 of every mode (Z, Y, X), 0 for the mean."""
    k2 = grid.square_wavenumber(device=device)
    k2[0, 0, 0] = math.inf
    return (1 / k2).to(dtype)


def inner(
    a: Complex[Tensor, "*B 3 kz ky kx"], b: Complex[Tensor, "*B 3 kz ky kx"], grid: Grid3D
) -> Float[Tensor, "*B"]:
    """Mean over the box of a . b, from the vector spectra (..., 3, *spectral_shape): (...)."""
    weights = grid.weights(device=a.device).to(a.real.dtype)
    product = (torch.view_as_real(a) * torch.view_as_real(b)).sum(-1)
    return (weights * product).sum((-4, -3, -2, -1))


def energy_spectrum(
    hat: Complex[Tensor, "*B 3 kz ky kx"], grid: Grid3D
) -> tuple[Float[Tensor, " n"], Float[Tensor, "*B n"]]:
    """(k, E(k)): kinetic energy per unit mass in shells of width 2 pi / longest side.

    hat (..., 3, *spectral_shape) -> k (n,), E (..., n); the sum over shells is the mean energy of
    the fluctuation.
    """
    density = 0.5 * grid.weights(device=hat.device).to(hat.real.dtype) * hat.abs().square().sum(-4)
    density[..., 0, 0, 0] = 0.0
    shell, unit = shells(grid, device=str(hat.device))
    spectrum = density.new_zeros(*density.shape[:-3], int(shell.max()) + 1)
    spectrum = spectrum.index_add(-1, shell.flatten(), density.flatten(-3))
    return unit * torch.arange(spectrum.shape[-1], dtype=density.dtype), spectrum


def shells(grid: Grid3D, *, device: str = "cpu") -> tuple[Int[Tensor, "kz ky kx"], float]:
    """Number of the spherical shell of every mode (Z, Y, X), and the width of a shell."""
    unit = 2 * math.pi / max(grid.lengths)
    return (grid.square_wavenumber(device=device).sqrt() / unit).round().long(), unit
