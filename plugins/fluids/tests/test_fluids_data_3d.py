"""Filtered three-dimensional flows: the stress is exact, budgets close, the bundled rows hold."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from sfm_fluids.data.building_3d import COARSE, FILTER_WIDTH
from sfm_fluids.data.dns_3d import KINDS, Case3D, Quality3D, Snapshot3D, run
from sfm_fluids.data.specs import TURBULENCE_3D
from sfm_fluids.flows.flows_3d import random_velocity, rogallo, taylor_green
from sfm_fluids.spectral.filters import Filter3D
from sfm_fluids.spectral.grid_3d import Grid3D, inner
from sfm_fluids.spectral.momentum_flux_3d import momentum_tendency
from sfm_fluids.spectral.transforms_3d import to_field, to_spectrum

from sfm.data.storage import Dataset
from sfm.errors import InputError


def opened(split: str | None = None) -> Dataset:
    return Dataset(TURBULENCE_3D.folder, length_unit="1", split=split)


def test_the_filtered_flow_obeys_the_coarse_equation_exactly():
    """F of the fine right-hand side is the coarse one with the stress, to rounding."""
    fine, coarse = Grid3D(24, 24, 24), Grid3D(8, 8, 8)
    coarsen = Filter3D(fine, coarse, 3 * coarse.isotropic_spacing)
    hat = random_velocity(fine, rogallo(3.0), 5)[None]
    stress = coarsen.stress(hat)
    assert torch.equal(stress, stress.transpose(1, 2))
    exact = coarsen.spectrum(momentum_tendency(hat, fine))
    ours = momentum_tendency(coarsen.spectrum(hat), coarse, lambda velocity, spacing: stress)
    assert ((exact - ours).abs().max() / exact.abs().max()).item() < 1e-13
    assert inner(exact, exact, coarse) > 0


def test_a_single_wave_is_damped_by_the_filters_transform():
    """Taylor-Green has |k|^2 = 3: F multiplies it with exp(-3 Delta^2 / 24)."""
    fine, coarse = Grid3D(16, 16, 16), Grid3D(8, 8, 8)
    coarsen = Filter3D(fine, coarse, 1.5)
    filtered = to_field(coarsen.spectrum(taylor_green(fine)), coarse)
    expected = to_field(taylor_green(coarse), coarse) * np.exp(-3 * 1.5**2 / 24)
    assert torch.allclose(filtered, expected, atol=1e-14)
    with pytest.raises(InputError, match="not coarser"):
        Filter3D(coarse, fine, 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_simulation_closes_its_budget(kind):
    coarse = Grid3D(8, 8, 8)
    case = Case3D(kind, 0.05, 1, 24, 0.02, 0.2, 0.1, 2)
    *snapshots, quality = run(case, coarse, 3 * coarse.isotropic_spacing)
    assert [round(s.time, 9) for s in snapshots if isinstance(s, Snapshot3D)] == [0.2, 0.3]
    assert isinstance(quality, Quality3D)
    assert quality.budget_residual < 1e-5
    assert quality.equation_residual < 2e-4
    assert quality.max_divergence < 2e-6  # float32
    first = snapshots[0]
    assert isinstance(first, Snapshot3D)
    assert first.velocity.shape == (3, 8, 8, 8)
    assert first.stress.shape == (3, 3, 8, 8, 8)


def test_bundled_rows_hold_a_stress_that_a_gradient_model_predicts():
    data = opened()
    seen = {s: {x.id.rsplit("-", 1)[0] for x in opened(s)} for s in ("train", "validation", "test")}
    assert all(seen.values())
    assert sum(map(len, seen.values())) == len(set.union(*seen.values())) == 8
    k = torch.stack(torch.broadcast_tensors(*reversed(COARSE.wavenumbers())))
    for i in range(0, len(data), 4):
        row = data[i]
        velocity = torch.from_numpy(row.fields["velocity"].astype(float))
        hat = to_spectrum(velocity, COARSE)
        # G_ij = d u_i / d x_j; Clark, Ferziger and Reynolds 1979: tau = Delta^2 / 12 G G^T
        gradient = to_field(1j * k * hat[:, None], COARSE)
        divergence = gradient.diagonal().sum(-1).abs().max() / gradient.abs().max()
        assert divergence < 1e-3  # the rounding of what is stored
        model = FILTER_WIDTH**2 / 12 * torch.einsum("ik...,jk...->ij...", gradient, gradient)
        stress = row.labels["sgs_stress"].reshape(*COARSE.shape, 3, 3)
        assert np.array_equal(stress, stress.swapaxes(-1, -2))
        exact = torch.from_numpy(stress.astype(float)).permute(3, 4, 0, 1, 2)
        pair = torch.stack([model.flatten(), exact.flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.79  # 0.80 to 0.97
        assert exact.diagonal().sum(-1).mean() > 0


def test_bundled_trajectories_were_resolved():
    with (TURBULENCE_3D.folder / "quality.csv").open() as file:
        table = {row["group"]: row for row in csv.DictReader(file)}
    assert set(table) == {x.id.rsplit("-", 1)[0] for x in opened()}
    for row in table.values():
        assert float(row["kmax_kolmogorov_length"]) > 1.0
        assert float(row["budget_residual"]) < 1e-5
        assert float(row["equation_residual"]) < 5e-4
        assert float(row["max_divergence"]) < 5e-6
