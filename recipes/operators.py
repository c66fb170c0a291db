"""Operator learners beside the trunk's surrogates: error, parameters and CPU seconds of each.

    python recipes/operators.py [darcy burgers turbulence] [--models NAME ...] [--seeds 3] [--out F]

Each learns a bundled dataset of the fluids plugin and is judged on its test split; `darcy`, which
is learned on 16 x 16 points, on the same media at 32 x 32, too. Models (`--models`):

    solver            the classical solver on the same points, nothing learned
    fourier           Fourier neural operator (package neuraloperator: the extra `operators`)
    deeponet          DeepONet
    multipole         multipole graph operator
    fourier-known     the first, given the solver's answer: it learns what is missing of that
    trunk             the foundation model of recipes/fluids-darcy.yaml, -burgers.yaml and
                      -next-state.yaml, dense (one expert), which rests on the solver in all three

Errors: mean over samples of |answer - label| / |label| (2-norms); for `turbulence` VRMSE after one
and ten intervals of rollouts over the test trajectories. CPU seconds are the process's, of one
thread. With --out, rows are appended as they come, and those that are there are not done again;
`python recipes/operators.py --table F` prints the table of such a file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sfm_fluids.evaluation.forecast import coarse_solver, scores
from sfm_fluids.flows.trajectories import trajectories
from sfm_fluids.operators.flow import FlowOperator
from sfm_fluids.operators.operator import Operator, fit
from sfm_fluids.operators.tasks import TASKS, arrays
from sfm_fluids.patches.surrogate import for_sample
from torch import Tensor

import sfm
from sfm.data.sample import Sample
from sfm.errors import InputError, all_known, one_line_errors
from sfm.recipe import load as load_recipe
from sfm.train.pretrain import pretrain


@dataclass(frozen=True)
class Learner:
    """An operator learner of one task: kind, options of its network, and its training."""

    kind: str
    steps: int
    options: dict[str, Any] = field(default_factory=dict)
    lr: float = 3e-3


# widths such that parameters are nearly those of the trunk, dense (0.17 to 0.18 million)
LEARNERS = {
    ("darcy", "fourier"): Learner("fourier", 600, {"width": 23, "modes": 8}),
    ("darcy", "deeponet"): Learner("deeponet", 2500, {"width": 192, "basis": 130}),
    ("darcy", "multipole"): Learner("multipole", 150, {"width": 59, "hidden": 32}),
    ("burgers", "multipole"): Learner("multipole", 500, {"width": 58, "hidden": 32}),
    ("turbulence", "multipole"): Learner("multipole", 60, {"width": 50, "hidden": 32}),
    ("burgers", "fourier"): Learner("fourier", 1200, {"width": 58, "modes": 8}),
    ("burgers", "deeponet"): Learner("deeponet", 2500, {"width": 156, "basis": 48}),
    ("turbulence", "fourier"): Learner("fourier", 600, {"width": 16, "modes": 12}),
    ("turbulence", "deeponet"): Learner("deeponet", 2000, {"width": 24, "basis": 24}),
}
# recipe and optimiser steps
TRUNKS = {
    "darcy": ("fluids-darcy", 90),
    "burgers": ("fluids-burgers", 150),
    "turbulence": ("fluids-next-state", 200),
}
MODELS = ("solver", "fourier", "deeponet", "multipole", "fourier-known", "trunk")


def _split(name: str, split: str) -> list[Sample]:
    return list(sfm.dataset(f"fluids/{name}", split=split))


def _relative(answers: Tensor, labels: Tensor) -> float:
    off = (answers - labels).flatten(1).norm(dim=1) / labels.flatten(1).norm(dim=1)
    return float(off.mean())


def _judged(
    name: str,
    on_grid: Callable[[Sequence[Sample]], Tensor],
    step: Callable[[Sample, int], Tensor],
) -> dict[str, float]:
    """Errors on the test split, and CPU milliseconds of one answer."""
    task = TASKS[name]
    test = _split(task.dataset, "test")
    begun = time.process_time()
    if name == "turbulence":
        table = scores(test, {"it": step})["it"]["vrmse"]
        answers = len(trajectories(test)) * len(table)
        errors = {"error": float(table[0]), "error after 10": float(table[-1])}
    else:
        errors = {"error": _relative(on_grid(test), arrays(task, test, known=False)[2])}
        answers = len(test)
    errors["cpu_ms"] = 1e3 * (time.process_time() - begun) / answers
    if name == "darcy":
        finer = _split("darcy-neuraloperator-32", "test")
        errors["error on 32"] = _relative(on_grid(finer), arrays(task, finer, known=False)[2])
    return errors


def _solver(name: str) -> dict[str, Any]:
    task = TASKS[name]

    def on_grid(samples: Sequence[Sample]) -> Tensor:
        return torch.stack([task.example(s, True).base for s in samples])

    return {"parameters": 0, "train_s": 0.0, **_judged(name, on_grid, coarse_solver)}


def _learner(name: str, model: str, seed: int) -> dict[str, Any]:
    kind, _, known = model.partition("-")
    plan, task = LEARNERS[name, kind], TASKS[name]
    begun = time.process_time()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        operator = Operator(name, plan.kind, known=bool(known), **plan.options)
    parts = (_split(task.dataset, "train"), _split(task.dataset, "validation"))
    fit(operator, *parts, steps=plan.steps, lr=plan.lr, seed=seed)
    spent = time.process_time() - begun
    operator.eval()

    def step(sample: Sample, steps: int) -> Tensor:
        start = torch.tensor(sample.fields["velocity"], dtype=torch.float64)
        return FlowOperator(operator, sample).rollout(start, steps)[1:]

    counts = [p.numel() * (1 + p.is_complex()) for p in operator.parameters()]
    return {
        "parameters": sum(counts),
        "train_s": spent,
        **_judged(name, operator.predict, step),
    }


def _trunk(name: str, seed: int) -> dict[str, Any]:
    begun = time.process_time()
    name_of, steps = TRUNKS[name]
    overrides = [f"training.seed={seed}", "model.experts=1", f"training.steps={steps}"]
    overrides += [f"training.validate_every={steps}", f"optimizer.warmup={steps // 6}"]
    with tempfile.TemporaryDirectory() as folder:
        recipe = load_recipe(Path(__file__).parent / f"{name_of}.yaml", overrides)
        out = pretrain(recipe, Path(folder) / "model", test_samples=1, log=False)
        model = sfm.load(out)
    spent = time.process_time() - begun
    task = TASKS[name]
    part = next(iter(model.config.encoders))

    def on_grid(samples: Sequence[Sample]) -> Tensor:
        answers = []
        for first in range(0, len(samples), 16):
            some = samples[first : first + 16]
            tokens = model.tokenize(part, some)
            with torch.no_grad():
                rows = model({part: tokens}, {part: (task.quantity,)})[part][task.quantity]
            shape = task.example(some[0], False).base.shape
            answers.append(rows.reshape(len(some), *shape))
        return torch.cat(answers)

    def step(sample: Sample, steps: int) -> Tensor:
        start = torch.tensor(sample.fields["velocity"], dtype=torch.float64)[None]
        with torch.no_grad():
            return for_sample(model, sample).rollout(start, steps)[1:, 0]

    counts = [p.numel() for p in model.parameters()]
    return {"parameters": sum(counts), "train_s": spent, **_judged(name, on_grid, step)}


def measured(name: str, model: str, seed: int) -> dict[str, Any]:
    """One row of the table."""
    if model == "solver":
        row = _solver(name)
    elif model == "trunk":
        row = _trunk(name, seed)
    else:
        row = _learner(name, model, seed)
    return {"task": name, "model": model, "seed": seed} | row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: means over seeds, with standard deviations."""
    lines = []
    for name in dict.fromkeys(row["task"] for row in rows):
        of_task = [row for row in rows if row["task"] == name]
        errors = [key for key in of_task[0] if key.startswith("error")]
        head = ["model", "parameters", *errors, "training, CPU s", "an answer, CPU ms", "seeds"]
        lines += [f"\n### {name}\n", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for model in dict.fromkeys(row["model"] for row in of_task):
            of_model = [row for row in of_task if row["model"] == model]
            cells = [model, f"{of_model[0]['parameters']:,}"]
            for key in errors:
                values = [row[key] for row in of_model]
                spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.3g}{spread}")
            cells.append(f"{statistics.mean(row['train_s'] for row in of_model):.0f}")
            cells.append(f"{statistics.mean(row['cpu_ms'] for row in of_model):.1f}")
            lines.append("| " + " | ".join([*cells, str(len(of_model))]) + " |")
    return "\n".join(lines)


@one_line_errors
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--models", nargs="+", default=(), metavar="MODEL")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="file of JSON lines, one per run")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of such a file")
    arguments = parser.parse_args()
    source = arguments.table or arguments.out
    if arguments.table and not arguments.table.exists():
        raise InputError(f"{arguments.table}: no such file")
    rows = []
    if source and source.exists():
        rows = [json.loads(line) for line in source.read_text().splitlines()]
    if arguments.table:
        print(table(rows))
        return 0
    names = all_known(arguments.tasks, tuple(TASKS), "task")
    models = all_known(arguments.models, MODELS, "model")
    done = {(row["task"], row["model"], row["seed"]) for row in rows}
    for seed in range(arguments.seeds):
        for name in names:
            for model in models:
                if (name, model, seed) in done or (model == "solver" and seed):
                    continue
                rows.append(measured(name, model, seed))
                print(json.dumps(rows[-1]), flush=True)
                if arguments.out:
                    with arguments.out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
