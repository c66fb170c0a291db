"""Commands that do work, on the scaffold's plugin."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

from sfm.cli import main
from sfm.cli.results import row, text_of
from sfm.config import HeadSpec, ModelConfig, Target
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.registry import quantities
from sfm.testing.models import SMALL_TRUNK
from sfm.train.folders import refuse_old_run

LEVEL = "Lennard-Jones (argon)"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def run(capsys, *words) -> tuple[int, str, str]:
    code = main([str(w) for w in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def as_json(capsys, *words):
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out)


# ------------------------------------------------------------------ plugins and datasets


def test_plugin_list(toy, capsys):
    (row,) = as_json(capsys, "plugin", "list")["plugins"]
    assert row["name"] == "toy"
    assert row["distribution"] == "sfm-toy"
    assert row["encoders"] == {"points": "sfm_toy.model.encoder:AtomEncoder"}
    code, out, _ = run(capsys, "plugin", "list")
    assert code == 0
    assert "oscillator" in out


def test_plugin_check_runs_what_is_asked_for(toy, capsys):
    report = as_json(capsys, "plugin", "check", "toy", "--only", "toy/oscillator:")
    assert report["passed"] == 11
    assert report["failed"] == 0
    assert {c["status"] for c in report["checks"]} == {"passed"}
    code, _, err = run(capsys, "plugin", "check", "tooy")
    assert code == 3
    assert "Did you mean 'toy'" in err


def test_dataset_list_and_show(toy, capsys):
    (row,) = as_json(capsys, "dataset", "list")["datasets"]
    assert row["name"] == "toy/clusters"
    assert row["here"]
    shown = as_json(capsys, "dataset", "show", "clusters")
    assert sum(shown["splits"].values()) == 200
    assert f"energy[eV]@{LEVEL}" in [c["name"] for c in shown["columns"]]
    code, out, _ = run(capsys, "dataset", "show", "toy/clusters")
    assert code == 0
    assert "eV/angstrom" in out
    assert "Ar3" in out


def test_dataset_build_convert_and_check(toy, capsys, tmp_path):
    code, out, err = run(capsys, "dataset", "build", "clusters", "--size", 24, "--out", "small")
    assert (code, out.strip()) == (0, "small"), err
    assert as_json(capsys, "dataset", "convert", "small", "a.extxyz")["samples"] == 24
    assert as_json(capsys, "dataset", "convert", "a.extxyz", "again")["samples"] == 24
    a, b = (as_json(capsys, "dataset", "show", name) for name in ("small", "again"))
    assert a["splits"] == b["splits"]
    report = as_json(capsys, "dataset", "check", "again")
    assert (report["samples"], report["errors"]) == (24, 0)
    text = (tmp_path / "a.extxyz").read_text()
    lines = text.splitlines()
    lines[2] = " ".join([*lines[2].split()[:-1], "9.0"])  # a force of one atom
    (tmp_path / "bad.extxyz").write_text("\n".join([*lines, ""]))
    code, out, _ = run(capsys, "dataset", "check", "bad.extxyz")
    assert code == 0  # a warning, no error
    assert "net-force" in out


# ------------------------------------------------------------------ simulators


def test_simulate_as_json(toy, capsys):
    report = as_json(
        capsys, "simulate", "toy/oscillator", "--set", "stiffness=2.0", "--steps", 20, "--every", 10
    )
    assert set(report) == {"part", "quantities", "warnings"}
    assert report["part"] == "toy/oscillator"
    assert report["quantities"]["time"] == {"value": [0, 10, 20], "unit": "fs", "shape": [3]}
    energy = report["quantities"]["total_energy"]
    assert energy["unit"] == "eV"
    assert energy["value"][0] == pytest.approx(0.5 * 2.0 * 1.25)
    assert report["quantities"]["displacement"]["shape"] == [3, 1, 3]


def test_large_arrays_go_to_a_file(toy, capsys):
    words = ("simulate", "oscillator", "--steps", 100, "--every", 1)
    report = as_json(capsys, *words)
    entry = report["quantities"]["displacement"]
    assert entry["value"] is None
    assert len(entry["last"][0]) == 3
    assert any("give --output" in w for w in report["warnings"])
    code, _, err = run(capsys, *words)
    (line,) = [line for line in err.splitlines() if "too many numbers" in line]
    assert code == 0
    assert "time, displacement, " in line
    assert line.endswith("give --output FILE.npz")
    report = as_json(capsys, *words, "--output", "a.npz", "--plot", "a.png")
    assert report["warnings"] == []
    assert report["quantities"]["displacement"]["path"] == "a.npz"
    with np.load("a.npz") as file:
        assert file["displacement"].shape == (101, 1, 3)
        assert str(file["displacement.unit"]) == "angstrom"
    as_json(capsys, *words, "--output", "a.h5")
    with h5py.File("a.h5") as file:
        assert file["total_energy"].attrs["unit"] == "eV"
    with open("a.png", "rb") as picture:
        assert picture.read(4) == b"\x89PNG"


def test_simulate_describes(toy, capsys):
    code, out, _ = run(capsys, "simulate", "oscillator", "--describe")
    assert code == 0
    assert "m x'' = -k x" in out
    assert "eV/angstrom**2" in out
    described = as_json(capsys, "simulate", "oscillator", "--describe")
    assert described["part"] == "toy/oscillator"
    assert "m x'' = -k x" in described["description"]
    assert {"name": "total_energy", "unit": "eV"} in described["observables"]
    assert {p["name"]: p["unit"] for p in described["parameters"]}["stiffness"] == "eV/angstrom**2"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["oscilator"], 3, "Did you mean 'toy/oscillator'"),
        (["oscillator", "--set", "mas=1"], 2, "Did you mean 'mass'"),
        (["oscillator", "--set", "mass=-1"], 2, "outside"),
        (["oscillator", "--input", "no.toy"], 2, "no such file"),
        (["oscillator", "--level", "PBE"], 2, "--closure"),
        (["oscillator", "--output", "a.pdf"], 2, "writes no '.pdf'"),
        (["oscillator", "--plot", "a.npz"], 2, "a.npz: draw to .png"),
        (["oscillator", "--closure", "no-such-model"], 2, "no bundled model"),
    ],
)
def test_simulate_mistakes(toy, capsys, words, code, said):
    status, out, err = run(capsys, "simulate", *words, "--steps", 1)
    assert (status, out) == (code, "")
    assert said in err


@pytest.mark.parametrize("words", [["--output", "a.pdf"], ["--plot", "a.npz"]])
def test_simulate_refuses_a_file_before_the_run(toy, capsys, monkeypatch, words):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("ran")

    monkeypatch.setattr("sfm.simulate.base.Simulator.run", never)
    assert run(capsys, "simulate", "oscillator", *words)[0] == 2


@pytest.mark.parametrize("words", [("--output", "here/a.npz"), ("--output", "folder.npz")])
def test_simulate_refuses_a_place_before_the_run(toy, capsys, tmp_path, monkeypatch, words):
    (tmp_path / "here").write_text("a file")
    (tmp_path / "folder.npz").mkdir()

    def ran(*_: object, **__: object) -> None:
        raise AssertionError("ran")

    monkeypatch.setattr("sfm.simulate.base.Simulator.run", ran)
    code, out, err = run(capsys, "simulate", "oscillator", *words)
    assert (code, out) == (2, "")
    assert words[1] in err


@pytest.mark.parametrize(
    "words", [["pretrain"], ["finetune", "./m", "--data", "molecules/molecules-xtb"]]
)
def test_a_folder_with_a_run_is_refused_before_anything_heavy_loads(tmp_path, words):
    (tmp_path / "old" / "run").mkdir(parents=True)
    (tmp_path / "old" / "run" / "last.ckpt").touch()
    if words[0] == "finetune":
        words = [*words, "--target", "t", "--mode", "head"]
    code = (
        "import sys; from sfm.cli import main\n"
        f"found = main({[*words, '--out', 'old']!r})\n"
        "print(found, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2", "False"]
    assert "already holds a run" in done.stderr


def test_a_published_model_is_not_written_over(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match="already holds a model; take another folder"):
        refuse_old_run(tmp_path, resume=False)
    refuse_old_run(tmp_path, resume=True)


def test_simulate_starts_from_a_file(toy, capsys, tmp_path):
    (tmp_path / "two.toy").write_text("Ar 0 0 0\nAr 0 0 2\n\nAr 1 0 0\n")
    report = as_json(
        capsys, "simulate", "oscillator", "--input", "two.toy", "--index", 1, "--steps", 0
    )
    assert report["quantities"]["displacement"]["value"] == [[[1.0, 0.0, 0.0]]]


def test_fit(toy, capsys, tmp_path):
    """Noisy positions of the known discrete solution give back the stiffness."""
    from sfm_toy.simulators.oscillator import ACCELERATION

    omega = math.sqrt(ACCELERATION * 1.7 / 39.948)
    discrete = 2 * math.asin(omega / 2)
    noise = np.random.default_rng(0).normal(size=41) * 0.01
    noise[0] = 0.0
    rows = [
        f"{s},{2 * math.cos(discrete * s) + e}"
        for s, e in zip(range(0, 410, 10), noise, strict=True)
    ]
    (tmp_path / "x.csv").write_text("\n".join(["step,x", *rows]))
    report = as_json(capsys, "fit", "toy/oscillator", "--data", "x.csv", "--param", "stiffness")
    entry = report["quantities"]["stiffness"]
    assert report["converged"]
    assert entry["unit"] == "eV/angstrom**2"
    assert abs(entry["value"] - 1.7) < 4 * entry["standard_error"] < 0.05
    assert entry["interval_95"][0] < entry["value"] < entry["interval_95"][1]
    (tmp_path / "bad.csv").write_text("step,x\n0,1\n1,high\n")
    code, _, err = run(capsys, "fit", "oscillator", "--data", "bad.csv", "--param", "mass")
    assert code == 2
    assert "bad.csv, row 3" in err


# ------------------------------------------------------------------ models


@pytest.fixture
def model(toy, tmp_path):
    table = quantities()
    part = "toy/points"
    config = ModelConfig(
        trunk=SMALL_TRUNK,
        encoders={part: {}},
        encoder_domains={part: "toy"},
        heads=(HeadSpec(part, "energy", "toy/energy"),),
        targets=(Target(part, LEVEL, "energy"), Target(part, LEVEL, "forces")),
        contexts=((part, LEVEL),),
        quantities={q: table[q] for q in ("energy", "forces", "stress")},
        plugins={},
        name="tiny",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        FoundationModel(config).save_pretrained(tmp_path / "model")
    (tmp_path / "a.toy").write_text("Ar 0 0 0\nAr 0 0 3.8\nAr 3.8 0 0\n")
    (tmp_path / "b.toy").write_text("Ar 0 0 0\nAr 0 0 3.8\n\nAr 0 0 0\nAr 0 4 0\n")
    return tmp_path / "model"


def test_predict(model, capsys):
    import sfm

    report = as_json(capsys, "predict", "./model", "a.toy")
    assert {"part", "quantities", "warnings"} <= set(report)
    expected = sfm.load(model).predict("a.toy")
    energy = report["quantities"]["energy"]
    assert energy["value"] == pytest.approx(float(expected["energy"]))
    assert (energy["unit"], energy["shape"], energy["level"]) == ("eV", [], LEVEL)
    assert report["quantities"]["forces"]["shape"] == [3, 3]
    code, out, _ = run(capsys, "predict", "./model", "a.toy")
    assert code == 0
    assert "eV/angstrom" in out


def test_predict_several_systems_and_write_them(model, capsys):
    from sfm.data.convert import read_items

    report = as_json(capsys, "predict", "./model", "b.toy", "--output", "b.extxyz")
    assert [s["id"] for s in report["systems"]] == ["b.toy#0", "b.toy#1"]
    samples = [i.sample for i in read_items("b.extxyz")]
    energies = [s["quantities"]["energy"]["value"] for s in report["systems"]]
    assert [float(s.labels["energy"]) for s in samples] == pytest.approx(energies)
    as_json(capsys, "predict", "./model", "b.toy", "--output", "b.npz", "--quantity", "forces")
    with np.load("b.npz") as file:
        assert file["1/forces"].shape == (2, 3)


def test_embed(model, capsys):
    report = as_json(capsys, "embed", "./model", "b.toy", "--output", "e.npz")
    assert report["quantities"]["invariant"]["shape"] == [2, 16]
    with np.load("e.npz") as file:
        assert file["0/vectors"].shape == (2, 3, 16)
        assert file["id"].tolist() == [b"b.toy#0", b"b.toy#1"]


def test_evaluate(model, capsys):
    report = as_json(capsys, "evaluate", "./model", "--max-samples", 5, "--plot", "plots")
    rows = {m["quantity"]: m for m in report["metrics"]}
    assert rows["energy"]["unit"] == "eV"
    assert rows["energy"]["mae"] > 0
    assert rows["energy"]["baseline_mae"] > 0
    assert report["plot"] == "plots/parity.png"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["predict", "./model", "no.toy"], 2, "no such file"),
        (["predict", "./model", "a.toy", "--level", "PBE"], 2, "cannot say"),
        (["predict", "./nothing", "a.toy"], 2, "no folder"),
        (["embed", "./model", "a.toy", "--output", "a.txt"], 2, "arrays go to"),
        (["evaluate", "./model", "--data", "nothing"], 2, "no such file, folder or dataset"),
    ],
)
def test_model_mistakes(model, capsys, words, code, said):
    status, out, err = run(capsys, *words)
    assert (status, out) == (code, "")
    assert said in err


RECIPE = """
name: small
model: {channels: 8, layers: 1, experts: 2, carried: 4}
tasks:
  - dataset: toy/clusters
    quantities: {energy: 1, forces: 10}
training: {steps: 4, tokens_per_batch: 32, validate_every: 4, validation_samples: 4}
"""


@pytest.mark.slow
def test_pretrain_finetune(toy, capsys, tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)
    code, out, _ = run(capsys, "pretrain", "r.yaml", "--print-config", "--set", "optimizer.lr=1e-4")
    assert code == 0
    assert "lr: 0.0001" in out
    plan = as_json(capsys, "pretrain", "r.yaml", "--dry-run")
    assert plan["estimate"]["training_seconds"] > 0
    report = as_json(capsys, "pretrain", "r.yaml", "--out", "base")
    assert report["path"] == "base"
    assert (tmp_path / "base" / "model.safetensors").is_file()
    words = ("finetune", "./base", "--data", "toy/clusters", "--target", "toy_coordination")
    report = as_json(capsys, *words, "--mode", "head", "--steps", 3, "--out", "tuned")
    assert report["report"]["forgetting"]
    code, _, err = run(capsys, "pretrain", "r.yaml", "--set", "optimizer.lrr=1")
    assert code == 2
    assert "optimizer.lrr: unknown key, did you mean 'lr'" in err


def test_tables_show_the_last_of_a_few_numbers():
    assert row([1.0, 2.5, -3.0], " (last)") == "1 2.5 -3 (last)"
    assert row(np.zeros((4, 3))) == ""
    assert text_of({"value": []}) == ""
