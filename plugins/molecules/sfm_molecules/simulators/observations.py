"""What molecular dynamics can be fitted to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate.base import Observations
from sfm_molecules.data.trajectories import read_frames

if TYPE_CHECKING:
    from sfm.simulate.dynamics.particles import Particles
    from sfm_molecules.simulators.open_dynamics import OpenDynamics

UNITS = {"energy": "eV", "forces": "eV/angstrom"}  # of the labels of frames


def read_observations(simulator: OpenDynamics, path: Path) -> Observations:
    """Energies and forces of the file's frames; without these, the positions along its way.

    Raises:
        InputError: neither is there, or times are not whole multiples of dt.
    """
    arrays = read_frames(path)
    static = [name for name in UNITS if name in arrays]
    moving = "times" in arrays and "velocities" in arrays and len(arrays["positions"]) > 1
    if not static and not moving:
        raise InputError(
            f"{path}: nothing to fit to; it needs 'energy' or 'forces' of each frame, or 'times' "
            f"and 'velocities' of a trajectory (it has: {', '.join(arrays)})"
        )
    frames = arrays["positions"] if static else arrays["positions"][:1]
    samples = [
        Sample(
            id=f"{path.stem}-{k + 1}",
            domain="molecules",
            positions=positions,
            types=arrays["types"],
            conditions={name: float(arrays[name]) for name in ("charge", "spin") if name in arrays},
            masses=arrays.get("masses"),
            fixed=arrays.get("fixed"),
        )
        for k, positions in enumerate(frames)
    ]
    state = simulator.state(samples)

    def tensor(name: str) -> Tensor:
        return torch.as_tensor(arrays[name], dtype=simulator.dtype)

    if static:
        values: dict[str, Tensor] = {name: tensor(name) for name in static}
        return Observations(state, values, {name: UNITS[name] for name in static})
    strides = np.diff(arrays["times"]) / simulator.dt
    steps = np.rint(strides).astype(int)
    if (steps < 1).any() or np.abs(strides - steps).max() > 1e-6:
        raise InputError(
            f"{path}: times are not whole multiples of dt={simulator.dt} fs apart; set another dt"
        )
    return Observations(
        state._replace(velocities=tensor("velocities")[0].to(state.velocities.device)),
        {"positions": tensor("positions")[1:]},
        {"positions": "angstrom"},
        options={"steps": steps.tolist()},
    )


def predict_observations(
    simulator: OpenDynamics, seen: Observations
) -> dict[str, Shaped[Tensor, " ..."]]:
    """What the simulator says in place of `seen.values`, of the same shapes and units."""
    state: Particles = seen.state
    if "steps" in seen.options:
        positions = []
        for steps in seen.options["steps"]:
            state = simulator(state, steps)
            positions.append(state.positions)
        return {"positions": torch.stack(positions)}
    energy, forces = simulator.energy_and_forces(
        state.positions, state.types, state.system, state.conditions
    )
    values = {"energy": energy, "forces": forces.reshape(len(energy), -1, 3)}
    return {name: values[name] for name in seen.values}
