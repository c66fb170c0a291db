"""Pictures of a flow: vorticity at three times, the energy's history, or an animation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfm.errors import InputError
from sfm.simulate import Trajectory

from .periodic.grid import Grid


def draw(trajectory: Trajectory, grid: Grid, path: Path) -> None:
    """Draw the first flow of the batch to `path`: .gif animates, .png, .pdf and .svg do not.

    Raises:
        InputError: another suffix.
    """
    if path.suffix not in (".gif", ".png", ".pdf", ".svg"):
        raise InputError(f"{path}: draw to .png, .pdf, .svg or .gif, not '{path.suffix}'")
    from matplotlib.figure import Figure

    omega = trajectory.observables["vorticity"][:, 0].detach().cpu().numpy()
    times = trajectory.times.numpy()
    limit = float(np.quantile(np.abs(omega[len(omega) // 2 :]), 0.995)) or 1.0
    style = {
        "origin": "lower",
        "cmap": "RdBu_r",
        "vmin": -limit,
        "vmax": limit,
        "extent": (0, grid.length_x, 0, grid.length_y),
        "interpolation": "bilinear",
    }
    if path.suffix == ".gif":
        _animate(Figure(figsize=(4, 4)), omega, times, style, path)
        return
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    axes = figure.subplots(1, 4)
    for axis, index in zip(axes, (0, len(omega) // 2, len(omega) - 1), strict=False):
        image = axis.imshow(omega[index], **style)
        axis.set(title=f"vorticity, t = {times[index]:.2f}", xlabel="x", ylabel="y")
    figure.colorbar(image, ax=axes[2])
    energy = trajectory.observables["mean_kinetic_energy"][:, 0].detach().cpu().numpy()
    axes[3].plot(times, energy)
    axes[3].set(title="kinetic energy", xlabel="t", ylim=(0, None))
    figure.savefig(path, dpi=130)


def _animate(figure, omega: np.ndarray, times: np.ndarray, style: dict, path: Path) -> None:
    from matplotlib.animation import PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    image = axis.imshow(omega[0], **style)
    writer = PillowWriter(fps=12)
    stride = max(1, len(omega) // 60)
    with writer.saving(figure, path, dpi=80):
        for index in range(0, len(omega), stride):
            image.set_data(omega[index])
            axis.set_title(f"vorticity, t = {times[index]:.2f}")
            writer.grab_frame()
