"""Electron densities on a box of points around a molecule."""

from __future__ import annotations

import numpy as np
import torch

from sfm.simulate import Volume
from sfm.simulate.volume import box_points
from sfm.units import factor
from sfm_dft.simulators.kohn_sham_state import KohnShamState

MARGIN, STEP, MOST = 2.8, 0.2, 40  # angstrom, angstrom, points along an axis
# e / angstrom^3: the first runs round atoms and bonds, the second shows bonds and lone pairs
SURFACES = {"density": 0.3, "density_change": 0.1}


def density_volumes(
    state: KohnShamState, *, step: float = STEP, most: int = MOST
) -> dict[str, Volume]:
    """`density`, and `density_change`: the density minus that of superposed free atoms.

    The atoms are neutral, in a minimal basis projected on the molecule's: of a neutral molecule the
    change integrates to zero.

    Args:
        state: of one molecule.
        step: distance between points, angstrom, unless an axis would have more than `most`.
        most: points along an axis.

    Returns:
        By name, both in e / angstrom^3.
    """
    molecule = state.molecule
    positions = molecule.positions.detach().cpu().numpy() * factor("bohr", "angstrom")
    origin, steps, shape = box_points(positions, margin=MARGIN, step=step, most=most)
    points = origin + steps * np.indices(shape).reshape(3, -1).T
    bohr = factor("angstrom", "bohr")
    density = state.density_at(points)
    atoms = molecule.superposed_atoms()
    # in a small basis the projected atoms lose a per cent of their electrons
    atoms = atoms * (molecule.numbers.sum() / torch.einsum("ij,ji->", atoms, molecule.overlap))
    free = molecule.density_at(atoms, points * bohr) * bohr**3
    values = {"density": density, "density_change": density - free}
    numbers = molecule.numbers.cpu().numpy()
    return {
        name: Volume(
            value.reshape(shape),
            "e/angstrom^3",
            origin,
            steps,
            SURFACES[name],
            numbers,
            positions,
        )
        for name, value in values.items()
    }
