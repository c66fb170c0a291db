"""The model's own values as inputs of a closed form: right ones, stored, and not taken away."""

from __future__ import annotations

import numpy as np
import pytest

import sfm
from sfm.config import Target
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.model.descriptors import OWN, said, sayable
from sfm.nn.kernel import SAID
from sfm.quantity import Quantity
from sfm.recipe import FinetuneRecipe
from sfm.registry import define
from sfm.train.closed_form import Form, fit_form, gather, install, labelled, with_levels
from sfm.train.finetune_task import make_task
from sfm.train.sources import open_source
from sfm.train.transfer import nearest_levels

ATOMS = "molecules/atoms"
LEVEL = "somebody's"


@pytest.fixture(scope="module")
def model() -> FoundationModel:
    return sfm.load("sfm-tiny")


@pytest.fixture(scope="module")
def samples(model):
    from sfm.data.readers import read_object

    molecules = read_object(
        ["CCO", "CO", "CCN", "CC(=O)O", "c1ccccc1", "CCl", "CC#N", "COC", "CCC"]
    )
    homo = [
        float(p["homo"]) for p in model.predict(molecules, quantities=["homo"], extrapolate=True)
    ]
    # something that the model's orbital level says, and hardly anything else
    return [
        s.replace(level=LEVEL, labels={"oxidation": np.asarray(3 * h + 1)})
        for s, h in zip(molecules, homo, strict=True)
    ]


def test_it_says_what_it_predicts(model, samples):
    names = sayable(model, ATOMS, apart_from="lumo")
    quantities = [name.split(" at ")[0] for name in names]
    assert {"homo", "polarizability", "solvation_energy_water"} <= set(quantities)
    assert not {"energy", "forces", "dipole", "charges", "lumo"} & set(quantities)
    tokens = Tokens.cat([model.tokenize(ATOMS, [s.replace(level="GFN2-xTB")]) for s in samples])
    values = said(model, ATOMS, names, tokens)
    for name, column in zip(names, values.T, strict=True):
        quantity, level = name.split(" at ")
        predictions = model.predict(samples, level=level, quantities=[quantity], extrapolate=True)
        expected = [float(p[quantity]) for p in predictions]
        # one system or nine in a pass of the trunk: single precision
        assert column.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_it_is_stored_with_the_head_and_cannot_be_taken_from_it(model, samples, tmp_path):
    define(Quantity("oxidation", "eV", summary="made up for a test"))
    source = open_source(samples, whole=False)
    task = make_task(model, source, "oxidation", FinetuneRecipe())
    target = Target(ATOMS, LEVEL, "oxidation")
    grown = with_levels(model, task, nearest_levels(model, task))
    inputs = gather(grown, task, target, labelled(task, target))
    assert "homo at GFN2-xTB" in inputs.descriptors[OWN]
    fitted = fit_form(Form("ridge", ("composition", SAID)), inputs)
    plain = fit_form(Form("ridge", ("composition",)), inputs)
    assert fitted.mae < 0.5 * plain.mae
    installed = install(grown, [fitted])
    options = {"level": LEVEL, "quantities": ["oxidation"], "extrapolate": True}
    before = [float(p["oxidation"]) for p in installed.predict(samples, **options)]
    again = FoundationModel.from_pretrained(installed.save_pretrained(tmp_path / "model"))
    assert [float(p["oxidation"]) for p in again.predict(samples, **options)] == before
    alone = [float(again.predict([s], **options)[0]["oxidation"]) for s in samples[:2]]
    assert alone == pytest.approx(before[:2], rel=1e-5)
    with pytest.raises(InputError, match="take the whole model"):
        again.collapsed(ATOMS, LEVEL)
