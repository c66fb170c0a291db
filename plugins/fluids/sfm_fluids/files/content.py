"""What a file of fields holds, before anything is made of it: arrays, attributes, names of axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Content:
    """Arrays and attributes by name.

    Attributes:
        where: the file, for messages.
        arrays: by name.
        attributes: numbers and texts of the file, or of its velocity.
        axes: names of an array's axes, where the format has them (netCDF, xarray).
    """

    where: str
    arrays: Mapping[str, np.ndarray]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
