"""Neighbour lists with a skin, and g(r), against counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfm.constants import BOLTZMANN
from sfm.data.neighbours import neighbour_list
from sfm.errors import InputError
from sfm.simulate.dynamics.neighbours import VerletList
from sfm.simulate.dynamics.structure import distances, first_peak, radial_distribution
from sfm.simulate.dynamics.transport import (
    diffusion,
    heat_capacity,
    heat_capacity_isolated,
    mean_square_displacement,
)

FCC = torch.tensor([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]).double()


def lengths_within(pairs, x, cells, cutoff: float) -> np.ndarray:
    lengths = pairs.vectors(x, cells).norm(dim=1).numpy()
    return np.sort(lengths[lengths < cutoff])


def test_a_list_at_hand_gives_the_same_radial_distribution():
    """One that reaches farther, and one that does not reach so far and is left as it is."""
    positions = 6 * torch.rand(80, 3, generator=torch.Generator().manual_seed(3)).double()
    place = positions, 6 * torch.eye(3).double().expand(2, 3, 3), torch.arange(80) // 40
    options = {"reach": 4.0, "points": 9}
    expected = radial_distribution(*place, **options)
    for reach in (5.5, 3.0):
        near = VerletList(0.2)
        near(*place, reach)
        torch.testing.assert_close(
            radial_distribution(*place, **options, near=near), expected, rtol=1e-12, atol=0
        )
        assert near.builds == 1


def test_the_list_serves_while_it_may_and_never_longer():
    generator = torch.Generator().manual_seed(0)
    oblique = [[4.0, 0, 0], [1, 4, 0], [0.5, -1, 5]]
    cells = torch.from_numpy(np.stack([np.diag([6.0, 7.0, 8.0]), oblique]))
    system = torch.tensor([0] * 12 + [1] * 6)
    x = torch.randn(18, 3, generator=generator, dtype=torch.float64) * 4
    seek, calls = VerletList(0.6), 0
    for step in range(120):
        x = x + 0.02 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        if step % 3 == 0:
            factor = 1 + 0.004 * float(torch.randn((), generator=generator))
            x, cells = x * factor, cells * factor
        pairs, calls = seek(x, cells, system, 3.0), calls + 1
        exact = []
        for number, cell in enumerate(cells.numpy()):
            points = x[system == number].numpy()
            (j, i), shift = neighbour_list(points, 3.0, cell, True)
            exact.append(np.linalg.norm(points[j] + shift @ cell - points[i], axis=1))
        exact = np.sort(np.concatenate(exact))[::2]  # each pair is there twice
        np.testing.assert_allclose(lengths_within(pairs, x, cells, 3.0), exact, atol=1e-9)
    assert 2 < seek.builds < calls / 3


def test_the_list_sees_other_systems_and_cutoffs():
    seek = VerletList(0.5)
    x = torch.rand(6, 3, generator=torch.Generator().manual_seed(0)).double() * 5
    one, two = torch.zeros(6, dtype=torch.long), torch.tensor([0] * 3 + [1] * 3)
    box = 5 * torch.eye(3, dtype=torch.float64)
    for cells, system, cutoff in ((box[None], one, 2.0), (box.repeat(2, 1, 1), two, 2.0)):
        seek(x, cells, system, cutoff)
    assert seek.builds == 2
    seek(x, box.repeat(2, 1, 1), two, 2.6)
    assert seek.builds == 3
    seek(x, box.repeat(2, 1, 1), two, 1.0)
    assert seek.builds == 3


def test_g_counts_the_neighbours_of_a_lattice_and_of_an_ideal_gas():
    a = 5.3
    cell = a * torch.eye(3, dtype=torch.float64)[None]
    system = torch.zeros(4, dtype=torch.long)
    r = distances(8.0, 400)
    g = radial_distribution(a * FCC, cell, system, reach=8.0, points=400)[0]
    shell = 4 * torch.pi * 0.02 * (r**2 + 0.02**2 / 6) * 4 / a**3
    for count, place in ((12, a / 2**0.5), (6, a), (24, a * 1.5**0.5)):
        near = (r - place).abs() < 0.1
        assert float((g * shell)[near].sum()) == pytest.approx(count, rel=1e-10)
    gas = torch.rand(3000, 3, generator=torch.Generator().manual_seed(0)).double() * 20
    box = 20 * torch.eye(3, dtype=torch.float64)[None]
    g = radial_distribution(gas, box, torch.zeros(3000).long(), reach=6.0, points=12)[0]
    # the number of pairs at a distance is a Poisson number; ideal gas without itself: (N - 1) / N
    assert float((g[2:] - 1).abs().max()) < 0.06


def test_g_has_its_gradient():
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)).double() * 4
    cell = (4 * torch.eye(3, dtype=torch.float64))[None]

    def function(x, cell):
        return radial_distribution(x, cell, torch.zeros(5).long(), reach=3.0, points=7)

    inputs = (x.requires_grad_(), cell.requires_grad_())
    assert torch.autograd.gradcheck(function, inputs, eps=1e-7, atol=1e-5)


def test_the_first_peak_of_a_parabola():
    r = torch.linspace(1, 2, 11)
    place, height = first_peak(r, 3 - (r - 1.53) ** 2)
    assert float(place) == pytest.approx(1.53, abs=1e-5)
    assert float(height) == pytest.approx(3.0, abs=1e-5)


def test_a_random_walk_has_its_diffusion_and_a_gas_its_heat_capacity():
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(200, 2000, 3, generator=generator, dtype=torch.float64)
    walk = 0.3 * steps.cumsum(0)
    moved = mean_square_displacement(walk, origins=20)
    times = torch.arange(200) * 2.0
    # <x^2> of a coordinate grows by 0.09 in 2 fs
    assert float(diffusion(times[:60], moved[:60])) == pytest.approx(0.09 / 4, rel=0.05)
    with pytest.raises(InputError, match="record more"):
        diffusion(times[:1], moved[:1])
    # energies of 24 harmonic degrees of freedom in a bath: gamma-distributed, C_V = 24 k_B
    rng = np.random.default_rng(0)
    energy = torch.from_numpy(rng.gamma(24, BOLTZMANN * 300, 100_000)).requires_grad_()
    capacity = heat_capacity(energy, 300.0)
    assert capacity.item() == pytest.approx(24 * BOLTZMANN, rel=0.02)
    assert torch.autograd.grad(capacity, energy)[0].abs().max() > 0
    # alone: their kinetic energy is a beta-distributed half of it
    kinetic = torch.from_numpy(rng.beta(120, 120, 100_000)) * 240 * BOLTZMANN * 300
    assert float(heat_capacity_isolated(kinetic, 240)) == pytest.approx(240 * BOLTZMANN, rel=0.02)
