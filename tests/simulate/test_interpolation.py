"""First ways between geometries: superposition against scipy, interpolation against ase."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.mep.neb import IDPP
from scipy.spatial.transform import Rotation

from sfm.simulate.statics.interpolation import (
    between_distances,
    deviation,
    mismatch,
    superposed,
)


def test_superposition_is_that_of_scipy():
    generator = np.random.default_rng(0)
    onto = generator.standard_normal((7, 3))
    turned = Rotation.random(random_state=1).apply(onto) + np.arange(3.0)
    moving = turned + 0.1 * generator.standard_normal((7, 3))
    x, y = moving - moving.mean(0), onto - onto.mean(0)
    rotation, _ = Rotation.align_vectors(y, x)
    ours = superposed(torch.from_numpy(moving), torch.from_numpy(onto))
    np.testing.assert_allclose(ours.numpy(), rotation.apply(x) + onto.mean(0), atol=1e-12)
    mirror = torch.from_numpy(onto * (1, 1, -1))  # no turn makes it its mirror image
    assert deviation(superposed(mirror, torch.from_numpy(onto)), torch.from_numpy(onto)) > 0.1


def test_the_mismatch_of_distances_is_that_of_ase():
    """Energy and forces of `ase.mep.neb.IDPP`; its energy counts each pair once as well."""
    x = torch.from_numpy(np.random.default_rng(2).uniform(-2, 2, (5, 3)))[None].requires_grad_()
    goal = torch.rand(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    goal = goal + goal.mT
    energy = mismatch(x, goal[None])
    (slope,) = torch.autograd.grad(energy.sum(), x)
    atoms = Atoms("H5", x[0].detach().numpy())
    atoms.calc = IDPP(goal.numpy() * (1 - np.eye(5)), mic=False)
    assert float(energy.detach()) == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    np.testing.assert_allclose(-slope[0].numpy(), atoms.get_forces(), rtol=1e-10, atol=1e-10)


def test_a_group_that_turns_keeps_its_distances():
    """Three atoms that turn by 120 degrees about a bond: on a straight line they come to half."""
    angles = torch.arange(3, dtype=torch.float64) * 2 * torch.pi / 3
    ring = torch.stack([angles.cos(), angles.sin(), torch.full((3,), 0.5).double()], 1)
    axis = torch.tensor([[0.0, 0, 0], [0, 0, -1.5], [0.9, 0.2, -2.0]]).double()
    first, last = torch.cat([axis, ring]), torch.cat([axis, ring.roll(1, 0)])
    way = between_distances(first, superposed(last, first), 7)
    radius = (way[:, 3:] - way[:, :1]).norm(dim=2)
    expected = radius[0, 0].item()
    assert float(radius.min()) > 0.93 * expected
    middle = 0.5 * (first + last)
    assert float((middle[3:] - middle[0]).norm(dim=1).min()) < 0.7 * expected
