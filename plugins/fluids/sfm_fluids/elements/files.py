"""Meshes in files, by the package meshio: gmsh, VTK, Abaqus, XDMF and others.

Lengths are those of the file.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfm.errors import InputError, PluginError
from sfm_fluids.elements.mesh import Mesh, doubled_areas


def read_mesh(path: str | Path) -> Mesh:
    """The triangles of a file, in the plane z = constant.

    Corners are put counter-clockwise, points that no triangle has are left out. Lines with a name
    (gmsh's physical curves, or sets of lines) become sides.

    Args:
        path: whatever meshio reads.

    Raises:
        PluginError: meshio is not installed.
        InputError: the file is missing or unreadable, holds no triangles, others
            than those of three or six corners, or is no plane.
    """
    data = _read(Path(path))
    kinds = {block.type for block in data.cells if block.type not in ("vertex", "line", "line3")}
    if not kinds or not kinds <= {"triangle", "triangle6"}:
        held = ", ".join(sorted(kinds)) or "no cells of an area"
        raise InputError(f"{path}: holds {held}; a mesh here is made of triangles alone")
    points = np.asarray(data.points, dtype=np.float64)
    if points.shape[1] == 3 and np.ptp(points[:, 2]) > 1e-9 * np.ptp(points[:, :2]):
        raise InputError(f"{path}: its points lie in no plane z = constant")
    corners = np.concatenate(
        [b.data[:, :3] for b in data.cells if b.type.startswith("triangle")]
    ).astype(np.int64)
    area = doubled_areas(torch.from_numpy(points[:, :2]), torch.from_numpy(corners))
    clockwise = area.numpy() < 0
    corners[clockwise] = corners[clockwise][:, [0, 2, 1]]
    used, number = np.unique(corners, return_inverse=True)
    place = np.full(len(points), -1, dtype=np.int64)
    place[used] = np.arange(len(used))
    sides = {name: torch.from_numpy(place[lines]) for name, lines in _lines(data).items()}
    return Mesh(
        torch.from_numpy(points[used, :2].copy()),
        torch.from_numpy(number.reshape(-1, 3)),
        _on_boundary(sides),
    )


def _read(path: Path) -> Any:
    """What meshio makes of a file; its complaints, which it prints, in one line."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        import meshio
    except ImportError:
        raise PluginError(
            f"{path}: reading it needs the package 'meshio'; install it with: "
            "pip install 'sfm-hub[fluids]'"
        ) from None
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return meshio.read(path)
    except (Exception, SystemExit) as error:  # meshio leaves the process where nothing fits
        reason = " ".join(f"{error} {said.getvalue()}".split())[:200]
        raise InputError(f"{path}: meshio reads no mesh in it ({reason})") from None


def _lines(data: Any) -> dict[str, np.ndarray]:
    """(k, 2) ends of lines by name."""
    named: dict[str, list[np.ndarray]] = {}
    for name, sets in data.cell_sets_dict.items():
        for kind, rows in sets.items():
            if kind.startswith("line") and not name.startswith("gmsh:"):
                named.setdefault(name, []).append(data.cells_dict[kind][rows, :2])
    marks = data.cell_data_dict.get("gmsh:physical", {})
    for name, (mark, dimension) in data.field_data.items():
        for kind, values in marks.items():
            if dimension == 1 and kind.startswith("line") and name not in named:
                named[name] = [data.cells_dict[kind][values == mark, :2]]
    return {name: np.concatenate(parts).astype(np.int64) for name, parts in named.items()}


def _on_boundary(sides: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sides without those that hold no line, or lines of no triangle."""
    return {name: pairs for name, pairs in sides.items() if len(pairs) and int(pairs.min()) >= 0}
