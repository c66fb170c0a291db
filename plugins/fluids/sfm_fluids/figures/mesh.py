"""Figures of solutions on meshes of triangles.

Any consistent system of units.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from sfm.simulate import Trajectory
from sfm_fluids.figures.films import STILL, moves


def draw(corners: Int[np.ndarray, "m 3"], trajectory: Trajectory, path: Path) -> None:
    """The last state on the triangles' corners (m, 3): u, a displaced body, or speed and pressure.

    Raises:
        InputError: another suffix than .png, .pdf, .svg.
    """
    moves(path, STILL)
    from matplotlib.figure import Figure

    last = {k: v[-1].detach().cpu().double().numpy() for k, v in trajectory.observables.items()}
    n = int(corners.max()) + 1
    points = last["mesh_points"][:n]
    panels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    if "mesh_solution" in last:
        panels["u"] = points, last["mesh_solution"][:n]
    if "mesh_displacement" in last:
        moved = last["mesh_displacement"][:n]
        panels["displacement |u|"] = points + moved, np.hypot(*moved.T)
    if "mesh_velocity" in last:
        panels["speed |u|"] = points, np.hypot(*last["mesh_velocity"][:n].T)
        panels["pressure p"] = points, last["mesh_pressure"]
    figure = Figure(figsize=(6.5 * len(panels), 5), layout="constrained")
    for axis, (title, (places, values)) in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True
    ):
        _panel(figure, axis, title, places, values, corners)
    figure.savefig(path, dpi=130)


def _panel(
    figure: Any, axis: Any, title: str, places: np.ndarray, values: np.ndarray, corners: np.ndarray
) -> None:
    image = axis.tripcolor(*places.T, corners, values, shading="gouraud")
    axis.triplot(*places.T, corners, color="black", linewidth=0.15)
    axis.set(title=title, xlabel="x", ylabel="y", aspect="equal")
    figure.colorbar(image, ax=axis)
