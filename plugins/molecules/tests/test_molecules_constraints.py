"""Bonds that keep their lengths: against ASE, conservation laws and finite differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.constraints import FixBondLengths, FixInternals
from ase.io import read, write
from ase.md.verlet import VelocityVerlet
from ase.units import fs
from sfm_molecules.data.converters import from_ase
from sfm_molecules.data.readers import read_ase
from sfm_molecules.simulators.dynamics import MolecularDynamics

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning, RunError


def lengths(state) -> torch.Tensor:
    first, second = state.rigid_pairs.T
    return (state.positions[second] - state.positions[first]).norm(dim=1)


class Forces(Calculator):
    """A simulator's energy and forces for ASE."""

    implemented_properties = ("energy", "forces")

    def __init__(self, simulator: MolecularDynamics, state) -> None:
        super().__init__()
        self.simulator, self.state = simulator, state

    def calculate(self, atoms, properties, changes) -> None:
        super().calculate(atoms, properties, changes)
        x = torch.from_numpy(atoms.positions)
        with torch.no_grad():
            energy, forces = self.simulator.energy_and_forces(
                x, self.state.types, self.state.system
            )
        self.results = {"energy": float(energy[0]), "forces": forces.numpy()}


def test_the_trajectory_is_that_of_ase():
    simulator = MolecularDynamics(constraints="hbonds", dt=1.0, seed=2)
    with torch.no_grad():
        state = simulator.state()
        end = simulator(state, 100)
    atoms = Atoms(state.types.numpy(), state.positions.numpy())
    atoms.set_masses(state.masses[:, 0].numpy())
    atoms.calc = Forces(simulator, state)
    bonds = FixBondLengths(state.rigid_pairs.numpy(), bondlengths=state.rigid_lengths.numpy())
    atoms.set_constraint(bonds)
    atoms.set_velocities(state.velocities.numpy() / fs)
    VelocityVerlet(atoms, 1.0 * fs).run(100)
    # ASE's own tolerance and units of mass and time differ in the seventh digit
    np.testing.assert_allclose(end.positions.numpy(), atoms.positions, atol=1e-5)
    assert (end.positions - state.positions).abs().max() > 0.1


@pytest.mark.parametrize("constraints", ["hbonds", "allbonds"])
def test_bonds_keep_their_lengths_and_the_drift_falls_with_the_square_of_the_step(constraints):
    drifts = []
    for dt in (1.0, 0.5, 0.25):
        simulator = MolecularDynamics(constraints=constraints, dt=dt, seed=1)
        with torch.no_grad():
            run = simulator.run(simulator.state(), int(32 / dt), every=int(2 / dt))
        last = run.states[-1]
        assert len(last.rigid_pairs) == {"hbonds": 6, "allbonds": 8}[constraints]
        torch.testing.assert_close(lengths(last), last.rigid_lengths, rtol=1e-12, atol=0)
        energy = run.observables["conserved_energy"][:, 0]
        drifts.append(float((energy - energy[0]).abs().max()))
    orders = [math.log2(a / b) for a, b in itertools.pairwise(drifts)]
    assert orders == pytest.approx([2.0, 2.0], abs=0.2)


@pytest.mark.parametrize("ensemble", ["langevin", "nose-hoover", "velocity-rescaling"])
def test_what_the_bath_gives_is_in_the_conserved_energy(ensemble):
    settings = {"constraints": "hbonds", "ensemble": ensemble, "thermostat_time": 20.0}
    simulator = MolecularDynamics(dt=0.5, **settings)
    with torch.no_grad():
        state = simulator.state()
        run = simulator.run(state, 200, every=10)
    taken = 6 + 3 * (ensemble != "langevin")
    assert float(simulator.motion_of(state).degrees) == 27 - taken
    assert float(run.observables["kinetic_temperature"][0, 0]) == pytest.approx(300.0)
    energy, last = run.observables["conserved_energy"][:, 0], run.states[-1]
    assert float((energy - energy[0]).abs().max()) < 0.004
    torch.testing.assert_close(lengths(last), last.rigid_lengths, rtol=1e-12, atol=0)


def test_files_of_ase_say_which_bonds(tmp_path):
    atoms = molecule("CH3OH")
    atoms.set_constraint([FixBondLengths([(0, 1)]), FixInternals(bonds=[[1.0, [1, 3]]])])
    sample = from_ase(atoms)
    assert sample.rigid_pairs.tolist() == [[0, 1], [1, 3]]
    assert sample.rigid_lengths.tolist() == [atoms.get_distance(0, 1), 1.0]
    write(tmp_path / "a.traj", atoms)
    (again,) = read_ase(tmp_path / "a.traj")
    np.testing.assert_array_equal(again.rigid_pairs, sample.rigid_pairs)
    simulator = MolecularDynamics(dt=1.0, constraints="hbonds")
    with torch.no_grad():
        state = simulator.state(sample)
        run = simulator.run(state, 10)
    assert sorted(map(sorted, state.rigid_pairs.tolist())) == [
        [0, 1],
        [0, 2],
        [0, 4],
        [0, 5],
        [1, 3],
    ]
    torch.testing.assert_close(lengths(run.states[-1]), state.rigid_lengths, rtol=1e-12, atol=0)
    simulator.write(run, tmp_path / "run.extxyz")
    back = read_ase(tmp_path / "run.extxyz")[-1]
    np.testing.assert_array_equal(back.rigid_pairs, np.sort(state.rigid_pairs, 1))
    np.testing.assert_allclose(back.rigid_lengths, state.rigid_lengths, rtol=1e-7)
    assert read(tmp_path / "run.extxyz").info["rigid_pairs"].size == 10
    atoms.set_constraint(FixInternals(angles_deg=[[109.0, [1, 0, 2]]]))
    with pytest.warns(InputWarning, match="angles, dihedrals"):
        from_ase(atoms)


def test_a_molecule_may_be_rigid_and_a_bond_may_be_long():
    water = molecule("H2O")
    pairs = [[0, 1], [0, 2], [1, 2]]
    sample = from_ase(water).replace(rigid_pairs=pairs, rigid_lengths=[1.0, 1.0, 1.6])
    simulator = MolecularDynamics(dt=2.0)
    with torch.no_grad():
        state = simulator.state(sample)
        end = simulator(state, 50)
    assert float(simulator.motion_of(state).degrees) == 6.0
    torch.testing.assert_close(lengths(end), end.rigid_lengths, rtol=1e-12, atol=0)
    assert end.rigid_lengths.tolist() == [1.0, 1.0, 1.6]
    fixed = sample.replace(fixed=[True, False, False])
    with torch.no_grad():
        state = simulator.state(fixed)
        end = simulator(state, 20)
    assert torch.equal(end.positions[0], state.positions[0])
    torch.testing.assert_close(lengths(end), end.rigid_lengths, rtol=1e-12, atol=0)


def test_what_cannot_be_kept_is_refused():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1]]) * 3.7
    pairs = list(itertools.combinations(range(5), 2))
    ends = np.array(pairs)
    away = np.linalg.norm(square[ends[:, 0]] - square[ends[:, 1]], axis=1)
    sample = Sample(id="five", domain="molecules", positions=square, types=[18] * 5)
    simulator = MolecularDynamics(potential="lennard-jones")
    with pytest.raises(InputError, match="follow from one another"):
        simulator.state(sample.replace(rigid_pairs=pairs, rigid_lengths=away))
    for wrong, text in (
        ({"rigid_pairs": [[0, 9]], "rigid_lengths": [1.0]}, "none of its 5"),
        ({"rigid_pairs": [[1, 1]], "rigid_lengths": [1.0]}, "of one atom"),
        ({"rigid_pairs": [[0, 1]], "rigid_lengths": [-1.0]}, "not positive"),
        ({"rigid_pairs": [[0, 1]]}, "go together"),
    ):
        with pytest.raises(InputError, match=text):
            sample.replace(**wrong)
    wild = MolecularDynamics(potential="lennard-jones", dt=1e4, temperature=300.0)
    with torch.no_grad(), pytest.raises(RunError, match="smaller dt"):
        wild(wild.state(sample.replace(rigid_pairs=[[0, 1]], rigid_lengths=[3.7])), 3)
