"""How good a closure is inside the solver: replaying a filtered trajectory on its coarse grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm_fluids import box
from sfm_fluids.evaluation.fields import correlation
from sfm_fluids.flows.bundled import COARSE, filtered_curl, member_of
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D


class Replay(NamedTuple):
    """At each later snapshot: time since the start, vorticity correlation, velocity error."""

    times: np.ndarray
    correlation: np.ndarray
    relative_error: np.ndarray


def replay(
    samples: Sequence[Sample],
    *,
    closure: nn.Module | None = None,
    dt: float = 0.0125,
    **options: Any,
) -> Replay:
    """Start from a trajectory's first snapshot and compare with the later ones.

    Args:
        samples: of one trajectory of `turbulence-2d` or `turbulence-2d-unseen`.
        closure: the subgrid model, None for none.
        dt: step of the coarse solver; divides the snapshots' interval.
        options: of `NavierStokes2D`, such as `subgrid="smagorinsky"`.

    Raises:
        InputError: fewer than two snapshots, or dt does not divide their interval.
    """
    if len(samples) < 2:
        raise InputError("a replay needs at least two snapshots of one trajectory")
    first = samples[0]
    simulator = NavierStokes2D(
        height=COARSE.height,
        width=COARSE.width,
        viscosity=first.conditions["viscosity"],
        drag=first.conditions["drag"],
        dt=dt,
        closure=closure,
        force_curl=filtered_curl(member_of(first.id)),
        **options,
    )
    box.check_periodic(first, 2, "a run")
    box.check_lengths(simulator, first, 2)
    velocity = torch.from_numpy(np.stack([s.fields["velocity"] for s in samples]))
    state, rows = simulator.from_velocity(velocity[0]), []
    with torch.no_grad():
        for (before, after), field in zip(pairwise(samples), velocity[1:], strict=True):
            gap = (after.conditions["time"] - before.conditions["time"]) / dt
            if abs(gap - round(gap)) > 1e-3:
                raise InputError(f"{after.id}: dt={dt} does not divide the time since {before.id}")
            state = simulator(state, round(gap))
            exact = simulator.from_velocity(field)
            u, v = simulator.velocity(state), simulator.velocity(exact)
            rows.append(
                (
                    float(state.time),
                    float(correlation(state.vorticity, exact.vorticity)),
                    float((u - v).norm() / v.norm()),
                )
            )
    return Replay(*(np.array(column) for column in zip(*rows, strict=True)))
