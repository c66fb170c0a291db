"""OpenMM's own integrators with a model in them, through the entry point that OpenMM-ML finds.

They run where both are installed (`pip install 'sfm-hub[openmm]'`).
"""

from __future__ import annotations

import numpy as np
import pytest

import sfm

openmm = pytest.importorskip("openmm", reason="the extra 'openmm' is not installed")
pytest.importorskip("openmmml", reason="the extra 'openmm' is not installed")
build = pytest.importorskip("ase.build")

from openmm import app, unit  # noqa: E402
from openmmml import MLPotential  # noqa: E402

EV = 96.48533212331  # kJ/mol, exact in the SI of 2019


@pytest.fixture(scope="module")
def model():
    return sfm.load("sfm-tiny")


def topology_of(*systems):
    topology = app.Topology()
    for atoms in systems:
        residue = topology.addResidue("any", topology.addChain())
        for symbol in atoms.symbols:
            topology.addAtom(symbol, app.Element.getBySymbol(symbol), residue)
    if systems[0].pbc.any():
        topology.setPeriodicBoxVectors([openmm.Vec3(*row) / 10 for row in systems[0].cell.array])
    return topology


def context_of(system, positions, step=0.5):
    integrator = openmm.VerletIntegrator(step * unit.femtosecond)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions * unit.angstrom)
    return context, integrator


def energies(context):
    state = context.getState(energy=True)
    return [
        energy.value_in_unit(unit.kilojoule_per_mole) / EV
        for energy in (state.getPotentialEnergy(), state.getKineticEnergy())
    ]


def test_energy_and_forces_are_those_of_predict(model):
    atoms = build.molecule("CH3CH2OH")
    system = MLPotential("sfm-tiny").createSystem(topology_of(atoms))
    context, _ = context_of(system, atoms.positions)
    said = model.predict(atoms)
    assert energies(context)[0] == pytest.approx(float(said["energy"]), rel=1e-6)
    forces = context.getState(forces=True).getForces(asNumpy=True)
    forces = forces.value_in_unit(unit.kilojoule_per_mole / unit.angstrom) / EV
    np.testing.assert_allclose(forces, said["forces"], atol=1e-5)


def test_a_crystal_in_its_box(model):
    atoms = build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.05, seed=0)
    potential = MLPotential("sfm", model=model, level="CHGNet-0.4.2 (distilled)")
    context, _ = context_of(potential.createSystem(topology_of(atoms)), atoms.positions)
    assert energies(context)[0] == pytest.approx(float(model.predict(atoms)["energy"]), rel=1e-6)


def test_ethanol_conserves_its_energy():
    """200 steps of 0.5 fs at 300 K: the energy stays within 5 meV."""
    atoms = build.molecule("CH3CH2OH")
    system = MLPotential("sfm-tiny").createSystem(topology_of(atoms), removeCMMotion=False)
    context, integrator = context_of(system, atoms.positions)
    context.setVelocitiesToTemperature(300 * unit.kelvin, 0)
    parts = []
    for _ in range(40):
        integrator.step(5)
        parts.append(energies(context))
    total = np.sum(parts, axis=1)
    assert np.ptp(total) < 5e-3
    assert np.ptp(np.array(parts)[:, 0]) > 0.05  # it moved


def test_a_molecule_among_others(model):
    """Only the water is the model's; what stands beside it has no force field at all."""
    water, other = build.molecule("H2O"), build.molecule("CH4")
    other.translate([6, 0, 0])
    topology = topology_of(water, other)
    plain = openmm.System()
    for atom in topology.atoms():
        plain.addParticle(atom.element.mass)
    mixed = MLPotential("sfm", model=model, domain="molecules").createMixedSystem(
        topology, plain, [0, 1, 2]
    )
    context, _ = context_of(mixed, np.concatenate([water.positions, other.positions]))
    assert energies(context)[0] == pytest.approx(float(model.predict(water)["energy"]), rel=1e-6)


def test_mistakes_are_refused(model):
    topology = topology_of(build.molecule("H2O"))
    potential = MLPotential("sfm", model=model, domain="molecules")
    with pytest.raises(sfm.InputError, match="unknown option 'precison'"):
        potential.createSystem(topology, precison="double")
    with pytest.raises(sfm.InputError, match="impossible"):
        potential.createSystem(topology, charge=0, multiplicity=2)
    with pytest.raises(sfm.InputError, match="needs model"):
        MLPotential("sfm")
    with pytest.raises(sfm.InputError, match="is a model already"):
        MLPotential("sfm-tiny", model=model)
    uranium = topology_of(build.molecule("H2O"))
    uranium.addAtom("U", app.Element.getBySymbol("U"), next(uranium.residues()))
    context, _ = context_of(potential.createSystem(uranium), np.diag([1.0, 1, 1, 1])[:, :3] * 2)
    with pytest.raises(openmm.OpenMMException, match="element U is not among"):
        energies(context)
