"""Fields at equal intervals as observations: each is predicted from the one before it.

Fields, lengths and times in the system's own units.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError, InputWarning
from sfm.formats.npz import load_npz


def read_fields(
    path: Path, *, n: int, length: float
) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, "T paths n"]]:
    """`time` or `times` (T,) and `state` (T, n) or (T, paths, n) of a `.npz` file, as runs write.

    Raises:
        InputError: another kind of file, one of the two is missing or of another shape, times that
            are not equally spaced, another `length` of the circle, a value that is not finite.
    """
    if path.suffix.lower() != ".npz":
        raise InputError(f"{path}: fields on a circle are read from .npz, not '{path.suffix}'")
    arrays = load_npz(path)
    arrays = {name: a for name, a in arrays.items() if not name.endswith(".unit")}
    if "times" in arrays:
        arrays.setdefault("time", arrays.pop("times"))
    for name in ("time", "state"):
        if name not in arrays:
            raise InputError(f"{path}: no '{name}' (found: {', '.join(arrays) or 'none'})")
    times, u = arrays.pop("time"), arrays.pop("state")
    if u.ndim == 2:
        u = u[:, None]
    if u.ndim != 3 or u.shape[-1] != n or times.shape != u.shape[:1] or len(times) < 2:
        raise InputError(
            f"{path}: times {times.shape} and state {u.shape} are no series of fields of {n} "
            f"points; --set n={u.shape[-1] if u.ndim else 0} takes as many as there are"
        )
    stated = float(arrays.pop("length", np.array(length)))
    if not math.isclose(stated, length, rel_tol=1e-6):
        raise InputError(f"{path}: a circle of length {stated:g}; --set length={stated:.10g}")
    _check_numbers(path, times, u)
    if arrays:
        said = f"{path}: not used: {', '.join(arrays)}"
        warnings.warn(said, InputWarning, stacklevel=3)
    return times.astype(np.float64), u.astype(np.float64)


def _check_numbers(path: Path, times: np.ndarray, u: np.ndarray) -> None:
    if not (np.isfinite(u).all() and np.isfinite(times).all()):
        raise InputError(f"{path}: a value is no finite number")
    steps = np.diff(times)
    if not (steps > 0).all() or not np.allclose(steps, steps.mean(), rtol=1e-6):
        raise InputError(f"{path}: times are not equally spaced")


def by_mode(u: Float[Tensor, "T paths n"]) -> dict[str, Float[Tensor, " numbers"]]:
    """The numbers of each Fourier mode, real parts before imaginary ones: `mode_0`, `mode_1`, ...

    White noise gives each mode a spread of its own, and modes are independent in linear equations.
    """
    modes = torch.fft.rfft(u, norm="ortho").flatten(0, 1)
    last = modes.shape[-1] - 1
    return {
        f"mode_{k}": modes[:, k].real
        if k in (0, last)  # n is even: these two are real
        else torch.cat((modes[:, k].real, modes[:, k].imag))
        for k in range(last + 1)
    }
