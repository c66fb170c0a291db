"""Embedded-atom potentials from `setfl` files (`.eam.alloy`), through cubic splines.

The format: three lines of comment; the number of elements and their symbols; n_rho, d_rho, n_r,
d_r, cutoff; for each element a line (atomic number, mass, lattice constant, lattice), then F(rho)
and f(r); then r phi(r) of each pair, the second not after the first. Numbers in eV and angstrom.
M. S. Daw, S. M. Foiles, M. I. Baskes, Mater. Sci. Rep. 9, 251 (1993).

Splines are twice continuously differentiable (not-a-knot), so that elastic constants and phonons
are smooth. LAMMPS takes cubics of first order in smoothness: for tables of 10,000 points both agree
to 1e-9 eV. Above the largest density F goes on in a straight line, as in LAMMPS.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_crystals.potentials.elements import element
from sfm_crystals.potentials.embedded_atom import EmbeddedAtom

MOST_POINTS = 1_000_000


class Splines(nn.Module):
    """K functions on one even grid from zero.

    Args:
        values: (K, T) at k * spacing.
        spacing: of the grid.
    """

    coefficients: Tensor

    def __init__(self, values: np.ndarray, spacing: float, dtype: torch.dtype) -> None:
        from scipy.interpolate import CubicSpline

        super().__init__()
        self.spacing = spacing
        spline = CubicSpline(np.arange(values.shape[1], dtype=np.float64), values, axis=1)
        table = torch.from_numpy(np.moveaxis(spline.c, 2, 0)).to(dtype)  # (K, 4, T - 1)
        self.register_buffer("coefficients", table.transpose(1, 2).contiguous(), persistent=False)

    def forward(self, x: Float[Tensor, " P"], which: Int[Tensor, " P"]) -> Float[Tensor, " P"]:
        """(P,) values of functions `which` (P,) at x (P,); a straight line beyond the grid."""
        last = self.coefficients.shape[1] - 1
        place = x / self.spacing
        cell = place.detach().floor().long().clamp(0, last)
        t = place - cell
        within = t.clamp(max=1.0)
        a, b, c, d = self.coefficients[which, cell].to(x).unbind(1)
        beyond = (t - within) * ((3 * a * within + 2 * b) * within + c)
        return ((a * within + b) * within + c) * within + d + beyond


class Setfl(EmbeddedAtom):
    """An embedded-atom potential of K elements from tables.

    Args:
        elements: K symbols.
        embedding: (K, n_rho) F, eV. spacing_rho: of its grid.
        density: (K, n_r) f. spacing: of its grid, angstrom.
        pair: (K (K + 1) / 2, n_r) r phi, eV angstrom: 11, 21, 22, 31, ...
        reach: cutoff, angstrom.
        where: the file, for messages.
    """

    def __init__(
        self,
        elements: tuple[str, ...],
        embedding: np.ndarray,
        spacing_rho: float,
        density: np.ndarray,
        pair: np.ndarray,
        spacing: float,
        reach: float,
        *,
        where: str,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.elements, self.where, self.cutoff = elements, where, reach
        self.embedded = Splines(embedding, spacing_rho, dtype)
        self.electrons = Splines(density, spacing, dtype)
        self.pairs = Splines(pair, spacing, dtype)

    @classmethod
    def read(cls, path: str | Path, *, dtype: torch.dtype = torch.float64) -> Setfl:
        """Of a file.

        Raises:
            InputError: not of this format, or incomplete.
        """
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        try:
            count, *names = lines[3].split()
            elements = tuple(element(n, f"{path}: line 4") for n in names)
            n_rho, d_rho, n_r, d_r, reach = (_number(w) for w in lines[4].split()[:5])
            if int(count) != len(elements) or not 4 <= min(n_rho, n_r) <= MOST_POINTS:
                raise ValueError
            words = [w for line in lines[5:] for w in line.split()]
            rho_points, points, k = int(n_rho), int(n_r), len(elements)
            embedding, density, start = [], [], 0
            for _ in elements:
                start += 4  # number, mass, lattice constant, lattice
                embedding.append(_row(words, start, rho_points))
                density.append(_row(words, start + rho_points, points))
                start += rho_points + points
            pairs = [_row(words, start + i * points, points) for i in range(k * (k + 1) // 2)]
        except (ValueError, IndexError):
            raise InputError(
                f"{path}: no complete setfl file (.eam.alloy): three lines of comment, elements, "
                "grids, then F, f and r phi; funcfl (.eam) and Finnis-Sinclair (.eam.fs) are others"
            ) from None
        tables = (np.stack(embedding), d_rho, np.stack(density), np.stack(pairs), d_r)
        return cls(elements, *tables, reach, where=str(path), dtype=dtype)

    def reach(self, kinds: Int[Tensor, " N"]) -> float:
        return self.cutoff

    def density(self, r: Float[Tensor, " P"], kind: Int[Tensor, " P"]) -> Float[Tensor, " P"]:
        electrons: Tensor = self.electrons(r, kind)
        return electrons

    def pair(
        self, r: Float[Tensor, " P"], one: Int[Tensor, " P"], two: Int[Tensor, " P"]
    ) -> Float[Tensor, " P"]:
        low, high = torch.minimum(one, two), torch.maximum(one, two)
        energies: Tensor = self.pairs(r, high * (high + 1) // 2 + low) / r
        return energies

    def embedding(
        self, density: Float[Tensor, " N"], kind: Int[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        energies: Tensor = self.embedded(density, kind)
        return energies


def _number(word: str) -> float:
    return float(word.lower().replace("d", "e"))


def _row(words: list[str], start: int, count: int) -> np.ndarray:
    row = np.array([_number(w) for w in words[start : start + count]])
    if len(row) != count or not np.isfinite(row).all():
        raise ValueError
    return row
