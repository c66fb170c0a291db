"""From snapshots to pairs of states: learning the next state without a second copy of the data."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm_fluids.flows.bundled import COARSE, filtered_force, member_of
from sfm_fluids.flows.trajectories import trajectories


def next_state_pairs(samples: Iterable[Sample], *, stride: int = 1) -> list[Sample]:
    """Samples whose label is what the velocity changes by until a later row of the trajectory.

    Args:
        samples: rows of `turbulence-2d` or `turbulence-2d-unseen`, in any order.
        stride: how many rows later; a row without such a later one gives no pair.

    Returns:
        For each pair the earlier sample with the field `force` (2, 32, 32), the filtered force of
        its flow; the condition `interval`; and only the label `velocity_change` (cells, 2). These
        are what the encoder `fluids/flow` and the head `fluids/velocity_change` take.

    Raises:
        InputError: the stride is below 1, the rows are on another grid, or an id is none of theirs.
    """
    if stride < 1:
        raise InputError(f"stride={stride}: must be at least 1")
    pairs = []
    for name, rows in trajectories(samples).items():
        force = _force(name, rows[0])
        for before, after in zip(rows, rows[stride:], strict=False):
            change = after.fields["velocity"] - before.fields["velocity"]
            pairs.append(
                before.replace(
                    fields={**before.fields, "force": force},
                    conditions={
                        **before.conditions,
                        "interval": after.conditions["time"] - before.conditions["time"],
                    },
                    labels={"velocity_change": np.moveaxis(change, 0, -1).reshape(-1, 2)},
                )
            )
    return pairs


def _force(name: str, sample: Sample) -> np.ndarray:
    """(2, H, W): the force that the filtered flow of the trajectory `re125-ring-902` feels."""
    shape = sample.fields["velocity"].shape
    if shape != (2, *COARSE.shape):
        raise InputError(f"{sample.id}: velocity {shape}; pairs are made on 32 x 32 points")
    return filtered_force(member_of(name)).numpy()
