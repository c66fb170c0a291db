"""Figures of a flow between walls: speed and streamlines, the energy's history, an animation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.simulate import Trajectory
from sfm_fluids.figures.films import film, moves

if TYPE_CHECKING:
    from sfm_fluids.staggered.grid import StaggeredGrid


def draw(trajectory: Trajectory, grid: StaggeredGrid, path: Path) -> None:
    """Draw the first flow of the batch to `path`: .png, .pdf, .svg; animated .gif, .mp4.

    Raises:
        InputError: another suffix, or .mp4 without ffmpeg.
    """
    animated = moves(path)
    from matplotlib.figure import Figure

    velocity = trajectory.observables["velocity"][:, 0].detach().cpu().double().numpy()
    speed = np.hypot(velocity[:, 0], velocity[:, 1])
    stream = trajectory.observables["stream_function"][:, 0].detach().cpu().double().numpy()
    x, y = (a.numpy() for a in grid.centres())
    corners = tuple(a.numpy() for a in grid.corners())
    top, times = float(speed.max()) or 1.0, trajectory.times.numpy()

    def panel(axis: Any, index: int) -> Any:
        image = axis.pcolormesh(x, y, speed[index], vmin=0, vmax=top, shading="gouraud")
        psi = stream[index]
        if np.ptp(psi) > 0:
            levels = np.linspace(psi.min(), psi.max(), 15)[1:-1]
            axis.contour(*corners, psi, levels=levels, colors="w", linewidths=0.6)
        axis.set(title=f"speed, t = {times[index]:.2f}", xlabel="x", ylabel="y", aspect="equal")
        axis.set(xlim=(0, grid.length_x), ylim=(0, grid.length_y))
        return image

    if animated:
        moving = Figure(figsize=(5, 4))
        axis = moving.add_subplot()

        def show(index: int) -> None:
            axis.clear()
            panel(axis, index)

        film(moving, len(speed), path, show)
        return
    wide = grid.length_x > 2 * grid.length_y
    shape = (4, 1) if wide else (1, 4)
    figure = Figure(figsize=(9, 9) if wide else (13, 3.4), layout="constrained")
    axes = figure.subplots(*shape)
    for axis, index in zip(axes, (0, len(speed) // 2, len(speed) - 1), strict=False):
        image = panel(axis, index)
    figure.colorbar(image, ax=list(axes[:3]) if wide else axes[2])
    energy = trajectory.observables["mean_kinetic_energy"][:, 0].detach().cpu().numpy()
    axes[3].plot(times, energy)
    axes[3].set(title="kinetic energy", xlabel="t", ylim=(0, None))
    figure.savefig(path, dpi=130)
