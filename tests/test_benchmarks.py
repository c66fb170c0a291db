"""`make bench`: the arithmetic of its report, and one real measurement of our own model."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
FAMILIES = ("trunk", "fluids", "dft", "md", "transfer")
pytestmark = pytest.mark.usefixtures("benchmarks")


def test_ratio_is_taken_turn_by_turn():
    report = import_module("report")
    # the machine gets three times slower after the first turn: each ratio is still 4
    assert report.ratios([4.0, 12.0, 12.0], [1.0, 3.0, 3.0]) == [4.0, 4.0, 4.0]
    assert report.spread([3.0, 1.0, 2.0]) == (1.0, 2.0, 3.0)


def test_silicon_has_28_neighbours_per_atom_within_five_angstrom():
    """4 + 12 + 12 atoms in the first three shells of diamond (2.35, 3.84, 4.50 angstrom)."""
    from sfm.data.neighbours import neighbour_list

    systems = import_module("systems")
    (cell,) = systems.silicon().structures
    edges, _ = neighbour_list(cell.positions, systems.CUTOFF, cell.cell, (True, True, True))
    assert len(cell.numbers) == 64
    assert edges.shape == (2, 64 * 28)


@pytest.mark.parametrize("family", FAMILIES)
def test_published_tables_are_those_of_the_published_numbers(family, tmp_path):
    families = import_module("run").FAMILIES
    assert tuple(families) == FAMILIES
    report = families[family][1]
    report.write(tmp_path, json.loads((FOLDER / report.NUMBERS).read_text()))
    for name in (report.TEXT, report.NUMBERS):
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text()


def test_a_block_that_breaks_is_left_out_and_the_others_go_on():
    turns, processes = import_module("turns"), import_module("processes")
    order, failed = [], []

    def block(name, last=99):
        def once():
            order.append(name)
            if order.count(name) > last:
                raise processes.PeerError("gone")
            return {"cpu": float(len(order)), "wall": 0.0}

        return once

    blocks = {"a": block("a"), "b": block("b", last=1), "c": block("c")}
    times = turns.take_turns("test", blocks, 3, lambda key, error: failed.append((key, str(error))))
    assert order == ["a", "b", "c", "c", "b", "a", "a", "c"]
    assert times == {
        "a": {"cpu": [1.0, 6.0, 7.0], "wall": [0.0] * 3},
        "c": {"cpu": [3.0, 4.0, 8.0], "wall": [0.0] * 3},
    }
    assert failed == [("b", "gone")]


@pytest.mark.parametrize(
    ("only", "families"),
    [
        (None, ["trunk", "fluids"]),
        ("fluids", ["fluids"]),
        ("fluids, memory", ["fluids"]),
        ("memory", ["trunk", "fluids"]),
        ("sfm-tiny,silicon", ["trunk"]),
        ("256,exponax", ["fluids"]),
    ],
)
def test_only_names_families_or_what_belongs_to_them(only, families):
    selection = import_module("selection")
    known = {
        "trunk": ("trunk", "sfm-tiny", "sfm-tiny dense", "silicon", "memory"),
        "fluids": ("fluids", "sfm", "exponax", "256", "memory"),
    }
    assert selection.families(only, known) == families
    assert selection.chosen("sfm-tiny", known["trunk"]) == ["sfm-tiny", "sfm-tiny dense"]
    with pytest.raises(ValueError, match="different families"):
        selection.families("silicon,256", known)


def test_unknown_name_is_a_usage_error():
    command = [sys.executable, str(FOLDER / "run.py"), "--only", "sfm-tinny"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'sfm-tinny' is none of" in done.stderr


@pytest.mark.slow
def test_measures_our_model(tmp_path):
    only = "sfm-tiny,silicon,train,infer,memory"
    command = [sys.executable, str(FOLDER / "run.py"), "--rounds", "1", "--only", only]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["failed"] == {}
    assert results["workloads"]["silicon"]["edges"]["sfm-tiny"] == 64 * 28
    times = {(r["model"], r["task"]): r["cpu"][0] for r in results["timings"]}
    assert times["sfm-tiny", "train"] > times["sfm-tiny", "infer"] > 0
    weights = {(r["model"], r["task"]): r["rise"] for r in results["memory"]}
    assert weights["sfm-tiny", "train"] > weights["sfm-tiny", "infer"] > 0
    assert "sfm-tiny dense" in (tmp_path / "RESULTS.md").read_text()


def test_a_row_of_the_transfer_table_stands_beside_what_was_measured_on_its_seeds():
    """Tuned training and peers' features come from their own runs, perhaps with other seeds."""
    report = import_module("transfer_report")
    errors = {"auto": 0.5, "mean": 4.0, "elemental": 1.0, "ridge": 0.6, "gp": 0.55, "scratch": 2.0}
    rows = [
        {"row": "heat", "unit": "eV", "seed": seed, "mae": errors | {"auto": 0.5 + 0.1 * seed},
         "coverage": {"auto": 0.9}, "auto": "gp", "rivals": ["mean", "elemental"],
         "cpu_seconds": 3.0}
        for seed in (0, 1)
    ]  # fmt: skip
    tuned = [{"row": "heat", "seed": 0, "mae": 1.0}, {"row": "heat", "seed": 7, "mae": 99.0}]
    peers = [{"peer": p, "row": "heat", "seed": s, "mae": m}
             for p, s, m in (("chgnet", 0, 0.8), ("chgnet", 1, 1.0), ("chgnet", 7, 99.0),
                             ("sevennet", 1, 0.7))]  # fmt: skip
    (line,) = report.summary({"rows": rows, "tuned": tuned, "peers": peers})
    assert line["tuned"] == (0.5, 1.0)
    assert line["peers"] == pytest.approx({"chgnet": 0.9, "sevennet": 0.7})
    protocol = dict.fromkeys(("model", "seeds", "labels", "tested", "steps", "tokens"), 3)
    text = report.tables(
        {"date": "2026-11-30", "machine": {"processor": "P"}, "protocol": protocol, "rows": rows,
         "tuned": tuned, "peers": peers, "further": [{**r, "row": "cold"} for r in rows]}
    )  # fmt: skip
    assert "| cold [eV] |" in text
    assert "2 seeds (`transfer_further.py`)" in text
    assert "| elemental 1 (-45 %) | 2 (-72 %) | 1 (-50 %) | chgnet 0.9, sevennet 0.7 |" in text


def test_published_curves_are_those_of_the_published_numbers(tmp_path):
    report = import_module("transfer_report")
    numbers = json.loads((FOLDER / report.CURVES_NUMBERS).read_text())
    report.write(tmp_path, numbers)
    for name in (report.CURVES_TEXT, report.CURVES_NUMBERS):
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text()
    kept = import_module("json_lines").stored(FOLDER / import_module("transfer").KEPT)
    assert [one for one in kept if one["labels"] == one["asked"]] != []
    assert all(one in kept for one in numbers["curves"])
    card = json.loads((FOLDER.parent / "model_cards/sfm-tiny/training.json").read_text())
    assert card["few_labels"] == report.means(numbers["curves"])


def test_learning_curves_are_means_over_seeds_and_get_a_figure(tmp_path):
    report = import_module("transfer_report")
    curves = [
        {"row": "heat", "unit": "eV", "labels": n, "seed": seed, "rivals": ["mean", "elemental"],
         "mae": {"auto": (1 + seed) / n, "mean": 9.0, "elemental": 2 / n, "scratch": 3 / n}}
        for n in (30, 100) for seed in (0, 1)
    ]  # fmt: skip
    fields = [
        {"row": "drugs", "of": "forces", "unit": "eV/angstrom", "seed": seed,
         "mae": {f"closed form ({name})": value, "scratch": 1.0},
         "coverage": {f"closed form ({name})": 0.9, "full": 0.88}}
        for seed, name, value in ((0, "gp", 0.1), (1, "delta gp", 0.3))
    ]  # fmt: skip
    protocol = dict.fromkeys(("model", "seeds", "labels", "tested", "steps", "tokens"), 3)
    results = {
        "date": "2026-11-30", "machine": {"processor": "P"}, "protocol": protocol, "rows": [],
        "fields": fields, "curves": curves,
    }  # fmt: skip
    report.write(tmp_path, results)
    text = (tmp_path / report.CURVES_TEXT).read_text()
    assert "| heat [eV] | 100 | 2 | 0.015 +- 0.005 | elemental 0.02 | 0.03 |  |" in text
    assert "| drugs: forces [eV/angstrom] | 0.2 |  | 1 |  | 90 %, 88 % |" in text
    assert (tmp_path / report.FIGURE).stat().st_size > 5_000
    assert json.loads((tmp_path / report.CURVES_NUMBERS).read_text())["curves"] == curves
