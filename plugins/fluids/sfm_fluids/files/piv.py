"""Files of particle image velocimetry: TSI Insight's `.vec` and LaVision DaVis 7's `.VC7`.

Both become a `Field` on a grid with square cells: row 0 at the low end of y, component 1 of the
velocity along the rows' increasing index.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import numpy as np

from sfm.errors import InputError

# pixels per vector: windows of 32 pixels that overlap by half, as the readme beside the files says
PIXELS = 16
# DaVis: 2-D vectors, up to four candidates per cell and the height of the correlation's peak
_EXTENDED_PEAK = 3


@dataclass(frozen=True)
class Field:
    """A measured velocity.

    Attributes:
        velocity: (2, H, W) in m/s; zero where there is none.
        valid: (H, W) bool: measured, and not marked as bad or filled in by the software.
        spacing: metres between grid points.
    """

    velocity: np.ndarray
    valid: np.ndarray
    spacing: float


def read_vec(raw: bytes, where: str) -> Field:
    """An Insight file: `X mm, Y mm, U m/s, V m/s, CHC`; CHC > 0 is a good vector.

    Raises:
        InputError: other units, or a grid that is not complete, even and square.
    """
    head, _, body = raw.decode("latin1").partition("\n")
    for name in ('"X mm"', '"Y mm"', '"U m/s"', '"V m/s"', '"CHC"'):
        if name not in head:
            raise InputError(f"{where}: no column {name}; lengths in mm and velocities in m/s only")
    size = re.search(r"I=(\d+), J=(\d+)", head)
    numbers = np.array(body.replace(",", " ").split(), dtype=np.float64)
    if size is None or numbers.size != 5 * int(size[1]) * int(size[2]):
        raise InputError(f"{where}: does not hold the I x J lines of five numbers that it says")
    table = numbers.reshape(int(size[2]), int(size[1]), 5)
    table = table[np.argsort(table[:, 0, 1])]  # y upwards
    x, y, u, v, mark = np.moveaxis(table, -1, 0)
    steps = np.concatenate([np.diff(x, axis=1).ravel(), np.diff(y, axis=0).ravel()])
    if np.ptp(steps) > 1e-3 * steps.mean():
        raise InputError(f"{where}: the grid's cells are not equal squares")
    valid = mark > 0
    return Field(np.stack([u, v]) * valid, valid, float(steps.mean()) * 1e-3)


def read_vc7(raw: bytes, where: str) -> Field:
    """A DaVis file, version 7, uncompressed, one frame.

    Ten planes of float32 follow a head of 256 bytes: the choice (0 none, 1 to 4 the candidate,
    5 the fourth after post-processing), u and v of four candidates in pixels, the peak's height.
    Scales follow as text. The rows run down the image, and v along them.

    Raises:
        InputError: another format, or scales that are not m/s and mm.
    """
    version, kind, columns, rows = struct.unpack_from("<4i", raw)
    size = 256 + 40 * columns * rows
    if (version, kind) != (0, _EXTENDED_PEAK) or len(raw) < size:
        raise InputError(f"{where}: not an uncompressed VC7 file with extended peak vectors")
    planes = np.frombuffer(raw[256:size], "<f4").reshape(10, rows, columns).astype(np.float64)
    text = raw[size:].decode("latin1")
    factor, unit = _scale(text, "I", where)
    along, length = _scale(text, "X", where)
    down, _ = _scale(text, "Y", where)
    if (unit, length) != ("m/s", "mm") or abs(abs(down / along) - 1) > 1e-6:
        raise InputError(f"{where}: scales in {unit} and {length}; m/s and square mm only")
    choice = planes[0].astype(int)
    picked = np.clip(choice - 1, 0, 3)[None]
    u, v = (np.take_along_axis(planes[first:9:2], picked, axis=0)[0] for first in (1, 2))
    valid = choice > 0
    interval = re.search(r"FrameDt0=([\d.]+) us", text)
    if interval is None or abs(factor * float(interval[1]) / abs(along) / 1e3 - 1) > 1e-3:
        raise InputError(f"{where}: m/s per pixel do not follow from mm per pixel and the interval")
    return Field(np.stack([u, v]) * factor * valid, valid, abs(along) * PIXELS * 1e-3)


def _scale(text: str, axis: str, where: str) -> tuple[float, str]:
    match = re.search(rf"FrameScale{axis}0=([-\d.]+)\s+[-\d.]+\s+(\S+)", text)
    if match is None:
        raise InputError(f"{where}: no scale of {axis}")
    return float(match[1]), match[2]
