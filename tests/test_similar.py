"""Nearest structures of a dataset by the model's features."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import sfm
from sfm.cli import main
from sfm.data.storage import ID, SPLIT, TYPES, Column, positions_column, write_dataset
from sfm.errors import InputError, OutsideError, PluginError
from sfm.model import FoundationModel, indexed
from sfm.testing.models import config_for

PARTS = {"molecules/atoms": ("energy",), "crystals/atoms": ("energy",)}
LEVELS = ("GFN2-xTB", "PBE")


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model() -> FoundationModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FoundationModel(config_for(PARTS)).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine molecules; energies at two levels, the second for every other one."""
    folder = tmp_path_factory.mktemp("data") / "nine"
    columns = [ID, SPLIT, TYPES, positions_column(dtype="float64")]
    columns += [Column("energy", "kJ/mol", "label", level) for level in LEVELS]
    rows = []
    smiles = ("CCO", "CCN", "CCC", "O", "C", "c1ccccc1", "CC(=O)O", "CO", "N")
    for number, text in enumerate(smiles):
        (sample,) = sfm.read(text)
        rows.append(
            {
                "id": text,
                "split": "test" if text == "O" else "train",
                "types[1]": sample.types,
                "positions[angstrom]": sample.positions,
                "energy[kJ/mol]@GFN2-xTB": -100.0 * number,
                "energy[kJ/mol]@PBE": None if number % 2 else -1.0,
            }
        )
    write_dataset(folder, columns, rows, {"name": "nine", "domain": "molecules"})
    return folder


def turned(smiles: str):
    """The same molecule elsewhere, another way up."""
    (sample,) = sfm.read(smiles)
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    return sample.replace(positions=sample.positions @ matrix.T + 7.0)


def test_a_structure_finds_itself_with_its_labels_at_all_levels(model, folder):
    hood = model.neighbours(turned("CCO"), folder, count=3)
    assert hood.searched == 9  # one structure at two levels counts once
    first, second, third = hood.neighbours
    assert first.id == "CCO"
    assert first.distance < 1e-4 < second.distance <= third.distance
    said = {(x.quantity, x.level): (float(x.value), x.unit) for x in first.labels}
    assert said["energy", "GFN2-xTB"] == (0.0, "eV")
    assert said["energy", "PBE"][0] == pytest.approx(-1 / 96.48533212, rel=1e-6)  # CODATA 2018
    assert [x.level for x in model.neighbours("CCN", folder, count=1).neighbours[0].labels] == [
        "GFN2-xTB"
    ]


def test_distances_are_those_of_single_embeddings(model, folder):
    names = ("CCO", "CCN", "CCC", "O", "C", "c1ccccc1", "CC(=O)O", "CO", "N")
    rows = np.array([model.embed(name).invariant for name in names], dtype=np.float64)
    embedding = model.embed("CCCO").invariant.astype(np.float64)
    sigma = np.maximum(rows.std(0), 1e-3 * rows.std(0).max())
    expected = {
        n: np.sqrt((((r - embedding) / sigma) ** 2).mean())
        for n, r in zip(names, rows, strict=True)
    }
    hood = model.neighbours("CCCO", folder, count=100)
    assert [n.id for n in hood.neighbours] == sorted(expected, key=expected.__getitem__)
    for near in hood.neighbours:
        assert near.distance == pytest.approx(expected[near.id], rel=1e-3)
    own_nearest = [
        min(np.sqrt((((a - b) / sigma) ** 2).mean()) for j, b in enumerate(rows) if i != j)
        for i, a in enumerate(rows)
    ]
    assert hood.usual == pytest.approx(np.median(own_nearest), rel=1e-3)


def test_features_of_a_dataset_are_computed_once_per_model(model, folder, monkeypatch):
    first = model.neighbours("CCO", folder)
    compute, calls = indexed._computed, []

    def counted(*arguments):
        calls.append(1)
        return compute(*arguments)

    monkeypatch.setattr(indexed, "_computed", counted)
    again = model.neighbours("CCO", folder)
    assert [n.distance for n in again.neighbours] == [n.distance for n in first.neighbours]
    assert not calls
    model.neighbours("CCO", folder, split="train")
    assert len(calls) == 1
    other = FoundationModel(model.config).eval()
    other.load_state_dict({k: v * 1.01 if v.is_floating_point() else v
                           for k, v in model.state_dict().items()})  # fmt: skip
    other.neighbours("CCO", folder)
    assert len(calls) == 2


def test_files_and_samples_are_searched_too(model, tmp_path):
    path = tmp_path / "some.smi"
    path.write_text("CCO\nCCN\nO\n")
    hood = model.neighbours("CCO", path)
    assert hood.searched == 3
    assert hood.neighbours[0].distance < 1e-4
    alone = model.neighbours("CCO", sfm.read("O"))
    assert alone.usual is None
    assert np.isfinite(alone.neighbours[0].distance)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "words"),
    [
        ("CCO", {"count": 0}, InputError, "give 1 or more"),
        (sfm.example("nacl.cif"), {"domain": "crystals"}, InputError, "of 'molecules'"),
        ("CCO", {"split": "half"}, InputError, "split 'half'"),
        ("CCO", {"data": "molecules/nothing"}, PluginError, "nothing"),
        ("CCO", {"data": sfm.example("ethanol.xyz"), "split": "train"}, InputError, "only a"),
    ],
)
def test_mistakes(model, folder, inputs, options, error, words):
    data = options.pop("data", folder)
    with pytest.raises(error, match=words):
        model.neighbours(inputs, data, **options)


def test_what_the_encoder_cannot_read_is_left_out_and_said(model):
    (salt,) = sfm.read(sfm.example("nacl.cif"))
    charged = salt.replace(id="ion", conditions={"charge": 1.0})  # of which crystals know nothing
    hood = model.neighbours(salt, [salt, charged])
    assert [n.id for n in hood.neighbours] == [salt.id]
    assert len(hood.left_out) == 1
    assert hood.left_out[0].startswith("ion")
    with pytest.raises(InputError, match="can read no system of the data; ion"):
        model.neighbours(salt, [charged])


def test_the_command_line(folder, capsys):
    words = ["neighbours", "sfm-tiny", "CCO", "--data", str(folder), "--count", "2"]
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (system,) = report["systems"]
    near = system["neighbours"][0]
    assert (near["id"], near["formula"]) == ("CCO", "C2 H6 O1")
    assert near["distance"] < 1e-4
    assert near["labels"][0] == {
        "quantity": "energy", "level": "GFN2-xTB", "value": 0.0, "unit": "eV", "shape": [],
    }  # fmt: skip
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "nearest of 9 structures of nine" in said
    assert "GFN2-xTB" in said
    assert main(["neighbours", "sfm-tiny", "[Au]", "--data", str(folder)]) == 2
    assert "--extrapolate" in capsys.readouterr().err


def test_rows_that_cannot_be_used_are_left_out_of_a_file(folder, tmp_path, capsys):
    path = tmp_path / "three.smi"
    path.write_text("CCO\n[Au]\nO\n")
    words = ["neighbours", "sfm-tiny", str(path), "--data", str(folder), "--count", "1", "--json"]
    assert main(words) == 2
    assert "--skip-errors leaves such rows out" in capsys.readouterr().err
    assert main([*words, "--skip-errors"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [s["neighbours"][0]["id"] for s in report["systems"]] == ["CCO", "O"]
    assert "1 row left out" in report["warnings"][0]
    assert "element Au" in report["warnings"][0]


def test_an_input_outside_the_training_data_is_refused(folder):
    tiny = sfm.load("sfm-tiny")
    with pytest.raises(OutsideError, match="extrapolate"):
        tiny.neighbours("[Au]", folder)
