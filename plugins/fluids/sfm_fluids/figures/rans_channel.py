"""Figures of channel profiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfm.simulate import Trajectory
from sfm_fluids.figures.films import STILL, moves


def draw(trajectory: Trajectory, path: Path) -> None:
    """The last profile (the first of a batch): velocity, stresses, viscosity, k and epsilon.

    Raises:
        InputError: another suffix than .png, .pdf, .svg.
    """
    moves(path, STILL)
    from matplotlib.figure import Figure

    last = {k: v[-1].detach().cpu().double().numpy() for k, v in trajectory.observables.items()}
    profile = {k: v.reshape(-1, v.shape[-1])[0] for k, v in last.items() if v.ndim > 0}
    y = profile["wall_distance"]
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    axes = figure.subplots(1, 4)
    axes[0].semilogx(y[1:], profile["velocity_profile"][1:], label="U+")
    near = np.geomspace(y[1], 12, 40)
    axes[0].semilogx(near, near, "k:", lw=1, label="y+")
    log = np.geomspace(8, max(y[-1], 9), 40)
    axes[0].semilogx(log, np.log(log) / 0.41 + 5.2, "k--", lw=1, label="ln(y+)/0.41 + 5.2")
    axes[0].set(title="mean velocity", xlabel="y+", ylim=(0, None))
    for name in ("viscous_shear_stress", "reynolds_shear_stress"):
        axes[1].plot(y, profile[name], label=name.split("_")[0])
    total = profile["viscous_shear_stress"] + profile["reynolds_shear_stress"]
    axes[1].plot(y, total, "k--", lw=1, label="total")
    axes[1].set(title="shear stress", xlabel="y+")
    axes[2].plot(y, profile["turbulent_viscosity"])
    axes[2].set(title="nu_t / nu", xlabel="y+")
    if "turbulent_kinetic_energy" in profile:
        axes[3].plot(y, profile["turbulent_kinetic_energy"], label="k")
        axes[3].plot(y, 20 * profile["turbulent_dissipation"], label="20 epsilon")
        axes[3].set(title="k and dissipation", xlabel="y+", xlim=(0, min(150, y[-1])))
        axes[3].legend()
    else:
        axes[3].set_axis_off()
    for axis in axes[:2]:
        axis.legend()
    figure.savefig(path, dpi=130)
