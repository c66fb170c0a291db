"""Calculators by name: JSON in, the numbers of the model's own calculator out."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch

import sfm
from sfm.engines.matcalc import load_fp
from sfm.engines.named import sfm_calculator

build = pytest.importorskip("ase.build")
SALT = ("NaCl", "rocksalt", 5.7)


def salt():
    atoms = build.bulk(*SALT[:2], a=SALT[2])
    atoms.rattle(0.05, seed=0)
    return atoms


@pytest.mark.parametrize("make", [sfm_calculator, load_fp])
def test_options_that_went_through_json_give_the_numbers_of_the_models_own_calculator(make):
    options = json.loads(json.dumps({"domain": "crystals", "compiled": False}))
    named, plain = salt(), salt()
    named.calc = make("sfm-tiny", **options)
    plain.calc = sfm.load("sfm-tiny").calculator(domain="crystals")
    assert named.get_potential_energy() == plain.get_potential_energy()
    np.testing.assert_array_equal(named.get_forces(), plain.get_forces())
    np.testing.assert_array_equal(named.get_stress(), plain.get_stress())


def test_double_and_device_reach_the_network():
    calculator = sfm_calculator("sfm-tiny", double=True, device="cpu")
    kinds = {p.dtype for p in calculator.model.parameters() if p.is_floating_point()}
    assert kinds == {torch.float64}
    assert calculator.model.device.type == "cpu"


@pytest.mark.parametrize("make", [sfm_calculator, load_fp])
def test_what_is_not_there_is_refused_by_name(make):
    with pytest.raises(sfm.SfmError, match="sfm-tinny"):
        make("sfm-tinny")
    with pytest.raises(sfm.InputError, match="PBE"):
        make("sfm-tiny", domain="crystals", level="PBE")


def test_load_fp_gives_a_calculator_back_as_it_is():
    calculator = sfm_calculator("sfm-tiny")
    assert load_fp(calculator) is calculator


def test_names_of_matcalc_go_to_matcalc():
    """It says by itself which of its extras a model of its own needs."""
    pytest.importorskip("matcalc", reason="matcalc is not installed")
    if importlib.util.find_spec("mace"):
        pytest.skip("mace is installed, which would download the model")
    with pytest.raises(ImportError, match=r"matcalc\["):
        load_fp("mace-mpa-0-medium")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # atomate2's and pymatgen's own
def test_elastic_constants_of_atomate2_are_those_of_exact_second_derivatives(tmp_path, monkeypatch):
    """Its finite strains of 0.5 and 1 % leave less than 0.5 %."""
    pytest.importorskip("atomate2", reason="atomate2 is not installed")
    from atomate2.forcefields.flows.elastic import ElasticMaker
    from jobflow import run_locally
    from monty.json import MontyDecoder, MontyEncoder
    from pymatgen.io.ase import AseAtomsAdaptor

    monkeypatch.chdir(tmp_path)
    flow = ElasticMaker.from_force_field_name(
        {"@module": "sfm.engines.named", "@callable": "sfm_calculator"},
        calculator_kwargs={"model": "sfm-tiny", "domain": "crystals", "double": True},
    ).make(AseAtomsAdaptor.get_structure(build.bulk(*SALT[:2], a=SALT[2])))
    flow = json.loads(json.dumps(flow, cls=MontyEncoder), cls=MontyDecoder)
    said = run_locally(flow, ensure_success=True, log=False)[flow.job_uuids[-1]][1].output
    exact = sfm.simulator("crystals/elastic", closure=sfm.load("sfm-tiny").closure("crystals"))
    exact.requires_grad_(False)
    run = exact.run(exact.state(sfm.read(build.bulk(*SALT[:2], a=SALT[2]))[0]), 1)
    for ours, theirs in (("bulk_modulus", "k_vrh"), ("shear_modulus", "g_vrh")):
        number = getattr(said.derived_properties, theirs)
        assert number == pytest.approx(float(run.observables[ours][-1]), rel=5e-3)
