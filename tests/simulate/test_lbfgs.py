"""L-BFGS against ase's on one surface, and a batch against its systems alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.optimize import LBFGS

from sfm.simulate.statics.fire import Inertia, fire_step
from sfm.simulate.statics.lbfgs import Pairs, lbfgs_step

STIFFNESS = 57.1


def cluster(seed):
    """Six atoms near an octahedron of Lennard-Jones units."""
    corners = np.concatenate([np.eye(3), -np.eye(3)]) * 1.12 / 2**0.5
    return corners + 0.08 * np.random.default_rng(seed).standard_normal((6, 3))


def forces(x):
    """(N, 3) of clusters of six."""
    with torch.enable_grad():
        y = x.view(-1, 6, 3).clone().requires_grad_()
        rows, columns = torch.triu_indices(6, 6, offset=1)
        r2 = (y[:, rows] - y[:, columns]).square().sum(-1)
        (slope,) = torch.autograd.grad((4 * (r2**-6 - r2**-3)).sum(), y)
    return -slope.view(-1, 3)


def descended(start, minimiser, tolerance=1e-6):
    """The last place, and how often forces were asked for."""
    x = torch.from_numpy(start).reshape(-1, 3)
    count = len(x) // 6
    system = torch.arange(count).repeat_interleave(6)
    largest = torch.full((count,), 0.2 * 6**0.5).double()
    state = Pairs.none(x) if minimiser == "lbfgs" else Inertia.at_rest(x, count)
    step = lbfgs_step if minimiser == "lbfgs" else fire_step
    for evaluations in range(1, 1000):
        force = forces(x)
        if float(force.abs().max()) < tolerance:
            return x, evaluations
        state, move = step(state, force / STIFFNESS, system, largest)
        x = x + move
    raise AssertionError("did not come to rest")


def test_the_minimum_is_that_of_ase_in_fewer_evaluations_than_fire():
    ours, evaluations = descended(cluster(0), "lbfgs")
    atoms = Atoms("Ar6", cluster(0), calculator=LennardJones(rc=20.0, smooth=False))
    LBFGS(atoms, logfile=None).run(fmax=1e-6, steps=500)
    theirs = torch.pdist(torch.from_numpy(atoms.positions))
    torch.testing.assert_close(torch.pdist(ours), theirs, rtol=0, atol=1e-6)
    _, of_fire = descended(cluster(0), "fire")
    assert evaluations < 0.6 * of_fire


def test_a_batch_is_its_systems_alone():
    both, _ = descended(np.concatenate([cluster(1), cluster(2)]), "lbfgs", 1e-9)
    for seed, part in zip((1, 2), both.split(6), strict=True):
        alone, _ = descended(cluster(seed), "lbfgs", 1e-9)
        torch.testing.assert_close(torch.pdist(part), torch.pdist(alone), rtol=0, atol=1e-8)


def test_a_quadratic_is_solved_in_as_many_steps_as_it_has_curvatures():
    """Three curvatures and full steps: pairs make H exact, but for the length that they lack."""
    stiffness = torch.tensor([[1.0, 0.7, 0.4]]).double()
    x = torch.tensor([[0.02, -0.03, 0.04]]).double()
    state, system = Pairs.none(x), torch.zeros(1, dtype=torch.long)
    for _ in range(25):
        state, move = lbfgs_step(state, -stiffness * x, system, torch.ones(1).double())
        x = x + move
    assert float(x.abs().max()) == pytest.approx(0.0, abs=1e-12)
