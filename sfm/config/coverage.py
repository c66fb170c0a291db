"""What a model was trained on, per encoder and level of theory: the part of config.json that says
where its numbers hold. Plain data; `sfm.data.covering` measures it, `sfm.model.guard` refuses by
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Coverage:
    """The atomistic training data of one (encoder, level).

    Attributes:
        encoder: part name.
        level: level of theory.
        systems: how many.
        elements: symbols, by atomic number.
        charges: total charges in e that occur.
        spins: numbers of unpaired electrons that occur; empty where the encoder knows none.
        states: (charge, unpaired electrons) that occur together; empty where the encoder knows no
            spin, and where a model was published before they were recorded.
        closest: closest approach of two elements, `{"H-C": 0.88}` in angstrom, symbols by atomic
            number, where it is not the rule for rare pairs (see `sfm.data.covering`).
        narrower: elements of the quantities whose labels have fewer than `elements`.
    """

    encoder: str
    level: str
    systems: int
    elements: tuple[str, ...]
    charges: tuple[float, ...] = (0.0,)
    spins: tuple[float, ...] = ()
    states: tuple[tuple[float, float], ...] = ()
    closest: Mapping[str, float] = field(default_factory=dict)
    narrower: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in ("elements", "charges", "spins"):
            put(self, name, tuple(getattr(self, name)))
        put(self, "states", tuple((charge, spin) for charge, spin in self.states))
        put(self, "narrower", {k: tuple(v) for k, v in self.narrower.items()})

    @property
    def context(self) -> tuple[str, str]:
        return self.encoder, self.level

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Coverage:
        """From config.json.

        Raises:
            TypeError: a key is missing or unknown.
        """
        return cls(**data)


def coverage_of(all_of_them: Iterable[Coverage], encoder: str, level: str) -> Coverage | None:
    """The one of (encoder, level), if it was recorded."""
    return next((c for c in all_of_them if c.context == (encoder, level)), None)


def replaced(old: Iterable[Coverage], new: Iterable[Coverage]) -> tuple[Coverage, ...]:
    """`old` with those of the same contexts replaced by `new`, and the others added."""
    table = {c.context: c for c in (*old, *new)}
    return tuple(table.values())


def signed(charge: float) -> str:
    """`+1`, `0`, `-1`: a total charge in e, for messages and cards."""
    return f"{charge:+g}" if charge else "0"
