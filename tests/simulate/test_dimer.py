"""The dimer method on the surface of Mueller and Brown, and softest modes against eigenvectors."""

from __future__ import annotations

import pytest
import torch

from sfm.simulate.statics.basin import Basin
from sfm.simulate.statics.dimer import Climb, Mode, climb_step, softest, upward

# K. Mueller, L. D. Brown, Theor. Chim. Acta 53, 75 (1979)
A = (-200.0, -100.0, -170.0, 15.0)
ALONG = (-1.0, -1.0, -6.5, 0.7)
MIXED = (0.0, 0.0, 11.0, 0.6)
ACROSS = (-10.0, -10.0, -6.5, 0.7)
CENTRES = ((1.0, 0.0), (0.0, 0.5), (-0.5, 1.5), (-1.0, 1.0))
SADDLES = ((-0.822, 0.624, -40.665), (0.212, 0.293, -72.249))


class Surface(Basin):
    """One point of the plane; its third coordinate does nothing."""

    def __init__(self, place):
        self.place = place.detach()
        self.origin = torch.zeros(1, 3, dtype=torch.float64)

    def energy(self, y):
        x = self.place + y
        terms = []
        for a, p, m, q, (x0, y0) in zip(A, ALONG, MIXED, ACROSS, CENTRES, strict=True):
            u, v = x[:, 0] - x0, x[:, 1] - y0
            terms.append(a * torch.exp(p * u**2 + m * u * v + q * v**2))
        return torch.stack(terms).sum(0)

    def project(self, y):
        return torch.cat([y[:, :2], torch.zeros_like(y[:, 2:])], 1)

    def around(self, y):
        return Surface(self.place + y)


def climbed(start, direction, steps=250):
    basin = Surface(torch.tensor([[*start, 0.0]], dtype=torch.float64))
    climb = Climb.start(torch.tensor([[*direction, 0.0]], dtype=torch.float64))
    largest = torch.tensor(0.05, dtype=torch.float64)
    for _ in range(steps):
        move, climb = climb_step(basin, climb, stiffness=2000.0, largest=largest, turns=4)
        basin = basin.around(move)
        g, _ = basin.gradient()
        if float(g.detach().abs().max()) < 1e-8:
            break
    return basin, climb


@pytest.mark.parametrize(
    ("start", "direction", "saddle"),
    [
        ((-0.02, 0.467), (1.0, 0.0), SADDLES[1]),
        ((-0.05, 0.517), (0.1, 1.0), SADDLES[1]),
        ((0.578, 0.048), (-0.9, 0.4), SADDLES[1]),
        ((-0.062, 0.494), (-0.42, 0.91), SADDLES[0]),
    ],
)
def test_from_beside_a_minimum_it_climbs_to_a_published_saddle(start, direction, saddle):
    """Places and energies as published, to their last digit."""
    basin, climb = climbed(start, direction)
    x, y, energy = saddle
    torch.testing.assert_close(basin.place[0, :2], torch.tensor([x, y]).double(), rtol=0, atol=6e-4)
    assert float(basin.energy(basin.origin)) == pytest.approx(energy, abs=6e-4)
    assert float(climb.mode.curvature) < 0


class Free(Basin):
    """No projection."""

    def __init__(self, size):
        self.origin = torch.zeros(size, 3, dtype=torch.float64)

    def energy(self, y):
        return y.sum()[None]

    def project(self, y):
        return y

    def around(self, y):
        return self


@pytest.mark.parametrize("turns", [3, 60])
def test_turning_finds_the_lowest_eigenvector(turns):
    """A symmetric matrix of 12 coordinates; each turn lowers the curvature."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    matrix = matrix + matrix.mT
    values, vectors = torch.linalg.eigh(matrix)
    guess = torch.randn(4, 3, generator=generator, dtype=torch.float64)

    def product(v):
        return (matrix @ v.flatten()).view_as(v)

    first = (guess * product(guess)).sum() / guess.square().sum()
    mode = softest(product, guess, Free(4).project, turns=turns, tolerance=1e-9)
    assert float(mode.direction.norm()) == pytest.approx(1.0)
    assert float(mode.curvature) < float(first)
    if turns > 12:
        assert float(mode.curvature) == pytest.approx(float(values[0]), rel=1e-10)
        overlap = (mode.direction.flatten() @ vectors[:, 0]).abs()
        assert float(overlap) == pytest.approx(1.0, abs=1e-8)


def test_forces_go_up_the_mode_and_down_the_rest():
    force = torch.tensor([[1.0, 2.0, 0.0]]).double()
    n = torch.tensor([[1.0, 0.0, 0.0]]).double()
    one = torch.ones(()).double()
    torch.testing.assert_close(
        upward(force, Mode(n, -one)), torch.tensor([[-1.0, 2.0, 0.0]]).double()
    )
    torch.testing.assert_close(
        upward(force, Mode(n, one)), torch.tensor([[-1.0, 0.0, 0.0]]).double()
    )


def test_in_a_valley_the_rest_goes_down_too():
    force = torch.tensor([[1.0, 2.0, 0.0]]).double()
    mode = Mode(torch.tensor([[1.0, 0.0, 0.0]]).double(), torch.ones(()).double())
    torch.testing.assert_close(
        upward(force, mode, valley=True), torch.tensor([[-1.0, 2.0, 0.0]]).double()
    )
