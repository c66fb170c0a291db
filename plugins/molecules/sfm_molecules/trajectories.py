"""Trajectories in files, and what can be fitted to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate.base import Observations, Trajectory

if TYPE_CHECKING:
    from sfm_molecules.dynamics import MolecularDynamics, Molecules


def write_extxyz(trajectory: Trajectory, path: Path) -> None:
    """One frame per recorded state (and system), with time, energy, forces and velocities.

    Charge, spin, fixed coordinates, and masses other than the elements' are written, too.
    """
    from ase.data import atomic_masses
    from ase.io import write

    from sfm_molecules.readers import to_ase

    frames = []
    seen = trajectory.observables
    for k, state in enumerate(trajectory.states):
        system = state.system.cpu().numpy()
        for s in range(int(system[-1]) + 1):
            mine = system == s
            types = state.types.cpu().numpy()[mine]
            masses = state.masses.detach().cpu().numpy()[mine, 0]
            usual = np.allclose(masses, atomic_masses[types], rtol=1e-6)
            stated = {name: float(value[s]) for name, value in state.conditions.items()}
            conditions = {name: value for name, value in stated.items() if value}
            fixed = state.free.cpu().numpy()[mine] == 0
            sample = Sample(
                id=f"{k}-{s}",
                domain="molecules",
                positions=state.positions.detach().cpu().numpy()[mine],
                types=types,
                conditions=conditions,
                labels={
                    "energy": np.asarray(float(seen["energy"][k][s].detach())),
                    "forces": seen["forces"][k].detach().cpu().numpy()[mine],
                },
                masses=None if usual else masses,
                fixed=fixed if fixed.any() else None,
                velocities=state.velocities.detach().cpu().numpy()[mine],
            )
            atoms = to_ase(sample)
            atoms.info = {"time": float(trajectory.times[k]), "system": s, **atoms.info}
            del atoms.info["id"]
            frames.append(atoms)
    write(str(path), frames, format="extxyz")


def read_frames(path: Path) -> dict[str, np.ndarray]:
    """Arrays of the frames of one system.

    `positions` (T, n, 3) angstrom, `types` (n,), and those of `energy` (T,) eV, `forces` (T, n, 3)
    eV/angstrom, `velocities` (T, n, 3) angstrom/fs and `times` (T,) fs that the file has; `charge`
    and `spin` (), `masses` (n,) amu and `fixed` (n, 3) where it states them.

    `.npz` holds arrays of these names; `.extxyz` (or any trajectory that ASE reads) holds energies
    and forces as ASE writes them, momenta, and `time=` (fs) in the comment line.

    Raises:
        InputError: a missing array, a wrong shape, a value that is not finite, changing atoms.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    arrays = _read_npz(path) if path.suffix.lower() == ".npz" else _read_ase(path)
    for name in ("positions", "types"):
        if name not in arrays:
            raise InputError(f"{path}: no array '{name}' (it has: {', '.join(arrays)})")
    frames, atoms = arrays["positions"].shape[0], len(arrays["types"])
    shapes: Mapping[str, tuple[int, ...]] = {
        "positions": (frames, atoms, 3),
        "types": (atoms,),
        "energy": (frames,),
        "forces": (frames, atoms, 3),
        "velocities": (frames, atoms, 3),
        "times": (frames,),
        "charge": (),
        "spin": (),
        "masses": (atoms,),
        "fixed": (atoms, 3),
    }
    for name, array in arrays.items():
        if name in shapes and array.shape != shapes[name]:
            raise InputError(f"{path}: '{name}' has shape {array.shape}, not {shapes[name]}")
        if not np.isfinite(array).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise InputError(f"{path}: '{name}' is not finite at index {where}")
    return arrays


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise InputError(f"{path}: damaged .npz file ({str(error).splitlines()[0]})") from None


def _read_ase(path: Path) -> dict[str, np.ndarray]:
    from ase import units

    from sfm_molecules.readers import frames_of, read_ase

    samples = read_ase(path)
    frames = [atoms for _, atoms in frames_of(path)]
    types = frames[0].get_atomic_numbers()
    for number, atoms in enumerate(frames, 1):
        if not np.array_equal(atoms.get_atomic_numbers(), types):
            raise InputError(f"{path}, frame {number}: its atoms are not those of frame 1")
    arrays: dict[str, Any] = {"types": types, "positions": [a.get_positions() for a in frames]}
    results = [getattr(a.calc, "results", {}) or {} for a in frames]
    for name in ("energy", "forces"):
        if all(name in result for result in results):
            arrays[name] = [result[name] for result in results]
    if all("time" in a.info for a in frames):
        arrays["times"] = [float(a.info["time"]) for a in frames]
    if all(a.has("momenta") for a in frames):
        arrays["velocities"] = [a.get_velocities() * units.fs for a in frames]
    arrays |= _constant(path, samples)
    return {name: np.asarray(value) for name, value in arrays.items()}


def _constant(path: Path, samples: Sequence[Sample]) -> dict[str, Any]:
    """Charge, spin, masses and fixed coordinates, which all frames have in common."""

    def of(sample: Sample) -> dict[str, Any]:
        found: dict[str, Any] = dict(sample.conditions)
        own = {"masses": sample.masses, "fixed": sample.fixed}
        return found | {name: value for name, value in own.items() if value is not None}

    first = of(samples[0])
    for number, sample in enumerate(samples, 1):
        other = of(sample)
        for name in {**first, **other}:
            if not np.array_equal(first.get(name, 0), other.get(name, 0)):
                raise InputError(f"{path}, frame {number}: its {name} is not that of frame 1")
    return first


def observations(simulator: MolecularDynamics, path: Path) -> Observations:
    """Energies and forces of the file's frames; without these, the positions along its way.

    Raises:
        InputError: neither is there, or times are not whole multiples of dt.
    """
    arrays = read_frames(path)
    labels: tuple[str, ...] = ("energy", "forces")
    static = [name for name in labels if name in arrays]
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
        units = {"energy": "eV", "forces": "eV/angstrom"}
        values: dict[str, Tensor] = {name: tensor(name) for name in static}
        return Observations(state, values, {name: units[name] for name in static})
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


def predict(simulator: MolecularDynamics, seen: Observations) -> dict[str, Tensor]:
    """What the simulator says in place of `seen.values`."""
    state: Molecules = seen.state
    if "steps" in seen.options:
        found = []
        for steps in seen.options["steps"]:
            state = simulator(state, steps)
            found.append(state.positions)
        return {"positions": torch.stack(found)}
    energy, forces = simulator.energy_and_forces(
        state.positions, state.types, state.system, state.conditions
    )
    values = {"energy": energy, "forces": forces.reshape(len(energy), -1, 3)}
    return {name: values[name] for name in seen.values}
