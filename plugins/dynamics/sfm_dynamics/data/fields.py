"""Building `dynamics-fields`: stochastic partial differential equations on a circle.

Fields, rates and times in the system's own units.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.splits import assign
from sfm.data.storage import Column, write_dataset
from sfm.registry import find
from sfm_dynamics.data.columns import state_columns
from sfm_dynamics.data.specs import CIRCLES, FIELDS

POINTS, SNAPSHOTS, STRIDE = 32, 10, 20
SIGMAS = (0.0, 0.1, 0.3)
"""Strengths of the noise: none, the simulators' default, three times that."""


def build_fields(out: Path, size: int, seed: int) -> list[Path]:
    """`size` initial conditions of each equation, each at every strength; see the card."""
    columns = state_columns(
        CIRCLES.values(),
        Column("sigma", role="condition"),
        Column("length", role="condition", dtype="float64"),
    )

    def rows() -> Iterator[dict[str, Any]]:
        for name, level in CIRCLES.items():
            for number, sigma in enumerate(SIGMAS):
                states, rates, times, length = fields(name, size, seed, sigma)
                print(f"{name}, sigma {sigma:g}: {tuple(states.shape)}", file=sys.stderr)
                for i in range(size):
                    group = f"circle-{i:03d}"  # one start of all equations: one split
                    for k, time in enumerate(times):
                        yield {
                            "id": f"{name}-{i:03d}-{number}-{k:02d}",
                            "split": assign(group, (0.7, 0.15, 0.15)),
                            "group": group,
                            "state[1]": states[k, i],
                            "time[1]": time,
                            "sigma[1]": sigma,
                            "length[1]": length,
                            f"rate[1]@{level}": rates[k, i],
                        }

    return write_dataset(out, columns, rows(), FIELDS.info())


def fields(
    name: str, size: int, seed: int, sigma: float
) -> tuple[Float[Tensor, "T size n"], Float[Tensor, "T size n"], list[float], float]:
    """Fields and drifts (T, size, n), their times, and the length of the circle."""
    cls = find("simulators", f"dynamics/{name}").load()
    # another realisation for each strength
    noise_seed = 1000 * seed + SIGMAS.index(sigma) if sigma in SIGMAS else seed
    simulator = cls(n=POINTS, noise=sigma, paths=size, seed=noise_seed).requires_grad_(False)
    states, rates, times = [], [], []
    state = simulator.state()._replace(values=starts(simulator.points, size, seed))
    for _ in range(SNAPSHOTS):
        states.append(state.values)
        rates.append(simulator.drift(state.values, simulator.values()))
        times.append(simulator.time(state))
        state = simulator(state, STRIDE)
    return torch.stack(states), torch.stack(rates), times, simulator.length


def starts(x: Float[Tensor, " n"], size: int, seed: int) -> Float[Tensor, "size n"]:
    """Smooth fields: four waves of random phase, of normal amplitude over their number."""
    rng = np.random.default_rng(seed)
    amplitude = torch.from_numpy(rng.standard_normal((size, 4, 1)))
    phase = torch.from_numpy(rng.uniform(0, 2 * np.pi, (size, 4, 1)))
    turns = 2 * np.pi * x / (len(x) * (x[1] - x[0]))
    number = torch.arange(1, 5, dtype=x.dtype)[:, None]
    return (amplitude / number * torch.cos(number * turns + phase)).sum(1)
