"""Figures of relaxations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sfm.errors import InputError
from sfm.simulate.base import Trajectory
from sfm_crystals.cells import Cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sfm_crystals.simulators.lattice import LatticeStatics


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
            fine = torch.linspace(float(volume.min()), float(volume.max()), 200).double()
            axes.plot(fine / n, fitted(fine.to(volume.device)).cpu() / n, color="C3")
            v0, b0 = float(fitted.volume) / n, float(fitted.bulk_modulus)
            axes.set_title(f"V₀ {v0:.3f} Å³/atom, B₀ {b0:.1f} GPa")
    axes.set_xlabel("volume (Å³/atom)")
    axes.set_ylabel("energy (eV/atom)")
