"""What lies beneath a model's energy, as its config states it. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sfm.errors import InputError

Value = bool | int | float | str
LARGEST_FILE = 50_000  # characters of a table of parameters
_WORD = re.compile(r"[\w.+-]{0,60}")  # no path: a file would not come along with the model


@dataclass(frozen=True)
class BaselineSpec:
    """The energy at one (encoder, level) is that of a theory, plus what the model learned.

    The theory is a simulator, or another model.

    Attributes:
        encoder: part name of the encoder.
        level: level of theory of the labels that the model was trained on.
        simulator: part name, `molecules/tight-binding`; empty where the theory is a model.
        values: the simulator's parameters and settings; the others have their defaults.
        files: text of the file that a setting names, by setting: a table of parameters.
        model: bundled name or Hub id of the other model, with its revision.
        model_level: level of theory that it is asked for.
        model_sha256: of its weights (`sfm.model.adapter.digest`).

    Raises:
        InputError: neither a simulator nor a model, or both; a value is neither a number nor a
            word; a model without level and hash, or one that is a folder; a file too long.
    """

    encoder: str
    level: str
    simulator: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    model_level: str = ""
    model_sha256: str = ""

    def __post_init__(self) -> None:
        where = f"baseline of {self.level}"
        if bool(self.simulator) == bool(self.model):
            raise InputError(f"{where}: give a simulator or a model, one of the two")
        for name, value in self.values.items():
            if isinstance(value, str) and not _WORD.fullmatch(value):
                raise InputError(
                    f"{where}: {name}={value[:80]!r} is no word; only a file that is there when "
                    "the model is trained can be kept in it"
                )
            if not isinstance(value, (bool, int, float, str)):
                raise InputError(f"{where}: {name} is no number and no word")
        for name, text in self.files.items():
            if len(text) > LARGEST_FILE:
                raise InputError(
                    f"{where}: the file of {name} has {len(text)} characters; a model keeps at "
                    f"most {LARGEST_FILE}"
                )
        self._check_model(where)

    def _check_model(self, where: str) -> None:
        if not self.model and (self.model_level or self.model_sha256):
            raise InputError(f"{where}: a level and a hash go with a model")
        if self.model and (self.values or self.files):
            raise InputError(f"{where}: values and files go with a simulator")
        if self.model and not (self.model_level and self.model_sha256):
            raise InputError(f"{where}: the model '{self.model[:80]}' has no level or no hash")
        if self.model.startswith((".", "/", "~")) or "\\" in self.model:
            raise InputError(
                f"{where}: '{self.model[:80]}' is a folder, which would not come along with the "
                "model; push it first, and name the repository"
            )

    def __str__(self) -> str:
        if self.model:
            return f"{self.model} at {self.model_level}"
        words = [f"{k}={v}" for k, v in self.values.items()] + [f"{k}: a file" for k in self.files]
        return self.simulator + (f" ({', '.join(words)})" if words else "")
