"""What an exchange-correlation functional reads: spin densities on a grid.

Atomic units throughout. The first axis is spin: two rows for an unrestricted density, one row for a
closed shell, which then holds the density of *one* spin, half of the total. ``up = rho[0]`` and
``down = rho[-1]`` therefore serve both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class GridPoints:
    """Where a density is known, for functionals that look further than one point.

    Attributes:
        points: (G, 3) bohr. weights: (G,) quadrature weights, bohr^3.
        owners: (G,) the atom in whose part of space a point lies, counted over the whole batch.
        positions: (A, 3) bohr and numbers: (A,) of all atoms of the batch.
        molecule: (A,) which molecule of the batch an atom belongs to.
    """

    points: Float[Tensor, "G 3"]
    weights: Float[Tensor, " G"]
    owners: Int[Tensor, " G"]
    positions: Float[Tensor, "A 3"]
    numbers: Int[Tensor, " A"]
    molecule: Int[Tensor, " A"]


@dataclass(frozen=True)
class GridDensity:
    """Spin densities at G points.

    Attributes:
        rho: (s, G) electrons per bohr^3, s = 1 (closed shell, half of the total) or 2.
        gradient: (s, 3, G) of rho by position, or None where only rho is wanted.
        tau: (s, G) by definition 1/2 sum_i n_i |grad psi_i|^2 of each spin, hartree per bohr^3, or
            None.
        grid: the points themselves, or None where only pointwise functionals are evaluated.
    """

    rho: Float[Tensor, "s G"]
    gradient: Float[Tensor, "s 3 G"] | None = None
    tau: Float[Tensor, "s G"] | None = None
    grid: GridPoints | None = None

    @property
    def closed_shell(self) -> bool:
        """Whether both spins share one row."""
        return len(self.rho) == 1

    @property
    def total(self) -> Float[Tensor, " G"]:
        """Density of all electrons, (G,)."""
        return 2.0 * self.rho[0] if self.closed_shell else self.rho.sum(0)

    def sigma(self) -> tuple[Float[Tensor, " G"], Float[Tensor, " G"], Float[Tensor, " G"]]:
        """Contracted gradients up.up, up.down, down.down, each (G,)."""
        assert self.gradient is not None, "this density was made without gradients"
        up, down = self.gradient[0], self.gradient[-1]
        same = up.square().sum(0)
        if self.closed_shell:
            return same, same, same
        return same, (up * down).sum(0), down.square().sum(0)

    def spin(self, index: int) -> GridDensity:
        """The closed-shell density both of whose spins are this spin's: for spin scaling."""
        row = slice(index, index + 1)
        return GridDensity(
            self.rho[row],
            None if self.gradient is None else self.gradient[row],
            None if self.tau is None else self.tau[row],
            self.grid,
        )

    def split(self, size: int) -> Iterator[GridDensity]:
        """Parts of at most ``size`` points, without ``grid``."""
        fields = [self.rho, self.gradient, self.tau]
        parts = [[] if x is None else x.split(size, dim=-1) for x in fields]
        for rho, gradient, tau in zip_longest(*parts):
            yield GridDensity(rho, gradient, tau)

    def scaled(self, factor: float | Float[Tensor, ""]) -> GridDensity:
        """Density of uniformly scaled coordinates, n(r) -> factor^3 n(factor r), at the points
        that correspond: rho, gradient and tau grow as the third, fourth and fifth power.

        Without ``grid``, whose points would move.
        """
        f = torch.as_tensor(factor, dtype=self.rho.dtype, device=self.rho.device)
        return GridDensity(
            f**3 * self.rho,
            None if self.gradient is None else f**4 * self.gradient,
            None if self.tau is None else f**5 * self.tau,
        )
