"""Densities on a box of points, for isosurfaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sfm_dft.simulators.volumes import density_volumes

import sfm
from sfm.errors import InputError
from sfm.simulate import Volume


@pytest.fixture(scope="module")
def state():
    simulator = sfm.simulator("dft/kohn-sham", basis="sto-3g", grid_level=0, functional="lda")
    simulator.requires_grad_(False)
    return simulator.solve(sfm.read("[HH]", domain="molecules")[0].replace(domain="dft"))


def test_a_density_counts_its_electrons(state):
    volumes = density_volumes(state, step=0.1, most=100)
    cell = float(np.prod(volumes["density"].steps))
    # the trapezoidal rule on Gaussians converges exponentially
    assert volumes["density"].values.sum() * cell == pytest.approx(2.0, abs=1e-3)
    assert volumes["density_change"].values.sum() * cell == pytest.approx(0.0, abs=1e-3)
    assert volumes["density_change"].values.max() > 0.1  # between the nuclei


def test_a_density_is_that_of_pyscf(state):
    from pyscf import dft

    volume = state_volumes(state)["density"]
    x, y, z = np.indices(volume.values.shape).reshape(3, -1)[:, ::97]
    points = (volume.origin + np.stack([x, y, z], axis=1) * volume.steps) / 0.529177210903
    molecule = state.molecule.pyscf()
    orbitals = dft.numint.eval_ao(molecule, points)
    density = np.einsum("gi,ij,gj->g", orbitals, state.density_matrix().numpy(), orbitals)
    assert volume.unit == "e/angstrom^3"
    np.testing.assert_allclose(
        volume.values[x, y, z], density / 0.529177210903**3, rtol=1e-6, atol=1e-9
    )


def state_volumes(state):
    simulator = sfm.simulator("dft/kohn-sham", basis="sto-3g", grid_level=0, functional="lda")
    with torch.no_grad():
        return simulator.volumes(state)


def test_the_box_holds_the_atoms_and_no_axis_is_too_long(state):
    for volume in state_volumes(state).values():
        assert max(volume.values.shape) <= 40
        last = volume.origin + (np.array(volume.values.shape) - 1) * volume.steps
        assert (volume.positions > volume.origin + 2.7).all()
        assert (volume.positions < last - 2.7).all()
        assert volume.types.tolist() == [1, 1]


def test_a_plane_is_no_volume():
    with pytest.raises(InputError, match="no three axes"):
        Volume(np.ones((4, 4, 1)), "1", np.zeros(3), np.ones(3), 0.5)
