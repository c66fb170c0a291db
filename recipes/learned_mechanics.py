"""Networks that know mechanics beside plain ones: how well a learned system keeps the true energy.

    python recipes/learned_mechanics.py [mass-spring two-body double-pendulum] [--seeds 3] [--out F]

Each system's states, with exact rates, train a plain network of the rates and one of the energy
(Hamiltonian: mass-spring, two-body) or of mass matrix and potential (Lagrangian: double pendulum).
Both then run from ten unseen starts, and the error is that of the *true* energy along the runs:

    error = mean over runs and times of (H(x(t)) - H(x(0)))^2
    drift = root mean square over runs of the linear trend of H(x(t)) - H(x(0)) in time

Data as in S. Greydanus, M. Dzamba, J. Yosinski (2019), arXiv:1906.01563 (mass-spring: 25
trajectories of 30 points, noise 0.1; two-body: states of nearly circular orbits) and M. Cranmer et
al. (2020), arXiv:2003.04630 (double pendulum: states with exact accelerations). CPU seconds of one
core; the classical solver is the same method on the true equation.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sfm_dynamics.model.networks import Energy, Mechanical, Rates, learn_rates, rates_of
from sfm_dynamics.simulators.gravity import TwoBody
from sfm_dynamics.simulators.lagrangian import TwoPendulums, motion
from sfm_dynamics.simulators.mechanics import MassSpring
from sfm_dynamics.simulators.runge_kutta import RK4, step
from torch import Tensor, nn

from sfm.errors import all_known, one_line_errors

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class System:
    """A system, what it is learned from, and how.

    Attributes:
        energy: its true energy (...) at states (..., d).
        rates: its true rates.
        states: (generator, count) -> states (count, d).
        plain: seed -> network of the rates. knowing: seed -> network that knows mechanics.
        noise: of the states that are learned from. rows: how many.
        fit: options of `learn_rates`. dt: of the runs. times: until which they are judged.
    """

    energy: Function
    rates: Function
    states: Callable[[np.random.Generator, int], np.ndarray]
    plain: Callable[[int], nn.Module]
    knowing: Callable[[int], nn.Module]
    rows: int
    fit: dict[str, Any]
    dt: float
    times: tuple[float, ...]
    noise: float = 0.0


def _springs(rng: np.random.Generator, count: int) -> np.ndarray:
    orbits = -(-count // 30)
    radius = np.repeat(rng.uniform(0.1, 1.0, orbits), 30)[:count]
    angle = np.repeat(rng.uniform(0, 2 * np.pi, orbits), 30) - np.tile(
        np.linspace(0, 3, 30), orbits
    )
    angle = angle[:count]
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1)


def _orbits(rng: np.random.Generator, count: int) -> np.ndarray:
    radius, angle = rng.uniform(0.5, 1.5, count), rng.uniform(0, 2 * np.pi, count)
    out = np.stack((np.cos(angle), np.sin(angle)), -1)
    along = np.stack((-out[:, 1], out[:, 0]), -1)
    speed = (0.5 / np.sqrt(radius))[:, None]
    q = radius[:, None] * out
    p = speed * (along * (1 + 0.05 * rng.standard_normal((count, 1))))
    p = p + speed * out * 0.05 * rng.standard_normal((count, 1))
    return np.concatenate((q, -q, p, -p), -1)


def _pendulum_runs(rng: np.random.Generator, count: int) -> np.ndarray:
    """States of runs from moderate angles, 30 of each, 0.6 apart; the first `count`, mixed."""
    runs = max(10, -(-count // 30))
    x = torch.from_numpy(rng.uniform(-1, 1, (runs, 4)) * [1.0, 1.0, 0.5, 0.5])
    rates, states = _pendulums()[1], []
    for _ in range(30):
        states.append(x.detach().numpy())
        for _ in range(6):
            x = step(RK4, rates, x, 0.1).detach()
    return np.concatenate(states)[:count]


def _classical(simulator: Any) -> tuple[Function, Function]:
    simulator.requires_grad_(False)
    return simulator.total(), simulator.field()


def _pendulums() -> tuple[Function, Function]:
    lagrangian = TwoPendulums()

    def energy(x: Tensor) -> Tensor:
        a, b, da, db = x.unbind(-1)
        kinetic = da**2 + 0.5 * db**2 + da * db * torch.cos(a - b)
        return kinetic - 2 * torch.cos(a) - torch.cos(b)

    return energy, lambda x: motion(lagrangian, x)


def systems() -> dict[str, System]:
    """The three systems."""
    return {
        "mass-spring": System(
            *_classical(MassSpring()),
            _springs,
            lambda seed: Rates(2, seed=seed),
            lambda seed: Energy(2, seed=seed),
            rows=750,
            noise=0.1,
            fit={"steps": 500},
            dt=0.1,
            times=(20, 200),
        ),
        "two-body": System(
            *_classical(TwoBody()),
            _orbits,
            lambda seed: Rates(8, seed=seed),
            lambda seed: Energy(8, seed=seed),
            rows=600,
            fit={"steps": 200, "polish": 400},
            dt=0.1,
            times=(20, 100),
        ),
        "double-pendulum": System(
            *_pendulums(),
            _pendulum_runs,
            lambda seed: Rates(4, seed=seed, angles=2),
            lambda seed: Mechanical(2, periodic=True, seed=seed),
            rows=900,
            fit={"steps": 100, "polish": 600},
            dt=0.05,
            times=(20, 50),
        ),
    }


def deviations(system: System, rates: Function, start: Tensor) -> Tensor:
    """(steps, n) of the true energy from its first value along runs from `start` (n, d)."""
    first, x, changes = system.energy(start), start, []
    with torch.no_grad():
        for _ in range(round(system.times[-1] / system.dt)):
            x = step(RK4, rates, x, system.dt)
            changes.append(system.energy(x) - first)
    return torch.stack(changes).detach()


def judged(system: System, rates: Function, start: Tensor) -> dict[str, Any]:
    """Energy errors to each of the system's times, and the drift over all of them."""
    off = deviations(system, rates, start)
    ends = [round(t / system.dt) for t in system.times]
    time = system.dt * torch.arange(len(off), dtype=off.dtype)
    time = time - time.mean()
    trend = (time[:, None] * off).sum(0) / time.square().sum()
    return {
        "energy_errors": [float(off[:end].square().mean()) for end in ends],
        "drift": float(trend.square().mean().sqrt()),
    }


def measured(name: str, seed: int) -> dict[str, Any]:
    """Energy errors and CPU seconds of one system and seed."""
    system = systems()[name]
    rng = np.random.default_rng(seed)
    exact = torch.from_numpy(system.states(rng, system.rows))
    seen = exact + system.noise * torch.from_numpy(rng.standard_normal(exact.shape))
    with torch.no_grad():
        rates = system.rates(exact)
    start = torch.from_numpy(system.states(np.random.default_rng(1000 + seed), 10))
    errors: dict[str, Any] = {"system": name, "seed": seed}
    for kind, make in (("plain", system.plain), ("knowing", system.knowing)):
        begun = time.process_time()
        network = make(seed)
        loss = learn_rates(network, seen, rates, **system.fit)
        spent = time.process_time() - begun
        errors[kind] = judged(system, rates_of(network), start)
        errors[kind] |= {"loss": loss, "cpu_s": round(spent, 2)}
    begun = time.process_time()
    errors["classical"] = judged(system, system.rates, start)
    errors["classical"]["cpu_s"] = round(time.process_time() - begun, 2)
    pairs = zip(errors["plain"]["energy_errors"], errors["knowing"]["energy_errors"], strict=True)
    errors["times"], errors["ratios"] = list(system.times), [a / b for a, b in pairs]
    errors["drift_ratio"] = errors["plain"]["drift"] / errors["knowing"]["drift"]
    return errors


@one_line_errors
def main() -> int:
    names = tuple(systems())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(names)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file of all results")
    arguments = parser.parse_args()
    chosen = all_known(arguments.systems, names, "system")
    rows = []
    for name in chosen:
        for seed in range(arguments.seeds):
            rows.append(measured(name, seed))
            print(json.dumps(rows[-1]), flush=True)
    for name in chosen:
        runs = [row for row in rows if row["system"] == name]
        errors = [math.log(row["ratios"][-1]) for row in runs]
        drifts = [math.log(row["drift_ratio"]) for row in runs]
        print(
            f"{name}: below a plain network's, geometric means: "
            f"energy error {math.exp(sum(errors) / len(runs)):.0f}, "
            f"drift {math.exp(sum(drifts) / len(runs)):.0f}"
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
