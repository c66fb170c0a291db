"""Force constants to phonopy and its yaml files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfm.data.elements import SYMBOLS
from sfm.errors import InputError, PluginError
from sfm_crystals.cells import Cells

if TYPE_CHECKING:
    from phonopy import Phonopy


def to_phonopy(
    cells: Cells, repeats: tuple[int, int, int], constants: np.ndarray, masses: np.ndarray
) -> Phonopy:
    """A `Phonopy` of one cell with its force constants.

    Args:
        cells: one cell of n atoms, angstrom.
        repeats: copies in the supercell, along each lattice vector.
        constants: (n, M, 3, 3) eV/angstrom^2, as `sfm_crystals.statics.force_constants` has them.
        masses: (n,) amu.

    Raises:
        PluginError: phonopy is not installed.
    """
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError:
        raise PluginError("phonopy's files need phonopy: pip install phonopy") from None
    box = cells.cell[0].detach().cpu().double().numpy()
    x = cells.positions.detach().cpu().double().numpy()
    unit = PhonopyAtoms(
        symbols=[SYMBOLS[z] for z in cells.types.tolist()], cell=box, positions=x, masses=masses
    )
    phonopy = Phonopy(unit, np.diag(repeats), primitive_matrix=np.eye(3), log_level=0)
    ours = _copies(x, box, repeats)
    order = [
        _same(place, ours, box * np.array(repeats)[:, None])
        for place in phonopy.supercell.positions
    ]
    firsts = [_same(place, x, box) for place in phonopy.primitive.positions]
    phonopy.force_constants = np.ascontiguousarray(constants[firsts][:, order])
    return phonopy


def write_phonopy(path: Path, phonon: Phonopy) -> None:
    """The crystal and its force constants, for `phonopy.load` or `phonopy -c`."""
    phonon.save(path, settings={"force_constants": True})


def _copies(x: np.ndarray, box: np.ndarray, repeats: tuple[int, int, int]) -> np.ndarray:
    axes = np.meshgrid(*[np.arange(r) for r in repeats], indexing="ij")
    steps = np.stack(axes, -1).reshape(-1, 3)
    found: np.ndarray = (x[None] + (steps @ box)[:, None]).reshape(-1, 3)
    return found


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
