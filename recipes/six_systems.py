"""Six mechanical systems, learned by networks that know mechanics and by the shared trunk.

    python recipes/six_systems.py [SYSTEM ...] [--models NAME ...] [--seeds 3] [--out F]
    python recipes/six_systems.py --table F

The systems are those of A. Shinde et al., Deepmechanics (2026), arXiv:2602.18060: a mass on a
spring, a pendulum, a double pendulum, three bodies, a pendulum on a spring, and a bouncing ball,
which loses energy. Their equations here are those of `dynamics`. Models (`--models`):

    plain         a perceptron of the rates
    hamiltonian   a perceptron of H (Greydanus et al., arXiv:1906.01563)
    lagrangian    mass matrix and potential, a perceptron each (Lutter et al., arXiv:1907.04490)
    recurrent     T(p) + V(q), learned through leapfrog from states alone (arXiv:1909.13334)
    potential     T known, a perceptron of V(q)
    trunk         T and the places of the bodies known, V the energy of the foundation model's
                  trunk, bodies as tokens
    pretrained    the same, trained on the other five systems first
    classical     the equation itself, by the same method

All learn from states without noise, 0.1 or 0.05 apart, and their exact rates (`recurrent` from the
states), of 20 runs of 30 states, or as many as `--runs` says. Errors are those of ten unseen
runs: of coordinates, root mean square over that of the true ones about their mean; of energy, root
mean square of H - H_true over that of the true kinetic energy. CPU seconds are the process's.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sfm_dynamics.minimise import minimise
from sfm_dynamics.model.coordinates import PLACEMENTS, BodyPotential
from sfm_dynamics.model.networks import Energy, Mechanical, Rates, learn_rates, rates_of
from sfm_dynamics.model.recurrent import Separable, leapfrog, learn_runs
from sfm_dynamics.simulators.hamiltonian import turned
from sfm_dynamics.simulators.lagrangian import TwoPendulums
from sfm_dynamics.simulators.runge_kutta import RK4, step
from sfm_dynamics.simulators.slope import slope
from torch import Tensor, nn

import sfm
from sfm.config import HeadSpec, ModelConfig, Target
from sfm.errors import InputError, all_known, one_line_errors
from sfm.model import FoundationModel
from sfm.nn.descent import batches, cosine, descend
from sfm.quantity import ENERGY
from sfm.train.build import new_model

PART, LEVEL = "dynamics/bodies", "mechanics"
RUNS, POINTS, TESTS = 20, 30, 10
# steps of Adam, then iterations of L-BFGS
PERCEPTRON, TRUNK = (1000, 200), (600, 100)
RECURRENT, PRETRAINING = 200, 300
# several times the longest distance: the energy is smooth over that length, and runs leave the data
REACH = 24.0
LARGEST = 1e3  # of an error: what has diverged counts as this
Function = Callable[[Tensor], Tensor]
Starts = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class System:
    """A system.

    Attributes:
        settings: of its simulator. still: parameters that leave its kinetic energy if zero.
        starts: (generator, runs) -> coordinates and momenta (runs, 2n).
        dt: between states. until: of the runs that are judged. angles: whether q are angles.
    """

    settings: dict[str, float]
    still: tuple[str, ...]
    starts: Starts
    dt: float = 0.1
    until: float = 5.0
    angles: bool = False


def _about(middle: Sequence[float], width: Sequence[float]) -> Starts:
    return lambda rng, runs: middle + rng.uniform(-1, 1, (runs, len(width))) * width


_EIGHT: tuple[float, ...] = (0.97000436, -0.24308753, -0.97000436, 0.24308753, 0.0, 0.0)
_EIGHT += (0.466203685, 0.43236573, 0.466203685, 0.43236573, -0.93240737, -0.86473146)
SYSTEMS = {
    "mass-spring": System({}, ("stiffness",), _about((0, 0), (1, 1))),
    "pendulum": System({}, ("gravity",), _about((0, 0), (2, 0.5)), angles=True),
    "double-pendulum": System(
        {}, ("gravity",), _about((0,) * 4, (1.2, 1.2, 0.5, 0.5)), angles=True
    ),
    "three-body": System(
        {"softening": 0.1}, ("gravity",), _about(_EIGHT, (0.05,) * 12), dt=0.05, until=3.15
    ),
    "spring-pendulum": System(
        {}, ("stiffness", "gravity"), _about((0, -1.1, 0, 0), (0.6, 0.2, 0.5, 0.5))
    ),
    "bouncing-ball": System({}, (), _about((1, 0), (0.5, 0.5)), dt=0.05, until=4.0),
}


class Truth:
    """A system's equation, and what is known of it beside its energy."""

    def __init__(self, name: str) -> None:
        self.name, self.system = name, SYSTEMS[name]
        self.simulator: Any = sfm.simulator(f"dynamics/{name}", **self.system.settings)
        self.simulator.requires_grad_(False)
        self.field: Function = self.simulator.field()
        self.n: int = self.simulator.dim // 2

    def energy(self, x: Tensor) -> Tensor:
        energy: Tensor = self.simulator.energy(x, self.simulator.values())
        return energy

    def kinetic(self, x: Tensor) -> Tensor:
        if self.name == "bouncing-ball":
            return 0.5 * x[..., 1].square()
        p = self.simulator.values()
        zeros = {name: torch.zeros_like(p[name]) for name in self.system.still}
        energy: Tensor = self.simulator.energy(x, {**p, **zeros})
        return energy

    def momenta(self, x: Tensor) -> Tensor:
        """(q, v) -> (q, p); masses are 1."""
        if self.name != "double-pendulum":
            return x
        return torch.cat((x[..., :2], slope(TwoPendulums(), x)[..., 2:]), -1)

    def velocities(self, x: Tensor) -> Tensor:
        """(q, p) -> (q, v)."""
        return torch.cat((x[..., : self.n], self.field(x)[..., : self.n]), -1)

    def accelerations(self, x: Tensor) -> Tensor:
        """Rates (v, dv/dt) at (q, p): the derivative of v along the motion, by differences."""
        f, h = self.field(x), 1e-5
        ahead, behind = self.velocities(x + h * f), self.velocities(x - h * f)
        return (ahead - behind) / (2 * h)

    def runs(self, start: Tensor, steps: int) -> Tensor:
        """(steps + 1, runs, 2n) from (runs, 2n), ten steps of RK4 to each."""
        states = [start]
        for _ in range(steps):
            x = states[-1]
            for _ in range(10):
                x = step(RK4, self.field, x, self.system.dt / 10)
            states.append(x)
        return torch.stack(states)


@dataclass(frozen=True)
class Learned:
    """A trained model: what it does to a state, in coordinates of its own, and what it took."""

    advance: Function
    parameters: int
    train_s: float
    of_velocities: bool = False


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _network(truth: Truth, model: str, states: Tensor, seed: int) -> Learned:
    """The models that are learned from rates, and the recurrent one."""
    n, dt, x = truth.n, truth.system.dt, states.flatten(0, 1)
    begun = time.process_time()
    if model == "recurrent":
        two = Separable(n, seed=seed)
        learn_runs(two, states, dt, iterations=RECURRENT)
        return Learned(leapfrog(two, dt), _count(two), time.process_time() - begun)
    angles = n if truth.system.angles else 0
    fit = dict(zip(("steps", "polish"), PERCEPTRON, strict=True))
    with torch.no_grad():
        rates = truth.field(x)
    if model == "plain":
        network: nn.Module = Rates(2 * n, seed=seed, angles=angles)
    elif model == "hamiltonian":
        network = Energy(2 * n, seed=seed)
    else:
        network = Mechanical(n, periodic=truth.system.angles, seed=seed)
        with torch.no_grad():
            rates, x = truth.accelerations(x), truth.velocities(x)
    learn_rates(network, x, rates, **fit)
    spent, field = time.process_time() - begun, rates_of(network)
    return Learned(lambda y: step(RK4, field, y, dt), _count(network), spent, model == "lagrangian")


def _model(seed: int) -> FoundationModel:
    config = ModelConfig(
        trunk={"channels": 32, "layers": 2, "experts": 1, "radial": 8, "carried": 8},
        encoders={PART: {"cutoff": REACH}},
        encoder_domains={PART: "dynamics"},
        heads=(HeadSpec(PART, "energy", "dynamics/energy"),),
        targets=(Target(PART, LEVEL, "energy"),),
        contexts=((PART, LEVEL),),
        quantities={"energy": ENERGY},
        plugins={},
        name=LEVEL,
    )
    model = new_model(config, seed)
    model.trunk.neighbours.fill_(2.0)  # bodies are few
    return model


def _body_potential(model: FoundationModel, name: str) -> BodyPotential:
    closure = model.closure("dynamics", extrapolate=True)  # nothing is recorded of what it covers
    return BodyPotential(closure, PLACEMENTS[name])


def _forces(truth: Truth, states: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates (m, n), and forces there that are no kinetic energy's: dp/dt + dT/dq."""
    x = states.flatten(0, 1)
    with torch.no_grad():
        forces = truth.field(x)[:, truth.n :] + slope(truth.kinetic, x)[:, : truth.n]
    return x[:, : truth.n], forces


def _mismatch(potential: Function, q: Tensor, forces: Tensor) -> Tensor:
    return (slope(potential, q.requires_grad_()) + forces).square().mean() / forces.square().mean()


def _learn_forces(
    module: nn.Module,
    systems: Sequence[tuple[Function, Tensor, Tensor]],
    *,
    steps: int,
    size: int,
    lr: float,
    polish: int,
    seed: int,
) -> None:
    """Adam on batches of every system's rows, then L-BFGS on as many as 64 of the first."""
    orders = [batches(len(q), min(size, len(q)), seed=seed) for _, q, _ in systems]

    def loss(_: int) -> Tensor:
        rows = [next(order) for order in orders]
        terms = [_mismatch(v, q[i], f[i]) for (v, q, f), i in zip(systems, rows, strict=True)]
        return torch.stack(terms).mean()

    optimizer = torch.optim.Adam(module.parameters(), lr=lr)
    descend(
        module,
        loss,
        work="forces",
        steps=steps,
        optimizer=optimizer,
        schedule=cosine(steps),
        clip=10.0,
    )
    if polish:
        potential, q, forces = systems[0]
        some = torch.randperm(len(q), generator=torch.Generator().manual_seed(seed))[:64]
        minimise(
            lambda: _mismatch(potential, q[some], forces[some]), [*module.parameters()], polish
        )


def _states(truth: Truth, runs: int, seed: int) -> Tensor:
    """(POINTS, runs, 2n) to learn from."""
    start = torch.from_numpy(truth.system.starts(np.random.default_rng(seed), runs))
    with torch.no_grad():
        return truth.runs(start, POINTS - 1)


_PRETRAINED: dict[str, tuple[FoundationModel, float]] = {}


def _pretrained(name: str) -> tuple[FoundationModel, float]:
    """A model of all systems but `name`, and the CPU seconds that it took; one for all seeds."""
    if name not in _PRETRAINED:
        begun = time.process_time()
        model, systems = _model(1000), []
        for other in SYSTEMS:
            if other != name:
                truth = Truth(other)
                rows = _forces(truth, _states(truth, RUNS, 500))
                systems.append((_body_potential(model, other).at, *rows))
        _learn_forces(model, systems, steps=PRETRAINING, size=8, lr=3e-3, polish=0, seed=0)
        _PRETRAINED[name] = model, time.process_time() - begun
    return _PRETRAINED[name]


def _potential(truth: Truth, model: str, states: Tensor, seed: int) -> Learned:
    """The models whose kinetic energy is known."""
    q, forces = _forces(truth, states)
    module: nn.Module
    start = _pretrained(truth.name)[0] if model == "pretrained" else None
    begun = time.process_time()
    if model == "potential":
        module = Energy(truth.n, seed=seed)
        potential: Function = module
        (steps, polish), size = PERCEPTRON, 600
    else:
        whole = _model(seed) if start is None else copy.deepcopy(start)
        module, potential = whole, _body_potential(whole, truth.name).at
        (steps, polish), size = TRUNK, 16
    systems = [(potential, q, forces)]
    _learn_forces(module, systems, steps=steps, size=size, lr=3e-3, polish=polish, seed=seed)
    spent = time.process_time() - begun

    def field(x: Tensor) -> Tensor:
        force = slope(potential, x[..., : truth.n])
        return turned(slope(truth.kinetic, x) + torch.cat((force, torch.zeros_like(force)), -1))

    return Learned(lambda x: step(RK4, field, x, truth.system.dt), _count(module), spent)


def _judged(truth: Truth, learned: Learned, start: Tensor, true: Tensor) -> dict[str, float]:
    """Errors of runs from `start` (runs, 2n) whose true states are (T + 1, runs, 2n)."""
    begun, x = time.process_time(), start
    x, states = (truth.velocities(x) if learned.of_velocities else x), []
    for _ in range(len(true) - 1):
        x = learned.advance(x).detach()
        states.append(truth.momenta(x) if learned.of_velocities else x)
    spent, path, n = time.process_time() - begun, torch.stack(states), truth.n

    def size(values: Tensor, scale: Tensor) -> float:
        ratio = values.nan_to_num(LARGEST, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST)
        return min(float(ratio.square().mean().sqrt() / scale), LARGEST)

    q = true[1:, ..., :n]
    spread = (q - q.flatten(0, 1).mean(0)).square().mean().sqrt()
    off = truth.energy(path) - truth.energy(true[1:])
    return {
        "error": size(path[..., :n] - q, spread),
        "energy_error": size(off, truth.kinetic(true).square().mean().sqrt()),
        "runs_s": spent,
    }


def measured(name: str, model: str, runs: int, seed: int) -> dict[str, Any]:
    """One row: a model of a system, from `runs` runs."""
    truth = Truth(name)
    with torch.no_grad():
        states = _states(truth, runs, seed)
        rng = np.random.default_rng(10_000 + seed)
        start = torch.from_numpy(truth.system.starts(rng, TESTS))
        true = truth.runs(start, round(truth.system.until / truth.system.dt))
    if model == "classical":
        learned = Learned(lambda x: step(RK4, truth.field, x, truth.system.dt), 0, 0.0)
    elif model in ("potential", "trunk", "pretrained"):
        learned = _potential(truth, model, states, seed)
    else:
        learned = _network(truth, model, states, seed)
    row = {"system": name, "model": model, "runs": runs, "seed": seed}
    row |= {"parameters": learned.parameters, "train_s": round(learned.train_s, 2)}
    row |= _reach(model)
    if model == "pretrained":
        row["pretrain_s"] = round(_pretrained(name)[1], 1)
    with torch.no_grad():
        return row | _judged(truth, learned, start, true)


def _reach(model: str) -> dict[str, float]:
    """What a row says of the trunk's cutoff, where there is a trunk."""
    return {"cutoff": REACH} if model in ("trunk", "pretrained") else {}


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a row from others: the same again is not measured."""
    return tuple(row.get(name) for name in ("system", "model", "runs", "seed", "cutoff"))


def _label(row: dict[str, Any]) -> str:
    """Name of a row's model, with the cutoff of a trunk."""
    return row["model"] + (f", cutoff {row['cutoff']:g}" if "cutoff" in row else "")


MODELS: tuple[str, ...] = ("classical", "plain", "hamiltonian", "lagrangian", "recurrent")
MODELS += ("potential", "trunk", "pretrained")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: medians over seeds, coordinates / energy, and mean CPU seconds of training.

    A cell says how many seeds it has where others have more; a dash is not measured.
    """
    lines = []
    for runs in dict.fromkeys(row["runs"] for row in rows):
        of_size = [row for row in rows if row["runs"] == runs]
        names = list(dict.fromkeys(row["system"] for row in of_size))
        lines += [f"\n**{runs} runs of {POINTS} states**\n"]
        lines += ["| model | " + " | ".join([*names, "training, CPU s", "runs, CPU s"]) + " |"]
        lines += ["|---" * (len(names) + 3) + "|"]
        most = len({row["seed"] for row in of_size})
        for model in dict.fromkeys(_label(row) for row in of_size):
            of_model = [row for row in of_size if _label(row) == model]
            cells = [model]
            for name in names:
                cells.append(_cell([row for row in of_model if row["system"] == name], most))
            for key in ("train_s", "runs_s"):
                cells.append(f"{statistics.mean(row[key] for row in of_model):.1f}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rows: Sequence[dict[str, Any]], most: int) -> str:
    """Medians of one model on one system, and the number of seeds if it is not `most`."""
    if not rows:
        return "-"
    errors = [statistics.median(row[key] for row in rows) for key in _ERRORS]
    seeds = "" if len(rows) == most else f" ({len(rows)} seeds)".replace("(1 seeds", "(1 seed")
    return " / ".join(f"{error:.1g}" for error in errors) + seeds


_ERRORS = ("error", "energy_error")


@one_line_errors
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--models", nargs="+", default=(), metavar="MODEL")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"to learn from; {RUNS}")
    parser.add_argument("--out", type=Path, help="file of JSON lines; what is there is kept")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of such a file")
    arguments = parser.parse_args()
    source = arguments.table or arguments.out
    if arguments.table and not arguments.table.exists():
        raise InputError(f"{arguments.table}: no such file")
    rows = []
    if source and source.exists():
        rows = [json.loads(line) for line in source.read_text().splitlines()]
    if min(arguments.seeds, arguments.runs) < 1:
        raise InputError("give at least 1 seed and 1 run")
    names = all_known(arguments.systems, tuple(SYSTEMS), "system")
    models = all_known(arguments.models, MODELS, "model")
    done = {_key(row) for row in rows}
    for seed in range(0 if arguments.table else arguments.seeds):
        for name in names:
            for model in models:
                row = {"system": name, "model": model, "runs": arguments.runs, "seed": seed}
                if _key(row | _reach(model)) in done:
                    continue
                rows.append(measured(name, model, arguments.runs, seed))
                print(json.dumps(rows[-1]), flush=True)
                if arguments.out:
                    with arguments.out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
