"""`--skip-errors`, `--max-errors`, `--key` and `--unit` on the command line."""

from __future__ import annotations

import json

import pytest

from sfm.cli import main

LIST = "CCO ethanol\nC1CC bad\nO water\n[He] helium\n"


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / "list.smi"
    path.write_text(LIST)
    return str(path)


def test_one_bad_row_no_longer_loses_a_file(listed, capsys):
    assert main(["predict", "sfm-tiny", listed, "--quantity", "dipole"]) == 2
    error = capsys.readouterr().err
    assert "list.smi, line 2: 'C1CC' is not a SMILES" in error
    assert "--skip-errors leaves such rows out" in error
    assert main(["predict", "sfm-tiny", listed, "--skip-errors", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["id"] for s in found["systems"]] == ["ethanol", "water"]
    assert "line 2" in found["skipped"][0]
    assert found["skipped"][1].startswith("helium: ")  # an element that the model never saw
    assert any(w.startswith("2 rows left out") for w in found["warnings"])


def test_at_most_so_many(listed, capsys):
    assert main(["dataset", "check", listed, "--max-errors", "0"]) == 2
    assert "at most 0 are allowed" in capsys.readouterr().err
    assert main(["dataset", "check", listed, "--max-errors", "1"]) == 0
    said = capsys.readouterr()
    assert "3 samples" in said.out
    assert "1 row left out" in said.err


def test_keys_and_units_of_convert(tmp_path, capsys):
    path = tmp_path / "a.extxyz"
    path.write_text("1\nREF_energy=23.0605 weight=2\nHe 0 0 0\n")
    out = str(tmp_path / "b.npz")
    words = ["dataset", "convert", str(path), out, "--level", "mine"]
    assert main([*words, "--key", "energy=REF_energy", "--unit", "energy=kcal/mol"]) == 0
    assert "not used: weight" in capsys.readouterr().err
    from sfm.data.convert import read_items

    (item,) = read_items(out)
    assert float(item.sample.labels["energy"]) == pytest.approx(1.0, rel=1e-5)
    assert main([*words, "--key", "energy=REF_enrgy"]) == 2
    assert "Did you mean 'REF_energy'?" in capsys.readouterr().err
