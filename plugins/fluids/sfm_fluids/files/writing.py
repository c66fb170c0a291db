"""Files of flow snapshots, as `sfm simulate` writes them.

Numbers keep the units of the file and the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sfm.errors import InputError
from sfm.simulate import Trajectory
from sfm_fluids.files.well import write_well
from sfm_fluids.files.well_samples import from_trajectory
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.spectral.grid_3d import Grid3D


def write_flow(
    trajectory: Trajectory,
    coordinates: Mapping[str, Float[np.ndarray, " _"]],
    lengths: Mapping[str, float],
    path: Path,
    *,
    name: str = "flow",
    boundaries: Mapping[str, str] | None = None,
    scalars: Mapping[str, float] | None = None,
) -> None:
    """Write a run in a plane.

    `.h5` and `.npz` hold the first flow: `velocity` (T, 2, H, W), `times` (T,), coordinates `x`
    (W,) and `y` (H,), the box lengths and boundaries. `.hdf5` is a file of The Well with all flows
    and all observables on the grid, float32.

    Args:
        trajectory: with the observable `velocity` (T, B, 2, H, W).
        coordinates: of the points along `x` and `y`.
        lengths: of the box along `x` and `y`.
        path: the file.
        name: data set name in The Well's file.
        boundaries: along `x` and `y`: `periodic` (if not given), `wall` or `open`, at both ends.
        scalars: parameters of the simulation, for The Well's file.

    Raises:
        InputError: the suffix is neither .h5, .hdf5 nor .npz, or points that are not evenly
            spaced, which The Well's format does not take.
    """
    kinds = {axis: (boundaries or {}).get(axis, "periodic") for axis in coordinates}
    suffix = path.suffix.lower()
    if suffix == ".hdf5":
        data = from_trajectory(
            trajectory,
            coordinates,
            name=name,
            boundaries={axis: (kind.upper(), kind.upper()) for axis, kind in kinds.items()},
            scalars=scalars,
        )
        write_well(path, data)
        return
    arrays = {
        "velocity": trajectory.observables["velocity"][:, 0].detach().cpu().numpy(),
        "times": trajectory.times.numpy(),
        **coordinates,
    }
    stated: dict[str, Any] = {f"length_{axis}": lengths[axis] for axis in coordinates}
    stated |= {f"boundary_{axis}": kind for axis, kind in kinds.items()}
    if suffix == ".npz":
        arrays |= {name: np.array(value) for name, value in stated.items()}
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    elif suffix == ".h5":
        import h5py

        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                file[key] = array
            file["velocity"].attrs["unit"] = "1"
            file.attrs.update(stated)
    else:
        raise InputError(f"{path}: write flows to .h5, .hdf5 or .npz, not '{path.suffix}'")


def write_periodic(trajectory: Trajectory, grid: Grid, path: Path, **options: Any) -> None:
    """`write_flow` of a doubly periodic grid."""
    x, y = grid.coordinates()
    points = {"x": x[0].numpy(), "y": y[:, 0].numpy()}
    write_flow(trajectory, points, {"x": grid.length_x, "y": grid.length_y}, path, **options)


def write_volume(trajectory: Trajectory, grid: Grid3D, path: Path) -> None:
    """Velocity (T, 3, D, H, W) of the first flow, `times` (T,), attributes length_x, _y, _z.

    Raises:
        InputError: the suffix is neither .h5 nor .hdf5.
    """
    if path.suffix.lower() not in (".h5", ".hdf5"):
        raise InputError(f"{path}: write flows to .h5, .hdf5 or .npz, not '{path.suffix}'")
    import h5py

    with h5py.File(path, "w") as file:
        file["velocity"] = trajectory.observables["velocity"][:, 0].detach().cpu().numpy()
        file["times"] = trajectory.times.numpy()
        file["velocity"].attrs["unit"] = "1"
        for name, length in zip("zyx", grid.lengths, strict=True):
            file.attrs[f"length_{name}"] = length
