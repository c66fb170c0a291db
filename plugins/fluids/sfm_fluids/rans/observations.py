"""Measured velocity profiles, for `sfm fit fluids/rans-channel`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sfm.errors import InputError
from sfm.simulate import Observations
from sfm_fluids.files.readers import load_arrays
from sfm_fluids.files.values import number, standard_error

if TYPE_CHECKING:
    from sfm_fluids.rans.channel import RansChannel

NAMES = ("wall_distance", "velocity_profile", "friction_reynolds", "sigma")


def read(simulator: RansChannel, path: Path) -> Observations:
    """A profile to fit to.

    The file (.npz, .h5) holds `wall_distance` (P,), y+ in increasing order, and `velocity_profile`
    (P,), U+; of two-dimensional arrays, as `sfm simulate --output` writes them, the last row.
    Optional: `sigma`, the standard error of U+, and `friction_reynolds`, which must then be the
    simulator's.

    Raises:
        InputError: something is missing, of the wrong shape, not finite, outside the channel, or
            the simulator has a batch axis.
    """
    if simulator._batch():
        raise InputError(f"{simulator.part}: fit one Reynolds number at a time")
    arrays = load_arrays(path, NAMES)
    for name in NAMES[:2]:
        if name not in arrays:
            raise InputError(
                f"{path}: no array '{name}'; a fit needs wall_distance, velocity_profile"
            )
    y, u = (np.atleast_2d(arrays[name])[-1].astype(np.float64) for name in NAMES[:2])
    if y.shape != u.shape or y.ndim != 1 or len(y) == 0:
        raise InputError(f"{path}: wall_distance {y.shape} and velocity_profile {u.shape} differ")
    if not (np.isfinite(y).all() and np.isfinite(u).all()):
        raise InputError(f"{path}: a value is not finite")
    height = float(simulator.friction_reynolds.detach())
    given = number(arrays.get("friction_reynolds", height), "friction_reynolds", str(path))
    if abs(given - height) > 1e-6 * height:
        raise InputError(
            f"{path}: measured at Re_tau = {given:g}, the simulator has {height:g}; "
            f"set friction_reynolds={given:g}"
        )
    if (np.diff(y) <= 0).any() or y[0] < 0 or y[-1] > height * (1 + 1e-6):
        raise InputError(
            f"{path}: wall_distance must increase within 0 to {height:g} (the centreline); "
            "fold the other half of the channel onto this one"
        )
    return Observations(
        state=simulator.state(),
        values={"velocity_profile": torch.tensor(u, dtype=simulator.dtype)},
        units={"velocity_profile": "1"},
        sigma=standard_error(arrays, "velocity_profile", path),
        options={"wall_distance": torch.tensor(y, dtype=simulator.dtype)},
    )
