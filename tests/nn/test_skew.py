"""The bend of skewed labels: its inverse, its slope by finite differences, and the identity."""

from __future__ import annotations

import pytest
import torch

from sfm.nn.skew import Bend, bent, log_slope


def number(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


LABELS = torch.linspace(-7.0, 40.0, 95, dtype=torch.float64)


@pytest.mark.parametrize("skew", [-1.2, -0.3, 0.0, 0.7])
def test_back_is_the_inverse_and_keeps_the_order(skew):
    bend = Bend(number(3.0), number(5.0), number(skew))
    images = bend(LABELS)
    assert torch.allclose(bend.back(images), LABELS, rtol=1e-12, atol=1e-12)
    assert bool((images.diff() > 0).all())
    if not skew:
        assert torch.allclose(images, LABELS, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("skew", [-0.8, 0.4])
def test_slopes_are_finite_differences(skew):
    bend = Bend(number(3.0), number(5.0), number(skew))
    h = 1e-5
    differences = (bend.back(LABELS + h) - bend.back(LABELS - h)) / (2 * h)
    assert torch.allclose(bend.slope_back(LABELS), differences, rtol=1e-8)
    t = torch.linspace(-3.0, 3.0, 31, dtype=torch.float64)
    differences = (bent(t + h, number(skew)) - bent(t - h, number(skew))) / (2 * h)
    assert torch.allclose(log_slope(t, number(skew)).exp(), differences, rtol=1e-8)


def test_far_out_it_is_straight():
    """Slopes e^-s above and e^s below, to 1 % at a hundred spreads."""
    t = torch.tensor([-100.0, 100.0], dtype=torch.float64)
    slopes = log_slope(t, number(0.5))
    assert slopes.tolist() == pytest.approx([0.5, -0.5], abs=1e-2)
