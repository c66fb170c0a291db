"""Figures of electron densities in a plane."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sfm.data.elements import SYMBOLS
from sfm.units import factor
from sfm_dft.simulators.kohn_sham_state import KohnShamState


class Plane:
    """The plane that lies closest to a set of atoms, as a grid of points.

    Args:
        positions: (A, 3) in bohr. margin: around the atoms, bohr. points: along each side.
    """

    def __init__(self, positions: np.ndarray, margin: float = 4.0, points: int = 180) -> None:
        self.centre = positions.mean(0)
        axes = np.linalg.svd(np.vstack([positions - self.centre, 1e-9 * np.eye(3)]))[2]
        self.axes = axes[:2]
        self.atoms = (positions - self.centre) @ self.axes.T
        low, high = self.atoms.min(0) - margin, self.atoms.max(0) + margin
        self.u, self.v = np.linspace(low[0], high[0], points), np.linspace(low[1], high[1], points)
        u, v = np.meshgrid(self.u, self.v)
        self.shape = u.shape
        self.points = self.centre + np.stack([u.ravel(), v.ravel()], axis=1) @ self.axes

    def sample(
        self, function: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]]
    ) -> Float[np.ndarray, "rows columns"]:
        """Values of `function`, (n, 3) in bohr -> (n,), on the plane's grid."""
        return function(self.points).reshape(self.shape)


def draw_density(
    axis: Any,
    plane: Plane,
    values: Float[np.ndarray, "rows columns"],
    numbers: Int[np.ndarray, " A"],
    title: str,
) -> Any:
    """Log-scale map of a density (n, n) in electrons per cubic angstrom."""
    from matplotlib.colors import LogNorm

    unit = factor("angstrom", "bohr") ** 3
    image = _image(axis, plane, np.clip(values * unit, 1e-3, None), "magma", LogNorm(1e-3, 30.0))
    _atoms(axis, plane, numbers, title, "white")
    return image


def draw_difference(
    axis: Any,
    plane: Plane,
    values: Float[np.ndarray, "rows columns"],
    numbers: Int[np.ndarray, " A"],
    title: str,
) -> Any:
    """Signed map of a density difference (n, n) in electrons per cubic angstrom."""
    from matplotlib.colors import SymLogNorm

    unit = factor("angstrom", "bohr") ** 3
    norm = SymLogNorm(linthresh=0.01, vmin=-1.0, vmax=1.0)
    image = _image(axis, plane, values * unit, "RdBu_r", norm)
    _atoms(axis, plane, numbers, title, "black")
    return image


def _image(axis: Any, plane: Plane, values: np.ndarray, colours: str, norm: Any) -> Any:
    u, v = (w * factor("bohr", "angstrom") for w in (plane.u, plane.v))
    return axis.pcolormesh(u, v, values, cmap=colours, norm=norm, shading="auto", rasterized=True)


def _atoms(axis: Any, plane: Plane, numbers: np.ndarray, title: str, colour: str) -> None:
    for z, (u, v) in zip(numbers, plane.atoms * factor("bohr", "angstrom"), strict=True):
        axis.text(
            u, v, SYMBOLS[int(z)], color=colour, ha="center", va="center", fontsize=9, weight="bold"
        )
    axis.set(title=title, xlabel="u [angstrom]", ylabel="v [angstrom]", aspect="equal")


def plot_density(state: KohnShamState, path: Path) -> None:
    """Density and deformation density (against superposed atoms) of a state, to `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    molecule = state.molecule
    plane = Plane(molecule.positions.numpy())
    density = plane.sample(lambda r: molecule.density_at(state.density_matrix(), r))
    free = molecule.superposed_atoms()
    atoms = plane.sample(lambda r: molecule.density_at(free, r))
    numbers = molecule.numbers.numpy()
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    image = draw_density(left, plane, density, numbers, "electron density")
    figure.colorbar(image, ax=left, label="e / angstrom^3")
    image = draw_difference(right, plane, density - atoms, numbers, "change against free atoms")
    figure.colorbar(image, ax=right, label="e / angstrom^3")
    figure.savefig(path, dpi=150)
