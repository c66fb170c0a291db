"""What lies outside the training data is refused at every door, with the reason in one line."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

import sfm
from sfm.cli import main
from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning, OutsideError
from sfm.model import FoundationModel
from sfm.model.guard import UNTOLD
from sfm.testing.models import config_for

WATER = np.array([[0.0, 0.0, 0.119], [0.0, 0.763, -0.477], [0.0, -0.763, -0.477]])


@pytest.fixture(scope="module")
def model() -> FoundationModel:
    return sfm.load("sfm-tiny")


def molecule(types: list[int], positions: np.ndarray, domain: str = "molecules", **more) -> Sample:
    return Sample(id="it", domain=domain, types=np.array(types), positions=positions, **more)


def selenide() -> Sample:
    return molecule([8, 34, 1], WATER * [1, 1.6, 1])


def hydrogen(r: float) -> Sample:
    return molecule([1, 1], np.array([[0.0, 0, 0], [0, 0, r]]))


# both its charge and its spin occur in the data, but only apart: its energy is 4.8 eV off
AMMONIUM = molecule(
    [7, 1, 1, 1, 1],
    0.59 * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
    conditions={"charge": 1.0},
)
CASES = [
    (selenide(), "element Se is not among the training data at GFN2-xTB"),
    (molecule([8, 1, 1], WATER, conditions={"charge": 2.0}), r"charge \+2 is not among"),
    (molecule([8, 1, 1], WATER, conditions={"spin": 4.0}), "4 unpaired electrons are not among"),
    (AMMONIUM, r"charge \+1 with 0 unpaired electrons is not among .*\(-1 with 1, 0 with 0, "),
    (hydrogen(0.3), r"atoms 1 \(H\) and 2 \(H\) are 0.3 angstrom apart, nearer than"),
]
IDS = ["element", "charge", "spin", "charge with spin", "distance"]


@pytest.mark.parametrize(("sample", "why"), CASES, ids=IDS)
def test_outside_the_training_data_is_refused_and_extrapolated_on_request(model, sample, why):
    for door in (model.predict, model.embed):
        with pytest.raises(OutsideError, match=f"^it: .*{why}.*--extrapolate"):
            door(sample)
    said = model.predict(sample, extrapolate=True)
    assert np.isfinite(said["energy"])
    assert any(w.startswith("extrapolated: ") for w in said.warnings)
    with pytest.warns(InputWarning, match="extrapolated"):
        assert np.isfinite(model.embed(sample, extrapolate=True).invariant).all()


def test_a_dummy_atom_and_coincident_atoms_have_no_number_at_all(model):
    ghost = molecule([8, 1, 0], WATER)
    twice = molecule([8, 1, 1], WATER[[0, 1, 1]])
    cell = {"cell": 4 * np.eye(3), "pbc": True}
    crystal = molecule([22, 22], np.array([[0.0, 0, 0], [4.0, 0, 0]]), "crystals", **cell)
    for sample, why in (
        (ghost, r"atom 3 is 'X' \(atomic number 0\)"),
        (twice, r"atoms 2 \(H\) and 3 \(H\) lie at the same place"),
        (crystal, r"atoms 1 \(Ti\) and 2 \(Ti\) lie at the same place"),
    ):
        for extrapolate in (False, True):
            for door in (model.predict, model.embed):
                with pytest.raises(InputError, match=why):
                    door(sample, extrapolate=extrapolate)


def test_levels_and_quantities_that_do_not_cover_a_system_are_left_out_with_a_warning(model):
    phosphane = molecule(
        [15, 1, 1, 1],
        np.array([[0.0, 0, 0.13], [0, 1.19, -0.64], [1.03, -0.6, -0.64], [-1.03, -0.6, -0.64]]),
        "dft",
    )
    said = model.predict(phosphane)
    assert "energy@PBE/def2-SVP" in said
    assert "energy@LDA/def2-SVP" not in said
    assert "density_coefficients" not in said
    assert sum(w.startswith("left out: element P") for w in said.warnings) == 2
    with pytest.raises(OutsideError, match=r"element P is not .* at LDA"):
        model.predict(phosphane, level="LDA/def2-SVP")
    with pytest.raises(OutsideError, match="of density_coefficients at PBE"):
        model.predict(phosphane, quantities=["density_coefficients"])


def test_one_system_of_a_batch_is_judged_by_itself(model):
    water = molecule([8, 1, 1], WATER)
    charged = selenide()
    batch = model.predict([water, charged, water], extrapolate=True)
    told = [any(w.startswith("extrapolated") for w in p.warnings) for p in batch]
    assert told == [False, True, False]
    assert batch[0]["energy"] == pytest.approx(model.predict(water)["energy"], abs=1e-4)


def test_a_distance_a_little_below_any_in_the_data_is_told(model):
    place = ("molecules/atoms", "GFN2-xTB")
    (covered,) = (c for c in model.config.coverage if (c.encoder, c.level) == place)
    r = 0.95 * covered.closest["H-H"]
    said = model.predict(hydrogen(r))
    assert any("nearer than the closest approach of H-H" in w for w in said.warnings)


def test_a_model_that_recorded_nothing_says_so(model):
    other = sfm.load("sfm-tiny")
    other.cover(())
    assert UNTOLD in other.predict(selenide()).warnings
    old = json.loads(json.dumps(dataclasses.replace(model.config, coverage=()).to_dict()))
    old = {k: v for k, v in old.items() if k not in ("coverage", "repulsion")} | {"format": 1}
    assert type(model.config).from_dict(old).repulsion is None


def test_a_model_that_recorded_nothing_refuses_what_no_bond_is_as_short_as():
    """Half of the covalent radii's sum: 0.31 angstrom for H-H (Cordero et al. 2008)."""
    old = sfm.load("sfm-tiny")
    old.cover(())
    assert np.isfinite(old.predict(hydrogen(0.32))["energy"])
    for door in (old.predict, old.embed):
        with pytest.raises(OutsideError, match=r"0\.3 angstrom apart, nearer than any H-H bond"):
            door(hydrogen(0.30))
    closure, near = old.closure("molecules"), torch.tensor([[0.0, 0, 0], [0, 0, 0.3]])
    with pytest.raises(OutsideError, match="nearer than any H-H bond"):
        closure(near, torch.tensor([1, 1]), torch.zeros(2, dtype=torch.long))


def test_bodies_are_no_atoms():
    """They have no element, and masses instead: none of the rules of atoms holds for them."""
    bodies = FoundationModel(config_for({"dynamics/bodies": ("energy",)})).eval()
    places = np.array([[0.0, 0, 0], [0.2, 0, 0]])
    sample = molecule([0, 0], places, "dynamics", masses=np.array([1.0, 2.0]))
    energy = bodies.predict(sample)["energy"]
    types, system = torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    said = bodies.closure("dynamics")(
        torch.from_numpy(places), types, system, masses=torch.tensor([1.0, 2.0])
    )
    assert float(said.detach()) == pytest.approx(float(energy), abs=1e-5)
    assert np.isfinite(bodies.embed(sample).invariant).all()


def test_closures_refuse_what_predict_refuses(model):
    closure = model.closure("molecules")
    types, system = torch.tensor([1, 1]), torch.zeros(2, dtype=torch.long)
    near = torch.tensor([[0.0, 0, 0], [0, 0, 0.3]])
    with pytest.raises(OutsideError, match=r"are 0\.3 angstrom apart"):
        closure(near, types, system)
    far = 5 * near
    with pytest.raises(OutsideError, match="element Se"):
        closure(far, torch.tensor([1, 34]), system)
    assert torch.isfinite(closure(far, types, system)).all()
    with pytest.raises(OutsideError, match=r"charge \+2"):
        model.closure("molecules", charge=2)(far, types, system)
    told = model.closure("molecules", extrapolate=True)
    with pytest.warns(InputWarning, match="extrapolated: atoms 1"):
        assert torch.isfinite(told(near, types, system)).all()
    told(0.9 * near, types, system)  # and is silent from then on

    crystal = model.closure("crystals")
    cell = 2.0 * torch.eye(3, dtype=torch.float64).unsqueeze(0)
    origin, one = torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, dtype=torch.long)
    with pytest.raises(OutsideError, match=r"atom 1 \(Ti\) and its own periodic image"):
        crystal(origin, torch.tensor([22]), cell, one)
    with pytest.raises(InputError, match="was not recorded"):
        model.closure("fluids", extrapolate=True)


def test_the_calculator_refuses_what_predict_refuses(model):
    ase = pytest.importorskip("ase")
    near = ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.3]])
    near.calc = model.calculator()
    with pytest.raises(OutsideError, match=r"are 0\.3 angstrom apart"):
        near.get_potential_energy()
    near.calc = model.calculator(extrapolate=True)
    with pytest.warns(InputWarning, match="extrapolated"):
        low = near.get_potential_energy()
    near.set_distance(0, 1, 0.2)
    assert near.get_potential_energy() > low


def test_the_command_line_refuses_with_exit_code_2_and_extrapolates(tmp_path, capsys):
    path = tmp_path / "selenide.xyz"
    rows = ["O 0 0 0.119", "Se 0 1.22 -0.477", "H 0 -0.763 -0.477"]
    path.write_text("3\n\n" + "\n".join(rows) + "\n")
    assert main(["predict", "sfm-tiny", str(path), "--json"]) == 2
    assert "element Se" in capsys.readouterr().err
    assert main(["predict", "sfm-tiny", str(path), "--json", "--extrapolate"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert any("element Se" in w for w in said["warnings"])
    out = tmp_path / "features.npz"
    assert main(["embed", "sfm-tiny", str(path), "--output", str(out)]) == 2
    assert not out.exists()
    run = ["simulate", "molecules/molecular-dynamics", "--input", str(path), "--steps", "1"]
    assert main([*run, "--closure", "sfm-tiny"]) == 2
    assert "element Se" in capsys.readouterr().err
    assert main([*run, "--closure", "sfm-tiny", "--extrapolate"]) == 0
    assert "extrapolated: element Se" in capsys.readouterr().err
    assert main([*run, "--extrapolate"]) == 2
