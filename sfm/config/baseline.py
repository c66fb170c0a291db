"""A classical theory beneath a model's energy, as its config states it. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sfm.errors import InputError

Value = bool | int | float | str
_WORD = re.compile(r"[\w.+-]{0,60}")  # no path: a file would not come along with the model


@dataclass(frozen=True)
class BaselineSpec:
    """The energy at one (encoder, level) is that of a simulator, plus what the model learned.

    Attributes:
        encoder: part name of the encoder.
        level: level of theory of the labels that the model was trained on.
        simulator: part name, `molecules/tight-binding`.
        values: its parameters and settings; the others have their defaults.

    Raises:
        InputError: a value is neither a number nor a word.
    """

    encoder: str
    level: str
    simulator: str
    values: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if isinstance(value, str) and not _WORD.fullmatch(value):
                raise InputError(
                    f"baseline of {self.level}: {name}={value[:80]!r} is no word; a file of "
                    "parameters cannot be kept in a model"
                )
            if not isinstance(value, (bool, int, float, str)):
                raise InputError(f"baseline of {self.level}: {name} is no number and no word")
