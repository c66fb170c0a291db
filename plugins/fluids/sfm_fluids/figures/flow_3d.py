"""Figures of a 3-D flow: slices of the vorticity, the history of energy and dissipation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfm.simulate import Trajectory
from sfm_fluids.figures.films import moves
from sfm_fluids.figures.flow_2d import animate
from sfm_fluids.spectral.grid_3d import Grid3D

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(trajectory: Trajectory, grid: Grid3D, path: Path) -> None:
    """Draw the first flow of the batch: .png, .pdf, .svg; animated .gif and .mp4.

    Raises:
        InputError: another suffix, or .mp4 without ffmpeg.
    """
    animated = moves(path)
    omega = trajectory.observables["vorticity_vector"][:, 0, :, 0].detach()
    slices = omega.square().sum(1).sqrt().cpu().numpy()
    times = trajectory.times.numpy()
    style = {
        "origin": "lower",
        "cmap": "magma",
        "vmin": 0.0,
        "vmax": float(np.quantile(slices[len(slices) // 2 :], 0.998)) or 1.0,
        "extent": (0, grid.length_x, 0, grid.length_y),
        "interpolation": "bilinear",
    }
    if animated:
        animate(slices, times, style, path, "|vorticity|, z = 0")
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.4), layout="constrained")
    axes = figure.subplots(1, 4)
    for axis, index in zip(axes, (0, len(slices) // 2, len(slices) - 1), strict=False):
        image = axis.imshow(slices[index], **style)
        axis.set(title=f"|vorticity|, z = 0, t = {times[index]:.2f}", xlabel="x", ylabel="y")
    figure.colorbar(image, ax=axes[2])
    _history(axes[3], trajectory, times)
    figure.savefig(path, dpi=130)


def _history(axis: Axes, trajectory: Trajectory, times: np.ndarray) -> None:
    """Kinetic energy to the left, rates of dissipation to the right."""
    series = {k: v[:, 0].detach().cpu() for k, v in trajectory.observables.items() if v.ndim == 2}
    axis.plot(times, series["mean_kinetic_energy"], color="C0")
    axis.set(title="energy and dissipation", xlabel="t", ylim=(0, None))
    axis.set_ylabel("kinetic energy", color="C0")
    other = axis.twinx()
    for name, colour in (("dissipation_rate", "C1"), ("subgrid_dissipation", "C2")):
        if name in series:
            other.plot(times, series[name], color=colour, label=name.replace("_", " "))
    other.legend(loc="lower center", fontsize="small")
