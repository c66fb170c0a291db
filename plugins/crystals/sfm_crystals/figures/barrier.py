"""Figures of ways between minima."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jaxtyping import Float
from torch import Tensor


def plot_barrier(seen: Mapping[str, Float[Tensor, " ..."]], path: Path) -> None:
    """Energy along the band at its first and last record, (T, I) each, in eV and angstrom."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    for row, colour, name in ((0, "grey", "straight line"), (-1, "C0", "elastic band")):
        way, energy = seen["path_distance"][row], seen["path_energy"][row]
        axes.plot(way, energy, "o-", color=colour, markersize=4, label=name)
    axes.set_title(f"barrier {float(seen['barrier'][-1]):.3f} eV")
    axes.set_xlabel("way (\u00c5)")
    axes.set_ylabel("energy from the start (eV)")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def plot_climb(seen: Mapping[str, Float[Tensor, " ..."]], path: Path) -> None:
    """Energy from the minimum, (T,) in eV, and the softest mode's curvature, record by record."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(seen["barrier"], "o-", markersize=3)
    upper.set_title(f"barrier {float(seen['barrier'][-1]):.3f} eV")
    upper.set_ylabel("energy from the minimum (eV)")
    lower.plot(seen["saddle_curvature"], "o-", color="tab:red", markersize=3)
    lower.axhline(0, color="black", lw=0.5)
    lower.set_ylabel("curvature (eV/\u00c5\u00b2)")
    lower.set_xlabel("record")
    figure.savefig(path, dpi=150)
