"""Fine-tuning on top of a theory, and every door to the model that comes out of it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

import sfm
from sfm.cli import main
from sfm.config import BaselineSpec
from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.errors import HubError, InputError
from sfm.hub.cards import write_model_card
from sfm.model import FoundationModel
from sfm.model.adapter import digest
from sfm.model.baselines import simulator_of
from sfm.recipe import BaselineSection, parse
from sfm.recipe.recipes import FinetuneRecipe
from sfm.testing.models import config_for
from sfm.train.finetune import finetune
from sfm.train.theory import section_of, spec_of

MOLECULES, CRYSTALS = "molecules/atoms", "crystals/atoms"
MAGNESIA = "Mg O 1428.5 0.29453 0\nO O 22764.3 0.149 27.88\ncharge Mg 2\ncharge O -2\n"
OF_WATER = np.array([[0, 0, 0.119], [0, 0.763, -0.477], [0, -0.763, -0.477]])


def base(part, quantities=("energy",)):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FoundationModel(config_for({part: quantities})).eval()


def waters(count=12):
    """Shaken water with the labels of a spring, far from UFF's."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(count):
        x = OF_WATER + rng.normal(scale=0.03, size=OF_WATER.shape)
        pull = x - OF_WATER
        labels = {"energy": np.array(-5.0 + 2 * np.sum(pull**2)), "forces": -4 * pull}
        samples.append(
            Sample(id=f"w{number}", domain="molecules", positions=x, types=[8, 1, 1],
                   labels=labels, level="springs")
        )  # fmt: skip
    return samples


def magnesias(count=6):
    from sfm_crystals.data.prototypes import rock_salt

    rng = np.random.default_rng(0)
    first = rock_salt(12, 8, 4.21)
    labels = {"energy": np.array(-80.0), "forces": np.zeros(first.positions.shape)}
    return [
        first.replace(
            id=f"m{n}", level="springs", labels=labels,
            positions=first.positions + rng.normal(scale=0.02, size=first.positions.shape),
        )
        for n in range(count)
    ]  # fmt: skip


def alone(model):
    """The same network without what lies beneath it."""
    bare = dataclasses.replace(model.config, baselines=())
    copied = FoundationModel(bare).to(dtype=model.dtype)
    copied.load_state_dict(model.state_dict())
    return copied.eval()


def recipe(**changes):
    values = {"training": {"steps": 2, "tokens_per_batch": 64, "loggers": []}, **changes}
    return FinetuneRecipe.model_validate(values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of water above UFF."""
    out = tmp_path_factory.mktemp("baselines") / "above-uff"
    return finetune(
        base(MOLECULES), waters(), "energy", "full", out, recipe=recipe(), baseline="uff", log=False
    )


def uff(sample):
    """Energy and forces of UFF by rdkit's own implementation, eV and eV/angstrom."""
    Chem = pytest.importorskip("rdkit.Chem")
    from rdkit.Chem import rdForceFieldHelpers

    molecule = Chem.AddHs(Chem.MolFromSmiles("O"))
    conformer = Chem.Conformer(3)
    for i, x in enumerate(sample.positions):
        conformer.SetAtomPosition(i, list(map(float, x)))
    molecule.AddConformer(conformer)
    field = rdForceFieldHelpers.UFFGetMoleculeForceField(molecule)
    scale = 0.0433641153
    return field.CalcEnergy() * scale, -np.reshape(field.CalcGrad(), (3, 3)) * scale


def test_the_sum_is_said_and_the_difference_learned(folder):
    model = FoundationModel.from_pretrained(folder)
    (spec,) = model.config.baselines
    assert (spec.simulator, dict(spec.values)) == (
        "molecules/molecular-dynamics", {"potential": "uff"},
    )  # fmt: skip
    sample = waters()[0].replace(labels={})
    energy, forces = uff(sample)
    said = model.predict(sample, quantities=["energy", "forces"], level="springs")
    left = alone(model).predict(sample, quantities=["energy", "forces"], level="springs")
    assert float(said["energy"]) - float(left["energy"]) == pytest.approx(energy, abs=1e-4)
    np.testing.assert_allclose(said["forces"] - left["forces"], forces, atol=1e-3)
    # the references are those of the difference: what is left of -5 eV is within 1 eV of it
    expected = np.mean([float(s.labels["energy"]) - uff(s)[0] for s in waters()])
    assert float(left["energy"]) == pytest.approx(expected, abs=1.0)
    assert json.loads((folder / "training.json").read_text())["recipe"]["baseline"]["values"] == {
        "potential": "uff"
    }


def test_every_door_has_it(folder, tmp_path, capsys):
    model, sample = FoundationModel.from_pretrained(folder), waters()[0].replace(labels={})
    level = {"level": "springs"}
    energy = float(model.predict(sample, quantities=["energy"], **level)["energy"])
    ase = pytest.importorskip("ase")
    atoms = ase.Atoms(sample.types, sample.positions)
    atoms.calc = model.calculator(**level)
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-5)
    assert atoms.get_potential_energies().sum() == pytest.approx(energy, abs=1e-5)
    closed = sfm.simulator(
        "molecules/molecular-dynamics", closure=model.closure("molecules", **level)
    )
    closed.requires_grad_(False)
    assert float(closed.observe(closed.state(sample))["energy"]) == pytest.approx(energy, abs=1e-5)
    for other in (model.collapsed(MOLECULES, "springs"), model.extended(model.targets()[:1])):
        assert float(other.predict(sample, quantities=["energy"], **level)["energy"]) == (
            pytest.approx(energy, abs=1e-4)
        )
    # the features of the trunk know nothing of the theory, and say so by not changing
    np.testing.assert_array_equal(
        model.embed(sample, **level).scalars, alone(model).embed(sample, **level).scalars
    )
    atoms.calc = None
    atoms.write(tmp_path / "water.xyz")
    capsys.readouterr()
    words = [str(folder), str(tmp_path / "water.xyz"), "--level", "springs", "--json"]
    assert main(["predict", *words]) == 0
    printed = json.loads(capsys.readouterr().out)["quantities"]["energy"]["value"]
    assert printed == pytest.approx(energy, abs=1e-4)
    assert "potential=uff" in write_model_card(folder).read_text()


def test_evaluation_compares_the_sum(folder):
    from sfm.train.evaluate import evaluate

    model = FoundationModel.from_pretrained(folder)
    samples = waters()
    metric = evaluate(model, samples).of("energy", "springs", MOLECULES)
    said = [
        float(p["energy"]) for p in model.predict(samples, quantities=["energy"], level="springs")
    ]
    errors = [abs(e - float(s.labels["energy"])) for e, s in zip(said, samples, strict=True)]
    assert metric.mae == pytest.approx(np.mean(errors), rel=1e-3)


@pytest.mark.parametrize("mode", ["delta", "lora", "auto"])
def test_other_modes_stand_on_it_too(mode, tmp_path):
    """`delta` is a closed form of the difference; an adapter carries what lies beneath."""
    start = base(MOLECULES).save_pretrained(tmp_path / "base")
    out = finetune(start, waters(20), "energy", mode, tmp_path / "out", log=False,
                   recipe=recipe(budget=1.0), baseline="uff")  # fmt: skip
    places = [out, out / "adapter"] if mode == "lora" else [out]
    samples = waters(20)
    for place in places:
        model = FoundationModel.from_pretrained(place)
        assert [b.level for b in model.config.baselines] == ["springs"]
        said = model.predict(samples, quantities=["energy"], level="springs")
        errors = [abs(float(p["energy"]) + 5) for p in said]
        assert np.mean(errors) < 1.0


def test_training_goes_on_at_its_level_and_nowhere_else(folder, tmp_path):
    settings = {"recipe": recipe(), "log": False}
    again = finetune(folder, waters(), "energy", "full", tmp_path / "again", **settings)
    model = FoundationModel.from_pretrained(again)
    assert len(model.config.baselines) == 1
    said = model.predict(waters()[0], quantities=["energy"], level="springs")
    assert float(said["energy"]) == pytest.approx(-5, abs=1.0)
    with pytest.raises(InputError, match="not on molecules/molecular-dynamics"):
        finetune(folder, waters(), "energy", "full", tmp_path / "other", baseline="lennard-jones",
                 **settings)  # fmt: skip
    dipoles = [s.replace(labels={"dipole": np.zeros(3)}) for s in waters()]
    with pytest.raises(InputError, match="not among the targets"):
        finetune(folder, dipoles, "dipole", "full", tmp_path / "dipole", baseline="uff", **settings)


def test_systems_that_it_is_not_for_are_counted_before_training(tmp_path):
    bad = waters()[0].replace(id="O3", types=np.array([8, 8, 8]), positions=3 * OF_WATER)
    with pytest.raises(InputError, match=r"1 of 1\d training systems .*O3"):
        finetune(base(MOLECULES), [bad, *waters()], "energy", "full", tmp_path, recipe=recipe(),
                 baseline="uff", log=False)  # fmt: skip


def test_born_mayer_and_ewald_come_along_as_text(tmp_path):
    table = tmp_path / "mgo.txt"
    table.write_text(MAGNESIA)
    out = finetune(
        base(CRYSTALS), magnesias(), "energy", "full", tmp_path / "out", recipe=recipe(), log=False,
        baseline=f"crystals/lattice,potential=buckingham,table={table}",
    )  # fmt: skip
    table.unlink()
    model = FoundationModel.from_pretrained(out)
    assert dict(model.config.baselines[0].files) == {"table": MAGNESIA}
    sample = magnesias()[0].replace(labels={})
    table.write_text(MAGNESIA)
    lattice = sfm.simulator("crystals/lattice", potential="buckingham", table=str(table))
    expected = float(lattice.requires_grad_(False).observe(lattice.state(sample))["energy"])
    both = [
        float(m.predict(sample, quantities=["energy"], level="springs")["energy"])
        for m in (model, alone(model))
    ]
    assert both[0] - both[1] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(InputError, match="only a file that is there"):
        spec_of(BaselineSection(simulator="crystals/lattice",
                                values={"potential": "buckingham", "table": "/nowhere/x.txt"}),
                CRYSTALS, "springs")  # fmt: skip


def test_another_model_lies_beneath(tmp_path, monkeypatch):
    other = sfm.load("sfm-tiny")
    tiny = dataclasses.replace(other.config, name="above")
    above = FoundationModel(tiny)
    above.load_state_dict(other.state_dict())
    spec = spec_of(BaselineSection(model="sfm-tiny", level="GFN2-xTB"), MOLECULES, "GFN2-xTB")
    above.stand_on([spec])
    water = waters()[0].replace(labels={}, level=None)
    names = {"quantities": ["energy", "forces"], "level": "GFN2-xTB"}
    said, once = above.predict(water, **names), other.predict(water, **names)
    assert float(said["energy"]) == pytest.approx(2 * float(once["energy"]), abs=1e-3)
    np.testing.assert_allclose(said["forces"], 2 * once["forces"], atol=1e-4)
    wrong = dataclasses.replace(spec, model_sha256="0" * 64)
    above.stand_on([wrong])
    with pytest.raises(HubError, match="has other weights here"):
        above.predict(water, **names)
    local = other.save_pretrained(tmp_path / "local")
    with pytest.raises(InputError, match="would not come along"):
        spec_of(BaselineSection(model=str(local)), MOLECULES, "GFN2-xTB")
    with pytest.raises(InputError, match="would not come along"):
        BaselineSpec(MOLECULES, "x", model=str(local), model_level="y", model_sha256=digest(local))


def test_names_on_the_command_line():
    assert section_of("uff", "molecules").values == {"potential": "uff"}
    assert section_of("morse,well_depth=0.3", "crystals") == BaselineSection(
        simulator="crystals/lattice", values={"potential": "morse", "well_depth": 0.3}
    )
    assert section_of("tight-binding", "molecules").simulator == "molecules/tight-binding"
    assert section_of("sfm-tiny,level=GFN2-xTB", "molecules") == BaselineSection(
        model="sfm-tiny", level="GFN2-xTB"
    )
    for wrong, words in (("uf", "no simulator, no potential"), ("uff,x", "not name=value"),
                         ("sfm-tiny,depth=1", "no depth")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            section_of(wrong, "molecules")
    for both in ({"simulator": "a/b", "model": "c"}, {}, {"model": "c", "values": {"x": 1}}):
        with pytest.raises(ValueError):
            BaselineSection(**both)


def test_uff_of_geometries_is_that_of_the_molecule():
    simulator = simulator_of(
        BaselineSpec(MOLECULES, "x", "molecules/molecular-dynamics", {"potential": "uff"})
    ).requires_grad_(False)
    samples = waters(3)
    energies = simulator.baseline(
        Systems(
            torch.from_numpy(np.concatenate([s.positions for s in samples])),
            torch.zeros(3, 3, 3, dtype=torch.float64),
            torch.tensor([8, 1, 1] * 3),
            torch.arange(3).repeat_interleave(3),
            {"charge": torch.zeros(3), "spin": torch.zeros(3)},
        )
    )
    assert energies.tolist() == pytest.approx([uff(s)[0] for s in samples], rel=1e-6)


def test_a_recipe_of_pretraining_may_name_a_model():
    text = {
        "name": "toy",
        "tasks": [{"dataset": "molecules/molecules-xtb", "quantities": {"energy": 1},
                   "baseline": {"model": "sfm-tiny", "level": "GFN2-xTB"}}],
    }  # fmt: skip
    assert parse(text).tasks[0].baseline.model == "sfm-tiny"
