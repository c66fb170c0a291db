"""Building the datasets of this plugin with its own simulators, each by one function.

States, rates and times in the system's own units.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sfm.data.splits import assign
from sfm.data.storage import (
    GROUP,
    ID,
    SPLIT,
    TYPES,
    Column,
    positions_column,
    write_dataset,
)
from sfm.errors import one_line_errors
from sfm.registry import find
from sfm_dynamics.data.columns import state_columns
from sfm_dynamics.data.fields import build_fields
from sfm_dynamics.data.specs import BODIES, FIELDS, HOOKE, NEWTON, SYSTEMS, TRAJECTORIES
from sfm_dynamics.simulators.bodies import TIME, Bodies, BodiesInSpace
from sfm_dynamics.simulators.sde import Sde
from sfm_dynamics.simulators.system import State

SNAPSHOTS = 40
NOISE = (0.0, 0.01, 0.05)
SETTINGS: dict[str, dict[str, Any]] = {
    "lorenz-96": {"n": 8},
    "three-body": {"softening": 0.1},
    "robertson": {"dt": 10.0},
}
# time between snapshots, in steps of the simulator's dt
STRIDE = {"robertson": 1, "henon-heiles": 10, "lorenz-63": 5, "fitzhugh-nagumo": 10}


@one_line_errors
def main(name: str, folder: Path, argv: Sequence[str] | None = None) -> int:
    """The command line of a `build.py`.

    Args:
        name: the dataset.
        folder: where it goes unless `--out` says otherwise.
        argv: arguments; those of the process if None.
    """
    size, build = {
        TRAJECTORIES.name: (12, build_trajectories),
        BODIES.name: (40, build_bodies),
        FIELDS.name: (12, build_fields),
    }[name]
    parser = argparse.ArgumentParser(description=f"Rebuild {name}.")
    parser.add_argument(
        "--size", type=int, default=size, help=f"initial conditions per system (default {size})"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    parser.add_argument("--out", type=Path, default=folder, help="folder to write to")
    options = parser.parse_args(argv)
    with torch.no_grad():
        written = build(options.out, options.size, options.seed)
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB", file=sys.stderr)
    return 0


def build_trajectories(out: Path, size: int, seed: int) -> list[Path]:
    """`size` trajectories of each system; see the dataset's card."""
    columns = state_columns(SYSTEMS.values(), Column("noise", role="condition"))

    def rows() -> Iterator[dict[str, Any]]:
        for name, level in SYSTEMS.items():
            states, rates, times = trajectories(name, size, seed)
            print(f"{name}: {states.shape}", file=sys.stderr, flush=True)
            spread = states.reshape(-1, states.shape[-1]).std(0)
            rng = np.random.default_rng(seed)
            for i, (path, slopes) in enumerate(zip(states, rates, strict=True)):
                group, noise = f"{name}-{i:03d}", NOISE[i % len(NOISE)]
                seen = path + noise * spread * rng.standard_normal(path.shape)
                for k, time in enumerate(times):
                    yield {
                        "id": f"{group}-{k:03d}",
                        "split": assign(group, (0.7, 0.15, 0.15)),
                        "group": group,
                        "state[1]": seen[k],
                        "time[1]": time,
                        "noise[1]": noise,
                        f"rate[1]@{level}": slopes[k],
                    }

    return write_dataset(out, columns, rows(), TRAJECTORIES.info())


def trajectories(
    name: str, size: int, seed: int
) -> tuple[Float[np.ndarray, "size T d"], Float[np.ndarray, "size T d"], Float[np.ndarray, " T"]]:
    """States and rates (size, T, d) along trajectories of a system, and their times (T,).

    Initial states are the well-known one and disturbed copies; of stochastic systems the rate is
    the drift.
    """
    values = dict(SETTINGS.get(name, {}))
    cls = find("simulators", f"dynamics/{name}").load()
    simulator = cls(**values, **({"paths": size, "seed": seed} if issubclass(cls, Sde) else {}))
    simulator.requires_grad_(False)
    rng = np.random.default_rng(seed)
    state = simulator.state()
    if not issubclass(cls, Sde):
        state = _spread(simulator, state, size, rng)
    stride = STRIDE.get(name, max(1, simulator.default_steps // (2 * SNAPSHOTS)))
    states, rates, times = [], [], []
    for _ in range(SNAPSHOTS):
        x = state.values
        slope = (
            simulator.drift(x, simulator.values())
            if isinstance(simulator, Sde)
            else simulator.field()(x)
        )
        states.append(x.numpy())
        rates.append(slope.numpy())
        times.append(simulator.time(state))
        state = simulator(state, stride)
    return np.stack(states, 1), np.stack(rates, 1), np.array(times)


def _spread(simulator: Any, state: State, size: int, rng: np.random.Generator) -> State:
    """`size` initial states about the well-known one; shares and numbers stay positive."""
    x = state.values.numpy()
    if simulator.part == "dynamics/robertson":
        shares = rng.dirichlet((8.0, 0.5), size)
        rows = np.stack((shares[:, 0], np.zeros(size), shares[:, 1]), 1)
    elif simulator.part == "dynamics/lotka-volterra":
        rows = x * np.exp(0.3 * rng.standard_normal((size, len(x))))
    else:
        width = 0.05 if simulator.part.endswith(("body", "kepler", "heiles")) else 0.3
        scale = max(float(np.abs(x).mean()), 0.3)
        rows = x + width * scale * rng.standard_normal((size, len(x)))
    rows[0] = x
    states: State = simulator.at(torch.from_numpy(rows))
    return states


def build_bodies(out: Path, size: int, seed: int) -> list[Path]:
    """`size` trajectories for each law of force and each number of bodies; see the card."""
    columns = [ID, SPLIT, GROUP, TYPES, positions_column()]
    columns += [
        Column("velocities", "angstrom/fs", shape=(-1, 3)),
        Column("masses", "amu", shape=(-1,)),
    ]
    for level in (HOOKE, NEWTON):
        columns += [
            Column("energy", "eV", role="label", level=level, dtype="float64"),
            Column("forces", "eV/angstrom", role="label", level=level, shape=(-1, 3)),
        ]

    def rows() -> Iterator[dict[str, Any]]:
        for level, potential in ((HOOKE, "spring"), (NEWTON, "gravity")):
            for n in (2, 3):
                yield from _body_rows(level, potential, n, size, seed)

    return write_dataset(out, columns, rows(), BODIES.info())


def _body_rows(
    level: str, potential: str, n: int, size: int, seed: int, snapshots: int = 12
) -> Iterator[dict[str, Any]]:
    simulator = BodiesInSpace(potential=potential, method="yoshida4").requires_grad_(False)
    rng = np.random.default_rng((seed, n, potential == "spring"))
    state = _random_bodies(rng, n, size, bound=potential == "gravity")
    for k in range(snapshots):
        seen = simulator.observe(state)
        for i in range(size):
            group = f"{potential}-{n}-{i:03d}"
            yield {
                "id": f"{group}-{k:02d}",
                "split": assign(group, (0.7, 0.15, 0.15)),
                "group": group,
                "types[1]": np.zeros(n),
                "positions[angstrom]": state.positions[i],
                "velocities[angstrom/fs]": state.velocities[i],
                "masses[amu]": state.masses[i],
                f"energy[eV]@{level}": float(seen["energy"][i]),
                f"forces[eV/angstrom]@{level}": seen["forces"][i],
            }
        state = simulator(state, 12)


def _random_bodies(rng: np.random.Generator, n: int, size: int, *, bound: bool) -> Bodies:
    """Bodies on a ring of radius 0.7 to 1.3, disturbed, nearly on circular orbits."""
    masses = rng.uniform(0.7, 1.3, (size, n))
    angle = 2 * np.pi * np.arange(n) / n + rng.uniform(0, 2 * np.pi, (size, 1))
    radius = rng.uniform(0.7, 1.3, (size, 1))
    ring = np.stack((np.cos(angle), np.sin(angle), 0 * angle), -1)
    along = np.stack((-np.sin(angle), np.cos(angle), 0 * angle), -1)
    positions = radius[..., None] * ring + 0.1 * rng.standard_normal((size, n, 3))
    pull = {2: 0.25, 3: 3**-0.5}[n]
    speed = np.sqrt(pull / radius)[..., None] if bound else 0.5
    velocities = (speed * along + 0.1 * rng.standard_normal((size, n, 3))) / TIME
    total = masses.sum(1, keepdims=True)[..., None]
    positions -= (masses[..., None] * positions).sum(1, keepdims=True) / total
    velocities -= (masses[..., None] * velocities).sum(1, keepdims=True) / total
    return Bodies(
        torch.from_numpy(positions),
        torch.from_numpy(velocities),
        torch.from_numpy(masses),
        torch.ones(size, n, 3, dtype=torch.bool),
        torch.zeros(size, dtype=torch.float64),
    )
