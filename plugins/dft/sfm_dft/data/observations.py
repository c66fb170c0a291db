"""Reading measured energies and dipoles for `sfm fit dft/kohn-sham`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.conditions import read_conditions
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.units import convert

UNITS = {"energy": "eV", "dipole": "e*angstrom", "homo": "eV", "lumo": "eV"}
SHAPES = {"energy": (), "dipole": (3,), "homo": (), "lumo": ()}


def read(path: Path) -> tuple[list[Sample], dict[str, Float[Tensor, "M ..."]], dict[str, str]]:
    """Molecules and what was measured of them.

    The file is JSON; `units` may be left out where the values are in eV and e*angstrom:

        {"units": {"energy": "hartree"},
         "molecules": [{"numbers": [1, 1], "positions": [[0, 0, 0], [0, 0, 0.74]],
                        "charge": 0, "spin": 0, "energy": -1.16, "dipole": [0, 0, 0]}]}

    `positions` are in angstrom; `charge` (0 if not given) and `spin`, the number of unpaired
    electrons (0 or 1 if not given, whichever is possible), are whole numbers, and may be called as
    in `sfm.data.conditions`. Every molecule has the same quantities, of: energy, dipole, homo,
    lumo.

    Returns:
        samples, values in canonical units (M,) or (M, 3), and those units.

    Raises:
        InputError: no such file, no JSON, a missing key, a wrong shape or an unknown unit.
    """
    try:
        content = json.loads(Path(path).read_text())
        molecules = content["molecules"]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not JSON with a list 'molecules' ({type(error).__name__}: {error})"
        ) from None
    if not isinstance(molecules, list) or not all(isinstance(m, dict) for m in molecules):
        raise InputError(f"{path}: 'molecules' is not a list of objects")
    if not molecules:
        raise InputError(f"{path}: holds no molecules")
    names = [name for name in UNITS if name in molecules[0]]
    if not names:
        raise InputError(f"{path}: molecule 1 has none of {', '.join(UNITS)}")
    units = {name: content.get("units", {}).get(name, UNITS[name]) for name in names}
    samples = [_sample(path, i, m) for i, m in enumerate(molecules)]
    values = {
        name: convert(
            torch.stack([_value(path, i, m, name) for i, m in enumerate(molecules)]),
            units[name],
            UNITS[name],
        )
        for name in names
    }
    return samples, values, {name: UNITS[name] for name in names}


def _sample(path: Path, index: int, molecule: Mapping[str, Any]) -> Sample:
    for key in ("numbers", "positions"):
        if key not in molecule:
            raise InputError(f"{path}: molecule {index + 1} has no '{key}'")
    where = f"{path}: molecule {index + 1}"
    try:
        numbers = np.asarray(molecule["numbers"], dtype=np.int64)
    except (TypeError, ValueError):
        raise InputError(f"{where}: 'numbers' are not atomic numbers") from None
    return Sample(
        id=where,
        domain="dft",
        types=numbers,
        positions=molecule["positions"],
        conditions=read_conditions(molecule, numbers, where),
    )


def _value(path: Path, index: int, molecule: Mapping[str, Any], name: str) -> Tensor:
    if name not in molecule:
        raise InputError(f"{path}: molecule {index + 1} has no '{name}', which molecule 1 has")
    try:
        value = torch.tensor(molecule[name], dtype=torch.float64)
    except (TypeError, ValueError):  # no number, or rows of different lengths
        value = torch.full((), torch.nan)
    if tuple(value.shape) != SHAPES[name] or not value.isfinite().all():
        raise InputError(
            f"{path}: molecule {index + 1}: '{name}' is {molecule[name]!r}, "
            f"expected shape {SHAPES[name]}"
        )
    return value
