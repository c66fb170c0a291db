"""How far a trunk on a mesh hears: messages along its edges, or along coarser meshes, too.

    python recipes/mesh_levels.py [--steps 300] [--train 64] [--seeds 3] [--out F]

Poisson's equation -lap u = f with u = 0 around it, on 16 x 16 x 2 triangles whose points are moved
about; f is a sum of three Gaussian bumps of either sign. The trunk is told f at the points and
learns u; `--train` sources to learn from, 16 unseen ones to judge by: |u - u_label| / |u_label|
over all of them, on that mesh, and on one of 24 x 24 x 2 triangles that it has not seen. The labels
are the finite-element solver's, which is exact here and takes some milliseconds. Models:

    edges, 2 layers     the encoder `fluids/mesh` along edges
    edges, 4 layers     twice the parameters
    levels, 2 layers    along edges of ever coarser meshes, too (`along="levels"`)

CPU seconds are the process's, of one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sfm_fluids.elements.advection_diffusion import AdvectionDiffusion
from sfm_fluids.elements.mesh import UNIT, Mesh, boundary_edges, quadrilateral
from sfm_fluids.learned.mesh_trunk import PART, small_model
from sfm_fluids.quantities import MESH_SOLUTION
from torch import Tensor

from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError, one_line_errors
from sfm.model import FoundationModel
from sfm.nn.descent import batches, cosine, descend

MODELS = {
    "edges, 2 layers": ("edges", 2),
    "edges, 4 layers": ("edges", 4),
    "levels, 2 layers": ("levels", 2),
}
CELLS, OTHER, TESTS = 16, 24, 16
LEVEL = "Poisson"
LARGEST = 0.02  # size of a typical u, by which labels are divided


def _mesh(n: int) -> Mesh:
    """n x n cells whose inner points are moved about."""
    mesh = quadrilateral(UNIT, n, n)
    inner = torch.ones(len(mesh.points), dtype=torch.bool)
    inner[boundary_edges(mesh.triangles)] = False
    noise = torch.rand(mesh.points.shape, generator=torch.Generator().manual_seed(0)).double()
    return Mesh(mesh.points + inner[:, None] * (noise - 0.5) * 0.4 / n, mesh.triangles, mesh.sides)


def _bumps(x: Tensor, seed: int) -> Tensor:
    """f (n,) at points (n, 2)."""
    rng = np.random.default_rng(seed)
    f = torch.zeros(len(x), dtype=torch.float64)
    for _ in range(3):
        middle, width = torch.from_numpy(rng.uniform(0.1, 0.9, 2)), rng.uniform(0.07, 0.15)
        f = f + rng.choice([-1.0, 1.0]) * torch.exp(-(x - middle).square().sum(1) / (2 * width**2))
    return f


class Problem:
    """A mesh, its solver, and tokens of sources."""

    def __init__(self, cells: int) -> None:
        self.mesh = _mesh(cells)
        self.solver = AdvectionDiffusion(mesh=self.mesh, degree=1).requires_grad_(False)

    def case(self, model: FoundationModel, seed: int) -> tuple[Tokens, Tensor]:
        """What the model is told of a source, and u (n,) / LARGEST."""
        f = _bumps(self.mesh.points, seed)
        state = self.solver.state()
        u = self.solver(state._replace(source=f, boundary=torch.zeros_like(f))).solution
        fields = {
            "mesh_points": self.mesh.points.numpy(),
            "mesh_triangles": self.mesh.triangles.numpy(),
            "mesh_scalars": 3 * f.numpy()[:, None],
        }
        sample = Sample(id=f"bumps {seed}", domain="fluids", fields=fields)
        return model.tokenize(PART, [sample]), u / LARGEST


def _said(model: FoundationModel, tokens: Tokens) -> Tensor:
    answer: Tensor = model({PART: tokens}, {PART: (MESH_SOLUTION.name,)})[PART][MESH_SOLUTION.name]
    return answer


def measured(name: str, train: int, steps: int, seed: int) -> dict[str, Any]:
    """One row."""
    along, layers = MODELS[name]
    trunk = {"channels": 24, "layers": layers, "radial": 8, "carried": 6}
    model = small_model(MESH_SOLUTION, LEVEL, trunk=trunk, along=along, seed=seed)
    near, far = Problem(CELLS), Problem(OTHER)
    cases = [near.case(model, i) for i in range(train)]
    order = batches(train, 4, seed=seed)

    def loss(_: int) -> Tensor:
        some = [cases[i] for i in next(order)]
        label = torch.cat([u for _, u in some])
        off = _said(model, Tokens.cat([t for t, _ in some])) - label
        return off.square().sum() / label.square().sum()

    begun = time.process_time()
    descend(
        model,
        loss,
        work=name,
        steps=steps,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
        schedule=cosine(steps),
        clip=1.0,
    )
    row = {"model": name, "train": train, "steps": steps, "seed": seed}
    row["parameters"] = sum(p.numel() for p in model.parameters())
    row["train_s"] = time.process_time() - begun
    for label, problem in (("error", near), ("error on another mesh", far)):
        tests = [problem.case(model, 10_000 + i) for i in range(TESTS)]
        begun = time.process_time()
        with torch.no_grad():
            said = torch.cat([_said(model, tokens) for tokens, _ in tests])
        true = torch.cat([u for _, u in tests])
        row[label] = float((said - true).norm() / true.norm())
        if problem is near:
            row["cpu_ms"] = 1e3 * (time.process_time() - begun) / TESTS
    return row


@one_line_errors
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=int, default=64, help="sources to learn from")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="file of JSON lines, one per run")
    arguments = parser.parse_args()
    if arguments.train < 4 or min(arguments.steps, arguments.seeds) < 1:
        raise InputError("give at least 4 sources, 1 step and 1 seed")
    for seed in range(arguments.seeds):
        for name in MODELS:
            row = measured(name, arguments.train, arguments.steps, seed)
            print(json.dumps(row), flush=True)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
