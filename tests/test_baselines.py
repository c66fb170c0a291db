"""Classical theories beneath a model's energy: learned is the difference, said is the sum."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import sfm
from sfm.config import BaselineSpec, ModelConfig
from sfm.data.sample import Sample
from sfm.errors import HubError, InputError
from sfm.model import FoundationModel
from sfm.recipe import BaselineSection, Goal, ModelSection
from sfm.train.build import fit_normalisers, model_config, new_model
from sfm.train.tasks import TaskData

ENCODER, LEVEL = "crystals/atoms", "toy"
SILICON = ("crystals/lattice", {"potential": "stillinger-weber"})
SECTION = BaselineSection(simulator=SILICON[0], values=SILICON[1])


def cells(count=6, seed=0):
    """Silicon, strained and shaken, with the labels of the Stillinger-Weber potential."""
    rng = np.random.default_rng(seed)
    simulator = sfm.simulator(SILICON[0], **SILICON[1]).requires_grad_(False)
    first = simulator.usual_crystal()
    samples = []
    for number in range(count):
        cell = first.cell @ (np.eye(3) + rng.normal(scale=0.01, size=(3, 3)))
        places = first.positions @ np.linalg.inv(first.cell) @ cell
        one = first.replace(
            id=f"si{number}",
            level=LEVEL,
            positions=places + rng.normal(scale=0.05, size=places.shape),
            cell=cell,
            velocities=None,
        )
        seen = simulator.observe(simulator.state(one))
        names = ("energy", "forces", "stress")
        labels = {k: seen[k].numpy().reshape(_shape(k, one)) for k in names if k in seen}
        samples.append(one.replace(labels=labels))
    return samples


def _shape(name, sample):
    return {"energy": (), "forces": (len(sample.types), 3), "stress": (3, 3)}[name]


def task(samples, baseline=SECTION, **changes):
    from sfm.registry import quantities

    names = ("energy", "forces")
    return TaskData(
        name="toy",
        domain="crystals",
        encoder=ENCODER,
        levels=(LEVEL,),
        goals={name: Goal() for name in names},
        present=tuple((LEVEL, name) for name in names),
        train=samples,
        validation=samples,
        test=samples,
        definitions={name: quantities()[name] for name in names},
        baseline=baseline,
        **changes,
    )


def model_of(tasks, seed=0):
    section = ModelSection(channels=8, layers=1, experts=1, radial=4, carried=4)
    model = new_model(model_config(tasks, section, "toy"), seed)
    return model.double()


@pytest.fixture(scope="module")
def samples():
    return cells()


def test_energy_forces_and_stress_are_the_sum(samples):
    with_one, without = model_of([task(samples)]), model_of([task(samples, None)])
    without.load_state_dict(with_one.state_dict())
    names = ["energy", "forces", "stress"]
    tokens = with_one.tokenize(ENCODER, samples)
    both = with_one({ENCODER: tokens}, {ENCODER: names})[ENCODER]
    alone = without({ENCODER: tokens}, {ENCODER: names})[ENCODER]
    energy = torch.tensor([float(s.labels["energy"]) for s in samples])
    forces = torch.from_numpy(np.concatenate([s.labels["forces"] for s in samples]))
    stress = torch.from_numpy(np.stack([s.labels["stress"] for s in samples]))
    torch.testing.assert_close(both["energy"] - alone["energy"], energy.double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(both["forces"] - alone["forces"], forces, rtol=0, atol=1e-8)
    torch.testing.assert_close(both["stress"] - alone["stress"], stress, rtol=0, atol=1e-8)


def test_a_batch_with_other_levels_has_it_at_its_own_only(samples):
    other = task([s.replace(level="other") for s in samples], None)
    other = dataclasses.replace(
        other, name="other", levels=("other",), present=(("other", "energy"), ("other", "forces"))
    )
    model = model_of([task(samples), other])
    mixed = [samples[0], samples[1].replace(level="other"), samples[2]]
    energies = model.baselines.energy(model.tokenize(ENCODER, mixed))
    expected = [float(samples[0].labels["energy"]), 0.0, float(samples[2].labels["energy"])]
    assert energies.tolist() == pytest.approx(expected)


def test_references_are_fitted_to_what_is_left(samples):
    """Labels that are the baseline's leave nothing: no reference, and no scale to speak of."""
    model = model_of([task(samples)])
    fitted, _ = fit_normalisers(model, [task(samples)])
    assert float(model.normalisers[f"{ENCODER}:energy"].shift.abs().max()) < 1e-6
    plain = model_of([task(samples, None)])
    fit_normalisers(plain, [task(samples, None)])
    assert float(plain.normalisers[f"{ENCODER}:energy"].shift.abs().max()) > 4  # eV per atom
    assert {f.quantity for f in fitted} == {"energy"}


def test_it_is_kept_with_the_model_and_reaches_every_door(samples, tmp_path):
    model = model_of([task(samples)])
    model.save_pretrained(tmp_path)
    again = FoundationModel.from_pretrained(tmp_path)
    assert again.config.baselines == (BaselineSpec(ENCODER, LEVEL, *SILICON),)
    sample = samples[0].replace(labels={})
    energy = float(again.predict(sample)["energy"])
    tokens = model.tokenize(ENCODER, [sample])
    with torch.no_grad():
        here = model({ENCODER: tokens}, {ENCODER: ["energy"]})[ENCODER]["energy"]
    assert energy == pytest.approx(float(here), rel=1e-6)
    ase = pytest.importorskip("ase")
    atoms = ase.Atoms(sample.types, sample.positions, cell=sample.cell, pbc=True)
    atoms.calc = again.calculator()
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-6)
    closed = again.closure("crystals")
    there = sfm.simulator("crystals/lattice", potential="none", closure=closed)
    there.requires_grad_(False)
    assert float(there.observe(there.state(sample))["energy"]) == pytest.approx(energy, rel=1e-6)


def test_what_does_not_fit_is_refused(samples):
    with pytest.raises(InputError, match="another baseline"):
        model_config([task(samples), task(samples, None)], ModelSection(), "toy")
    with pytest.raises(InputError, match="is no word"):
        BaselineSpec(ENCODER, LEVEL, "crystals/lattice", {"table": "/etc/passwd"})
    config = model_of([task(samples)]).config
    for values, words in (({"potential": "uff"}, "not one of"), ({"depth": 1.0}, "depth")):
        wrong = dataclasses.replace(
            config, baselines=(BaselineSpec(ENCODER, LEVEL, SILICON[0], values),)
        )
        with pytest.raises(InputError, match=words):
            FoundationModel(wrong)
    fluid = dataclasses.replace(config, baselines=(BaselineSpec(ENCODER, LEVEL, "fluids/burgers"),))
    with pytest.raises(InputError, match="no energy that could be a baseline"):
        FoundationModel(fluid)
    germanium = samples[0].replace(types=np.full_like(samples[0].types, 32))
    model = model_of([task(samples)])
    with pytest.raises(InputError, match="one kind of atom"):
        model.baselines.energy(model.tokenize(ENCODER, [germanium]))


def test_a_damaged_config_is_one_line(samples):
    body = model_of([task(samples)]).config.to_dict()
    body["baselines"][0]["values"] = {"table": "../../x"}
    with pytest.raises(HubError, match="damaged"):
        ModelConfig.from_dict(body)
    body["baselines"][0]["values"] = {"potential": ["a"]}
    with pytest.raises(HubError, match="damaged"):
        ModelConfig.from_dict(body)


def test_molecules_have_lennard_jones():
    model_of = BaselineSpec("molecules/atoms", "toy", "molecules/molecular-dynamics",
                            {"potential": "lennard-jones"})  # fmt: skip
    config = dataclasses.replace(
        sfm.load("sfm-tiny").config,
        baselines=(dataclasses.replace(model_of, level="GFN2-xTB"),),
    )
    argon = Sample(id="Ar2", domain="molecules", positions=[[0, 0, 0], [3.8, 0, 0]], types=[18, 18])
    model = FoundationModel(config)
    energy = model.baselines.energy(
        model.tokenize("molecules/atoms", [argon], "GFN2-xTB").to(dtype=torch.float64),
    )
    simulator = sfm.simulator("molecules/molecular-dynamics", potential="lennard-jones")
    simulator.requires_grad_(False)
    expected = simulator.observe(simulator.state(argon))["energy"]
    assert float(energy) == pytest.approx(float(expected), rel=1e-6)


def test_a_recipe_states_it(tmp_path):
    """From the text of a recipe to the config of its model."""
    from sfm.recipe import load
    from sfm.train.tasks import open_tasks

    text = """
name: toy
tasks:
  - dataset: crystals/crystals-forces
    quantities: {energy: 1}
    max_samples: 4
    baseline: {simulator: crystals/lattice, values: {potential: eam}}
"""
    (tmp_path / "toy.yaml").write_text(text)
    recipe = load(tmp_path / "toy.yaml")
    config = model_config(open_tasks(recipe), recipe.model, "toy")
    (spec,) = config.baselines
    assert (spec.simulator, dict(spec.values)) == ("crystals/lattice", {"potential": "eam"})
    for wrong, words in (("crystals/latice", "Did you mean"), ("fluids/burgers", "is for fluids")):
        (tmp_path / "toy.yaml").write_text(text.replace("crystals/lattice", wrong))
        with pytest.raises(sfm.SfmError, match=words):
            load(tmp_path / "toy.yaml")


def test_the_uncertainty_is_of_what_is_left(samples):
    """Labels that are the baseline's, and a head that says nothing: no error, so no doubt."""
    from sfm.train.calibrate import calibrate

    many = cells(count=12, seed=1)
    model = model_of([task(many)])
    for parameter in model.heads.parameters():
        parameter.data.zero_()
    factors = calibrate(model, [task(many)])
    assert max(factors.values()) < 1e-3
