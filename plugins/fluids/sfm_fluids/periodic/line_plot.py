"""Pictures of a run on a line: space-time, the last field, the energy; or an animation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfm.errors import InputError
from sfm.simulate import Trajectory

from .line import Line


def draw(trajectory: Trajectory, grid: Line, path: Path, title: str) -> None:
    """Draw the first field of the batch to `path`: .gif animates, .png, .pdf and .svg do not.

    Raises:
        InputError: another suffix.
    """
    if path.suffix not in (".gif", ".png", ".pdf", ".svg"):
        raise InputError(f"{path}: draw to .png, .pdf, .svg or .gif, not '{path.suffix}'")
    from matplotlib.figure import Figure

    u = trajectory.observables["velocity"][:, 0].detach().cpu().numpy()
    energy = trajectory.observables["mean_kinetic_energy"][:, 0].detach().cpu().numpy()
    times = trajectory.times.numpy()
    x = grid.coordinates().numpy()
    limit = 1.05 * float(np.abs(u).max()) or 1.0
    if path.suffix == ".gif":
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


def _animate(figure, x: np.ndarray, u: np.ndarray, times: np.ndarray, limit: float, path: Path):
    from matplotlib.animation import PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    (curve,) = axis.plot(x, u[0])
    axis.set(xlabel="x", ylabel="u", ylim=(-limit, limit))
    writer = PillowWriter(fps=12)
    stride = max(1, len(u) // 60)
    with writer.saving(figure, path, dpi=80):
        for index in range(0, len(u), stride):
            curve.set_ydata(u[index])
            axis.set_title(f"t = {times[index]:.4g}")
            writer.grab_frame()
