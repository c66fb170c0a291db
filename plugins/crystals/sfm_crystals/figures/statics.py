"""Figures of relaxations, elastic constants and equations of state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm.simulate.base import Trajectory
from sfm_crystals.cells import Cells
from sfm_crystals.constants import GPA

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sfm_crystals.simulators.lattice import LatticeStatics
    from sfm_crystals.statics.equation_of_state import EquationOfState


def plot_relaxation(simulator: LatticeStatics, trajectory: Trajectory, path: Path) -> None:
    """Energy and volume per atom along the run, and E(V) of the last cell with its fit."""
    from matplotlib.figure import Figure

    last: Cells = trajectory.states[-1]
    counts = last.counts().double().cpu()
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    volume_axis = left.twinx()
    for index in range(last.n_systems):
        energy = trajectory.observables["energy"][:, index].detach().cpu() / counts[index]
        volume = trajectory.observables["volume"][:, index].detach().cpu() / counts[index]
        left.plot(trajectory.times, energy, color="C0")
        volume_axis.plot(trajectory.times, volume, color="C1", linestyle="--")
    left.set_xlabel("relaxation step")
    left.set_ylabel("energy (eV/atom)", color="C0")
    volume_axis.set_ylabel("volume (Å³/atom)", color="C1")
    _energy_volume(simulator, last, right)
    figure.savefig(path, dpi=150)


def _energy_volume(simulator: LatticeStatics, cells: Cells, axes: Axes) -> None:
    if cells.n_systems > 1:
        axes.set_axis_off()
        return
    n = len(cells.positions)
    with torch.no_grad():
        volume, energy = simulator.energy_volume(cells)
        axes.plot(volume.cpu() / n, energy.cpu() / n, "o", color="C0", markersize=4)
        try:
            fitted = simulator.equation_of_state(cells)
        except InputError:
            axes.set_title("no minimum in this range")
        else:
            _draw_fit(axes, fitted, _between(volume).to(volume.device), n)
    axes.set_xlabel("volume (Å³/atom)")
    axes.set_ylabel("energy (eV/atom)")


def _between(volume: Tensor) -> Tensor:
    """(200,) float64 from the smallest to the largest of the volumes."""
    return torch.linspace(float(volume.min()), float(volume.max()), 200, dtype=torch.float64)


def _draw_fit(axes: Axes, fitted: EquationOfState, fine: Tensor, n: int) -> Tensor:
    """The curve of a fit at volumes (T,) angstrom^3, (T,) eV, with V0 and B0 in the title."""
    curve = fitted(fine)
    axes.plot(fine.detach().cpu() / n, curve.detach().cpu() / n, color="C3")
    v0, b0 = float(fitted.volume) / n, float(fitted.bulk_modulus)
    axes.set_title(f"V₀ {v0:.3f} Å³/atom, B₀ {b0:.1f} GPa")
    return curve


def plot_elastic(constants: Float[Tensor, "6 6"], path: Path) -> None:
    """Young's modulus by direction in three planes, and the constants (6, 6) in GPa."""
    import numpy as np
    from matplotlib.figure import Figure

    c = constants.detach().cpu().double().numpy()
    compliance = np.linalg.inv(c)
    angle = np.linspace(0, 2 * np.pi, 361)
    figure = Figure(figsize=(9, 4), layout="constrained")
    round_axes = figure.add_subplot(1, 2, 1, projection="polar")
    for first, second, name, style in ((0, 1, "xy", "-"), (1, 2, "yz", "--"), (2, 0, "zx", ":")):
        n = np.zeros((3, len(angle)))
        n[first], n[second] = np.cos(angle), np.sin(angle)
        strain = np.stack([*(n**2), n[1] * n[2], n[0] * n[2], n[0] * n[1]])  # of unit tension
        young = 1 / np.einsum("ia,ij,ja->a", strain, compliance, strain)
        round_axes.plot(angle, young, style, label=name)
    round_axes.set_title("Young's modulus (GPa) in planes")
    round_axes.legend(loc="upper left", bbox_to_anchor=(1.02, 0.15), frameon=False)
    table = figure.add_subplot(1, 2, 2)
    most = np.abs(c).max()
    table.imshow(c, cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.5)
    for i in range(6):
        for j in range(6):
            table.text(j, i, f"{round(c[i, j], 1) + 0.0:.1f}", ha="center", va="center", fontsize=8)
    names = ("xx", "yy", "zz", "yz", "xz", "xy")
    table.set_xticks(range(6), names)
    table.set_yticks(range(6), names)
    table.set_title("elastic constants (GPa)")
    figure.savefig(path, dpi=150)


def plot_curve(
    volume: Float[Tensor, " T"],
    energy: Float[Tensor, " T"],
    fitted: EquationOfState,
    n: int,
    path: Path,
) -> None:
    """E(V) per atom with its fit, and the pressure of the fit.

    Args:
        volume: (T,) angstrom^3. energy: (T,) eV. fitted: their equation of state.
        n: atoms.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(volume / n, energy / n, "o", color="C0", markersize=4)
    fine = _between(volume).requires_grad_()
    (slope,) = torch.autograd.grad(_draw_fit(left, fitted, fine, n).sum(), fine)
    left.set_ylabel("energy (eV/atom)")
    right.plot(fine.detach() / n, -slope * GPA, color="C3")
    right.axhline(0.0, color="grey", lw=0.5)
    right.set_ylabel("pressure (GPa)")
    right.set_title(f"B\u2080\u2032 {float(fitted.derivative):.2f}")
    for axes in (left, right):
        axes.set_xlabel("volume (\u00c5\u00b3/atom)")
    figure.savefig(path, dpi=150)
