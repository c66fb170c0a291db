"""Frames of one system from files, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sfm.data.ase_atoms import velocity_column
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.formats.npz import load_npz
from sfm.units import factor
from sfm_molecules.data.readers import frames_of, read_ase

_UNITS = {
    "positions": "angstrom",
    "energy": "eV",
    "forces": "eV/angstrom",
    "velocities": "angstrom/fs",
    "times": "fs",
    "masses": "amu",
}


def read_frames(path: Path) -> dict[str, Shaped[np.ndarray, " ..."]]:
    """Arrays of the frames of one system.

    `positions` (T, n, 3) angstrom, `types` (n,), and those of `energy` (T,) eV, `forces` (T, n, 3)
    eV/angstrom, `velocities` (T, n, 3) angstrom/fs and `times` (T,) fs that the file has; `charge`
    and `spin` (), `masses` (n,) amu and `fixed` (n, 3) where it states them.

    `.npz` holds arrays of these names, in these units or in that of a text `energy.unit` beside
    `energy`; `.extxyz` (or any trajectory that ASE reads) holds energies
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
    stored = load_npz(path)
    units = {
        name.removesuffix(".unit"): str(a) for name, a in stored.items() if a.dtype.kind == "U"
    }
    arrays = {}
    for name, array in stored.items():
        if array.dtype.kind not in "biuf":
            continue
        values = array.astype(np.int64) if name == "types" else array
        if name in _UNITS and name in units:
            try:
                values = array * factor(units[name], _UNITS[name])
            except InputError as error:
                raise InputError(f"{path}: '{name}': {error}") from None
        arrays[name] = values
    return arrays


def _read_ase(path: Path) -> dict[str, np.ndarray]:
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
    if all(a.has("momenta") or velocity_column(a) for a in frames):
        still = np.zeros((len(types), 3))
        arrays["velocities"] = [still if s.velocities is None else s.velocities for s in samples]
    arrays |= _constant(path, samples)
    return {name: np.asarray(value) for name, value in arrays.items()}


def _constant(path: Path, samples: Sequence[Sample]) -> dict[str, Any]:
    """Charge, spin, masses and fixed coordinates, which all frames have in common."""

    def of(sample: Sample) -> dict[str, Any]:
        stated: dict[str, Any] = dict(sample.conditions)
        arrays = {"masses": sample.masses, "fixed": sample.fixed}
        return stated | {name: value for name, value in arrays.items() if value is not None}

    first = of(samples[0])
    for number, sample in enumerate(samples, 1):
        other = of(sample)
        for name in {**first, **other}:
            if not np.array_equal(first.get(name, 0), other.get(name, 0)):
                raise InputError(f"{path}, frame {number}: its {name} is not that of frame 1")
    return first
