"""Relaxed cells to files, through ase."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sfm.data.ase_atoms import along_axes
from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning
from sfm_crystals.cells import Cells
from sfm_crystals.data.converters import to_ase

FORMATS = {".extxyz": "extxyz", ".xyz": "extxyz", ".cif": "cif", ".vasp": "vasp", ".traj": "traj"}
SINGLE = ("cif", "vasp")


def samples(state: Cells, observed: Mapping[str, Float[Tensor, " ..."]]) -> list[Sample]:
    """The cells of a state as samples with energy, forces and stress.

    Everything else (name, charge, masses, fixed atoms) is that of the sample it was made of.

    Args:
        state: S cells of N atoms in all.
        observed: `energy` (S,) eV, `forces` (N, 3) eV/angstrom and `stress` (S, 3, 3)
            eV/angstrom^3 of the cells.
    """
    values = {k: v.detach().cpu().numpy() for k, v in observed.items()}
    labelled: list[Sample] = []
    for index in range(state.n_systems):
        rows = (state.system == index).cpu().numpy()
        labels: dict[str, Any] = {
            "energy": values["energy"][index],
            "forces": values["forces"][rows],
            "stress": values["stress"][index],
        }
        positions = state.positions.detach().cpu().numpy()[rows]
        cell = state.cell[index].detach().cpu().numpy()
        types = state.types.cpu().numpy()[rows]
        if state.samples:
            first = state.samples[index].replace(level=None, velocities=None)
        else:
            pbc: Any = (True, True, True)
            first = Sample(
                id=f"cell {index + 1}",
                domain="crystals",
                positions=positions,
                types=types,
                cell=cell,
                pbc=pbc,
            )
        labelled.append(first.replace(positions=positions, cell=cell, labels=labels))
    return labelled


def write_state(
    state: Cells, observed: Mapping[str, Float[Tensor, " ..."]], path: Path, *, part: str
) -> None:
    """Write the cells of `state` with energy, forces and stress (those in `.extxyz`, `.traj`).

    Args:
        state: the cells.
        observed: as in `samples`, (S,) eV, (N, 3) eV/angstrom and (S, 3, 3) eV/angstrom^3.
        path: its suffix says the format.
        part: the simulator that writes, for messages.

    Raises:
        InputError: an unknown suffix, or several cells for a format that holds one.
    """
    from ase.io import write

    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{path}: {part} writes no '{path.suffix}' files; use one of "
            f"{', '.join(FORMATS)} or .npz"
        )
    cells = samples(state, observed)
    atoms = [to_ase(sample) for sample in cells]
    if kind == "vasp":
        _along_vectors(atoms, cells)
    _say_left_out(kind, cells, path)
    if kind in SINGLE and len(atoms) > 1:
        raise InputError(f"{path}: {len(atoms)} cells do not fit one {kind} file; use .extxyz")
    write(path, atoms if kind not in SINGLE else atoms[0], format=kind)


def _along_vectors(atoms: list[Any], cells: list[Sample]) -> None:
    """Selective dynamics of POSCAR is along lattice vectors.

    Raises:
        InputError: a coordinate is fixed, and the lattice vectors are no Cartesian axes.
    """
    from ase.constraints import FixScaled

    for one, cell in zip(atoms, cells, strict=True):
        if cell.fixed is not None and cell.cell is not None:
            fixed = along_axes(cell.fixed, cell.cell, cell.id)
            rows = np.flatnonzero(fixed.any(1))
            one.set_constraint([FixScaled([int(i)], mask=tuple(fixed[i])) for i in rows])


def _say_left_out(kind: str, cells: list[Sample], path: Path) -> None:
    """One line on what a format has no place for."""
    stated = {
        "charge": any(s.conditions.get("charge") for s in cells),
        "spin": any(s.conditions.get("spin") for s in cells),
        "masses": any(s.masses is not None for s in cells),
        "fixed atoms": any(s.fixed is not None for s in cells),
    }
    kept = {"cif": (), "vasp": ("fixed atoms",)}.get(kind, tuple(stated))
    lost = [name for name, there in stated.items() if there and name not in kept]
    if lost:
        warnings.warn(
            f"{path}: {kind} has no place for {', '.join(lost)}; .extxyz has",
            InputWarning,
            stacklevel=4,
        )
