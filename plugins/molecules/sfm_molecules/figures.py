"""Figures of molecular dynamics, of vibrations and of ways over a barrier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from sfm.simulate.base import Trajectory


def plot_energies(trajectory: Trajectory, path: Path) -> None:
    """Potential, kinetic and conserved energy against time, and the temperature below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    time = trajectory.times.numpy()
    seen = {name: values.detach().cpu().numpy() for name, values in trajectory.observables.items()}
    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    origin = seen["energy"][0]
    lines = (
        ("energy", "potential", "tab:blue", origin),
        ("nuclear_kinetic_energy", "kinetic", "tab:orange", 0.0),
        ("conserved_energy", "sum", "black", origin),
    )
    for name, label, colour, shift in lines:
        for s, values in enumerate((seen[name] - shift).T):
            upper.plot(time, values, color=colour, lw=1, label=label if s == 0 else None)
    upper.set_ylabel("energy from the start (eV)")
    upper.legend(frameon=False)
    lower.plot(time, seen["kinetic_temperature"], color="tab:red", lw=1)
    lower.set_ylabel("temperature (K)")
    lower.set_xlabel(f"time ({trajectory.time_unit})")
    figure.savefig(path, dpi=150)


def plot_vibrations(frequencies: Float[Tensor, " K"], path: Path) -> None:
    """A line at each frequency (K,) in cm^-1, imaginary ones to the left of zero."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.5), layout="constrained")
    axes = figure.subplots()
    _lines(axes, frequencies)
    axes.set_xlabel("frequency (cm$^{-1}$), imaginary below zero")
    figure.savefig(path, dpi=150)


def plot_way(
    way: Float[Tensor, " I"],
    energies: Float[Tensor, " I"],
    frequencies: Float[Tensor, " K"],
    path: Path,
) -> None:
    """Energies (I,) eV along the way (I,) angstrom; below, the saddle point's frequencies (K,)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1))
    upper.plot(way.double().numpy(), energies.double().numpy(), "o-", markersize=4)
    upper.set_title(f"barrier {float(energies.max()):.3f} eV")
    upper.set_xlabel("way (\u00c5)")
    upper.set_ylabel("energy from the start (eV)")
    _lines(lower, frequencies)
    lower.set_xlabel("frequency at the saddle point (cm$^{-1}$), imaginary below zero")
    figure.savefig(path, dpi=150)


def _lines(axes: Any, frequencies: Tensor) -> None:
    places = frequencies.double().numpy()
    axes.vlines(places, 0, 1, color=["tab:red" if f < 0 else "black" for f in places], lw=1)
    axes.set_yticks([])
