"""Pairs of states for forecasting: a filtered flow and the change of its velocity.

Units are those of the data: lengths of a box of 2 pi, forces of amplitude 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sfm.data.labelling import note
from sfm.data.rounding import round_mantissa
from sfm.data.spec import DatasetSpec
from sfm.data.splits import assign
from sfm.data.storage import Column, write_dataset
from sfm_fluids.data.building_2d import simulated, trajectory_name
from sfm_fluids.data.columns import ROW
from sfm_fluids.data.dns_2d import Case, Snapshot
from sfm_fluids.data.rounding import VELOCITY_BITS
from sfm_fluids.flows.bundled import COARSE, FILTER_WIDTH, filtered_force
from sfm_fluids.spectral.grid_2d import velocity as velocity_of_curl

CHANGE_BITS = 11
NOISE = (1e-3, 3e-2)  # of the training split's states, over their rms velocity

COLUMNS = (
    *ROW,
    Column("velocity", role="field", shape=(2, *COARSE.shape)),
    Column("force", role="field", shape=(2, *COARSE.shape)),
    Column("interval", role="condition"),
    Column("reynolds", role="condition"),
    Column("viscosity", role="condition"),
    Column("drag", role="condition"),
    Column("time", role="condition"),
    Column("noise", role="condition"),
    Column("velocity_change", role="label", level="DNS", shape=(-1, 2)),
)


def by_member(snapshots: Sequence[Snapshot]) -> Iterator[list[Snapshot]]:
    """Snapshots of each member in order of time."""
    for member in dict.fromkeys(s.member for s in snapshots):
        yield sorted((s for s in snapshots if s.member == member), key=lambda s: s.number)


def disturbance(
    velocity: Float[np.ndarray, "2 H W"], generator: torch.Generator
) -> tuple[Float[np.ndarray, "2 H W"], float]:
    """(2, H, W) random divergence-free velocity, equal in all modes that are kept, and its rms.

    A surrogate that has seen only true states amplifies its own errors in a rollout; from a
    disturbed state to the true next one it learns to damp them (A. Sanchez-Gonzalez et al., ICML
    2020, section 4). The rms over that of `velocity` is log-uniform in `NOISE`.
    """
    low, high = (math.log(n) for n in NOISE)
    level = math.exp(low + (high - low) * float(torch.rand((), generator=generator)))
    white = torch.randn(COARSE.shape, dtype=torch.float64, generator=generator)
    ky, kx = COARSE.wavenumbers()
    hat = torch.fft.rfft2(white) * COARSE.dealias_mask() * torch.sqrt(kx**2 + ky**2)
    noise = velocity_of_curl(torch.fft.irfft2(hat, s=COARSE.shape), COARSE).numpy()
    rms = level * float(np.sqrt(np.mean(velocity**2)))
    return noise * rms / np.sqrt(np.mean(noise**2)), rms


def rows(
    case: Case, snapshots: Sequence[Snapshot], fractions: tuple[float, float, float]
) -> Iterator[dict[str, Any]]:
    """One row per pair of consecutive snapshots; states of the training split are disturbed."""
    for states in by_member(snapshots):
        member = states[0].member
        group = trajectory_name(case, member)
        split = assign(group, fractions)
        force = round_mantissa(filtered_force(member).numpy(), VELOCITY_BITS)
        generator = torch.Generator().manual_seed(member.seed)
        for before, after in pairwise(states):
            velocity, rms = before.velocity, 0.0
            if split == "train":
                noise, rms = disturbance(velocity, generator)
                velocity = velocity + noise
            change = np.moveaxis(after.velocity - velocity, 0, -1).reshape(-1, 2)
            values = {
                "id": f"{group}-{before.number:03d}",
                "split": split,
                "group": group,
                "cell": np.diag([COARSE.length_x, COARSE.length_y, 1.0]),
                "pbc": np.array([True, True, False]),
                "velocity": round_mantissa(velocity, VELOCITY_BITS),
                "force": force,
                "interval": case.interval,
                "reynolds": case.reynolds,
                "viscosity": case.viscosity,
                "drag": member.drag,
                "time": before.time,
                "noise": rms,
                "velocity_change": round_mantissa(change, CHANGE_BITS),
            }
            yield {column.name: values[column.quantity] for column in COLUMNS}


def build(
    cases: Sequence[Case],
    spec: DatasetSpec,
    folder: Path,
    *,
    fractions: tuple[float, float, float],
    log: Any = note,
) -> None:
    """Simulate `cases` (or take them from the cache) and write `folder/data`."""
    table = (row for case in cases for row in rows(case, simulated(case, log)[0], fractions))
    write_dataset(folder, COLUMNS, table, spec.info(filter_width=FILTER_WIDTH))
