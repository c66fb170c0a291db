"""Paths and fields at equal intervals as observations: each is predicted from the one before it.

Values, lengths and times in the system's own units.
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
from sfm_dynamics.series import read_table


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
    times, u, arrays = _arrays(path)
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
    _say_unused(path, arrays)
    return times.astype(np.float64), u.astype(np.float64)


def read_paths(
    path: Path,
) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, "T paths"]]:
    """Times (T,) and paths of one variable: columns of a `.csv`, or `state` of a `.npz`.

    The latter is (T,), (T, paths) or, as runs write it, (T, paths, 1).

    Raises:
        InputError: another kind of file or shape, times that are not equally spaced, a value that
            is not finite.
    """
    if path.suffix.lower() != ".npz":
        table = read_table(path)
        _check_numbers(path, table.times, table.values)
        return table.times, table.values
    times, x, rest = _arrays(path)
    shape = x.shape
    if x.ndim == 3 and shape[-1] == 1:
        x = x[..., 0]
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or times.shape != shape[:1] or len(times) < 2:
        raise InputError(f"{path}: times {times.shape} and state {shape} are no paths (T, paths)")
    _check_numbers(path, times, x)
    _say_unused(path, rest)
    return times.astype(np.float64), x.astype(np.float64)


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """`time` or `times`, `state`, and the rest."""
    arrays = load_npz(path)
    arrays = {name: a for name, a in arrays.items() if not name.endswith(".unit")}
    if "times" in arrays:
        arrays.setdefault("time", arrays.pop("times"))
    for name in ("time", "state"):
        if name not in arrays:
            raise InputError(f"{path}: no '{name}' (found: {', '.join(arrays) or 'none'})")
    return arrays.pop("time"), arrays.pop("state"), arrays


def _say_unused(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if arrays:
        said = f"{path}: not used: {', '.join(arrays)}"
        warnings.warn(said, InputWarning, stacklevel=4)


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
