"""Figures of free energies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sfm.simulate.base import Trajectory
from sfm.simulate.dynamics.free_energy import standard_error

if TYPE_CHECKING:
    from sfm_crystals.simulators.free_energy import FreeEnergy


def plot_free_energy(simulator: FreeEnergy, trajectory: Trajectory, path: Path) -> None:
    """Mean of U - U_0 at each place of the way, and the running estimate, per given cell."""
    from matplotlib.figure import Figure

    seen = {k: v.detach().cpu().double() for k, v in trajectory.observables.items()}
    slopes = seen["coupling_slope"]
    slopes = slopes[int(simulator.discard * (len(slopes) - 1)) :]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    way, run = figure.subplots(1, 2)
    shares = simulator.shares.detach().cpu().numpy()
    way.errorbar(shares, slopes.mean(0), standard_error(slopes), fmt="o-", lw=1, capsize=3)
    way.set_xlabel("s")
    way.set_ylabel("⟨U − U₀⟩ (eV per cell)")
    name = "free_energy" if "free_energy" in seen else "free_energy_difference"
    time, value, error = trajectory.times.numpy() / 1000, seen[name], seen["free_energy_error"]
    run.plot(time, value, lw=1)
    run.fill_between(time, value - error, value + error, alpha=0.3, lw=0)
    run.set_xlabel("time (ps)")
    run.set_ylabel(("free energy" if name == "free_energy" else "A − A₀") + " (eV per cell)")
    figure.savefig(path, dpi=150)
