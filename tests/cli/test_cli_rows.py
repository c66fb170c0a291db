"""`--skip-errors`, `--max-errors`, `--key`, `--unit`, `--voigt` and places for results."""

from __future__ import annotations

import json

import numpy as np
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
    printed = json.loads(capsys.readouterr().out)
    assert [s["id"] for s in printed["systems"]] == ["ethanol", "water"]
    assert "line 2" in printed["skipped"][0]
    assert printed["skipped"][1].startswith("helium: ")  # an element that the model never saw
    assert any(w.startswith("2 rows left out") for w in printed["warnings"])


def test_at_most_so_many(listed, capsys):
    assert main(["dataset", "check", listed, "--max-errors", "0"]) == 2
    assert "at most 0 are allowed" in capsys.readouterr().err
    assert main(["dataset", "check", listed, "--max-errors", "1"]) == 0
    said = capsys.readouterr()
    assert "3 samples" in said.out
    assert "1 row left out" in said.err


WATER = "O 0 0 0.119\nH 0 {y:.3f} -0.477\nH 0 -0.763 -0.477\n"


@pytest.fixture
def frames(tmp_path):
    """Water, and rows for which no model can be asked: helium, no element, atoms at one place."""
    rows = [(3, WATER.format(y=0.763 + 0.004 * i)) for i in range(4)]
    rows[1:1] = [(1, "He 0 0 0\n"), (2, "O 0 0 0\nQq 0 0 1\n"), (2, "H 0 0 0\nH 0 0 0\n")]
    path = tmp_path / "frames.extxyz"
    path.write_text("".join(f"{n}\nenergy=-100 charge=0\n{text}" for n, text in rows))
    return path


def test_evaluate_leaves_out_what_the_model_cannot_be_asked_for(frames, capsys):
    words = ["evaluate", "sfm-tiny", "--data", str(frames), "--level", "GFN2-xTB", "--json"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "'Qq'" in error
    assert "--skip-errors leaves such rows out" in error
    assert main([*words, "--skip-errors"]) == 0
    printed = json.loads(capsys.readouterr().out)
    (row,) = [m for m in printed["metrics"] if m["quantity"] == "energy"]
    assert row["n"] == 4
    assert {name.partition(":")[0] for name, _ in row["worst"]} <= {
        f"frames-{k}" for k in (1, 5, 6, 7)
    }
    (said,) = [w for w in printed["warnings"] if "left out" in w]
    assert said.startswith("3 rows left out: ")
    for row in ("frame 3: ", "frames-2: He: element He is not among", "frames-4: H2: atoms 1 (H)"):
        assert row in said
    assert main([*words, "--max-errors", "2"]) == 2
    assert "at most 2 are allowed" in capsys.readouterr().err
    frames.write_text("1\nenergy=1\nHe 0 0 0\n")
    assert main([*words, "--skip-errors"]) == 2
    assert "no row of the data can be used; frames-1" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_refused_before_the_work(listed, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for words in (
        ("evaluate", "nowhere", "--plot", str(taken / "plots")),
        ("evaluate", "nowhere", "--plot", str(taken / "a.png")),
        ("evaluate", "nowhere", "--plot", str(tmp_path / "a.pdf")),
        ("predict", "nowhere", listed, "--output", str(taken / "a.npz")),
        ("predict", "nowhere", listed, "--output", str(tmp_path / "a.txt")),
        ("embed", "nowhere", listed, "--output", str(taken / "a.npz")),
        ("embed", "nowhere", listed, "--output", str(tmp_path / "a.extxyz")),
        ("dataset", "convert", listed, str(taken / "a.npz")),
    ):
        assert main(list(words)) == 2
        error = capsys.readouterr().err
        assert words[-1] in error
        assert "loading" not in error
    assert taken.read_text() == "mine"


def test_evaluate_draws_to_the_file_that_is_named(frames, tmp_path, capsys):
    frames.write_text(f"3\nenergy=-100\n{WATER.format(y=0.763)}")
    words = ["evaluate", "sfm-tiny", "--data", str(frames), "--level", "GFN2-xTB", "--plot"]
    assert main([*words, str(tmp_path / "new" / "a.png")]) == 0
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words, str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "parity.png").is_file()
    capsys.readouterr()


VASP = "xx,yy,zz,xy,yz,zx"


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        ('energy=-3 stress="1 2 3 6 4 5"', ()),
        ('energy=-3 virial="-8 -16 -24 -48 -32 -40"', ()),
        ('energy=-3 REF_stress="1 2 3 6 4 5"', ("--key", "stress=REF_stress")),
        ('energy=-3 stress="-1 -2 -3 -6 -4 -5"', ("--unit", "stress=-eV/angstrom**3")),
        ('energy=-3 stress="1 6 5 6 2 4 5 4 3"', None),
    ],
)
def test_six_numbers_in_the_order_that_is_stated(tmp_path, capsys, comment, words):
    path = tmp_path / "a.extxyz"
    path.write_text(f'1\nLattice="2 0 0 0 2 0 0 0 2" {comment} pbc="T T T"\nCu 0 0 0\n')
    out = str(tmp_path / "b.npz")
    more = () if words is None else ("--voigt", VASP, *words)
    assert main(["dataset", "convert", str(path), out, "--level", "mine", *more]) == 0
    from sfm.data.convert import read_items

    (item,) = read_items(out)
    expected = [[1, 6, 5], [6, 2, 4], [5, 4, 3]]
    np.testing.assert_allclose(item.sample.labels["stress"], expected, rtol=1e-12)
    capsys.readouterr()


@pytest.mark.parametrize("order", ["xx,yy,zz", "xx,yy,zz,xy,yz,xy", "1,2,3,4,5,6", ""])
def test_an_order_that_is_none(tmp_path, capsys, order):
    path = tmp_path / "a.extxyz"
    path.write_text('1\nLattice="2 0 0 0 2 0 0 0 2" stress="1 2 3 4 5 6"\nCu 0 0 0\n')
    assert main(["dataset", "check", str(path), "--voigt", order]) == 2
    assert "name each of the six components once" in capsys.readouterr().err
    path.write_text("1\nenergy=1\nHe 0 0 0\n")
    assert main(["dataset", "check", str(path), "--voigt", VASP]) == 2
    assert "no stress or elastic constants to reorder" in capsys.readouterr().err


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


def test_a_level_is_given_to_labels_that_have_none(tmp_path, capsys):
    from sfm.data.convert import read_items

    path, out = tmp_path / "a.extxyz", str(tmp_path / "b.npz")
    path.write_text("2\nenergy=-3\nH 0 0 0\nH 0 0 1\n" * 2)
    words = ["dataset", "convert", str(path), out, "--level"]
    assert main([*words, "mine"]) == 0
    assert {item.sample.level for item in read_items(out)} == {"mine"}
    path.write_text(f"{path.read_text()}2\nenergy=-3 level=PBE\nH 0 0 0\nH 0 0 1\n")
    capsys.readouterr()
    assert main([*words, "mine"]) == 0
    assert {item.sample.level for item in read_items(out)} == {"mine", "PBE"}
    assert "labels at PBE keep that level, not 'mine'" in capsys.readouterr().err


def test_atoms_at_one_place_are_one_row_of_a_prediction(frames, tmp_path, capsys):
    for words in (["predict"], ["embed", "--output", str(tmp_path / "x.npz")]):
        command = [words[0], "sfm-tiny", str(frames), *words[1:], "--json", "--skip-errors"]
        assert main(command) == 0
        said = json.loads(capsys.readouterr().out)
        rows = "; ".join(said["skipped"] if "skipped" in said else said["warnings"])
        assert "atoms 1 (H) and 2 (H) lie at the same place" in rows
        assert "element He is not among the training data" in rows


def test_a_file_of_molecules_and_crystals(tmp_path, capsys):
    """The reader of most rows has it; the rows of the other are left out, if asked for."""
    path = tmp_path / "mixed.extxyz"
    water = "3\n\n" + WATER.format(y=0.763)
    salt = '2\nLattice="0 2.8 2.8 2.8 0 2.8 2.8 2.8 0" pbc="T T T"\nNa 0 0 0\nCl 2.8 0 0\n'
    words = ["predict", "sfm-tiny", str(path), "--quantity", "energy", "--json"]
    for rows, kept in ((water + salt + salt, "Na"), (salt + water + water, "H2O")):
        path.write_text(rows)
        assert main(words) == 2
        assert "--skip-errors leaves such rows out" in capsys.readouterr().err
        assert main([*words, "--skip-errors"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert len(said["systems"]) == 2
        assert (kept == "H2O") == all("H2O" in s["id"] for s in said["systems"])
        assert len(said["skipped"]) == 1
        assert "periodic" in said["skipped"][0]
        assert main([*words, "--max-errors", "0"]) == 2
        assert "at most 0 are allowed" in capsys.readouterr().err


def test_levels_of_molecules_do_not_explain_a_crystal(capsys):
    """NaCl at -7.17 eV is no energy of GFN2-xTB in hartree: xTB never saw sodium."""
    from sfm.model import FoundationModel
    from sfm.train.label_checks import references

    model = FoundationModel.from_pretrained("sfm-tiny")
    molecules, crystals = (references(model, f"{d}/atoms") for d in ("molecules", "crystals"))
    assert not any("xTB" in name for name in crystals)
    table = molecules["the references of sfm-tiny at GFN2-xTB"]
    assert np.isfinite(table[[1, 6, 7, 8]]).all()
    assert np.isnan(table[[2, 11, 26]]).all()
