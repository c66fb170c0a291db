"""Relaxed cells to files, through ase."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm_crystals.cells import Cells
from sfm_crystals.converters import to_atoms

if TYPE_CHECKING:
    from sfm_crystals.lattice import LatticeStatics

FORMATS = {".extxyz": "extxyz", ".xyz": "extxyz", ".cif": "cif", ".vasp": "vasp", ".traj": "traj"}
SINGLE = ("cif", "vasp")


def samples(simulator: LatticeStatics, state: Cells) -> list[Sample]:
    """The cells of a state as samples with energy, forces and stress."""
    with torch.no_grad():
        observed = {k: v.cpu().numpy() for k, v in simulator.observe(state).items()}
    found: list[Sample] = []
    for index in range(state.n_systems):
        rows = (state.system == index).cpu().numpy()
        labels: dict[str, Any] = {
            "energy": observed["energy"][index],
            "forces": observed["forces"][rows],
            "stress": observed["stress"][index],
        }
        found.append(
            Sample(
                id=f"cell {index + 1}",
                domain="crystals",
                positions=state.positions.detach().cpu().numpy()[rows],
                types=state.types.cpu().numpy()[rows],
                cell=state.cell[index].detach().cpu().numpy(),
                pbc=(True, True, True),  # type: ignore[arg-type]
                labels=labels,
            )
        )
    return found


def write_state(simulator: LatticeStatics, state: Cells, path: Path) -> None:
    """Write the cells of `state` with energy, forces and stress (those in `.extxyz`, `.traj`).

    Raises:
        InputError: an unknown suffix, or several cells for a format that holds one.
    """
    from ase.io import write

    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{path}: {simulator.part} writes no '{path.suffix}' files; use one of "
            f"{', '.join(FORMATS)} or .npz"
        )
    atoms = [to_atoms(sample) for sample in samples(simulator, state)]
    if kind in SINGLE and len(atoms) > 1:
        raise InputError(f"{path}: {len(atoms)} cells do not fit one {kind} file; use .extxyz")
    write(path, atoms if kind not in SINGLE else atoms[0], format=kind)
