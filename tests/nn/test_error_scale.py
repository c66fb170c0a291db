"""Standard errors of forces: as wide as the errors of their kind of token, and 90 % hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfm.nn.error_scale import ErrorScale
from sfm.nn.uncertainty import NORMAL

SLOPES = torch.tensor([0.8, -0.5, 0.0, 0.0], dtype=torch.float64)


def draw(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (n, 4), errors (n, 3) normal about zero, and their true standard errors (n,)."""
    g = torch.Generator().manual_seed(seed)
    features = 3 + 2 * torch.randn(n, 4, generator=g, dtype=torch.float64)
    sigma = 0.1 * torch.exp((features - 3) / 2 @ SLOPES)
    errors = sigma.unsqueeze(1) * torch.randn(n, 3, generator=g, dtype=torch.float64)
    return features, errors, sigma


def rank(x: torch.Tensor) -> torch.Tensor:
    return x.argsort().argsort().double()


@pytest.mark.parametrize("n", [40, 2000])
def test_intervals_follow_the_errors_and_hold(n):
    unit = ErrorScale(3, 4)
    (f, e, _), (f2, e2, _) = draw(n, 0), draw(n, 1)
    assert unit.calibrate(1, [f, f2], [e, e2], f) > 0
    features, errors, sigma = draw(5000, 2)
    said = unit(features, torch.ones(5000, dtype=torch.long))
    held = (errors.abs() < NORMAL * said.unsqueeze(1)).double().mean()
    assert 0.87 < float(held) < 0.94
    assert float(torch.corrcoef(torch.stack([rank(said), rank(sigma)]))[0, 1]) > 0.85
    one_width = torch.quantile(errors.abs().flatten(), 0.9)
    assert float((NORMAL * said).mean()) < 0.85 * float(one_width)


def test_errors_that_a_run_shares_count_once():
    """Ten trajectories, each with errors of its own size, hold 90 % of a new one's on average."""
    unit, held = ErrorScale(1, 4), []
    for seed in range(40):
        g = torch.Generator().manual_seed(seed)
        size = torch.exp(torch.randn(11, 1, 1, generator=g, dtype=torch.float64))
        errors = size * torch.randn(11, 30, 3, generator=g, dtype=torch.float64)
        where = torch.randn(11, 1, 4, generator=g, dtype=torch.float64)  # of the run
        f = where + 0.1 * torch.randn(11, 30, 4, generator=g, dtype=torch.float64)
        folds = [range(k, 10, 5) for k in range(5)]
        features, wrong = ([x[list(k)].flatten(0, 1) for k in folds] for x in (f, errors))
        unit.calibrate(0, features, wrong, torch.cat(features))
        said = unit(f[10], torch.zeros(30, dtype=torch.long))
        held.append(float((errors[10].abs() < NORMAL * said.unsqueeze(1)).double().mean()))
    assert 0.82 < sum(held) / len(held) < 0.96


def test_units_go_through():
    """Forces in another unit have standard errors in that unit."""
    (f, e, _), (f2, e2, _) = draw(200, 0), draw(200, 1)
    small, large = ErrorScale(1, 4), ErrorScale(1, 4)
    small.calibrate(0, [f, f2], [e, e2], f)
    large.calibrate(0, [f, f2], [1e6 * e, 1e6 * e2], f)
    index = torch.zeros(200, dtype=torch.long)
    torch.testing.assert_close(1e6 * small(f, index), large(f, index))


def test_far_from_the_data_the_scale_stops_growing():
    unit = ErrorScale(1, 4)
    (f, e, _), (f2, e2, _) = draw(200, 0), draw(200, 1)
    unit.calibrate(0, [f, f2], [e, e2], f)
    far = unit(f + 1e6 * SLOPES, torch.zeros(200, dtype=torch.long))
    assert torch.isfinite(far).all()


def test_errors_are_larger_away_from_training_and_the_relatives_held_out():
    """Tokens twice the usual distance off have twice the standard error, and those near their own.

    The distance is computed here from the definition, by numpy's covariance.
    """
    unit = ErrorScale(2, 4)
    (f, e, _), (f2, e2, _), (f3, _, _) = (draw(300, seed) for seed in range(3))
    unit.calibrate(1, [f, f2], [e, e2], f3)
    covariance = np.cov(f3.T.numpy(), bias=True)
    covariance += 1e-3 * np.trace(covariance) / 4 * np.eye(4)
    apart = torch.cat([f, f2]).numpy() - f3.mean(0).numpy()
    squares = np.einsum("ni,ij,nj->n", apart, np.linalg.inv(covariance), apart)
    expected = np.sqrt(np.clip(squares / np.median(squares), 1, 9))
    index = torch.ones(600, dtype=torch.long)
    # torch's median of an even number is the lower of the two in the middle
    said = unit.remoteness(torch.cat([f, f2]), index).numpy()
    np.testing.assert_allclose(said, expected, rtol=2e-3)
    assert (said == 1).mean() == pytest.approx(0.5, abs=0.01)
    assert unit.remoteness(f + 1e6, index[:300]).unique().tolist() == [3.0]
    assert unit.remoteness(f + 1e6, 0 * index[:300]).unique().tolist() == [1.0]


def test_what_is_not_calibrated_is_not_said_and_older_files_load():
    unit = ErrorScale(2, 4)
    assert unit(torch.ones(3, 4), torch.zeros(3, dtype=torch.long)).isnan().all()
    unit.load_state_dict({})
    assert unit(torch.ones(3, 4), torch.ones(3, dtype=torch.long)).isnan().all()
