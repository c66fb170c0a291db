"""Networks that correct a coarse mesh through the solver, beside means and finer meshes.

    python recipes/mesh_correction.py [--steps 200] [--seeds 3] [--media 48] [--out F]

Media of two phases (contrast 20, as `fluids/darcy` draws them) are solved on 32 x 32 x 2 triangles
of degree 2, the reference, and on 8 x 8 x 2 of degree 1. There each triangle gets the
arithmetic, harmonic or geometric mean of what it holds, or the last with a network's correction:
of a graph network (`sfm_fluids.learned.mesh_correction`), or of the shared trunk with the mesh's
points as tokens (`sfm_fluids.learned.mesh_trunk`). Both are trained on sources of 1 and zero
boundary values.
Errors are |u - u_fine| / |u_fine| at the coarse points, means over unseen media: as trained; with
another source and other boundary values; and on a coarse mesh that it has not seen (10 x 10 x 2,
its points moved about). CPU milliseconds are those of one answer, the network's and the solve's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sfm_fluids.darcy.random_media import random_phase
from sfm_fluids.elements.advection_diffusion import AdvectionDiffusion
from sfm_fluids.elements.mesh import UNIT, Mesh, boundary_edges, quadrilateral
from sfm_fluids.learned.mesh_correction import Correction, Medium, MeshCorrection, medium
from sfm_fluids.learned.mesh_trunk import TrunkCorrection
from torch import Tensor

from sfm.errors import InputError, one_line_errors
from sfm.nn.descent import batches, cosine, descend

FINE, COARSE, CONTRAST = 32, 8, 20.0
Factor = Callable[[Medium], Tensor]


def _moved(n: int) -> Mesh:
    """n x n cells whose inner points are moved about."""
    mesh = quadrilateral(UNIT, n, n)
    inner = torch.ones(len(mesh.points), dtype=torch.bool)
    inner[boundary_edges(mesh.triangles)] = False
    noise = torch.rand(mesh.points.shape, generator=torch.Generator().manual_seed(0)).double()
    return Mesh(mesh.points + inner[:, None] * (noise - 0.5) * 0.4 / n, mesh.triangles, mesh.sides)


class Problem:
    """A fine and a coarse simulator, what drives both, and the fine solutions of media."""

    def __init__(self, coarse: Mesh, *, other: bool = False) -> None:
        self.fine = AdvectionDiffusion(cells=FINE).requires_grad_(False)
        self.coarse = AdvectionDiffusion(mesh=coarse, degree=1).requires_grad_(False)
        self.other = other
        self.centres = self.fine.space.mesh.points[self.fine.space.mesh.triangles].mean(1)

    def _state(self, sim: AdvectionDiffusion, factor: Tensor) -> Any:
        state = sim.state()._replace(factor=factor)
        if not self.other:
            return state
        x, y = sim.space.nodes().unbind(1)
        return state._replace(source=4 * torch.sin(5 * x) * y, boundary=0.3 * x * x - 0.1 * y)

    def medium(self, seed: int) -> tuple[Medium, Tensor]:
        """A random medium on the coarse mesh, and what the fine one says at the coarse points."""
        phase = random_phase(FINE, FINE, seed).double()
        column, row = (self.centres * FINE).long().unbind(1)
        a = torch.where(phase[row, column] > 0.5, CONTRAST, 1.0).double()
        fine = self.fine(self._state(self.fine, a)).solution
        return medium(self.coarse.space.mesh, self.centres, a), self._at_points(fine)

    def _at_points(self, u: Tensor) -> Tensor:
        """The fine solution at the coarse points, by its degree-1 part on the fine corners."""
        n = FINE + 1
        grid = u[: n * n].reshape(1, 1, n, n)
        at = self.coarse.space.mesh.points * 2 - 1
        values = torch.nn.functional.grid_sample(grid, at[None, None], align_corners=True)
        return values[0, 0, 0]

    def answer(self, factor: Tensor) -> Tensor:
        return self.coarse(self._state(self.coarse, factor)).solution


MEANS: dict[str, Factor] = {
    "arithmetic mean": lambda m: (m.log_mean + m.facts[:, 1]).exp(),
    "harmonic mean": lambda m: (m.log_mean + m.facts[:, 2]).exp(),
    "geometric mean": lambda m: m.log_mean.exp(),
}


def _off(answer: Tensor, exact: Tensor) -> Tensor:
    return (answer - exact).norm() / exact.norm()


def judged(
    problem: Problem, cases: list[tuple[Medium, Tensor]], factor: Factor
) -> dict[str, float]:
    """Mean error, and CPU milliseconds of an answer."""
    begun = time.process_time()
    with torch.no_grad():
        errors = [float(_off(problem.answer(factor(m)), exact)) for m, exact in cases]
    spent = time.process_time() - begun
    return {"error": statistics.mean(errors), "cpu_ms": 1e3 * spent / len(cases)}


def graph_network(seed: int) -> MeshCorrection:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MeshCorrection()


NETWORKS: dict[str, Callable[[int], Correction]] = {
    "corrected": graph_network,
    "corrected by the trunk": lambda seed: TrunkCorrection(seed=seed),
}


def trained(
    network: Correction,
    problem: Problem,
    cases: list[tuple[Medium, Tensor]],
    steps: int,
    seed: int,
) -> float:
    """The CPU seconds that a network's training took."""
    order = batches(len(cases), min(4, len(cases)), seed=seed)

    def loss(_: int) -> Tensor:
        some = [cases[i] for i in next(order)]
        return torch.stack([_off(problem.answer(network.factor(m)), u) for m, u in some]).mean()

    begun = time.process_time()
    descend(
        network,
        loss,
        work="mesh correction",
        steps=steps,
        optimizer=torch.optim.Adam(network.parameters(), lr=5e-3),
        schedule=cosine(steps),
        clip=1.0,
    )
    return time.process_time() - begun


@one_line_errors
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--media", type=int, default=48, help="to learn from; a third to judge by")
    parser.add_argument("--out", type=Path, help="JSON file of all results")
    arguments = parser.parse_args()
    if min(arguments.steps, arguments.seeds) < 1 or arguments.media < 3:
        raise InputError("give at least 1 step, 1 seed and 3 media")
    plain = quadrilateral(UNIT, COARSE, COARSE)
    problems = {
        "as trained": Problem(plain),
        "another source and boundary": Problem(plain, other=True),
        "another mesh": Problem(_moved(10)),
    }
    unseen = range(10_000, 10_000 + arguments.media // 3)
    tests = {name: [p.medium(seed) for seed in unseen] for name, p in problems.items()}
    rows: list[dict[str, Any]] = []

    def say(model: str, factor: Factor, **more: Any) -> None:
        for name, problem in problems.items():
            row = {"problem": name, "model": model, **judged(problem, tests[name], factor), **more}
            rows.append(row)
            print(json.dumps(row), flush=True)

    for model, factor in MEANS.items():
        say(model, factor)
    for cells in (12, 16):
        finer = Problem(quadrilateral(UNIT, cells, cells))
        cases = [finer.medium(seed) for seed in unseen]
        row = {"problem": "as trained", "model": f"geometric mean, {cells} x {cells} x 2"}
        rows.append(row | judged(finer, cases, MEANS["geometric mean"]))
        print(json.dumps(rows[-1]), flush=True)
    train = [problems["as trained"].medium(seed) for seed in range(arguments.media)]
    for seed in range(arguments.seeds):
        for name, make in NETWORKS.items():
            network = make(seed)
            spent = trained(network, problems["as trained"], train, arguments.steps, seed)
            count = sum(p.numel() for p in network.parameters())
            say(name, network.factor, seed=seed, parameters=count, train_s=round(spent, 1))
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
