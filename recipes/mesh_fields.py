"""The flow over a step from its parameter: a mesh read by the trunk beside modes of snapshots.

    python recipes/mesh_fields.py [--train 40] [--steps 60] [--seeds 3] [--out F]

Velocities at 1,639 points of the 500 steady flows of `mesh-smithers` (its source is downloaded, 65
MB) for the largest speed U of the inflow. Evenly spaced in U, `--train` of them are learned from,
and 50 between those are judged: mean of |u - u_label| / |u_label|. Models:

    nearest   the snapshot of the nearest U
    modes     proper orthogonal decomposition and cubic splines of the coefficients in U
              (J. Hesthaven, S. Ubbiali, J. Comput. Phys. 363, 55 (2018), with splines for networks)
    trunk     the encoder `fluids/mesh` and the trunk, one token per point, told U, its place
              and the inflow; it learns u / U

CPU seconds are the process's, of one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from sfm_fluids.data.smithers import load
from sfm_fluids.data.specs import NAVIER_STOKES
from sfm_fluids.learned.mesh_trunk import small_model
from sfm_fluids.quantities import MESH_VELOCITY

from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError, one_line_errors
from sfm.model import FoundationModel
from sfm.nn.descent import batches, cosine, descend

PART, TESTS = "fluids/mesh", 50
TRUNK = {"channels": 32, "layers": 3, "radial": 8, "carried": 8}
MODES = 20
Flow = Callable[[float], np.ndarray]


def flows() -> tuple[np.ndarray, np.ndarray]:
    """(500,) largest speeds of the inflow, ascending, and (500, n, 2) velocities."""
    speeds, states = load("navier_stokes", "params")[:, 0], load("navier_stokes", "snapshots")
    order, n = speeds.argsort(), states.shape[1] // 3
    return speeds[order], states[order, : 2 * n].reshape(-1, 2, n).transpose(0, 2, 1)


def chosen(count: int, of: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, both ends among them, and rows to judge by, none of the first."""
    train = np.linspace(0, of - 1, count).round().astype(int)
    rest = np.setdiff1d(np.arange(of), train)
    return train, rest[np.linspace(0, len(rest) - 1, TESTS).round().astype(int)]


def modes(speeds: np.ndarray, states: np.ndarray) -> Flow:
    """Proper orthogonal decomposition; coefficients are splines in U."""
    rows, mean = states.reshape(len(states), -1), states.reshape(len(states), -1).mean(0)
    left, sizes, right = np.linalg.svd(rows - mean, full_matrices=False)
    k = min(MODES, len(rows) - 1)
    spline = CubicSpline(speeds, left[:, :k] * sizes[:k])
    return lambda speed: (mean + spline(speed) @ right[:k]).reshape(states.shape[1:])


def nearest(speeds: np.ndarray, states: np.ndarray) -> Flow:
    return lambda speed: states[np.abs(speeds - speed).argmin()]


def _sample(speed: float) -> Sample:
    """The mesh, told U, how far in and up a point is, the inflow's parabola and its direction."""
    points = load("navier_stokes", "coords")
    y, inflow = points[:, 1], points[:, 0] == 0
    parabola = np.where(inflow, 4 * (y - 2) * (5 - y) / 9, 0)
    along = np.zeros((len(points), 2, 1))
    along[:, 0] = 1.0
    fields = {
        "mesh_points": points,
        "mesh_triangles": load("navier_stokes", "triangles").astype(np.int64),
        "mesh_scalars": np.stack((parabola, 0.2 * points[:, 0], y), 1),
        "mesh_vectors": along,
        "mesh_parameters": np.array([speed, 0.1 * speed]),
    }
    return Sample(id=f"U = {speed:.3g}", domain="fluids", fields=fields)


def trained(speeds: np.ndarray, states: np.ndarray, steps: int, seed: int) -> FoundationModel:
    """The trunk after `steps` of one flow each."""
    model = small_model(MESH_VELOCITY, NAVIER_STOKES, trunk=TRUNK, seed=seed)
    tokens: dict[int, Tokens] = {}
    order = batches(len(speeds), 1, seed=seed)

    def loss(_: int) -> torch.Tensor:
        (i,) = next(order)
        if i not in tokens:
            tokens[i] = model.tokenize(PART, [_sample(speeds[i])])
        said = model({PART: tokens[i]}, {PART: ("mesh_velocity",)})[PART]["mesh_velocity"]
        label = torch.from_numpy(states[i] / speeds[i]).to(said)
        return (said - label).square().sum() / label.square().sum()

    descend(
        model,
        loss,
        work="flow over a step",
        steps=steps,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
        schedule=cosine(steps),
        clip=1.0,
    )
    return model


def judged(flow: Flow, speeds: np.ndarray, states: np.ndarray) -> dict[str, float]:
    """Mean relative error, and CPU milliseconds of an answer."""
    begun = time.process_time()
    answers = [flow(float(speed)) for speed in speeds]
    spent = time.process_time() - begun
    errors = [
        np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(answers, states, strict=True)
    ]
    return {"error": float(np.mean(errors)), "cpu_ms": 1e3 * spent / len(speeds)}


def rows_of(train: int, steps: int, seed: int) -> list[dict[str, Any]]:
    """The rows of one seed; those of the rivals with seed 0."""
    speeds, states = flows()
    seen, unseen = chosen(train, len(speeds))
    rows = []
    for name, make in (("nearest", nearest), ("modes", modes)) if seed == 0 else ():
        begun = time.process_time()
        flow = make(speeds[seen], states[seen])
        row = {"model": name, "train": train, "seed": 0, "parameters": 0}
        row["train_s"] = time.process_time() - begun
        rows.append(row | judged(flow, speeds[unseen], states[unseen]))
    if steps:
        begun = time.process_time()
        model = trained(speeds[seen], states[seen], steps, seed)
        spent = time.process_time() - begun

        def flow(speed: float) -> np.ndarray:
            with torch.no_grad():
                tokens = {PART: model.tokenize(PART, [_sample(speed)])}
                said = model(tokens, {PART: ("mesh_velocity",)})[PART]["mesh_velocity"]
            return speed * said.double().numpy()

        count = sum(p.numel() for p in model.parameters())
        row = {"model": "trunk", "train": train, "seed": seed, "parameters": count}
        row |= {"steps": steps, "train_s": spent}
        some = unseen[::5]
        rows.append(row | judged(flow, speeds[some], states[some]))
    return rows


@one_line_errors
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=int, default=40, help="snapshots to learn from")
    parser.add_argument(
        "--steps", type=int, default=60, help="of the trunk; 0 for the rivals alone"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="file of JSON lines, one per run")
    arguments = parser.parse_args()
    if not 4 <= arguments.train <= 400 or arguments.seeds < 1 or arguments.steps < 0:
        raise InputError("give 4 to 400 snapshots, at least 1 seed and no fewer than 0 steps")
    for seed in range(arguments.seeds if arguments.steps else 1):
        for row in rows_of(arguments.train, arguments.steps, seed):
            print(json.dumps(row), flush=True)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
