"""The state that a simulator of periodic flow takes from a sample, and what it says of the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Simulator
from sfm_fluids import box
from sfm_fluids.spectral.energy_shares import energy_shares


@runtime_checkable
class Timed(Protocol):
    """A named tuple with the entry `time`, () in the simulator's unit."""

    @property
    def time(self) -> Float[Tensor, ""]: ...

    def _replace(self, *, time: Tensor = ...) -> Self: ...


State = TypeVar("State", bound=Timed)


def start_from(
    simulator: Simulator,
    sample: Sample,
    dimensions: int,
    state_of: Callable[[Float[Tensor, " ..."]], State],
    *,
    fields: Sequence[str] = ("velocity",),
    truncated: bool = True,
) -> State:
    """The state of a sample's velocity, at the sample's time.

    What the sample states and the run does not use, and the share of the velocity's energy that
    the simulator drops, is said in an `InputWarning`.

    Args:
        simulator: what starts from it.
        sample: with a field `velocity` (2, H, W), (3, D, H, W) or (N,).
        dimensions: of the box.
        state_of: velocity -> state, with an entry `time`.
        fields: those of the sample that `state_of` uses.
        truncated: whether the simulator keeps only the modes of the 2/3 rule.

    Raises:
        InputError: no such field, another box, or walls.
    """
    if "velocity" not in sample.fields:
        raise InputError(f"{sample.id}: no field 'velocity', which {simulator.part} starts from")
    box.check(simulator, sample, dimensions)
    velocity = np.array(sample.fields["velocity"])
    state = state_of(torch.from_numpy(velocity))
    state = state._replace(time=state.time + sample.conditions.get("time", 0.0))
    box.say_unused(simulator, sample, fields)
    if dimensions == 1 and velocity.size == velocity.shape[-1]:
        velocity = velocity.reshape(-1)
    if velocity.ndim == (1 if dimensions == 1 else dimensions + 1):
        lengths = tuple(box.stating(simulator).values())
        shares = energy_shares(velocity, lengths, truncated=truncated)
        box.say_dropped(sample, simulator.part, shares)
    return state
