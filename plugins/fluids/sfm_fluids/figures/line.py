"""Figures of a run on a line: space-time, the last field, the energy; or an animation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfm.simulate import Trajectory
from sfm_fluids.figures.films import film, moves
from sfm_fluids.spectral.grid_1d import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(trajectory: Trajectory, grid: Line, path: Path, title: str) -> None:
    """Draw the first field of the batch to `path`: .png, .pdf, .svg; animated .gif, .mp4.

    Raises:
        InputError: another suffix, or .mp4 without ffmpeg.
    """
    animated = moves(path)
    from matplotlib.figure import Figure

    u = trajectory.observables["velocity"][:, 0].detach().cpu().numpy()
    energy = trajectory.observables["mean_kinetic_energy"][:, 0].detach().cpu().numpy()
    times = trajectory.times.numpy()
    x = grid.coordinates().numpy()
    limit = 1.05 * float(np.abs(u).max()) or 1.0
    if animated:
        _animate(Figure(figsize=(5, 3.2), layout="constrained"), x, u, times, limit, path)
        return
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    space_time, last, history = figure.subplots(1, 3, width_ratios=(2, 1, 1))
    end = times[-1] if times[-1] > times[0] else times[0] + 1.0
    image = space_time.imshow(
        u.T,
        origin="lower",
        aspect="auto",
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        extent=(times[0], end, 0, grid.length),
        interpolation="bilinear",
    )
    space_time.set(title=f"{title}: u(x, t)", xlabel="t", ylabel="x")
    figure.colorbar(image, ax=space_time)
    last.plot(x, u[0], color="0.7", label=f"t = {times[0]:.4g}")
    last.plot(x, u[-1], label=f"t = {times[-1]:.4g}")
    last.set(title="u(x)", xlabel="x", ylim=(-limit, limit))
    last.legend()
    history.plot(times, energy)
    history.set(title="<u^2> / 2", xlabel="t", ylim=(0, 1.1 * float(energy.max()) or 1.0))
    figure.savefig(path, dpi=130)


def _animate(
    figure: Figure, x: np.ndarray, u: np.ndarray, times: np.ndarray, limit: float, path: Path
) -> None:
    axis = figure.add_subplot()
    (curve,) = axis.plot(x, u[0])
    axis.set(xlabel="x", ylabel="u", ylim=(-limit, limit))

    def show(index: int) -> None:
        curve.set_ydata(u[index])
        axis.set_title(f"t = {times[index]:.4g}")

    film(figure, len(u), path, show)
