"""Measured pressures, for `sfm fit fluids/darcy`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sfm.errors import InputError
from sfm.simulate import Observations
from sfm_fluids.files.readers import load_arrays
from sfm_fluids.files.stated_box import check_file_lengths
from sfm_fluids.files.values import standard_error

if TYPE_CHECKING:
    from sfm_fluids.darcy.flow import Darcy

SIDES = ("left", "right", "bottom", "top")


def read(simulator: Darcy, path: Path) -> Observations:
    """A pressure field to fit to.

    The file (.npz, .h5) holds `pore_pressure` (..., H, W), of which the last is read where it has
    an axis more than the medium (what `sfm simulate` writes), and the medium: `phase` (..., H, W),
    or else the simulator's own (its settings `medium` and `seed`). Optional: `source` (..., H, W),
    side values `left`, `right` (..., H), `bottom`, `top` (..., W), and `sigma`, the standard error
    of a pressure.

    Raises:
        InputError: something is missing, of the wrong shape, not finite, or another extent.
    """
    names = ("pore_pressure", "phase", "source", *SIDES, "sigma", "length_x", "length_y")
    arrays = load_arrays(path, names)
    check_file_lengths(simulator, arrays, path)
    if "pore_pressure" not in arrays:
        raise InputError(f"{path}: no array 'pore_pressure'; a fit needs it")
    for name in names:
        if name in arrays and not np.isfinite(arrays[name]).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(arrays[name]))[0])
            raise InputError(f"{path}: '{name}' is not finite at index {where}")
    given = {
        name: torch.from_numpy(np.asarray(arrays[name], dtype=np.float64))
        for name in ("source", *SIDES)
        if name in arrays
    }
    phase = arrays.get("phase")
    start = simulator.state().phase if phase is None else torch.from_numpy(np.array(phase))
    state = simulator.from_phase(start, **given)
    pressure = torch.from_numpy(np.asarray(arrays["pore_pressure"])).to(state.pressure)
    if pressure.ndim == state.pressure.ndim + 1:  # as `sfm simulate --output` writes it
        pressure = pressure[-1]
    if pressure.shape != state.pressure.shape:
        raise InputError(
            f"{path}: pore_pressure has shape {tuple(pressure.shape)}, the medium "
            f"{tuple(state.pressure.shape)}; give 'phase' in the file or set height and width"
        )
    return Observations(
        state=state,
        values={"pore_pressure": pressure},
        units={"pore_pressure": "1"},
        sigma=standard_error(arrays, "pore_pressure", path),
    )
