"""Sums over pairs in blocks against the plain formula, and its derivatives against differences."""

from __future__ import annotations

import pytest
import torch

from sfm.simulate.dynamics import pairwise
from sfm.simulate.dynamics.neighbours import VerletList
from sfm.simulate.dynamics.pairwise import pair_sums, plain_sums

CUTOFF = 2.0


def well(r2, depth, width):
    """depth exp(-width r^2) (1 - r^2 / CUTOFF^2)^3, and its slope in r^2."""
    end = (1 - r2 / CUTOFF**2).clamp_min(0.0)
    size = depth * torch.exp(-width * r2)
    slope = -size * (width * end**3 + 3 / CUTOFF**2 * end**2)
    return size * end**3, slope


def case(systems: int = 2):
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.rand(5 * systems, 3, generator=generator, dtype=torch.float64)
    system = torch.arange(systems).repeat_interleave(5)
    oblique = [[3.1, 0, 0], [0.4, 3.0, 0], [0.2, -0.3, 2.9]]
    cell = torch.tensor([oblique, [[3.5, 0, 0], [0, 3.2, 0], [0, 0, 3]]], dtype=torch.float64)
    values = torch.tensor([1.3, 0.4], dtype=torch.float64)
    return x, cell[:systems], system, tuple(values.unbind())


@pytest.mark.parametrize("systems", [1, 2])
@pytest.mark.parametrize("virial", [False, True])
def test_blocks_and_the_plain_formula_agree_with_their_gradients(systems, virial, monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK", 5)
    x, cell, system, parameters = case(systems)
    listed = VerletList(0.3)(x, cell, system, CUTOFF)
    assert len(listed.first) > 3 * 5
    answers = []
    for function in (pair_sums, plain_sums):
        inputs = [t.clone().requires_grad_() for t in (x, cell, *parameters)]
        sums = function(well, listed, inputs[0], inputs[1], inputs[2:], virial=virial)
        weights = torch.Generator().manual_seed(1)
        loss = sum((y * torch.randn(y.shape, generator=weights, dtype=y.dtype)).sum() for y in sums)
        answers.append([*sums, *torch.autograd.grad(loss, inputs)])
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        alone = pair_sums(well, listed, x, cell, parameters, virial=virial)
    for one, other in zip(alone, answers[0], strict=False):
        assert torch.equal(one, other)


def test_forces_are_slopes_of_the_energy_and_second_derivatives_are_right():
    x, cell, system, parameters = case()
    listed = VerletList(0.3)(x, cell, system, CUTOFF)
    inputs = [t.clone().requires_grad_() for t in (x, cell, *parameters)]

    def sums(x, cell, *values):
        return pair_sums(well, listed, x, cell, values, virial=True)

    energy, forces, _ = sums(*inputs)
    (slope,) = torch.autograd.grad(energy.sum(), inputs[0])
    torch.testing.assert_close(-slope, forces.detach(), rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(sums, inputs)
    assert torch.autograd.gradgradcheck(sums, inputs)


def test_function_transforms_see_through_it():
    x, cell, system, parameters = case()
    listed = VerletList(0.3)(x, cell, system, CUTOFF)

    def energy(x):
        return pair_sums(well, listed, x, cell, parameters, virial=False)[0].sum()

    forces = pair_sums(well, listed, x, cell, parameters, virial=False)[1]
    torch.testing.assert_close(-torch.func.grad(energy)(x), forces, rtol=1e-10, atol=1e-12)
