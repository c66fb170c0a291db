"""Densities in closed form on which functionals are tested: a table of points, and model atoms.

The table varies rs, the reduced gradient s, the polarisation zeta and, for meta-GGAs, alpha of
each spin independently. The atoms have Slater orbitals r^(k-1) exp(-z r), whose density, gradient
and tau are exact, on a radial times angular grid.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm_dft.xc.density import GridDensity, GridPoints

RS = (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)  # bohr
S = (0.0, 0.01, 0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 10.0, 50.0)
ZETA = (0.0, 0.3, 0.7, 1.0)
ALPHA = (0.0, 0.3, 1.0, 2.0, 5.0)
DISTANCE = 40.0  # bohr, between the two atoms of `far_pair`

# occupied Slater shells of one spin: electrons, k, angular momentum, exponent (Slater's rules)
Shell = tuple[float, int, int, float]
HYDROGEN: tuple[Shell, ...] = ((1.0, 1, 0, 1.0),)
HELIUM: tuple[Shell, ...] = ((1.0, 1, 0, 1.6875),)
NITROGEN_DOWN: tuple[Shell, ...] = ((1.0, 1, 0, 6.70), (1.0, 2, 0, 1.95))
NITROGEN_UP: tuple[Shell, ...] = (*NITROGEN_DOWN, (3.0, 2, 1, 1.95))
NEON: tuple[Shell, ...] = ((1.0, 1, 0, 9.70), (1.0, 2, 0, 2.925), (3.0, 2, 1, 2.925))


@dataclass(frozen=True)
class Model:
    """A density to test on.

    Attributes:
        name: in words. density: on G points. weights: (G,) of the quadrature, bohr^3; ones where
            the points belong to no one system. labels: (G, 4) rs, s, zeta and alpha, or None.
    """

    name: str
    density: GridDensity
    weights: Float[Tensor, " G"]
    labels: Float[Tensor, "G 4"] | None = None

    def integrate(self, energy: Float[Tensor, " G"]) -> Float[Tensor, ""]:
        """Energy (G,) per volume to hartree, ()."""
        return (self.weights * energy).sum()

    def describe(self, index: int) -> str:
        """Where point ``index`` is."""
        if self.labels is not None:
            values = zip(("rs", "s", "zeta", "alpha"), self.labels[index].tolist(), strict=True)
            return ", ".join(f"{key}={value:g}" for key, value in values)
        rho = [f"{value:.3g}" for value in self.density.rho[:, index].tolist()]
        return f"{self.name}, density of a spin {' and '.join(rho)} per bohr^3"

    def above(self, lowest: float) -> Model:
        """The points at which the density exceeds ``lowest`` electrons per bohr^3, as such."""
        keep, density = self.density.total > lowest, self.density
        assert density.gradient is not None
        assert density.tau is not None
        part = GridDensity(density.rho[:, keep], density.gradient[..., keep], density.tau[:, keep])
        return Model(self.name, part, self.weights[keep])

    def scaled(self, factor: float) -> Model:
        """n(r) -> factor^3 n(factor r), on the points that correspond."""
        density, grid = self.density.scaled(factor), self.density.grid
        if grid is not None:
            grid = replace(
                grid,
                points=grid.points / factor,
                weights=grid.weights / factor**3,
                positions=grid.positions / factor,
            )
            density = replace(density, grid=grid)
        return replace(self, density=density, weights=self.weights / factor**3)


def table(functional: nn.Module, *, uniform: bool = False, closed: bool = False) -> Model:
    """Points of every rs, s, zeta and alpha; of the uniform gas s = 0 and alpha = 1."""
    rows = itertools.product(
        RS,
        (0.0,) if uniform else S,
        (0.0,) if closed else (0.0, 1.0) if uniform else ZETA,
        (1.0,) if uniform else ALPHA,
    )
    labels = torch.tensor(list(rows), dtype=torch.float64, device=_device(functional))
    rs, s, zeta, alpha = labels.T
    n = 3.0 / (4.0 * math.pi * rs**3)
    slope = 2.0 * (3.0 * math.pi**2 * n) ** (1.0 / 3.0) * n * s
    share = torch.stack([0.5 + 0.5 * zeta, 0.5 - 0.5 * zeta])
    share = share[:1] if closed else share
    rho, gradient = share * n, torch.zeros(len(share), 3, len(n), dtype=n.dtype, device=n.device)
    gradient[:, 0] = share * slope
    # |grad n_s|^2 / (8 n_s) with n_s = share n: no division by an empty spin
    weizsaecker = share * slope.square() / (8.0 * n)
    tau = weizsaecker + alpha * 0.3 * (6.0 * math.pi**2) ** (2.0 / 3.0) * rho ** (5.0 / 3.0)
    return Model("table", GridDensity(rho, gradient, tau), torch.ones_like(n), labels)


def atoms(functional: nn.Module) -> list[Model]:
    """Hydrogen (one electron), helium, nitrogen (polarised) and neon, as Slater orbitals."""
    return [
        _atom(functional, "hydrogen atom", 1, (HYDROGEN, ())),
        _atom(functional, "helium atom", 2, (HELIUM,)),
        _atom(functional, "nitrogen atom", 7, (NITROGEN_UP, NITROGEN_DOWN)),
        _atom(functional, "neon atom", 10, (NEON,)),
    ]


def hydrogen(functional: nn.Module) -> tuple[Model, float]:
    """The exact hydrogen atom and its Hartree energy, 5/16 hartree."""
    return atoms(functional)[0], 5.0 / 16.0


def far_pair(functional: nn.Module) -> tuple[Model, Model]:
    """A helium-like atom, and two of them far apart."""
    one = _atom(functional, "helium atom", 2, (HELIUM,))
    shift = torch.zeros(3, dtype=torch.float64, device=one.weights.device)
    shift[2] = DISTANCE
    assert one.density.grid is not None
    first = one.density.grid
    points = torch.cat([first.points, first.points + shift])
    here, there = _spin_density(points, HELIUM), _spin_density(points - shift, HELIUM)
    rho, gradient, tau = ((a + b)[None] for a, b in zip(here, there, strict=True))
    weights = torch.cat([first.weights, first.weights])
    grid = GridPoints(
        points,
        weights,
        torch.cat([first.owners, first.owners + 1]),
        torch.stack([torch.zeros_like(shift), shift]),
        first.numbers.repeat(2),
        first.molecule.repeat(2),
    )
    return one, Model("two helium atoms", GridDensity(rho, gradient, tau, grid), weights)


def _atom(
    functional: nn.Module, name: str, number: int, spins: tuple[tuple[Shell, ...], ...]
) -> Model:
    points, weights = _grid(math.sqrt(number), _device(functional))
    device = points.device
    grid = GridPoints(
        points,
        weights,
        torch.zeros(len(points), dtype=torch.long, device=device),
        torch.zeros(1, 3, dtype=torch.float64, device=device),
        torch.tensor([number], device=device),
        torch.zeros(1, dtype=torch.long, device=device),
    )
    each = [_spin_density(points, shells) for shells in spins]
    rho, gradient, tau = (torch.stack(field) for field in zip(*each, strict=True))
    return Model(name, GridDensity(rho, gradient, tau, grid), weights)


def _grid(contraction: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Points (G, 3) and weights (G,): 80 radii of r = x / (1 - x), 4 x 8 directions."""
    x, wx = (torch.from_numpy(a).to(device) for a in np.polynomial.legendre.leggauss(80))
    x, wx = 0.5 * (x + 1.0), 0.5 * wx
    r = x / (1.0 - x) / contraction
    radial = wx * r.square() / (1.0 - x).square() / contraction
    z, wz = (torch.from_numpy(a).to(device) for a in np.polynomial.legendre.leggauss(4))
    phi = (torch.arange(8, dtype=torch.float64, device=device) + 0.5) * (math.pi / 4.0)
    rho = (1.0 - z.square()).sqrt()[:, None]
    unit = torch.stack([rho * phi.cos(), rho * phi.sin(), z[:, None].expand(4, 8)], -1)
    points = (r[:, None, None] * unit.reshape(1, 32, 3)).reshape(-1, 3)
    weights = radial[:, None] * (wz[:, None] * (math.pi / 4.0)).expand(4, 8).reshape(1, 32)
    return points, weights.reshape(-1)


def _spin_density(points: Tensor, shells: tuple[Shell, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """rho (G,), gradient (3, G) and tau (G,) of filled or spherically averaged shells."""
    r = points.norm(dim=1)
    rho, slope, tau = torch.zeros_like(r), torch.zeros_like(r), torch.zeros_like(r)
    for electrons, k, momentum, exponent in shells:
        norm = math.sqrt((2.0 * exponent) ** (2 * k + 1) / math.factorial(2 * k))
        radial = norm * r ** (k - 1) * torch.exp(-exponent * r)
        change = radial * ((k - 1) / r - exponent)
        weight = electrons / (4.0 * math.pi)
        rho = rho + weight * radial.square()
        slope = slope + 2.0 * weight * radial * change
        angular = momentum * (momentum + 1) * (radial / r).square()
        tau = tau + 0.5 * weight * (change.square() + angular)
    return rho, slope * points.T / r, tau


def _device(functional: nn.Module) -> torch.device:
    """Where the functional's parameters are; the processor if it has none."""
    return next((p.device for p in functional.parameters()), torch.device("cpu"))
