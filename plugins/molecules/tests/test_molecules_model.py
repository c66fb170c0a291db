"""Encoder, heads and closure of molecules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from sfm_molecules.data.converters import from_rdkit
from sfm_molecules.geometry.embedding import embed
from sfm_molecules.simulators.dynamics import MolecularDynamics

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning

PART = "molecules/atoms"


def sample_of(smiles: str, **changes) -> Sample:
    return from_rdkit(embed(smiles, seed=1)).replace(**changes)


def say(model, samples, names):
    tokens = model.tokenize(PART, samples, "GFN2-xTB")
    with torch.no_grad():
        return model({PART: tokens}, {PART: names})[PART]


@pytest.mark.parametrize("charge", [0.0, 1.0, -2.0])
def test_charges_add_up_to_the_total_charge(model, charge):
    samples = [sample_of(s, conditions={"charge": charge}) for s in ("CCO", "c1ccncc1")]
    q = say(model, samples, ["charges"])["charges"]
    assert q[:9].sum().item() == pytest.approx(charge, abs=1e-12)
    assert q[9:].sum().item() == pytest.approx(charge, abs=1e-12)
    assert q.std() > 1e-3


def test_dipole_rotates_and_does_not_depend_on_the_origin(model):
    sample = sample_of("CC(=O)N")
    turn = Rotation.random(random_state=0).as_matrix() * -1  # improper
    moved = sample.replace(positions=sample.positions @ turn.T + [3.0, -1.0, 7.0])
    mu, mu_moved = say(model, [sample, moved], ["dipole"])["dipole"].numpy()
    assert np.linalg.norm(mu) > 1e-3
    np.testing.assert_allclose(mu_moved, turn @ mu, atol=1e-12)


@pytest.mark.parametrize("charge", [0.0, -1.0])
def test_quadrupole_turns_has_no_trace_and_is_about_the_mean_position(model, charge):
    sample = sample_of("CC(=O)N", conditions={"charge": charge})
    turn = Rotation.random(random_state=0).as_matrix() * -1  # improper
    moved = sample.replace(positions=sample.positions @ turn.T + [3.0, -1.0, 7.0])
    theta, turned = say(model, [sample, moved], ["quadrupole"])["quadrupole"].numpy()
    assert np.abs(theta).max() > 1e-3
    np.testing.assert_allclose(theta, theta.T, atol=1e-12)
    np.testing.assert_allclose(turned, turn @ theta @ turn.T, atol=1e-11)
    assert np.trace(theta) == pytest.approx(0, abs=1e-12)


def test_charges_and_dipole_of_distant_molecules_are_those_of_each(model):
    a, b = sample_of("CCO"), sample_of("CC#N")
    far = b.positions + np.array([40.0, 0, 0])
    both = a.replace(
        positions=np.concatenate([a.positions, far]), types=np.concatenate([a.types, b.types])
    )
    apart, together = (
        say(model, [a, b], ["charges", "dipole"]),
        say(model, [both], ["charges", "dipole"]),
    )
    torch.testing.assert_close(together["charges"], apart["charges"], atol=1e-12, rtol=0)
    torch.testing.assert_close(together["dipole"][0], apart["dipole"].sum(0), atol=1e-11, rtol=0)


def test_charges_are_smooth_where_an_atom_crosses_the_cutoff(model):
    def charge(distance: float) -> float:
        pair = Sample(
            id="pair", domain="molecules", positions=[[0, 0, 0], [0, 0, distance]], types=[8, 1]
        )
        return float(say(model, [pair], ["charges"])["charges"][0])

    step = 1e-3
    before, at, after = charge(5 - step), charge(5.0), charge(5 + step)
    assert abs(after - 2 * at + before) < 1e-8
    assert abs(charge(2.0)) > 1e-4


def test_closure_gives_the_models_energy_and_forces(model):
    samples = [sample_of("CCO"), sample_of("C1CC1")]
    tokens = model.tokenize(PART, samples, "GFN2-xTB")
    expected = model({PART: tokens}, {PART: ["energy", "forces"]})[PART]
    simulator = MolecularDynamics(potential="none", closure=model.closure("molecules"))
    state = simulator.state(samples)
    energy, forces = simulator.energy_and_forces(state.positions, state.types, state.system)
    torch.testing.assert_close(energy, expected["energy"])
    torch.testing.assert_close(forces, expected["forces"])


def test_closure_does_not_depend_on_the_skin(model):
    # a model of random weights lets atoms meet
    closures = [model.closure("molecules", skin=skin, extrapolate=True) for skin in (0.0, 1.0)]
    runs = []
    for closure in closures:
        simulator = MolecularDynamics(
            potential="none", closure=closure, dt=1.0, temperature=2000.0, dtype=torch.float64
        )
        with torch.no_grad(), pytest.warns(InputWarning, match="nearer than any"):
            runs.append(simulator(simulator.state(sample_of("CCCC")), 40))
    torch.testing.assert_close(runs[0].positions, runs[1].positions, atol=1e-10, rtol=0)
    assert (runs[0].positions - torch.tensor(sample_of("CCCC").positions)).abs().max() > 0.3


def test_closure_parameters_get_the_gradient_of_a_rollout(model):
    closure = model.closure("molecules")
    weight = next(
        p for n, p in model.named_parameters() if n.endswith("energy.readout.outer.weight")
    )
    sample = sample_of("O")
    gradients = []
    for recompute in (True, False):
        simulator = MolecularDynamics(
            potential="uff", closure=closure, dt=0.5, temperature=300.0, recompute=recompute
        )
        loss = simulator(simulator.state(sample), 5).positions.square().sum()
        gradients.append(torch.autograd.grad(loss, weight)[0])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().max() > 0


def test_a_missing_closure_is_explained():
    with pytest.raises(InputError, match="potential=uff"):
        MolecularDynamics(potential="none")


def test_an_unknown_level_is_explained(model):
    with pytest.raises(InputError, match="GFN2-xTB"):
        model.closure("molecules", level="PBE")


def test_predicting_from_what_users_have(model, tmp_path):
    from ase.build import molecule
    from rdkit import Chem

    path = tmp_path / "list.smi"
    path.write_text("O water\nCCO ethanol\n")
    from_file = model.predict(path)
    assert [p.id for p in from_file] == ["water", "ethanol"]
    assert from_file[0].units["dipole"] == "e*angstrom"
    from_atoms = model.predict(molecule("CH3CH2OH"))
    assert from_atoms["charges"].shape == (9,)
    assert model.predict(Chem.MolFromSmiles("CCO"))["charges"].shape == (9,)


def test_the_readme_example_runs():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = text.split("```python\n")[1:]
    assert blocks
    for block in blocks:
        exec(block.split("```")[0], {})
