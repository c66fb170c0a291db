"""Force constants to phonopy and its yaml files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfm.data.elements import SYMBOLS
from sfm.errors import InputError, PluginError
from sfm_crystals.cells import Cells
from sfm_crystals.statics.force_constants import ForceConstants

if TYPE_CHECKING:
    from phonopy import Phonopy


def to_phonopy(cells: Cells, repeats: tuple[int, int, int], constants: ForceConstants) -> Phonopy:
    """A `Phonopy` of one cell with its force constants.

    Args:
        cells: one cell of n atoms, angstrom.
        repeats: copies in the supercell, along each lattice vector.
        constants: of the cell in that supercell, eV/angstrom^2.

    Raises:
        PluginError: phonopy is not installed.
    """
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError:
        raise PluginError("phonopy's files need phonopy: pip install phonopy") from None
    box, x, masses, ours, values = (
        tensor.detach().cpu().double().numpy()
        for tensor in (
            cells.cell[0],
            cells.positions,
            constants.masses,
            constants.lattice.cells.positions,
            constants.values,
        )
    )
    unit = PhonopyAtoms(
        symbols=[SYMBOLS[z] for z in cells.types.tolist()], cell=box, positions=x, masses=masses
    )
    phonopy = Phonopy(unit, np.diag(repeats), primitive_matrix=np.eye(3), log_level=0)
    order = [
        _same(place, ours, box * np.array(repeats)[:, None])
        for place in phonopy.supercell.positions
    ]
    firsts = [_same(place, x, box) for place in phonopy.primitive.positions]
    phonopy.force_constants = np.ascontiguousarray(values[firsts][:, order])
    return phonopy


def write_phonopy(path: Path, phonon: Phonopy) -> None:
    """The crystal and its force constants, for `phonopy.load` or `phonopy -c`."""
    phonon.save(path, settings={"force_constants": True})


def _same(place: np.ndarray, places: np.ndarray, box: np.ndarray) -> int:
    """Which of `places` is `place`, up to vectors of `box`.

    Raises:
        InputError: none is.
    """
    between = (places - place) @ np.linalg.inv(box)
    length = np.linalg.norm((between - np.round(between)) @ box, axis=1)
    if length.min() > 1e-3:
        raise InputError("phonopy moved an atom; give a cell without atoms on top of each other")
    return int(length.argmin())
