"""The simulated data: budgets, filtering, rounding, and the bundled files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sfm_fluids.closures.classical import GradientModel
from sfm_fluids.data.building import round_mantissa
from sfm_fluids.data.dns import Case, Member, Quality, Snapshot, run
from sfm_fluids.data.specs import TURBULENCE_2D, TURBULENCE_2D_UNSEEN
from sfm_fluids.evaluation.a_posteriori import filtered_force, replay, trajectories
from sfm_fluids.evaluation.metrics import a_priori
from sfm_fluids.periodic.forcing import kolmogorov_curl, ring_curl
from sfm_fluids.periodic.grid import Grid, velocity

from sfm.data.storage import Dataset
from sfm.errors import RunError

MEMBERS = (Member("kolmogorov", 1), Member("ring", 2), Member("decaying", 3))


@pytest.mark.parametrize(("precision", "budget"), [("float64", 5e-6), ("float32", 1e-5)])
def test_a_small_ensemble_closes_its_budget(precision, budget):
    case = Case(8e-3, 64, 0.0125, 0.5, 0.25, 2, MEMBERS, precision)
    coarse = Grid(16, 16)
    items = list(run(case, coarse, 3 * coarse.isotropic_spacing))
    snapshots = [i for i in items if isinstance(i, Snapshot)]
    quality = [i for i in items if isinstance(i, Quality)]
    assert [(s.member.kind, round(s.time, 9)) for s in snapshots[::3]] == [
        ("kolmogorov", 0.5),
        ("kolmogorov", 0.75),
    ]
    for q in quality:
        assert q.budget_residual < budget
        assert q.max_divergence < 1e-12
    again = next(i for i in run(case, coarse, 3 * coarse.isotropic_spacing))
    assert np.array_equal(again.velocity, snapshots[0].velocity)


def test_an_unstable_case_is_reported():
    case = Case(1e-4, 32, 1.0, 40.0, 1.0, 1, MEMBERS[:1])
    with pytest.raises(RunError, match="reduce dt"):
        list(run(case, Grid(16, 16), 1.0))


def test_forces_have_equal_strength_on_every_grid():
    for points in (32, 48):
        grid = Grid(points, points)
        seed = torch.Generator().manual_seed(4)
        for curl in (kolmogorov_curl(grid, 4), ring_curl(grid, 4.0, 0.75, seed)):
            force = velocity(curl, grid)  # a solenoidal force relates to its curl as u to omega
            assert force.square().sum(0).mean().item() == pytest.approx(0.5, rel=1e-12)


def test_rounding_keeps_the_promised_bits():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    for bits in (9, 14):
        rounded = round_mantissa(values, bits)
        assert np.abs(rounded / values - 1).max() <= 2.0 ** -(bits + 1)
        assert not (rounded.view(np.uint32) & ((1 << (23 - bits)) - 1)).any()


def opened(spec, split: str | None = None) -> Dataset:
    return Dataset(spec.folder, length_unit=spec.length_unit, split=split)


@pytest.mark.parametrize("spec", [TURBULENCE_2D, TURBULENCE_2D_UNSEEN], ids=lambda s: s.name)
def test_bundled_rows_are_flows_with_a_plausible_stress(spec):
    data = opened(spec)
    seen = {
        s: {x.id.rsplit("-", 1)[0] for x in opened(spec, s)}
        for s in ("train", "validation", "test")
    }
    assert all(seen.values())
    assert sum(len(groups) for groups in seen.values()) == len(set.union(*seen.values()))
    expected = {700.0, 2000.0} if spec.held_out else {125.0, 250.0, 500.0, 1000.0}
    assert {round(data[i].conditions["reynolds"]) for i in range(len(data))} == expected
    rows = [data[i] for i in range(0, len(data), 25)]
    table = a_priori(rows, {})["gradient"]
    assert table["correlation"] > 0.93
    assert 0.1 < table["relative_error"] < 0.35
    for row in rows:
        stress = row.labels["sgs_stress"]
        assert stress.shape == (1024, 2, 2)
        assert np.array_equal(stress[:, 0, 1], stress[:, 1, 0])
        assert np.trace(stress.mean(0)) > 0  # the subgrid scales hold energy


def test_the_next_rows_follow_from_the_first_and_a_closure_helps():
    """Ties together time, viscosity, drag, filtered force and stress of the stored rows."""
    data = opened(TURBULENCE_2D, "test")
    name, rows = next((k, v) for k, v in trajectories(data).items() if "kolmogorov" in k)
    plain = replay(rows[:3])
    closed = replay(rows[:3], closure=GradientModel())
    assert np.allclose(plain.times, [0.25, 0.5], atol=1e-6)
    assert plain.relative_error[0] < 0.15
    assert (closed.relative_error < 0.5 * plain.relative_error).all()
    unit = kolmogorov_curl(Grid(32, 32), 4)
    ratio = (filtered_force(name) * unit).sum() / unit.square().sum()
    width = 3 * 2 * np.pi / 32
    assert ratio.item() == pytest.approx(np.exp(-(4**2) * width**2 / 24), rel=1e-12)
