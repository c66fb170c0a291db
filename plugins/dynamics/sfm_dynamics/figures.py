"""Pictures of dynamical systems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sfm.simulate import Trajectory

SHOWN = 6


def plot_states(trajectory: Trajectory, names: Sequence[str], path: Path) -> None:
    """Variables against time on the left, the first two or three against each other on the right.

    Of a batch the first few members are drawn.
    """
    from matplotlib.figure import Figure

    times = trajectory.times.numpy()
    values = trajectory.observables["state"].detach().cpu().double().numpy()
    values = values.reshape(len(times), -1, values.shape[-1])
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left = figure.add_subplot(1, 2, 1)
    for i, name in enumerate(names[:SHOWN]):
        left.plot(times, values[:, 0, i], lw=1, label=name)
    left.set_xlabel("time" if trajectory.time_unit == "1" else f"time [{trajectory.time_unit}]")
    left.legend(frameon=False, fontsize=8)
    _phase(figure, values, names)
    figure.savefig(path, dpi=120)


def _phase(figure: Any, values: np.ndarray, names: Sequence[str]) -> None:
    three = values.shape[-1] == 3
    right = figure.add_subplot(1, 2, 2, projection="3d" if three else None)
    for member in range(min(values.shape[1], SHOWN)):
        columns = values[:, member, : 3 if three else 2].T
        right.plot(*(columns if len(columns) > 1 else (np.arange(len(values)), *columns)), lw=0.7)
    right.set_xlabel(names[0])
    if len(names) > 1:
        right.set_ylabel(names[1])
    if three:
        right.set_zlabel(names[2])


def plot_paths(trajectory: Trajectory, path: Path) -> None:
    """Some realisations, their mean, and the band that holds 90 % of them."""
    from matplotlib.figure import Figure

    times = trajectory.times.numpy()
    values = trajectory.observables["state"].detach().cpu().double().numpy()
    values = values.reshape(len(times), -1)
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(times, *np.quantile(values, (0.05, 0.95), axis=1), alpha=0.2, label="90 %")
    axes.plot(times, values[:, : 2 * SHOWN], lw=0.6, alpha=0.7)
    axes.plot(times, values.mean(1), "k", lw=1.5, label=f"mean of {values.shape[1]}")
    axes.set_xlabel("time" if trajectory.time_unit == "1" else f"time [{trajectory.time_unit}]")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def plot_field(trajectory: Trajectory, points: Float[np.ndarray, " n"], path: Path) -> None:
    """One realisation over space and time, and the last profiles of some.

    Args:
        trajectory: of states (T, paths, n). points: (n,), in the equation's own unit. path: file.
    """
    from matplotlib.figure import Figure

    values = trajectory.observables["state"].detach().cpu().double().numpy()
    values = values.reshape(len(values), -1, len(points))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = left.pcolormesh(trajectory.times.numpy(), points, values[:, 0].T, shading="nearest")
    left.set(xlabel="time", ylabel="x")
    figure.colorbar(image, ax=left)
    right.plot(points, values[-1, :SHOWN].T, lw=1)
    right.set(xlabel="x", ylabel=f"u at time {float(trajectory.times[-1]):g}")
    figure.savefig(path, dpi=120)


def plot_beside(
    trajectory: Trajectory, values: Float[np.ndarray, "T d"], names: Sequence[str], path: Path
) -> None:
    """A run (lines) and other values (T, d) at its times (dashes), in the system's units."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    states = trajectory.observables["state"].numpy()
    for i, name in enumerate(names[:SHOWN]):
        (line,) = axes.plot(trajectory.times, states[:, i], lw=1, label=f"{name}, solver")
        color = line.get_color()
        axes.plot(trajectory.times, values[:, i], "--", lw=2, color=color, label=f"{name}, network")
    unit = trajectory.time_unit
    axes.set_xlabel("time" if unit == "1" else f"time [{unit}]")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def plot_fixed_point(
    g: Callable[[Float[Tensor, " ..."]], Float[Tensor, " ..."]], x: Float[Tensor, ""], path: Path
) -> None:
    """g and the diagonal about a fixed point x (), without unit."""
    from matplotlib.figure import Figure

    at = float(x.detach())
    line = np.linspace(at - 1.5, at + 1.5, 200)
    figure = Figure(figsize=(4.5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(line, g(x.new_tensor(line)).detach().cpu().numpy(), label="g(x)")
    axes.plot(line, line, "k", lw=0.8, label="x")
    axes.plot([at], [at], "o", label=f"x = {at:.6g}")
    axes.set_xlabel("x")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def plot_bodies(trajectory: Trajectory, path: Path) -> None:
    """Paths of the bodies in the plane of x and y, and energies against time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    paths = np.stack([s.positions.detach().cpu().double().numpy() for s in trajectory.states])
    paths = paths.reshape(len(paths), -1, 3)
    for body in range(min(paths.shape[1], 2 * SHOWN)):
        (line,) = left.plot(paths[:, body, 0], paths[:, body, 1], lw=0.8)
        left.plot(*paths[-1, body, :2], "o", ms=4, color=line.get_color())
    left.set(xlabel="x [angstrom]", ylabel="y [angstrom]", aspect="equal")
    for name in ("energy", "body_kinetic_energy", "body_total_energy"):
        values = trajectory.observables[name].detach().cpu().double().numpy()
        right.plot(trajectory.times, values.reshape(len(values), -1)[:, 0], lw=1, label=name)
    right.set(xlabel="time [fs]", ylabel="energy [eV]")
    right.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
