"""torch-sim's own runners with a model in them: one energy through both doors, energy conserved.

They run where torch-sim is installed (`pip install 'sfm-hub[torch-sim]'`).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sfm

ts = pytest.importorskip("torch_sim", reason="the extra 'torch-sim' is not installed")
build = pytest.importorskip("ase.build")
pytestmark = pytest.mark.filterwarnings("ignore")  # torch-sim's own

MOLECULES = ("CH3CH2OH", "H2O", "C6H6")


@pytest.fixture(scope="module")
def model():
    return sfm.load("sfm-tiny")


@pytest.fixture(scope="module")
def adapter():
    from sfm.engines.torch_sim import SfmTorchSim

    return SfmTorchSim


@pytest.fixture
def crystals():
    cells = [build.bulk("Si", cubic=True), build.bulk("NaCl", "rocksalt", a=5.6)]
    for number, atoms in enumerate(cells):
        atoms.rattle(0.05, seed=number)
        atoms.set_cell(atoms.cell.array @ [[1, 0.02, 0], [0, 1.01, 0], [0, 0, 1]], scale_atoms=True)
    return cells


def state_of(atoms, engine):
    return ts.io.atoms_to_state(atoms, engine.device, engine.dtype)


def test_molecules_have_the_energies_and_forces_of_predict(model, adapter):
    molecules = [build.molecule(name) for name in MOLECULES]
    engine = adapter(model, domain="molecules")
    answer = engine(state_of(molecules, engine))
    said = model.predict(molecules)
    np.testing.assert_allclose(answer["energy"], [p["energy"] for p in said], rtol=1e-6)
    forces = np.concatenate([p["forces"] for p in said])
    np.testing.assert_allclose(answer["forces"], forces, atol=1e-5)
    assert "stress" not in answer


def test_crystals_have_the_energies_forces_and_stress_of_predict(model, adapter, crystals):
    engine = adapter(model, domain="crystals")
    answer = engine(state_of(crystals, engine))
    said = model.predict(crystals)
    np.testing.assert_allclose(answer["energy"], [p["energy"] for p in said], rtol=1e-6)
    np.testing.assert_allclose(answer["stress"], [p["stress"] for p in said], atol=1e-6)
    forces = np.concatenate([p["forces"] for p in said])
    np.testing.assert_allclose(answer["forces"], forces, atol=1e-5)


def test_the_interface_that_torch_sim_checks(model, adapter):
    from torch_sim.models.interface import validate_model_outputs

    validate_model_outputs(adapter(model, domain="crystals"), torch.device("cpu"), torch.float64)


def test_constant_energy_is_conserved_in_a_batch(model, adapter):
    """100 steps of 0.5 fs at 300 K; the energy wanders by less than 1 meV an atom."""
    engine = adapter(model, domain="molecules")
    steps = ts.units.MetalUnits.time * 0.0005
    kT = 300 * ts.units.MetalUnits.temperature
    start, step = ts.nve(model=engine, dt=steps, kT=kT, seed=0)
    state = start(state_of([build.molecule(name) for name in MOLECULES], engine))

    def total():
        kinetic = ts.calc_kinetic_energy(
            masses=state.masses, momenta=state.momenta, system_idx=state.system_idx
        )
        return (kinetic + state.energy) / state.n_atoms_per_system

    energies, potential = [total()], [state.energy]
    for _ in range(100):
        state = step(state)
        energies.append(total())
        potential.append(state.energy)
    wander = torch.stack(energies) - energies[0]
    assert float(wander.abs().max()) < 1e-3
    assert float(torch.stack(potential).std(0).min()) > 1e-2  # it moved


def test_cells_relax_in_a_batch_to_where_ase_takes_them(adapter, crystals):
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    model = sfm.load("sfm-tiny").double()
    engine = adapter(model, domain="crystals")
    done = ts.optimize(
        crystals,
        engine,
        optimizer=ts.frechet_cell_fire,
        convergence_fn=ts.generate_force_convergence_fn(force_tol=2e-3),
        max_steps=500,
    )
    for atoms, energy in zip(crystals, done.energy.tolist(), strict=True):
        atoms.calc = model.calculator(domain="crystals")
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=300)
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-4 * len(atoms))


def test_what_the_model_does_not_know_is_refused_by_name(model, adapter):
    engine = adapter(model, domain="molecules")
    with pytest.raises(sfm.InputError, match="system 2: element U is not among"):
        engine(state_of([build.molecule("H2O"), build.molecule("H2O")[:1] + _uranium()], engine))
    with pytest.raises(sfm.InputError, match="no stress"):
        adapter(model, domain="molecules", compute_stress=True)
    with pytest.raises(sfm.InputError, match="level"):
        adapter(model, domain="molecules", level="PBE")


def test_charge_and_spin_reach_the_model(model, adapter):
    atoms = build.molecule("OH")
    engine = adapter(model, domain="molecules", charge=-1)
    atoms.info["charge"] = -1
    atoms.set_initial_magnetic_moments(None)
    energy = float(engine(state_of([atoms], engine))["energy"])
    assert energy == pytest.approx(float(model.predict(atoms)["energy"]), rel=1e-6)


def _uranium():
    from ase import Atoms

    return Atoms("U", positions=[[3.0, 0, 0]])
