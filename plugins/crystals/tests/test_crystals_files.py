"""Pictures, files of relaxed cells, and fitting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import read, write
from sfm_crystals.simulators.lattice import LatticeStatics

from sfm.errors import InputError


def test_a_run_writes_its_relaxed_cell_and_draws_it(tmp_path):
    simulator = LatticeStatics(potential="stillinger-weber").requires_grad_(False)
    trajectory = simulator.run(simulator.state(), 60, every=10)
    for name in ("relaxed.extxyz", "relaxed.cif", "relaxed.vasp"):
        simulator.write(trajectory, tmp_path / name)
        atoms = read(tmp_path / name)
        assert atoms.get_volume() == pytest.approx(5.431**3, rel=2e-3)
    atoms = read(tmp_path / "relaxed.extxyz")
    assert atoms.get_potential_energy() == pytest.approx(-8 * 4.3366, rel=1e-4)
    simulator.plot(trajectory, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match=r"writes no '\.pdb' files"):
        simulator.write(trajectory, tmp_path / "x.pdb")


def test_observations_of_ase_give_back_its_parameters(tmp_path):
    """Newton-like least squares on energies, forces and stresses of ase's Lennard-Jones."""
    frames = []
    for number, a in enumerate((5.0, 5.2, 5.4)):
        atoms = bulk("Ar", "fcc", a=a, cubic=True)
        atoms.rattle(0.1, seed=number)
        atoms.calc = LennardJones(epsilon=0.0111, sigma=3.35, rc=2.5 * 3.35, smooth=True)
        atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    write(tmp_path / "argon.extxyz", frames)
    simulator = LatticeStatics(switch="xplor", cutoff=2.5)
    observations = simulator.read_observations(tmp_path / "argon.extxyz")
    assert set(observations.values) == {"energy", "forces", "stress"}
    names = ("epsilon", "sigma")
    for _ in range(8):
        values = {n: getattr(simulator, n).detach().clone().requires_grad_() for n in names}

        def residuals(*parameters):
            said = torch.func.functional_call(
                _Predict(simulator),
                {f"simulator.{n}": p for n, p in zip(names, parameters, strict=True)},
                (observations,),
            )
            return torch.cat([(said[k] - v).flatten() for k, v in observations.values.items()])

        columns = torch.autograd.functional.jacobian(residuals, tuple(values.values()))
        jacobian = torch.stack(columns, dim=1)
        step = torch.linalg.lstsq(jacobian, residuals(*values.values()).unsqueeze(1)).solution
        with torch.no_grad():
            for n, change in zip(names, step.flatten(), strict=True):
                getattr(simulator, n).sub_(change)
    assert simulator.epsilon.item() == pytest.approx(0.0111, rel=1e-6)
    assert simulator.sigma.item() == pytest.approx(3.35, rel=1e-7)


class _Predict(torch.nn.Module):
    def __init__(self, simulator: LatticeStatics) -> None:
        super().__init__()
        self.simulator = simulator

    def forward(self, observations):
        return self.simulator.predict_observations(observations)


def test_a_file_without_labels_cannot_be_fitted(tmp_path):
    write(tmp_path / "plain.extxyz", bulk("Si", "diamond", a=5.43))
    with pytest.raises(InputError, match="no energy, forces or stress"):
        LatticeStatics().read_observations(tmp_path / "plain.extxyz")


def test_unused_numbers_are_not_silently_taken(tmp_path):
    with pytest.raises(InputError, match="Did you mean 'sigma'"):
        LatticeStatics(sigmaa=3.0)
    assert np.isclose(LatticeStatics(potential="stillinger-weber").epsilon.item(), 2.1683)
