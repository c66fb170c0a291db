"""Help that knows the simulators, tables that wrap, files that are not there, examples, reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sfm
from sfm.cli import main
from sfm.cli.finetune_report import show_finetuning
from sfm.cli.output import table
from sfm.data.bundled import EXAMPLES, examples_dir
from sfm.errors import InputError
from sfm.registry import parts

MISSING = (
    "predict sfm-tiny nope.xyz",
    "embed sfm-tiny nope.smi --output a.npz",
    "simulate fluids/burgers --input nope.h5",
    "fit fluids/burgers --data nope.h5 --param viscosity",
    "finetune sfm-tiny --data nope.extxyz",
    "finetune sfm-tiny --data no-such-dataset",
    "evaluate sfm-tiny --data nope.extxyz",
    "dataset check nope.xyz",
    "dataset convert nope.xyz a.npz",
    "pretrain nope.yaml",
)


def test_missing_files_are_refused_before_torch(tmp_path):
    script = """
import json, sys
from sfm.cli import main
codes = [main(line.split()) for line in json.loads(sys.argv[1])]
helped = [main(["simulate", "--help"]), main(["fit", "--help"]), main(["example", "--list"])]
print("torch" in sys.modules, codes, helped)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(MISSING)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == f"False {[2] * len(MISSING)} [0, 0, 0]"
    lines = done.stderr.splitlines()
    assert len(lines) == len(MISSING)
    assert all(line.startswith("sfm: error: no") for line in lines)


def test_help_lists_simulators_and_their_parameters(capsys):
    assert main(["simulate", "--help"]) == 0
    listed = capsys.readouterr().out
    for part in parts("simulators"):
        assert f"  {part.full_name}\n" in listed
    name = "fluids/burgers"
    for command in ("simulate", "fit"):
        assert main([command, name, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"usage: sfm {command}")
        cls = next(p for p in parts("simulators") if p.full_name == name).load()
        for one in (*cls.parameters_spec, *cls.settings_spec):
            assert f"\n{one.name}  " in text
        row = next(line for line in text.splitlines() if line.startswith("viscosity"))
        assert row.split()[1:5] == ["0.02", "1", "[0,", "inf]"]
    assert main(["simulate", "fluids/burgrs", "--help"]) == 3
    assert "Did you mean" in capsys.readouterr().err


def test_tables_wrap_their_last_column(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "44")
    text = "one two three four five six seven eight nine ten"
    table([("a", text), ("b", "")], ("name", "summary"), wrap=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 44
    assert " ".join(line[6:].strip() for line in lines[1:-1]) == text
    assert lines[-1] == "b"


def test_examples_are_found_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    here = {p.name for p in examples_dir().iterdir() if not p.name.startswith((".", "README"))}
    assert set(EXAMPLES) == here
    assert sfm.example("ethanol.xyz").read_text().splitlines()[0] == "9"
    with pytest.raises(InputError, match=r"no example 'etanol.xyz'.*Did you mean 'ethanol.xyz'"):
        sfm.example("etanol.xyz")
    assert main(["example", "ethanol.xyz"]) == 0
    assert Path(capsys.readouterr().out.strip()) == sfm.example("ethanol.xyz")
    assert main(["example", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["examples"]
    assert [row["name"] for row in listed] == list(EXAMPLES)
    assert all(Path(row["path"]).is_file() for row in listed)
    assert main(["example", "--copy", "mine"]) == 0
    assert {p.name for p in (tmp_path / "mine").iterdir()} == set(EXAMPLES)
    assert main(["example", "ethanol.xyz", "--list"]) == 2
    assert main(["example", "../secret"]) == 2


def test_fine_tuning_prints_what_its_report_holds(capsys):
    metric = {
        "quantity": "energy", "level": "PBE", "unit": "eV", "mae_per_token": 0.01, "token": "atom",
        "worst": [["mol-7", 0.5], ["mol-3", 0.25]],
    }  # fmt: skip
    row = {
        "quantity": "energy", "level": "PBE", "unit": "eV", "n": 20, "baseline_mae": 3.0,
        "before_mae": 2.0, "after_mae": 0.125, "scratch_mae": 1.5,
    }  # fmt: skip
    forgetting = {"before": {"molecules": 0.2, "x": None}, "after": {"molecules": 0.3, "x": None}}
    tried = [
        {"target": "t", "name": name, "mae": mae, "unit": "eV", "how": "leave-one-out",
         "chosen": name == "ridge", "rival": name == "mean"}
        for name, mae in (("mean", 3.0), ("ridge", 0.5))
    ]  # fmt: skip
    report = {"metrics": [metric], "target": [row], "forgetting": forgetting, "candidates": tried}
    show_finetuning(report)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["energy", "PBE", "20", "3", "2", "0.125", "1.5", "eV"] in lines
    assert ["molecules", "0.2", "0.3", "1.500"] in lines
    assert ["energy", "PBE", "mol-7", "0.5", "eV/atom"] in lines
    assert lines.index(["ridge", "(chosen)", "0.5", "eV", "leave-one-out"]) < lines.index(
        ["mean", "3", "eV", "leave-one-out,", "knows", "nothing", "of", "the", "model"]
    )
    show_finetuning({"target": [row], "forgetting": {"note": "no training.json"}})
    assert "pretraining tasks: no training.json" in capsys.readouterr().out


def test_embeddings_and_samples_print_short():
    sample = sfm.read(sfm.example("ethanol.xyz"))[0]
    assert repr(sample).startswith("Sample('ethanol")
    assert len(repr(sample)) < 200
    flow = sfm.read(sfm.example("turbulence.h5"))[0]
    assert "velocity (2, 32, 32), reynolds=500" in repr(flow)
    model = sfm.load("sfm-tiny")
    features = repr(model.embed(sample))
    assert features.startswith("Embedding('ethanol")
    assert "molecules/atoms @ GFN2-xTB: invariant" in features
    assert "vectors (9, 3, 64)" in features
    answer = repr(model.predict(sample, quantities=["energy", "forces"], level="GFN2-xTB"))
    assert "forces=array(9, 3) eV/angstrom" in answer
    assert len(answer) < 200
