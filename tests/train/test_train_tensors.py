"""Tensors of crystals from a file, through fine-tuning, back in the same form."""

from __future__ import annotations

import numpy as np
import pytest
from sfm_crystals.data.prototypes import rock_salt

from sfm.data.label_names import LabelNames, with_tensors
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn.symmetry import random_rotation
from sfm.recipe.recipes import FinetuneRecipe
from sfm.testing.models import config_for
from sfm.train.evaluate import evaluate
from sfm.train.finetune import finetune
from sfm.train.sources import open_source

ENCODER = "crystals/atoms"
VASP = "xx,yy,zz,xy,yz,zx"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Turned oxides with tensors of cubic symmetry; the shear rows in VASP's order."""
    ase_io = pytest.importorskip("ase.io")
    from ase import Atoms

    rng = np.random.default_rng(0)
    frames = []
    for number in range(12):
        sample = rock_salt((12, 20)[number % 2], 8, 4.2 + 0.05 * number)
        atoms = Atoms(sample.types, sample.positions, cell=sample.cell, pbc=True)
        atoms.info["dielectric"] = (9.0 + number % 2) * np.eye(3) + rng.normal(
            scale=1e-3, size=(3, 3)
        )
        stiff = np.diag([300.0, 300, 300, 140, 150, 160])
        stiff[:3, :3] += 90 * (1 - np.eye(3))
        atoms.info["elastic_constants"] = stiff
        frames.append(atoms)
    path = tmp_path_factory.mktemp("tensors") / "oxides.extxyz"
    ase_io.write(path, frames)
    return path


def base():
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FoundationModel(config_for({ENCODER: ("energy",)})).eval()


def names(voigt=VASP):
    return LabelNames.parse([], ["elastic_constants=GPa"], voigt)


def test_what_a_file_says_of_its_tensors(file):
    source = open_source(file, names=names())
    assert set(source.quantities) == {"dielectric", "elastic_constants"}
    sample = source.splits["validation"][0]
    assert np.diag(sample.labels["elastic_constants"])[3:].tolist() == [150, 160, 140]
    dielectric = sample.labels["dielectric"]
    np.testing.assert_array_equal(dielectric, dielectric.T)
    for given, words in (
        (None, r"give --voigt .* and --unit elastic_constants=GPa"),
        (LabelNames.parse([], [], VASP), "give --unit elastic_constants=GPa"),
        (LabelNames.parse([], ["elastic_constants=GPa"], None), "give --voigt"),
    ):
        with pytest.raises(InputError, match=words):
            open_source(file, names=given)


def test_a_matrix_that_is_not_symmetric_is_refused(file, tmp_path):
    from ase.io import read, write

    atoms = read(file)
    atoms.info = {"dielectric": np.array([[9.0, 4, 0], [0, 9, 0], [0, 0, 9]])}
    write(tmp_path / "wrong.extxyz", [atoms] * 4)
    with pytest.raises(InputError, match="no symmetric matrix"):
        open_source(tmp_path / "wrong.extxyz")


def test_fine_tuned_tensors_come_back_in_their_form(file, tmp_path):
    settings = {"steps": 2, "tokens_per_batch": 64, "loggers": []}
    out = finetune(
        base(), file, ["dielectric", "elastic_constants"], "full", tmp_path / "out", level="PBE",
        recipe=FinetuneRecipe.model_validate({"training": settings}), names=names(), log=False,
    )  # fmt: skip
    model = FoundationModel.from_pretrained(out)
    sample = open_source(file, names=names()).splits["validation"][0].replace(labels={})
    said = model.predict(sample, level="PBE")
    assert said["dielectric"].shape == (3, 3)
    assert said.units["elastic_constants"] == "GPa"
    c = said["elastic_constants"]
    np.testing.assert_allclose(c, c.T, rtol=1e-5)
    # the first answer is the isotropic reference of the labels: K = 160, cubic
    assert c[:3, :3].sum() / 9 == pytest.approx(160, rel=0.1)
    turn = random_rotation(__import__("torch").Generator().manual_seed(0)).numpy()
    moved = sample.replace(positions=sample.positions @ turn.T, cell=sample.cell @ turn.T)
    other = model.predict(moved, level="PBE")["dielectric"]
    np.testing.assert_allclose(other, turn @ said["dielectric"] @ turn.T, rtol=1e-3, atol=1e-3)
    metrics = evaluate(model, file, level="PBE", names=names())
    stiffness = metrics.of("elastic_constants", "PBE", ENCODER)
    assert stiffness.baseline.startswith("isotropic mean")
    assert set(stiffness.extra) == {"mae_bulk_gpa", "mae_shear_gpa"}


def test_one_number_by_the_name_of_a_tensor_is_no_label():
    sample = rock_salt(12, 8, 4.2).replace(extras={"dielectric": 9.8})
    assert with_tensors(sample) is sample
