"""Fixed atoms, isotopes and charges of cells: kept by relaxation, by readers and by writers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import read, write
from ase.optimize import BFGS
from pymatgen.core import Lattice, Structure
from sfm_crystals.data.converters import from_ase, from_pymatgen, to_ase, to_pymatgen
from sfm_crystals.simulators.lattice import LatticeStatics

from sfm.data.readers import read_file
from sfm.errors import InputError, InputWarning


def argon():
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
    atoms.rattle(0.15, seed=3)
    return atoms


def simulator(**options) -> LatticeStatics:
    settings = {"switch": "xplor", "cutoff": 2.4, "relax_cell": "fixed", "tolerance": 1e-8}
    return LatticeStatics(epsilon=0.0104, sigma=3.4, **{**settings, **options})


def test_fixed_atoms_do_not_move_and_the_others_are_free_of_force():
    atoms = argon()
    atoms.set_constraint(FixAtoms([0, 1]))
    one = simulator().requires_grad_(False)
    relaxed = one.relax(one.state(from_ase(atoms)))
    positions = relaxed.positions.numpy()
    assert (positions[:2] == atoms.positions[:2]).all()
    assert (positions[2:] != atoms.positions[2:]).all()
    forces = one.observe(relaxed)["forces"]
    assert float(forces[:2].abs().max()) > 1e-3
    assert float(forces[2:].abs().max()) <= 1e-8


def test_relaxation_agrees_with_ase_on_the_same_surface():
    """ase's optimiser on our energy, with its own constraint."""
    from ase.calculators.calculator import Calculator, all_changes

    one = simulator().requires_grad_(False)

    class Ours(Calculator):
        implemented_properties = ["energy", "forces"]  # noqa: RUF012

        def calculate(self, atoms=None, properties=(), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            seen = one.observe(one.state(from_ase(self.atoms)))
            self.results = {"energy": float(seen["energy"][0]), "forces": seen["forces"].numpy()}

    atoms = argon()
    atoms.set_constraint(FixAtoms([0, 1]))
    ours = one.relax(one.state(from_ase(atoms))).positions.numpy()
    atoms.calc = Ours()
    BFGS(atoms, logfile=None).run(fmax=1e-6, steps=200)
    np.testing.assert_allclose(ours, atoms.positions, atol=1e-4)


def test_fixed_atoms_go_with_the_lattice():
    atoms = argon()
    atoms.set_constraint(FixAtoms([2]))
    one = simulator(relax_cell="volume").requires_grad_(False)
    state = one.state(from_ase(atoms))
    for end in (one.relax(state), one(state, 60)):
        fraction = np.linalg.solve(end.cell[0].numpy().T, end.positions.numpy().T).T
        np.testing.assert_allclose(fraction[2], atoms.get_scaled_positions(wrap=False)[2])
        assert abs(float(end.volume()[0]) - atoms.get_volume()) > 0.1
    with pytest.raises(InputError, match="elastic constants relax the atoms"):
        one.elastic_constants(state)


def test_the_response_of_a_cell_with_fixed_atoms_equals_differences():
    one = simulator(tolerance=1e-10)
    atoms = argon()
    atoms.set_constraint(FixAtoms([0]))
    state = one.state(from_ase(atoms))

    def distance() -> torch.Tensor:
        x = one.relax(state).positions
        return (x[1] - x[0]).norm()

    (slope,) = torch.autograd.grad(distance(), one.sigma)
    with torch.no_grad():
        ends = []
        for shift in (1e-4, -2e-4):
            one.sigma.add_(shift)
            ends.append(float(distance()))
        one.sigma.add_(1e-4)
    assert float(slope) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-4)


def test_selective_dynamics_is_read_and_written(tmp_path):
    atoms = argon()
    atoms.set_constraint(FixAtoms([0, 3]))
    write(tmp_path / "POSCAR", atoms, format="vasp")
    (sample,) = read_file(tmp_path / "POSCAR")
    np.testing.assert_array_equal(sample.fixed, np.repeat([[1], [0], [0], [1]], 3, axis=1) > 0)
    half = sample.replace(fixed=sample.fixed & [True, False, True])
    one = simulator().requires_grad_(False)
    trajectory = one.run(one.state(half), 20, every=20)
    for name in ("end.vasp", "end.extxyz", "end.traj"):
        one.write(trajectory, tmp_path / name)
        (back,) = read_file(tmp_path / name)
        np.testing.assert_array_equal(back.fixed, half.fixed)
    with pytest.warns(InputWarning, match="cif has no place for fixed atoms"):
        one.write(trajectory, tmp_path / "end.cif")
    np.testing.assert_array_equal(from_pymatgen(to_pymatgen(half), name="Ar").fixed, half.fixed)
    skewed = half.replace(cell=half.cell @ (np.eye(3) + 0.1 * np.eye(3, k=1)))
    with pytest.raises(InputError, match="lattice vectors, which are no Cartesian axes"):
        to_pymatgen(skewed)


def test_deuterium_and_charge_of_a_structure_are_read(tmp_path):
    structure = Structure(Lattice.cubic(4.0), ["D", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]], charge=1)
    sample = from_pymatgen(structure)
    assert sample.types.tolist() == [1, 9]
    np.testing.assert_allclose(sample.masses, [2.014, 18.998], atol=1e-3)
    assert sample.conditions == {"charge": 1.0}
    assert to_pymatgen(sample)._charge == 1
    atoms = to_ase(sample)
    write(tmp_path / "d.extxyz", atoms)
    (back,) = read_file(tmp_path / "d.extxyz")
    np.testing.assert_allclose(back.masses, sample.masses, atol=1e-7)
    assert back.conditions == sample.conditions
    assert read(tmp_path / "d.extxyz").info["charge"] == 1
