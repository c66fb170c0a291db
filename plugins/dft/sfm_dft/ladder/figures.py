"""Pictures of one-dimensional densities and of dissociation curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from sfm_dft.ladder.benchmark import Curve
    from sfm_dft.ladder.kohn_sham_1d import KohnSham1D
    from sfm_dft.ladder.line_state import LineState

CHEMICAL_ACCURACY = 1.6  # mHa


def plot_state(simulator: KohnSham1D, state: LineState, path: Path) -> None:
    """Density, Kohn-Sham potential and nuclei of a state (the first of a batch), to `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = simulator.points
    density = state.field.density.detach().reshape(-1, size)[0].numpy()
    potential = simulator.potential(state).reshape(-1, size)[0].numpy()
    atoms = state.positions.detach().reshape(-1, state.positions.shape[-1])[0].numpy()
    x = simulator.x.numpy()
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.fill_between(x, density, alpha=0.4, label="density [1/bohr]")
    axis.plot(x, potential, color="tab:red", label="Kohn-Sham potential [hartree]")
    axis.plot(atoms, np.zeros_like(atoms), "k|", markersize=14, label="nuclei")
    reach = float(np.abs(atoms).max()) + 6.0
    axis.set(xlim=(-reach, reach), xlabel="x [bohr]")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def plot_curves(
    separations: Sequence[float] | Float[np.ndarray, " R"],
    exact: Sequence[float] | Float[np.ndarray, " R"],
    curves: Mapping[str, Sequence[float] | Float[np.ndarray, " R"]],
    path: Path,
    *,
    trained: Sequence[float] = (),
) -> None:
    """Energies of dissociation curves, and below them their errors with chemical accuracy shaded.

    Args:
        separations: (R,) bohr. exact: (R,) hartree. curves: (R,) hartree by name.
        trained: separations that the functionals were trained on.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True)
    r, reference = np.asarray(separations), np.asarray(exact)
    for name, values in curves.items():
        top.plot(r, values, label=name)
        bottom.plot(r, 1e3 * (np.asarray(values) - reference))
    top.plot(r, reference, "k--", label="exact")
    bottom.axhspan(-CHEMICAL_ACCURACY, CHEMICAL_ACCURACY, color="0.85", zorder=0)
    for axis in (top, bottom):
        for at in trained:
            axis.axvline(at, color="0.6", linewidth=0.8, linestyle=":")
    top.set(ylabel="energy [hartree]")
    lines, names = top.get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False)
    bottom.set(xlabel="R [bohr]", ylabel="error [mHa]")
    bottom.set_yscale("symlog", linthresh=2.0)
    figure.savefig(path, dpi=80)


def plot_families(curves: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Errors of several functionals, one panel to a family, chemical accuracy shaded.

    Args:
        curves: by functional, then by family; the same families everywhere.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    families = list(next(iter(curves.values())))
    axes = figure.subplots(-(-len(families) // 2), 2, squeeze=False).flat
    for axis, family in zip(axes, families, strict=False):
        for name, by_family in curves.items():
            axis.plot(by_family[family].separations, by_family[family].errors, label=name)
        axis.axhspan(-CHEMICAL_ACCURACY, CHEMICAL_ACCURACY, color="0.85", zorder=0)
        axis.set_yscale("symlog", linthresh=2.0)
        axis.set(title=family, xlabel="R [bohr]", ylabel="error [mHa]")
    lines, names = axes[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=90)
