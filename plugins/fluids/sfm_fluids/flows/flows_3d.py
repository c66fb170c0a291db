"""Velocities to start from, and forces: spectra (3, *spectral_shape) in float64.

Any consistent system of units.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sfm.errors import InputError
from sfm_fluids.spectral.grid_3d import Grid3D, energy_spectrum, project, shells
from sfm_fluids.spectral.transforms_3d import to_spectrum

Spectrum = Callable[[Float[Tensor, " ..."]], Float[Tensor, " ..."]]


def taylor_green(grid: Grid3D) -> Complex[Tensor, "3 kz ky kx"]:
    """(sin x cos y cos z, -cos x sin y cos z, 0), one period in the box, energy 1/8 in a cube.

    (3, *spectral_shape).

    G. I. Taylor and A. E. Green, Proc. R. Soc. A 158, 499 (1937).
    """
    x, y, z = _phases(grid)
    u = x.sin() * y.cos() * z.cos()
    v = -(grid.length_y / grid.length_x) * x.cos() * y.sin() * z.cos()
    return to_spectrum(torch.stack((u, v, torch.zeros_like(u))), grid)


def abc(grid: Grid3D, wavenumber: int = 1) -> Complex[Tensor, "3 kz ky kx"]:
    """(sin kz + cos ky, sin kx + cos kz, sin ky + cos kx): curl u = k u, steady but for viscosity.

    (3, *spectral_shape).

    T. Dombre et al., J. Fluid Mech. 167, 353 (1986).

    Raises:
        InputError: the box is no cube, or the mode is not resolved.
    """
    if len(set(grid.lengths)) > 1:
        raise InputError(
            "the ABC flow needs a cube; other boxes take 'taylor-green', 'random', 'kolmogorov'"
        )
    check_resolved(grid, wavenumber)
    x, y, z = (wavenumber * phase for phase in _phases(grid))
    field = torch.stack((z.sin() + y.cos(), x.sin() + z.cos(), y.sin() + x.cos()))
    return to_spectrum(field, grid)


def kolmogorov(grid: Grid3D, wavenumber: int) -> Complex[Tensor, "3 kz ky kx"]:
    """(sin(2 pi n y / length_y), 0, 0), (3, *spectral_shape).

    Raises:
        InputError: the mode is not resolved.
    """
    check_resolved(grid, wavenumber)
    _, y, _ = _phases(grid)
    wave = (wavenumber * y).sin()
    return to_spectrum(torch.stack((wave, torch.zeros_like(wave), torch.zeros_like(wave))), grid)


def rogallo(peak: float) -> Spectrum:
    """E(k) ~ k^4 exp(-2 (k / peak)^2), of unit sum at unit spacing; its maximum is at `peak`.

    R. S. Rogallo, NASA TM-81315 (1981).
    """
    norm = 3 * math.sqrt(math.pi) / 8 * (peak**2 / 2) ** 2.5
    return lambda k: k**4 * torch.exp(-2 * (k / peak) ** 2) / norm


def random_velocity(grid: Grid3D, spectrum: Spectrum, seed: int) -> Complex[Tensor, "3 kz ky kx"]:
    """A random divergence-free field whose shells have exactly the energy E(k) dk.

    Phases and directions are Gaussian; each shell (by definition of width dk = 2 pi / longest side,
    as in `energy_spectrum`) is scaled to its energy. Shells beyond the cut-off stay empty, and
    modes are drawn from the inside out, so that finer grids get the same field with more shells.
    """
    generator = torch.Generator().manual_seed(seed)
    hat = torch.zeros(3, *grid.spectral_shape, dtype=torch.complex128)
    depth, height, _ = grid.spectral_shape
    reach = max(grid.cutoff)
    for radius in range(1, reach + 1):
        side = torch.arange(-radius, radius + 1)
        cube = torch.cartesian_prod(side, side, torch.arange(0, radius + 1))
        cube = cube[cube.abs().amax(1) == radius]
        draws = torch.randn(len(cube), 3, 2, dtype=torch.float64, generator=generator)
        inside = (cube.abs() <= torch.tensor(grid.cutoff)).all(1)
        cube, draws = cube[inside], draws[inside]
        rows, columns = cube[:, 0] % depth, cube[:, 1] % height
        hat[:, rows, columns, cube[:, 2]] = torch.view_as_complex(draws).T
    return _scaled(project(_hermitian(hat), grid), grid, spectrum)


def _hermitian(hat: Tensor) -> Tensor:
    """Make the plane kx = 0 that of a real field: c(-k) = conj c(k)."""
    plane = hat[..., 0]
    other = plane.flip(-2, -1).roll((1, 1), (-2, -1)).conj()
    return torch.cat((((plane + other) / math.sqrt(2)).unsqueeze(-1), hat[..., 1:]), dim=-1)


def _scaled(hat: Tensor, grid: Grid3D, spectrum: Spectrum) -> Tensor:
    k, now = energy_spectrum(hat, grid)
    shell, unit = shells(grid)
    energy = spectrum(k) * unit
    whole = min(c * 2 * math.pi / n for c, n in zip(grid.cutoff, grid.lengths, strict=True))
    energy[k > whole * (1 + 1e-9)] = 0.0
    energy[0] = 0.0
    gain = torch.where(now > 0, energy / now, torch.zeros_like(now)).sqrt()
    return hat * gain[shell]


def check_resolved(grid: Grid3D, wavenumber: int) -> None:
    """Raises `InputError` unless the 2/3 rule keeps the mode on every axis."""
    if not 1 <= wavenumber <= min(grid.cutoff):
        raise InputError(
            f"wavenumber {wavenumber} is not resolved: {min(grid.shape)} points keep "
            f"1 to {min(grid.cutoff)}"
        )


def _phases(grid: Grid3D) -> tuple[Tensor, Tensor, Tensor]:
    """2 pi x / length of each axis: x, y, z."""
    x, y, z = grid.coordinates()
    return tuple(  # type: ignore[return-value]
        2 * math.pi * r / n for r, n in ((x, grid.length_x), (y, grid.length_y), (z, grid.length_z))
    )
