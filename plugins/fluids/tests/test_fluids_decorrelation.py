"""Time to decorrelation: the definition, the protocol, and equal cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sfm_fluids.data.dns_2d import Case
from sfm_fluids.evaluation.decorrelation import (
    Protocol,
    at_equal_cost,
    correlation,
    decorrelation_time,
    spectral_run,
)
from sfm_fluids.evaluation.reference import reference
from sfm_fluids.evaluation.stability import spectrum_error, stability
from sfm_fluids.flows.members import Member
from sfm_fluids.spectral.grid_2d import Grid

from sfm.errors import InputError

CASE = Case(0.01, 48, 0.0125, 2.0, 0.25, 9, (Member("kolmogorov", 1), Member("ring", 2)), "float64")


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    """A flow at Re 100, which 48 x 48 points resolve, compared on 24 x 24."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFM_CACHE", str(tmp_path_factory.mktemp("cache")))
        first = reference(CASE, 48)
        again = reference(CASE, 48)
    assert torch.equal(first.vorticity, again.vorticity)
    grid = Grid(24, 24)
    return Protocol(first, (0, 4), 4, grid, 3 * grid.isotropic_spacing)


def test_the_crossing_of_exponential_errors_is_exact():
    """1 - rho = 1e-3 exp(t / 2) reaches 0.05 at 2 ln 50."""
    times = np.arange(0, 20, 0.7)
    rho = 1 - 1e-3 * np.exp(times / 2)
    exact = 2 * np.log(50)
    curves = np.stack((rho, np.ones_like(rho), np.where(times < 1, 1.0, np.nan), 0 * rho), 1)
    crossings = decorrelation_time(times, curves)
    assert crossings[0] == pytest.approx(exact, abs=1e-9)
    assert crossings[1] == times[-1], "never lost"
    assert 0.7 <= crossings[2] <= 1.4, "not finite is lost"
    assert crossings[3] == 0


def test_correlation_is_pearsons():
    a = torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    b = a + torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = [np.corrcoef(x.flatten(), y.flatten())[0, 1] for x, y in zip(a, b, strict=True)]
    assert np.allclose(correlation(a, 2 * b + 3), exact)


def test_the_reference_follows_itself_and_a_finer_grid_follows_longer(protocol):
    same = spectral_run(protocol, 48, 0.0125, dtype=torch.float64)
    assert same.correlation.min() > 1 - 1e-9  # the samples are kept in float32
    assert same.correlation.shape == (5, 4)
    assert same.cost > 0
    assert (same.decorrelation == 1.0).all()
    errors = [1 - spectral_run(protocol, n, 0.025).correlation[-1].mean() for n in (24, 28, 32)]
    assert errors[0] > 1.5 * errors[1] > 2.2 * errors[2]


def test_a_start_is_filtered_as_its_closure_says(protocol):
    """At the start a large-eddy simulation agrees with the filtered reference exactly."""
    for width in (0.0, protocol.width):
        run = spectral_run(protocol, 24, 0.025, width=width, dtype=torch.float64)
        assert run.correlation[0].min() > 1 - 1e-12


def test_time_at_equal_cost_is_linear_in_log_cost():
    costs, times = (1.0, 10.0, 100.0), (1.0, 3.0, 4.0)
    assert at_equal_cost(10.0, costs, times) == pytest.approx(3.0)
    assert at_equal_cost(10**0.5, costs, times) == pytest.approx(2.0)
    assert at_equal_cost(1000.0, costs, times) == pytest.approx(5.0)
    assert at_equal_cost(10**0.5, costs[::-1], times[::-1]) == pytest.approx(2.0)


def test_long_runs_report_when_they_blow_up(protocol):
    steady = stability(protocol, 24, 0.05, steps=200, every=20)
    assert steady.survived == [200] * len(steady.survived)
    assert spectrum_error(steady.spectrum, steady.spectrum, (1, 4, 8)) == pytest.approx([0, 0])
    assert spectrum_error(4 * steady.spectrum, steady.spectrum, (1, 9)) == pytest.approx(
        [np.log10(4)]
    )

    class Backscatter(torch.nn.Module):
        """A negative eddy viscosity."""

        def forward(self, velocity, spacing):
            from sfm_fluids.closures.classical import Smagorinsky

            return -20 * Smagorinsky(0.2)(velocity, spacing)

    broken = stability(protocol, 24, 0.05, steps=200, every=20, closure=Backscatter())
    assert max(broken.survived) < 200


def test_mistakes_are_named(protocol):
    with pytest.raises(InputError, match="leaves fewer than 5 samples"):
        Protocol(protocol.reference, (4,), 5, protocol.compare, protocol.width)
    with pytest.raises(InputError, match=r"dt=0\.03 does not divide"):
        spectral_run(protocol, 24, 0.03)
    with pytest.raises(InputError, match="does not fill 96"):
        reference(CASE, 96)
