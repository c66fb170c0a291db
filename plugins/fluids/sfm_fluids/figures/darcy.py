"""Figures of Darcy flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfm.simulate import Trajectory
from sfm_fluids.figures.films import STILL, moves


def draw(trajectory: Trajectory, length_x: float, length_y: float, path: Path) -> None:
    """Permeability, pressure, speed and streamlines of the last state (the first of a batch).

    Raises:
        InputError: another suffix than .png, .pdf, .svg.
    """
    moves(path, STILL)
    from matplotlib.figure import Figure

    def last(name: str, axes: int) -> np.ndarray:
        value = trajectory.observables[name][-1].detach().cpu().double()
        return value.reshape(-1, *value.shape[-axes:])[0].numpy()

    velocity = last("darcy_velocity", 3)
    panels = {
        "permeability a": last("permeability", 2),
        "pressure p": last("pore_pressure", 2),
        "speed |a grad p|": np.hypot(*velocity),
    }
    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    extent = (0, length_x, 0, length_y)
    for axis, (title, field) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(field, origin="lower", extent=extent)
        axis.set(title=title, xlabel="x", ylabel="y")
        figure.colorbar(image, ax=axis)
    height, width = velocity.shape[1:]
    x = (np.arange(width) + 0.5) * length_x / width
    y = (np.arange(height) + 0.5) * length_y / height
    axes[2].streamplot(x, y, *velocity, color="white", linewidth=0.6, density=0.8, arrowsize=0.6)
    axes[2].set(xlim=(0, length_x), ylim=(0, length_y))
    figure.savefig(path, dpi=130)
