"""Labels in another unit, of another sign or in another order stop a run before it begins."""

from __future__ import annotations

import numpy as np
import pytest

import sfm
from sfm.data.label_names import LabelNames
from sfm.errors import InputError, InputWarning
from sfm.recipe import FinetuneRecipe
from sfm.train.evaluate import evaluate
from sfm.train.finetune import finetune
from sfm.train.finetune_task import make_task
from sfm.train.label_checks import check_labels
from sfm.train.sources import open_source

HARTREE, BOHR = 27.211386, 0.529177


@pytest.fixture(scope="module")
def model():
    return sfm.load("sfm-tiny")


@pytest.fixture(scope="module")
def molecules():
    """GFN2-xTB labels of tblite."""
    return list(open_source("molecules/molecules-xtb").splits["train"])[:60]


@pytest.fixture(scope="module")
def crystals():
    return list(open_source("crystals/crystals-forces").splits["train"])[:60]


def checked(model, samples, change, **options):
    changed = [s.replace(level="mine", labels=change(dict(s.labels))) for s in samples]
    task = make_task(model, open_source(changed, whole=False), "energy", FinetuneRecipe())
    check_labels(model, task, **options)


def test_right_labels_pass(model, molecules, crystals):
    checked(model, molecules, lambda v: v)
    checked(model, crystals, lambda v: v)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: {"energy": v["energy"] / HARTREE}, "--unit energy=hartree"),
        (lambda v: {"energy": v["energy"] * 23.0605}, "--unit energy=kcal/mol"),
        (
            lambda v: {**v, "forces": v["forces"] * BOHR / HARTREE},
            "--unit forces=hartree/bohr",
        ),
        (lambda v: {**v, "forces": v["forces"] * 96.485}, "--unit forces=kJ/mol/angstrom"),
        (lambda v: {**v, "forces": -v["forces"]}, "the sign of 'forces' is wrong"),
    ],
)
def test_units_and_signs_of_molecules_are_named(model, molecules, change, said):
    with pytest.raises(InputError) as caught:
        checked(model, molecules, change)
    assert said in str(caught.value)
    assert "--trust-labels" in str(caught.value)
    with pytest.warns(InputWarning, match="taken as they are"):
        checked(model, molecules, change, trust=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: 160.218 * s, "GPa"),
        (lambda s: -1602.18 * s, "the sign of 'stress' is wrong and .*kbar"),
        (lambda s: -s, "the sign of 'stress' is wrong"),
    ],
)
def test_units_and_signs_of_stress_are_named(model, crystals, change, said):
    with pytest.raises(InputError, match=said):
        checked(model, crystals, lambda v: {**v, "stress": change(v["stress"])})


def test_finetune_stops_and_unit_mends(model, molecules, tmp_path):
    wrong = [
        s.replace(labels={"energy": s.labels["energy"] * 23.0605, "forces": s.labels["forces"]})
        for s in molecules
    ]
    with pytest.raises(InputError, match="--unit energy=kcal/mol"):
        finetune(model, wrong, "energy", out=tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()
    names = LabelNames(units={"energy": "kcal/mol"})
    task = make_task(
        model, open_source(wrong, whole=False, names=names), "energy", FinetuneRecipe()
    )
    check_labels(model, task)
    with pytest.warns(InputWarning, match="kcal/mol"):
        evaluate(model, wrong[:30], level="GFN2-xTB", quantities=["energy"])


def test_names_are_for_files():
    with pytest.raises(InputError, match="--intensive and --extensive are for files"):
        open_source("molecules/molecules-xtb", names=LabelNames(units={"energy": "hartree"}))


def test_numbers_that_nobody_uses_are_said(molecules):
    named = [s.replace(extras={"REF_energy": np.array(1.0)}) for s in molecules[:5]]
    with pytest.warns(InputWarning, match="not used: REF_energy"):
        open_source(named)
    bare = [s.replace(labels={}) for s in named]
    with (
        pytest.warns(InputWarning, match="not used"),
        pytest.raises(InputError, match="--key energy=REF_energy"),
    ):
        open_source(bare)
