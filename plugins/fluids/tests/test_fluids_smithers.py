"""The bundled slice of finite-element snapshots: what the card says, held by the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from sfm_fluids.data import smithers
from sfm_fluids.data.specs import ELASTIC, HEAT, MESH_SMITHERS, NAVIER_STOKES
from sfm_fluids.patches.mesh_encoder import MeshEncoder

import sfm


@pytest.fixture(scope="module")
def samples():
    splits = ("train", "validation", "test")
    return [s for split in splits for s in sfm.dataset("fluids/mesh-smithers", split=split)]


def of(samples, level):
    return [s for s in samples if s.level == level]


def test_every_problem_is_there_and_its_mesh_is_read(samples):
    assert [len(of(samples, level)) for level in MESH_SMITHERS.levels] == [10, 9, 10]
    for level, points in ((NAVIER_STOKES, 1639), (ELASTIC, 1346), (HEAT, 441)):
        tokens = MeshEncoder(channels=2).tokenize(of(samples, level)[0])
        assert tokens.n_tokens == points
        assert 5 < tokens.n_edges / points < 7


def test_the_inflow_is_a_parabola_of_the_stated_speed(samples):
    for sample in of(samples, NAVIER_STOKES):
        x, u = sample.fields["mesh_points"], sample.labels["mesh_velocity"]
        inflow, y = x[:, 0] == 0, x[:, 1]
        speed = float(sample.fields["mesh_parameters"][0])
        exact = speed * 4 * (y - 2) * (5 - y) / 9
        np.testing.assert_allclose(u[inflow, 0], exact[inflow], atol=2e-4 * speed)
        np.testing.assert_allclose(u[inflow, 1], 0, atol=1e-6)


def test_the_viscosity_is_one(samples):
    """Between plates 3 apart the pressure falls by 8 nu U / 9 per length (Poiseuille)."""
    slow = min(of(samples, NAVIER_STOKES), key=lambda s: s.fields["mesh_parameters"][0])
    x, p = slow.fields["mesh_points"][:, 0], slow.labels["mesh_pressure"]
    near = (x > 0.5) & (x < 3)
    slope = np.polyfit(x[near], p[near], 1)[0]
    speed = float(slow.fields["mesh_parameters"][0])
    assert -slope * 9 / (8 * speed) == pytest.approx(1, abs=0.01)


def test_the_block_is_held_and_the_edge_is_cold(samples):
    for sample in of(samples, ELASTIC):
        left = sample.fields["mesh_points"][:, 0] == 0
        assert left.any()
        assert not sample.labels["mesh_displacement"][left].any()
    for sample in of(samples, HEAT):
        x = sample.fields["mesh_points"]
        edge = ((x == 0) | (x == 1)).any(1)
        assert not sample.labels["mesh_solution"][edge].any()
        assert not sample.fields["mesh_scalars"][edge].any()


def test_the_slice_is_taken_as_the_builder_says(monkeypatch):
    """From a small wheel of the same layout: every so many snapshots by parameter, none twice."""
    rng = np.random.default_rng(0)
    shapes = {"navier_stokes": (500, 9), "elastic_block": (500, 6), "unsteady_heat": (100, 100, 3)}

    def load(problem: str, name: str) -> np.ndarray:
        values = {
            "coords": np.array([[0.0, 0], [1, 0], [0, 1]]),
            "triangles": np.array([[0, 1, 2]]),
            "params": rng.permutation(len(range(shapes[problem][0])))[:, None].astype(float),
            "snapshots": np.arange(np.prod(shapes[problem]), dtype=float).reshape(shapes[problem]),
        }
        return values[name]

    monkeypatch.setattr(smithers, "load", load)
    rows = list(smithers.rows())
    assert len(rows) == len({row["id"] for row in rows}) == 29
    heat = next(row for row in rows if row["id"].startswith("unsteady"))
    key = next(k for k in heat if k.startswith("mesh_solution"))
    now = next(k for k in heat if k.startswith("mesh_scalars"))
    assert float(heat[key][0] - heat[now][0, 0]) == pytest.approx(30, rel=1e-3)
