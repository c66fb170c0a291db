"""Charge and spin, which do not enter the energy of a periodic cell: refused, or said."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import nn

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning


def say_unused(
    part: str, samples: Sequence[Sample], potential: str, closure: nn.Module | None
) -> None:
    """One line on each sample's charge and spin.

    Raises:
        InputError: a charge, of which a closure knows nothing.
    """
    for s in samples:
        charge = s.conditions.get("charge", 0.0)
        if charge and closure is not None:
            raise InputError(
                f"{s.id}: charge {charge:+g}, of which the closure of {part} knows "
                "nothing; leave the charge out to have the neutral cell's answer"
            )
        names = [n for n in ("charge", "spin") if s.conditions.get(n)]
        if names:
            warnings.warn(
                f"{s.id}: {' and '.join(names)} of the sample do not enter the energy of "
                f"potential={potential}",
                InputWarning,
                stacklevel=4,
            )
