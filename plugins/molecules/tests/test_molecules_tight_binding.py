"""`molecules/tight-binding` against tblite's GFN1-xTB, which shares no code with dxtb.

dxtb has its own conversion of units: energies differ by 4e-8 of themselves. It runs where dxtb is
installed (extra `tight-binding`).
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

import sfm
from sfm.cli import main
from sfm.data.conditions import BOHR_RADIUS
from sfm.errors import PluginError
from sfm.simulate.fit import fit

build = pytest.importorskip("ase.build")
HARTREE = 27.211386245988
with_dxtb = pytest.mark.skipif(
    importlib.util.find_spec("dxtb") is None, reason="the extra 'tight-binding' is not installed"
)
PARAMETERS = "k_ss", "k_sp", "k_pp", "k_en", "k_rep", "s8", "a1", "a2"


def atoms_of(name, charge=0, spin=0):
    atoms = build.molecule(name)
    atoms.rattle(0.03, seed=1)
    atoms.set_initial_magnetic_moments(None)
    atoms.info.update(charge=charge, spin=spin)
    return atoms


@with_dxtb
@pytest.mark.parametrize(
    ("name", "charge", "spin"),
    [("CH3CH2OH", 0, 0), ("OH", -1, 0), ("OH", 0, 1), ("O2", 0, 2), ("SO2", 0, 0), ("CH3Cl", 0, 0)],
)
def test_energies_and_forces_are_tblites(name, charge, spin):
    interface = pytest.importorskip("tblite.interface")
    atoms = atoms_of(name, charge, spin)
    simulator = sfm.simulator("molecules/tight-binding").requires_grad_(False)
    seen = simulator.observe(simulator.state(sfm.read(atoms)))
    places = atoms.positions / BOHR_RADIUS
    theirs = interface.Calculator("GFN1-xTB", atoms.numbers, places, charge=charge, uhf=spin)
    theirs.set("verbosity", 0)
    theirs.set("accuracy", 1e-3)
    result = theirs.singlepoint()
    assert float(seen["energy"]) == pytest.approx(result["energy"] * HARTREE, rel=1e-7)
    forces = -result["gradient"] * HARTREE / BOHR_RADIUS
    np.testing.assert_allclose(seen["forces"], forces, atol=1e-6)


@with_dxtb
def test_a_batch_is_its_molecules():
    simulator = sfm.simulator("molecules/tight-binding").requires_grad_(False)
    molecules = [sfm.read(atoms_of(name))[0] for name in ("H2O", "NH3")]
    both = simulator.observe(simulator.state(molecules))["energy"]
    alone = [simulator.observe(simulator.state(one))["energy"] for one in molecules]
    torch.testing.assert_close(both, torch.cat(alone))


@with_dxtb
def test_gradients_of_forces_in_every_parameter():
    """Against central differences, to 1e-4: the charges are converged to 1e-9."""
    simulator = sfm.simulator("molecules/tight-binding")
    state = simulator.state(sfm.read(atoms_of("H2O")))
    weights = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(3, 3)

    def value():
        forces = simulator.energy_and_forces(
            state.positions, state.types, state.system, state.conditions
        )[1]
        return (forces * weights).sum()

    places = [getattr(simulator, name) for name in PARAMETERS]
    slopes = torch.autograd.grad(value(), places)
    for parameter, slope in zip(places, slopes, strict=True):
        step, moved = 1e-4, []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * step)
                moved.append(float(value()))
                parameter.sub_(sign * step)
        numeric = (moved[0] - moved[1]) / (2 * step)
        assert float(slope) == pytest.approx(numeric, rel=1e-4, abs=1e-6)


@with_dxtb
def test_constant_energy_is_conserved():
    """40 steps of 0.25 fs of water at 300 K: within 2 meV (3.8 meV with 0.5 fs)."""
    simulator = sfm.simulator("molecules/tight-binding", dt=0.25).requires_grad_(False)
    run = simulator.run(simulator.state(sfm.read(atoms_of("H2O"))), 40, every=4)
    assert float(np.ptp(run.observables["conserved_energy"].numpy())) < 2e-3
    assert float(np.ptp(run.observables["energy"].numpy())) > 1e-2  # it moved


@with_dxtb
def test_a_parameter_is_found_from_forces(tmp_path):
    """Forces of GFN1 itself give k_pp back from a start that is 5% off."""
    simulator = sfm.simulator("molecules/tight-binding").requires_grad_(False)
    places, forces = [], []
    for seed in range(3):
        atoms = atoms_of("H2O")
        atoms.rattle(0.05, seed=seed)
        places.append(atoms.positions)
        forces.append(simulator.observe(simulator.state(sfm.read(atoms)))["forces"])
    np.savez(tmp_path / "forces.npz", positions=places, types=atoms.numbers, forces=forces)
    start = sfm.simulator("molecules/tight-binding", k_pp=2.36)
    result = fit(start, start.read_observations(tmp_path / "forces.npz"), ["k_pp"])
    assert result.estimates["k_pp"].value == pytest.approx(2.25, abs=1e-4)


@with_dxtb
def test_an_element_without_parameters_is_refused():
    atoms = build.molecule("H2O")
    atoms.numbers[0] = 92
    simulator = sfm.simulator("molecules/tight-binding")
    with pytest.raises(sfm.InputError, match="no parameters of U"):
        simulator.observe(simulator.state(sfm.read(atoms)))


@pytest.mark.skipif(importlib.util.find_spec("dxtb") is not None, reason="dxtb is installed")
def test_without_dxtb_the_extra_is_named(capsys):
    assert main(["simulate", "molecules/tight-binding"]) == PluginError.exit_code
    assert "sfm-hub[molecules,tight-binding]" in capsys.readouterr().err.strip().splitlines()[-1]


@with_dxtb
def test_water_at_rest_vibrates_and_its_bend_follows_a_parameter():
    """d frequency / d k_ss through the relaxed geometry, against geometries relaxed anew."""

    def bend(k_ss):
        settings = {"potential": "gfn1-xtb", "molecule": "O", "tolerance": 1e-5, "k_ss": k_ss}
        simulator = sfm.simulator("molecules/vibrations", **settings)
        relaxed = simulator(simulator.state())
        return simulator.modes(relaxed)[0][0], simulator.k_ss

    value, parameter = bend(1.85)
    (slope,) = torch.autograd.grad(value, parameter)
    with torch.no_grad():
        difference = bend(1.851)[0] - bend(1.849)[0]
    assert 1300 < value.item() < 1700
    assert slope.item() == pytest.approx(float(difference) / 2e-3, rel=1e-4)
