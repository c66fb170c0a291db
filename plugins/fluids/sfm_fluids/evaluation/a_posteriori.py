"""How good a closure is inside the solver: replaying a filtered trajectory on its coarse grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError

from ..data.building import COARSE, FILTER_WIDTH
from ..data.dns import Member, curl_of_force
from ..data.filtering import Filter
from ..periodic.navier_stokes_2d import NavierStokes2D


class Replay(NamedTuple):
    """At each later snapshot: time since the start, vorticity correlation, velocity error."""

    times: np.ndarray
    correlation: np.ndarray
    relative_error: np.ndarray


def trajectories(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Samples of `turbulence-2d` by trajectory, in order of time."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.id.rsplit("-", 1)[0], []).append(sample)
    return {k: sorted(v, key=lambda s: s.conditions["time"]) for k, v in found.items()}


def filtered_force(name: str) -> Tensor:
    """Curl (32, 32) of F[f] of the trajectory `re1000-ring-932`: the force that the LES feels."""
    _, kind, seed = name.split("-")[:3]
    curl = curl_of_force(Member(kind, int(seed)), COARSE)
    return Filter(COARSE, COARSE, FILTER_WIDTH)(curl)


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
        force_curl=filtered_force(first.id),
        **options,
    )
    state, rows = simulator.state(first), []
    with torch.no_grad():
        for before, after in pairwise(samples):
            gap = (after.conditions["time"] - before.conditions["time"]) / dt
            if abs(gap - round(gap)) > 1e-3:
                raise InputError(f"{after.id}: dt={dt} does not divide the time since {before.id}")
            state = simulator(state, round(gap))
            exact = simulator.state(after)
            u, v = simulator.velocity(state), simulator.velocity(exact)
            pair = torch.stack((state.vorticity.flatten(), exact.vorticity.flatten()))
            rows.append(
                (
                    float(state.time),
                    float(torch.corrcoef(pair)[0, 1]),
                    float((u - v).norm() / v.norm()),
                )
            )
    return Replay(*(np.array(column) for column in zip(*rows, strict=True)))
