"""What a fine-tuning came to: the model, how it was made, and what competed with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sfm.model import FoundationModel
from sfm.nn.lora import LowRank
from sfm.train.engine import FitResult


@dataclass(frozen=True)
class Candidate:
    """One way to say one target.

    Attributes:
        name: `zero-shot`, `composition`, `gp`, `full`, ...
        target: `encoder:quantity@level`.
        mae: mean absolute error on labels that it was not fitted to, in `unit`.
        unit: of the quantity.
        how: what `mae` was measured on.
        rival: whether it knows nothing of the model.
        chosen: whether it is what the model now says.
    """

    name: str
    target: str
    mae: float
    unit: str
    how: str
    rival: bool = False
    chosen: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Outcome:
    """A fine-tuned model.

    Attributes:
        model: on the CPU.
        mode: what was done; of several targets in closed form, `closed form`.
        result: of the training; without steps where there was none.
        counts: numbers of trainable and of all parameters.
        calibrated: factors of the uncertainties, by target.
        candidates: all that competed.
        note: what the user should know.
        updates: low-rank updates that were merged into the model, by the name of the map.
    """

    model: FoundationModel
    mode: str
    result: FitResult
    counts: Mapping[str, int]
    calibrated: Mapping[str, float] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    note: str = ""
    updates: Mapping[str, LowRank] = field(default_factory=dict)
