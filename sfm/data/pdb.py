"""Formal charges of PDB files (columns 79 and 80: `1+`, `2-`), which ASE's reader leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int

from sfm.errors import InputError

_CHARGE = re.compile(r"([+-]?)(\d)|(\d)([+-])")


def formal_charges(path: Path) -> Iterator[Int[np.ndarray, " n"]]:
    """(n,) charges, in units of e, of the atoms of each frame, frames as ASE tells them apart.

    An atom without a charge has 0.

    Raises:
        InputError: a charge that is none; the row is named.
    """
    charges: list[int] = []
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if line.startswith(("ATOM", "HETATM")):
                charges.append(_charge(line.rstrip("\r\n")[78:80].strip(), number))
            elif line.startswith("END"):
                yield np.array(charges, dtype=np.int64)
                charges = []
    yield np.array(charges, dtype=np.int64)


def _charge(text: str, row: int) -> int:
    if not text:
        return 0
    match = _CHARGE.fullmatch(text)
    if match is None:
        raise InputError(f"row {row}, columns 79-80: '{text}' is no charge; write it as 1+ or 2-")
    sign, size = match[1] or match[4], int(match[2] or match[3])
    return -size if sign == "-" else size
