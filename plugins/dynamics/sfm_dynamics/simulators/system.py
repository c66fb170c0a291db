"""`System`: what ordinary and stochastic equations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm.simulate import Simulator

Values = Mapping[str, Float[Tensor, " ..."]]


class State(NamedTuple):
    """Values (..., d) of a system's variables at a time (...)."""

    values: Float[Tensor, "*states d"]
    time: Float[Tensor, "*states"]


class System(Simulator):
    """A simulator whose equations read its parameters by name."""

    def values(self) -> dict[str, Float[Tensor, " ..."]]:
        """The parameters as they are now, () each in its own unit, by name."""
        return {spec.name: getattr(self, spec.name) for spec in self.parameters_spec}

    def positive(self, *names: str) -> None:
        """Refuse settings that are not above zero.

        Raises:
            InputError: one is not.
        """
        for name in names:
            value: Any = getattr(self, name)
            if not value > 0:
                raise InputError(f"{self.part}: {name}={value} must be positive")
