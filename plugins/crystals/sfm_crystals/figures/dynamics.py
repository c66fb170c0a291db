"""Figures of dynamics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sfm.simulate.base import Trajectory

if TYPE_CHECKING:
    from sfm_crystals.simulators.dynamics import MolecularDynamics


def plot_dynamics(simulator: MolecularDynamics, trajectory: Trajectory, path: Path) -> None:
    """Energies; temperature and pressure; g(r) of the second half; displacement, or volume.

    Per atom, of each system.
    """
    from matplotlib.figure import Figure

    time = trajectory.times.numpy() / 1000
    last = trajectory.states[-1]
    counts = torch.bincount(last.system).double().cpu()
    seen = {k: v.detach().cpu().double() for k, v in trajectory.observables.items()}
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    (energies, bath), (structure, motion) = figure.subplots(2, 2)
    origin = seen["energy"][0]
    lines = (
        ("energy", "potential", "tab:blue", origin),
        ("nuclear_kinetic_energy", "kinetic", "tab:orange", 0.0),
        ("conserved_energy", "conserved", "black", origin),
    )
    for name, label, colour, shift in lines:
        if name in seen:
            energies.plot(time, (seen[name] - shift) / counts, color=colour, lw=1)
            energies.plot([], [], color=colour, lw=1, label=label)
    energies.set_ylabel("energy from the start (eV/atom)")
    energies.legend(frameon=False)
    bath.plot(time, seen["kinetic_temperature"], color="tab:red", lw=1)
    bath.set_ylabel("temperature (K)", color="tab:red")
    pressure = bath.twinx()
    pressure.plot(time, seen["pressure"], color="tab:green", lw=1)
    pressure.set_ylabel("pressure (GPa)", color="tab:green")
    distance = simulator.stating()["rdf_distances"]
    half = seen["radial_distribution"][len(time) // 2 :].mean(0)
    structure.plot(distance, half.T, color="tab:blue", lw=1)
    structure.axhline(1.0, color="grey", lw=0.5)
    structure.set_xlabel("distance (Å)")
    structure.set_ylabel("g(r), second half of the run")
    if "mean_square_displacement" in seen:
        motion.plot(time, seen["mean_square_displacement"], color="tab:purple", lw=1)
        motion.set_ylabel("mean-square displacement (Å²)")
    else:
        motion.plot(time, seen["volume"] / counts, color="tab:purple", lw=1)
        motion.set_ylabel("volume (Å³/atom)")
    for axes in (energies, bath, motion):
        axes.set_xlabel("time (ps)")
    figure.savefig(path, dpi=150)
