"""Minima and vibrations against rdkit, ase and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.io import read
from ase.thermochemistry import IdealGasThermo
from ase.vibrations import VibrationsData
from rdkit.Chem import AllChem
from sfm_molecules.geometry.embedding import embed
from sfm_molecules.potentials import lennard_jones
from sfm_molecules.simulators.relax import Relax
from sfm_molecules.simulators.vibrations import Vibrations

from sfm.cli import main
from sfm.constants import ACCELERATION, LIGHT, PLANCK
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.simulate.statics.ideal_gas import ideal_gas
from sfm.simulate.statics.vibrations import hessian

TRIMER = np.array([[0.0, 0, 0], [3.9, 0.1, 0], [1.7, 3.4, 0.2]])


def argon(positions, **stated) -> Sample:
    types = np.full(len(positions), 18)
    return Sample(id="Ar", domain="molecules", positions=positions, types=types, **stated)


def distances(positions):
    return torch.pdist(positions)


# ------------------------------------------------------------------ minima


@pytest.mark.parametrize("smiles", ["CCO", "CC(=O)NC", "c1ccccc1O"])
def test_minima_are_those_of_rdkit(smiles):
    """rdkit's own minimiser on MMFF94, from the same start."""
    molecule = embed(smiles, seed=1, relax=False)
    simulator = Relax(potential="mmff94").requires_grad_(False)
    start = molecule.GetConformer().GetPositions()
    types = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()])
    # near the minimum, so that both searches end in the same one
    AllChem.MMFFOptimizeMolecule(molecule, maxIters=5)
    start = molecule.GetConformer().GetPositions()
    sample = Sample(id=smiles, domain="molecules", positions=start, types=types)
    state = simulator.state(sample)
    relaxed = simulator(state)
    assert simulator.converged(relaxed)
    assert not simulator.converged(state)
    field = AllChem.MMFFGetMoleculeForceField(molecule, AllChem.MMFFGetMoleculeProperties(molecule))
    for _ in range(20):
        if field.Minimize(maxIts=1000, forceTol=1e-9, energyTol=1e-12) == 0:
            break
    theirs = distances(torch.from_numpy(molecule.GetConformer().GetPositions()))
    torch.testing.assert_close(distances(relaxed.positions), theirs, rtol=0, atol=1e-4)


def test_two_argon_atoms_come_to_rest_at_the_known_distance():
    """r = 2^(1/6) sigma, E = -epsilon, and dr/dsigma = 2^(1/6) by the implicit derivative."""
    simulator = Relax(potential="lennard-jones", tolerance=1e-12)
    relaxed = simulator(simulator.state(argon([[0.0, 0, 0], [3.5, 0.4, 0.3]])))
    length = distances(relaxed.positions)[0]
    energy = simulator.observe(relaxed)["energy"][0]
    slopes = torch.autograd.grad(length, (simulator.sigma, simulator.epsilon), retain_graph=True)
    assert length.item() == pytest.approx(2 ** (1 / 6) * simulator.sigma.item(), rel=1e-10)
    assert energy.item() == pytest.approx(-simulator.epsilon.item(), rel=1e-12)
    assert float(slopes[0]) == pytest.approx(2 ** (1 / 6), rel=1e-9)
    assert float(slopes[1]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("minimiser", ["fire", "lbfgs"])
def test_thirteen_atoms_fall_to_the_known_minimum_in_one_batch_with_others(minimiser):
    simulator = Relax(potential="lennard-jones", minimiser=minimiser).requires_grad_(False)
    shaken = lennard_jones.icosahedron() + 0.2 * np.random.default_rng(1).standard_normal((13, 3))
    relaxed = simulator(simulator.state([argon(shaken), argon(TRIMER)]))
    energies = simulator.observe(relaxed)["energy"] / simulator.epsilon
    torch.testing.assert_close(
        energies, torch.tensor([-44.326801, -3.0]).double(), rtol=0, atol=1e-5
    )


def test_what_is_fixed_stays_and_leads_the_rest():
    """Two atoms held apart: the third is where both pull it, and follows them."""
    fixed = np.zeros((3, 3), dtype=bool)
    fixed[:2] = True
    simulator = Relax(potential="lennard-jones", tolerance=1e-11).requires_grad_(False)
    state = simulator.state(argon(TRIMER, fixed=fixed))
    places = state.positions.clone().requires_grad_()
    relaxed = simulator.relax(state._replace(positions=places))
    torch.testing.assert_close(relaxed.positions[:2], state.positions[:2])
    (slope,) = torch.autograd.grad(relaxed.positions[2, 0], places)
    h = 1e-4
    moved = []
    for sign in (1, -1):
        x = state.positions.clone()
        x[1, 0] += sign * h
        moved.append(float(simulator.relax(state._replace(positions=x)).positions[2, 0]))
    assert float(slope[1, 0]) == pytest.approx((moved[0] - moved[1]) / (2 * h), rel=1e-5)


def test_a_model_relaxes_and_vibrates():
    """The bundled model's water: at rest, and three frequencies where water has them."""
    model = FoundationModel.from_pretrained("sfm-tiny").double().requires_grad_(False)
    closure = model.closure("molecules", level="GFN2-xTB")
    simulator = Vibrations(closure=closure, molecule="O", tolerance=1e-5).requires_grad_(False)
    state = simulator(simulator.state())
    assert simulator.converged(state)
    bend, *stretches = simulator.observe(state)["frequencies"].tolist()
    assert 1000 < bend < 2200
    assert all(3000 < one < 4500 for one in stretches)


# ------------------------------------------------------------------ vibrations


@pytest.mark.parametrize(
    ("potential", "smiles"), [("uff", "O"), ("mmff94", "C=O"), ("mmff94", "C#C")]
)
def test_frequencies_are_those_of_a_finite_difference_hessian(potential, smiles):
    """ase's mass weighting, with forces differentiated by us numerically; rigid modes dropped."""
    simulator = Vibrations(potential=potential, molecule=smiles).requires_grad_(False)
    state = simulator(simulator.state())
    h, n = 1e-4, len(state.positions)
    rows = []
    for k in range(3 * n):
        step = torch.zeros(3 * n, dtype=torch.float64)
        step[k] = h
        ends = [
            simulator.energy_and_forces(
                state._replace(positions=state.positions + sign * step.view(-1, 3))
            )[1]
            for sign in (1, -1)
        ]
        rows.append((ends[1] - ends[0]).flatten() / (2 * h))
    atoms = Atoms(state.types.numpy(), state.positions.numpy(), masses=state.masses[:, 0].numpy())
    theirs = VibrationsData.from_2d(atoms, torch.stack(rows).numpy()).get_frequencies()
    seen = simulator.observe(state)["frequencies"]
    linear = smiles == "C#C"
    assert len(seen) == 3 * n - (5 if linear else 6)
    np.testing.assert_allclose(seen, theirs.real[-len(seen) :], rtol=1e-5)


def test_two_atoms_vibrate_as_the_curvature_says():
    """k = 72 epsilon / (2^(1/3) sigma^2) at the minimum of Lennard-Jones, and its derivative."""
    simulator = Vibrations(potential="lennard-jones", tolerance=1e-12)
    masses = np.array([36.0, 40.0])
    state = simulator(simulator.state(argon([[0.0, 0, 0], [3.8, 0.2, 0.1]], masses=masses)))
    (frequency,) = simulator.observe(state)["frequencies"]
    epsilon, sigma = simulator.epsilon.item(), simulator.sigma.item()
    stiffness = 72 * epsilon / (2 ** (1 / 3) * sigma**2)
    reduced = 36.0 * 40.0 / 76.0
    expected = math.sqrt(ACCELERATION * stiffness / reduced) / (2 * math.pi * LIGHT)
    assert frequency.item() == pytest.approx(expected, rel=1e-8)
    slopes = torch.autograd.grad(frequency, (simulator.epsilon, simulator.sigma))
    assert float(slopes[0]) == pytest.approx(expected / (2 * epsilon), rel=1e-7)
    assert float(slopes[1]) == pytest.approx(-expected / sigma, rel=1e-7)


def test_frequencies_and_free_energy_follow_the_potential():
    """Through the relaxed geometry: four atoms of different masses against finite differences."""
    simulator, state = Vibrations.conformance_case(tolerance=1e-12)

    def seen(epsilon, sigma):
        named = {"epsilon": epsilon, "sigma": sigma}
        observed = torch.func.functional_call(
            _Observed(simulator), {f"simulator.{k}": v for k, v in named.items()}, (state,)
        )
        return observed

    inputs = tuple(
        getattr(simulator, n).detach().clone().requires_grad_() for n in ("epsilon", "sigma")
    )
    torch.autograd.gradcheck(seen, inputs, eps=1e-6, rtol=1e-4, atol=1e-6)


class _Observed(torch.nn.Module):
    def __init__(self, simulator):
        super().__init__()
        self.simulator = simulator

    def forward(self, state):
        seen = self.simulator.observe(self.simulator(state))
        return torch.cat([seen["frequencies"], seen["gas_gibbs_energy"][None]])


def test_a_mean_of_fixed_atoms_has_fewer_modes_and_no_gas(recwarn):
    fixed = np.zeros((3, 3), dtype=bool)
    fixed[0] = True
    simulator = Vibrations(potential="lennard-jones").requires_grad_(False)
    trajectory = simulator.run(simulator.state(argon(TRIMER, fixed=fixed)), 1)
    assert trajectory.observables["frequencies"].shape == (1, 3)  # six coordinates, three turns
    assert "gas_enthalpy" not in trajectory.observables
    assert any("fixed" in line for line in trajectory.warnings)


def test_a_saddle_is_said():
    """Three argon atoms on a line, which a search that keeps the symmetry cannot leave."""
    line = argon([[0.0, 0, 0], [3.8, 0, 0], [7.6, 0, 0]])
    simulator = Vibrations(potential="lennard-jones").requires_grad_(False)
    trajectory = simulator.run(simulator.state(line), 1)
    assert float(trajectory.observables["frequencies"].min()) < -1.0
    assert any("imaginary" in line for line in trajectory.warnings)


def test_a_geometry_away_from_rest_is_said():
    simulator = Vibrations(potential="uff", molecule="O", relax_first=False).requires_grad_(False)
    state = simulator.state()
    moved = state._replace(positions=1.05 * state.positions)
    assert any("not at rest" in line for line in simulator.run(moved, 1).warnings)


# ------------------------------------------------------------------ thermodynamics


@pytest.mark.parametrize(
    ("smiles", "geometry", "symmetry", "unpaired"),
    [("O", "nonlinear", 2, 0), ("O=C=O", "linear", 2, 0), ("[O][O]", "linear", 2, 2)],
)
def test_the_ideal_gas_is_that_of_ase(smiles, geometry, symmetry, unpaired):
    simulator = Vibrations(potential="uff", molecule=smiles).requires_grad_(False)
    state = simulator(simulator.state())
    frequencies, _ = simulator.modes(state)
    atoms = Atoms(state.types.numpy(), state.positions.numpy(), masses=state.masses[:, 0].numpy())
    quanta = (frequencies * 1e3 * LIGHT * PLANCK / 1e3).numpy()
    theirs = IdealGasThermo(
        vib_energies=quanta,
        geometry=geometry,
        potentialenergy=-1.5,
        atoms=atoms,
        symmetrynumber=symmetry,
        spin=unpaired / 2,
    )
    ours = ideal_gas(
        torch.tensor(-1.5).double(),
        frequencies,
        state.positions,
        state.masses[:, 0],
        temperature=torch.tensor(400.0).double(),
        pressure=torch.tensor(2.0).double(),
        symmetry=symmetry,
        unpaired=torch.tensor(float(unpaired)),
    )
    # ase's constants are those of CODATA 2014, hence 1e-6
    assert float(ours.enthalpy) == pytest.approx(
        theirs.get_enthalpy(400.0, verbose=False), rel=1e-6
    )
    entropy = theirs.get_entropy(400.0, 2e5, verbose=False)
    assert float(ours.entropy) == pytest.approx(entropy, rel=1e-6)
    gibbs = theirs.get_gibbs_energy(400.0, 2e5, verbose=False)
    assert float(ours.gibbs_energy) == pytest.approx(gibbs, rel=1e-6)


def test_oxygen_and_water_have_the_measured_entropy():
    """205.15 and 188.84 J/mol/K at 298.15 K and 1 bar: CODATA key values (1989)."""
    for smiles, symmetry, expected in (("O", 2, 188.84), ("[O][O]", 2, 205.15)):
        simulator = Vibrations(potential="uff", molecule=smiles, symmetry_number=symmetry)
        state = simulator.requires_grad_(False).state()
        if smiles == "[O][O]":
            state = state._replace(spin=2 + 0 * state.spin)
        seen = simulator.observe(simulator(state))
        entropy = float(seen["gas_entropy"]) / (units.kJ / units.mol) * 1e3
        # a classical force field's bond lengths and frequencies: within 2 J/mol/K
        assert entropy == pytest.approx(expected, abs=2.0), smiles


# ------------------------------------------------------------------ the command


def test_the_commands_go_from_smiles_to_files(tmp_path, capsys, monkeypatch):
    hessians = []

    def counted(*given, **named):
        hessians.append(hessian(*given, **named))
        return hessians[-1]

    monkeypatch.setattr("sfm.simulate.statics.vibrations.hessian", counted)
    out = str(tmp_path / "modes.extxyz")
    plot = str(tmp_path / "lines.png")
    code = main(
        ["simulate", "molecules/vibrations", "--set", "potential=mmff94", "molecule=CO",
         "--output", out, "--plot", plot]
    )  # fmt: skip
    assert code == 0
    said = capsys.readouterr().out
    assert "frequencies" in said
    assert "gas_gibbs_energy" in said
    frames = read(out, ":")
    assert len(frames) == 12
    assert len(hessians) == 1  # the file has the modes of what was printed
    assert frames[-1].info["frequency"] > 3000
    assert np.linalg.norm(frames[0].arrays["mode"]) == pytest.approx(1.0, abs=1e-6)

    out = str(tmp_path / "relaxed.extxyz")
    assert main(["simulate", "molecules/relax", "--set", "molecule=CO", "--output", out]) == 0
    assert np.abs(read(out, "-1").get_forces()).max() < 1e-6


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (Relax, {"tolerance": 0.0}, "above 0"),
        (Relax, {"potential": "uff", "k_ss": 2.0}, "does not use k_ss"),
        (Vibrations, {"potential": "uff", "epsilon": 0.02}, "does not use epsilon"),
        (Vibrations, {"symmetry_number": 0}, "1 or more"),
        (Relax, {"potential": "none"}, "closure"),
    ],
)
def test_what_makes_no_sense_is_refused(cls, values, message):
    with pytest.raises(InputError, match=message):
        cls(**values)


def test_several_molecules_do_not_vibrate_at_once():
    simulator = Vibrations(potential="lennard-jones")
    with pytest.raises(InputError, match="one molecule at a time"):
        simulator.state([argon(TRIMER), argon(TRIMER)])
