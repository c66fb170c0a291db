"""Figures of a shallow-water run: depth, vorticity, energy; or an animation of the depth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.simulate import Trajectory
from sfm_fluids.figures.films import film, moves
from sfm_fluids.spectral.grid_2d import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(trajectory: Trajectory, grid: Grid, path: Path) -> None:
    """Draw the first flow of the batch to `path`: .png, .pdf, .svg; animated .gif, .mp4.

    Raises:
        InputError: another suffix, or .mp4 without ffmpeg.
    """
    animated = moves(path)
    from matplotlib.figure import Figure

    depth, vorticity, energy = (
        trajectory.observables[name][:, 0].detach().cpu().numpy()
        for name in ("layer_depth", "vorticity", "layer_energy")
    )
    times = trajectory.times.numpy()
    extent = (0, grid.length_x, 0, grid.length_y)
    heights = {
        "origin": "lower",
        "cmap": "viridis",
        "vmin": float(depth.min()),
        "vmax": float(depth.max()),
        "extent": extent,
        "interpolation": "bilinear",
    }
    if animated:
        _animate(Figure(figsize=(4.6, 4), layout="constrained"), depth, times, heights, path)
        return
    limit = float(np.quantile(np.abs(vorticity), 0.999)) or 1.0
    spins = {**heights, "cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    figure = Figure(figsize=(16, 3.4), layout="constrained")
    axes = figure.subplots(1, 5)
    for axis, index in zip(axes, (0, -1), strict=False):
        image = axis.imshow(depth[index], **heights)
        axis.set(title=f"depth h, t = {times[index]:.4g}", xlabel="x", ylabel="y")
    figure.colorbar(image, ax=axes[1])
    for axis, index in zip(axes[2:], (0, -1), strict=False):
        image = axis.imshow(vorticity[index], **spins)
        axis.set(title=f"vorticity, t = {times[index]:.4g}", xlabel="x", ylabel="y")
    figure.colorbar(image, ax=axes[3])
    axes[4].plot(times, energy)
    axes[4].set(title="energy", xlabel="t", ylim=(0, 1.1 * float(energy.max()) or 1.0))
    figure.savefig(path, dpi=130)


def _animate(
    figure: Figure, depth: np.ndarray, times: np.ndarray, style: dict[str, Any], path: Path
) -> None:
    axis = figure.add_subplot()
    image = axis.imshow(depth[0], **style)
    axis.set(xlabel="x", ylabel="y")
    figure.colorbar(image, ax=axis)

    def show(index: int) -> None:
        image.set_data(depth[index])
        axis.set_title(f"depth h, t = {times[index]:.4g}")

    film(figure, len(depth), path, show)
