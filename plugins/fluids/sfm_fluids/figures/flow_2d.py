"""Figures of a 2-D flow: fields at three times, the energy's history, or an animation.

Units are those of the data: lengths of a box of 2 pi, forces of amplitude 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sfm.simulate import Trajectory
from sfm_fluids.figures.films import film, moves
from sfm_fluids.spectral.grid_2d import Grid


def draw(trajectory: Trajectory, grid: Grid, path: Path) -> None:
    """Draw the first flow of the batch: .png, .pdf, .svg; animated .gif and .mp4.

    Vorticity, and the first passive scalar where there is one.

    Raises:
        InputError: another suffix, or .mp4 without ffmpeg.
    """
    animated = moves(path)
    omega = _array(trajectory.observables["vorticity"][:, 0])
    if animated:
        animate(omega, trajectory.times.numpy(), _style(omega, "RdBu_r", grid), path, "vorticity")
        return
    from matplotlib.figure import Figure

    rows = [("vorticity", omega, _style(omega, "RdBu_r", grid))]
    if "passive_scalar" in trajectory.observables:
        scalar = _array(trajectory.observables["passive_scalar"][:, 0, 0])
        rows.append(("scalar", scalar, _style(scalar, "PuOr_r", grid)))
    times = trajectory.times.numpy()
    figure = Figure(figsize=(13, 3.4 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 4, squeeze=False)
    for axes, (name, field, style) in zip(panels, rows, strict=True):
        for axis, index in zip(axes, (0, len(field) // 2, len(field) - 1), strict=False):
            image = axis.imshow(field[index], **style)
            axis.set(title=f"{name}, t = {times[index]:.2f}", xlabel="x", ylabel="y")
        figure.colorbar(image, ax=axes[2])
    energy = _array(trajectory.observables["mean_kinetic_energy"][:, 0])
    panels[0, 3].plot(times, energy)
    panels[0, 3].set(title="kinetic energy", xlabel="t", ylim=(0, None))
    if len(rows) > 1:
        panels[1, 3].plot(times, rows[1][1].var((1, 2)))
        panels[1, 3].set(title="scalar variance", xlabel="t", ylim=(0, None))
    figure.savefig(path, dpi=130)


def animate(
    fields: Float[np.ndarray, "T H W"],
    times: Float[np.ndarray, " T"],
    style: dict[str, Any],
    path: Path,
    name: str,
) -> None:
    """Frames (T, H, W) to .gif or .mp4; `style` goes to `imshow`. At most 120 frames.

    Raises:
        InputError: .mp4 without ffmpeg.
    """
    from matplotlib.figure import Figure

    left, right, bottom, top = style["extent"]
    wide = min(2.0, max(0.5, (right - left) / (top - bottom)))
    figure = Figure(figsize=(round(4 * wide**0.5, 1), round(4.4 / wide**0.5, 1)))
    axis = figure.add_subplot()
    image = axis.imshow(fields[0], **style)
    axis.set(xlabel="x", ylabel="y")

    def show(index: int) -> None:
        image.set_data(fields[index])
        axis.set_title(f"{name}, t = {times[index]:.2f}")

    film(figure, len(fields), path, show)


def _array(values: Any) -> np.ndarray:
    array: np.ndarray = values.detach().cpu().numpy()
    return array


def _style(fields: np.ndarray, colours: str, grid: Grid) -> dict[str, Any]:
    """Symmetric colours that the developed flow fills; the box's own lengths."""
    limit = float(np.quantile(np.abs(fields[len(fields) // 2 :]), 0.995)) or 1.0
    return {
        "origin": "lower",
        "cmap": colours,
        "vmin": -limit,
        "vmax": limit,
        "extent": (0, grid.length_x, 0, grid.length_y),
        "interpolation": "bilinear",
    }
