"""Packs: a recipe and its data in one file train to the very weights that the folders give."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sfm.cli import main
from sfm.cli.pack import size_of
from sfm.data.archive import open_archive, write_archive
from sfm.data.storage import ID, SPLIT, TYPES, Column, Dataset, positions_column, write_dataset
from sfm.errors import InputError, InputWarning, RecipeError
from sfm.recipe import OptimizerSection, parse
from sfm.registry import clear_cache, find
from sfm.train.pack import BESIDE, _fitting, pack
from sfm.train.pack_parts import parts_of
from sfm.train.packed import open_pack
from sfm.train.pretrain import pretrain
from sfm.train.tasks import open_tasks


@pytest.fixture
def packed(recipe, tmp_path):
    """The toy recipe's pack."""
    return pack(recipe(steps=6), tmp_path / "toy.pack")


def described(folder: Path) -> dict:
    """What a run reports, without times and hashes of files."""
    report = json.loads((folder / "report.json").read_text())
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in report["history"]]
    return {"metrics": report["metrics"], "history": rows}


def test_the_pack_trains_to_the_same_weights(recipe, packed, tmp_path, monkeypatch):
    plain = recipe(steps=6)
    folders = packed.folders(packed.recipe())
    assert packed.recipe() == plain
    one = pretrain(plain, tmp_path / "one", log=False)
    # nothing but the pack: the plugin's folders are gone
    for task in plain.tasks:
        spec = find("datasets", task.dataset).load()
        monkeypatch.setattr(type(spec), "folder", tmp_path / "nowhere")
    other = pretrain(packed.recipe(), tmp_path / "other", log=False, folders=folders)
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    assert all(torch.equal(value, b[name]) for name, value in a.items())
    assert described(one) == described(other)
    webs = json.loads((other / "training.json").read_text())["data"][0]
    assert webs["licence"] == "CC0-1.0"
    first = json.loads((one / "training.json").read_text())["data"][0]
    assert webs.get("packed_from", webs)["revision"] == first["revision"]


def test_a_run_on_the_folders_is_resumed_on_the_pack(recipe, packed, tmp_path):
    stable = OptimizerSection(schedule="stable", lr=1e-2, warmup=3)
    settled = [recipe(steps=n).model_copy(update={"optimizer": stable}) for n in (4, 6)]
    pretrain(settled[0], tmp_path / "run", log=False)
    folders = packed.folders(settled[1])
    pretrain(settled[1], tmp_path / "run", log=False, resume=True, folders=folders)
    straight = pretrain(settled[1], tmp_path / "straight", log=False)
    a, b = (load_file(f / "model.safetensors") for f in (tmp_path / "run", straight))
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def three_levels(folder: Path) -> None:
    """Nests at levels that lack this or that label in some rows."""
    rng = np.random.default_rng(5)
    labels = [("energy", "eV", "a"), ("extent", "angstrom", "a"), ("energy", "eV", "b")]
    labels += [("extent", "angstrom", "b"), ("extent", "angstrom", "c")]
    columns = [Column(q, unit, "label", level, dtype="float64") for q, unit, level in labels]
    rows = []
    for i in range(60):
        row = {
            "id": f"{i}",
            "split": ("train", "train", "validation", "test")[i % 4],
            "types[1]": [1, 6, 8],
            "positions[angstrom]": 1.5 * np.eye(3) + 0.1 * rng.normal(size=(3, 3)),
        }
        values = {c.name: rng.normal() for c in columns}
        if i % 5 == 0:
            del values["energy[eV]@a"]  # at level a this sample has an extent only
        if i % 7 == 0:
            values = {"extent[angstrom]@c": 1.0}  # and this one nothing that is learned
        rows.append(row | values)
    head = [ID, SPLIT, TYPES, positions_column(dtype="float64")]
    write_dataset(folder, [*head, *columns], rows, {"name": "nests", "domain": "birds"},
                  max_rows_per_file=25)  # fmt: skip


def test_levels_and_labels_that_nobody_learns_stay_behind(recipe, tmp_path, monkeypatch):
    three_levels(tmp_path / "nests")
    spec = find("datasets", "birds/nests").load()
    more = dataclasses.replace(spec, levels=("pair", "a", "b", "c"))
    monkeypatch.setattr("toy_sfm.NESTS", more)
    clear_cache()
    body = recipe(steps=4).to_dict()
    one, two = ({"dataset": "birds/nests", "folder": str(tmp_path / "nests"), **rest} for rest in (
        {"levels": ["a"], "quantities": {"energy": 1}},
        {"levels": ["b"], "quantities": {"energy": 1, "extent": 1}},
    ))  # fmt: skip
    plain = parse(
        {**body, "tasks": [one, {"dataset": "birds/nests", "quantities": {"energy": 1}}, two]}
    )
    written = pack(plain, tmp_path / "levels.pack")
    assert written.contents.tasks == ("nests", "nests.2", "nests")
    said = written.contents.datasets["nests"]
    assert (said.levels, said.levels_left_out) == (("a", "b"), ("c",))
    # the extent of level a stays: where it is the only label there, it makes a row a sample
    assert said.columns_left_out == ("extent[angstrom]@c",)
    assert sum(said.rows.values()) == 60 - 9
    assert written.contents.datasets["nests.2"].columns_left_out == ("extent[angstrom]@pair",)
    places = written.folders(written.recipe())
    for task, other in zip(open_tasks(plain), open_tasks(plain, places), strict=True):
        for split in ("train", "validation", "test"):
            samples, others = task.split(split), other.split(split)
            assert len(samples) == len(others) > 0
            for a, b in zip(samples, others, strict=True):
                assert (a.id, a.level, a.dataset) == (b.id, b.level, b.dataset)
                assert np.array_equal(a.positions, b.positions)
                for name in task.goals:
                    assert (name in a.labels) == (name in b.labels)
                    assert np.array_equal(a.labels.get(name, 0.0), b.labels.get(name, 0.0))
    assert open_tasks(plain, places)[0].facts["packed_from"]["revision"] == said.revision


def test_labels_that_an_encoder_reads_come_along(recipe, tmp_path, monkeypatch):
    plain = recipe(steps=1)
    narrow = plain.tasks[0].model_copy(
        update={"quantities": {"energy": plain.tasks[0].quantities["energy"]}}
    )
    plain = plain.model_copy(update={"tasks": (narrow,)})
    without = pack(plain, tmp_path / "a.pack").contents.datasets["webs"]
    assert set(without.quantities) == {"energy"}
    encoder = find("encoders", narrow.encoder).load()
    monkeypatch.setattr(encoder, "label_inputs", ("arrow",))
    with_it = pack(plain, tmp_path / "b.pack").contents.datasets["webs"]
    assert set(with_it.quantities) == {"energy", "arrow"}


def test_one_content_is_one_file(recipe, tmp_path):
    for name in ("a", "b"):
        pack(recipe(steps=6), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_limit_thins_the_training_rows_evenly(recipe, packed, tmp_path):
    size = packed.archive.path.stat().st_size
    least = 100_000  # what is set aside for texts
    small = pack(recipe(steps=6), tmp_path / "small.pack", limit=least + int(0.6 * size))
    assert (tmp_path / "small.pack").stat().st_size <= least + 0.6 * size
    shares = []
    for name, data in small.contents.datasets.items():
        before = packed.contents.datasets[name].rows
        assert data.rows["train"] == data.thinned.rows < data.thinned.of == before["train"]
        assert {k: v for k, v in data.rows.items() if k != "train"} == {
            k: v for k, v in before.items() if k != "train"
        }
        shares.append(data.thinned.rows / data.thinned.of)
    assert max(shares) - min(shares) < 0.02
    assert 0.1 < shares[0] < 0.9
    smaller = pack(recipe(steps=6), tmp_path / "smaller.pack", limit=least + int(0.5 * size))
    few, more = (
        {s.id for s in open_tasks(p.recipe(), p.folders(p.recipe()))[0].train}
        for p in (smaller, small)
    )
    assert few < more  # the smaller one is a part of the larger one
    assert (
        pack(recipe(steps=6), tmp_path / "whole.pack", limit=10 * size + least).contents
        == packed.contents
    )
    with pytest.raises(InputError, match="--max-size: what is never thinned"):
        pack(recipe(steps=6), tmp_path / "none.pack", limit=1000)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "small.pack",
        "smaller.pack",
        "toy.pack",
        "whole.pack",
    ]


def test_overrides_keep_to_what_is_packed(packed, tmp_path):
    webs = find("datasets", "spiders/webs").load().folder
    shutil.copytree(webs, tmp_path / "webs")
    changed = packed.recipe([f"tasks.0.folder={tmp_path / 'webs'}", "tasks.1.max_samples=7"])
    places = packed.folders(changed)
    assert places[0] is None
    assert [len(t.train) for t in open_tasks(changed, places)][1] == 7
    with pytest.raises(RecipeError, match=r"tasks\.1: .*toy\.pack holds no 'spiders/webs'"):
        packed.folders(
            packed.recipe(
                [
                    "tasks.1.dataset=spiders/webs",
                    "tasks.1.encoder=spiders/points",
                    "tasks.1.quantities={energy: 1}",
                ]
            )
        )


def test_what_it_leaves_out_of_the_recipe_is_said(recipe, tmp_path):
    for start, said in ((str(tmp_path), True), ("./nowhere", True), ("a/b", False), (None, False)):
        plain = recipe(steps=6).model_copy(update={"start": start})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pack(plain, tmp_path / "a.pack")
        lines = [str(w.message) for w in caught if issubclass(w.category, InputWarning)]
        assert (
            lines == [f"start: '{start}' is a model's folder, which the pack does not hold"] * said
        )


def test_runs_behind_a_simulator_are_not_thinned(recipe, tmp_path):
    parts, _ = parts_of(recipe(steps=6))
    whole = [dataclasses.replace(part, thinned=number > 0) for number, part in enumerate(parts)]
    folder, _ = _fitting(whole, 0, None, tmp_path / "all")
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    _, (webs, nests) = _fitting(whole, 0, BESIDE + size - 4_000, tmp_path / "some")
    assert webs.thinned is None
    assert 0 < nests.thinned.rows < nests.thinned.of


def test_unpacking_twice_is_once_and_mends_what_was_damaged(packed):
    first = packed.folders(packed.recipe())
    path = next((first[0] / "data").glob("*.parquet"))
    before, content = path.stat().st_mtime_ns, path.read_bytes()
    assert packed.folders(packed.recipe()) == first
    assert path.stat().st_mtime_ns == before
    path.write_bytes(content[:-7])
    assert packed.folders(packed.recipe()) == first
    assert path.read_bytes() == content
    assert Dataset(first[0]).name == "webs"


def test_processes_that_unpack_at_once_all_have_it(packed, tmp_path):
    script = """
import sys
from pathlib import Path
from sfm.data.archive import open_archive
archive = open_archive(sys.argv[1])
sys.stdin.readline()
for _ in range(20):
    print(archive.unpack(Path(sys.argv[2])))
"""
    words = [sys.executable, "-c", script, str(packed.archive.path), str(tmp_path / "packs")]
    running = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {process.communicate("go\n")[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    (lines,) = said
    assert len(set(lines.split())) == 1


# ------------------------------------------------------------------ the command line
def test_pack_show_and_train_on_the_command_line(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("toy.yaml").write_text(recipe(steps=3).to_yaml())
    assert main(["dataset", "pack", "toy.yaml", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["bytes"] == Path("toy.pack").stat().st_size
    assert said["datasets"]["webs"]["licence"] == "CC0-1.0"
    assert main(["dataset", "show", "toy.pack"]) == 0
    assert "recipe 'toy', 2 tasks" in capsys.readouterr().out
    assert main(["pretrain", "toy.pack", "--print-config"]) == 0
    assert capsys.readouterr().out == recipe(steps=3).to_yaml()
    assert main(["pretrain", "toy.pack", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 3
    assert main(["pretrain", "toy.pack", "--set", "training.steps=2", "--out", "model"]) == 0
    assert json.loads(Path("model/training.json").read_text())["cost"]["steps"] == 2
    capsys.readouterr()
    for words in ("nope.pack", "toy.pack --set tasks.0.levels=[far]"):
        assert main(["pretrain", *words.split(), "--out", "none"]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not Path("none").exists()
    assert main(["dataset", "pack", "toy.yaml", "--max-size", "tiny"]) == 2
    assert "write it as 45MB" in capsys.readouterr().err


def test_sizes():
    assert [size_of(t) for t in ("45MB", "45e6", "800 kB", "12B")] == [45e6, 45e6, 800e3, 12]
    for text in ("", "0MB", "-3MB", "1e400", "four", "1.2.3MB", "3TB"):
        with pytest.raises(InputError, match="write it as"):
            size_of(text)


# ------------------------------------------------------------------ from anybody
def rewritten(path: Path, target: Path, change, compression=zipfile.ZIP_STORED) -> Path:
    """The pack with `change` applied to its members, a dictionary of bytes by name."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in change(members).items():
            archive.writestr(name, content)
    return target


def stated(change):
    """A change of the manifest's object, whose checksums are right for all other files."""

    def apply(members):
        about = json.loads(members["manifest.json"])
        change(about, members)
        return {**members, "manifest.json": json.dumps(about).encode()}

    return apply


def smuggled(name):
    """A file under this name, in the manifest too."""
    from hashlib import sha256

    def change(about, members):
        members[name] = b"harm"
        about["files"][name] = {"size": 4, "sha256": sha256(b"harm").hexdigest()}

    return stated(change)


PARQUET = "datasets/webs/data/part-00000-of-00001.parquet"
HOSTILE = {
    "another zip": (lambda m: {"a.txt": b"hello"}, "without a manifest.json"),
    "no json": (lambda m: {**m, "manifest.json": b"{"}, "damaged or truncated"),
    "a list": (lambda m: {**m, "manifest.json": b"[]"}, "damaged or truncated"),
    "deep": (lambda m: {**m, "manifest.json": b"[" * 90_000}, "damaged or truncated"),
    "not a pack": (stated(lambda a, m: a.pop("kind")), "a zip, but no pack"),
    "of the future": (stated(lambda a, m: a.update(format=9)), "of form 9, this version of sfm"),
    "more keys": (stated(lambda a, m: a.update(evil=1)), "its manifest is damaged: evil"),
    "up and out": (smuggled("../../harm.txt"), "is no name of a file inside a folder"),
    "from the root": (smuggled("/tmp/harm.txt"), "is no name of a file inside a folder"),
    "dotted": (smuggled("datasets/webs/../../harm"), "is no name of a file inside a folder"),
    "backslash": (smuggled("datasets\\harm"), "is no name of a file inside a folder"),
    "elsewhere": (smuggled("bin/harm.sh"), "'bin/harm.sh' has no place in a pack"),
    "code": (smuggled("datasets/webs/build.py"), "has no place in a pack"),
    "unknown file": (lambda m: {**m, "datasets/harm": b"x"}, "are not those that its"),
    "lost file": (lambda m: {k: v for k, v in m.items() if k != PARQUET}, "are not those that its"),
    "other length": (lambda m: {**m, PARQUET: m[PARQUET] + b"x"}, "are not those that its"),
    "lost dataset": (stated(lambda a, m: a["datasets"].pop("nests")), "not those of the datasets"),
    "wrong tasks": (stated(lambda a, m: a.update(tasks=["webs"])), "not those of its recipe's"),
    "unknown task": (stated(lambda a, m: a.update(tasks=["x", "x"])), "not those of its recipe's"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pack_is_one_line(name, packed, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))
    change, said = HOSTILE[name]
    bad = rewritten(packed.archive.path, tmp_path / "bad.pack", change)
    with pytest.raises(InputError, match=said):
        open_pack(bad)
    capsys.readouterr()
    assert main(["pretrain", str(bad), "--out", str(tmp_path / "model")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.pack", "toy.pack"]


def test_damage_inside_is_seen_when_it_is_unpacked(packed, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))

    def flipped(members):
        content = bytearray(members[PARQUET])
        content[len(content) // 2] ^= 1
        return {**members, PARQUET: bytes(content)}

    bad = rewritten(packed.archive.path, tmp_path / "bad.pack", flipped)
    assert main(["pretrain", str(bad), "--out", str(tmp_path / "model")]) == 2
    assert f"'{PARQUET}' is damaged (its checksum is another one)" in capsys.readouterr().err
    assert not [p for p in (tmp_path / "cache" / "packs").iterdir() if p.suffix != ".lock"]
    assert not (tmp_path / "model").exists()


def test_a_truncated_or_compressed_pack_is_refused(packed, tmp_path, capsys):
    content = packed.archive.path.read_bytes()
    for length in (5, 40, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.pack").write_bytes(content[:length])
        assert main(["pretrain", str(tmp_path / "cut.pack"), "--out", "none"]) == 2
        assert "damaged or truncated" in capsys.readouterr().err
    rng = np.random.default_rng(0)
    for _ in range(40):  # flipped bytes anywhere: an InputError, or harmless
        changed = bytearray(content)
        changed[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        (tmp_path / "flipped.pack").write_bytes(changed)
        try:
            opened = open_pack(tmp_path / "flipped.pack")
            for name in opened.archive.members:
                opened.archive.read(name)
        except InputError:
            continue
        assert opened.contents == packed.contents
    squeezed = rewritten(packed.archive.path, tmp_path / "s.pack", dict, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed or encrypted"):
        open_pack(squeezed)


def test_an_archive_holds_no_two_files_of_one_name(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    archive = write_archive(tmp_path / "z", {"a": tmp_path / "a"}, {"says": 1})
    assert open_archive(tmp_path / "z") == archive
    assert archive.read("a") == b"x"
    with pytest.raises(InputError, match="holds no 'b'"):
        archive.read("b")
    with zipfile.ZipFile(tmp_path / "z", "a") as more, pytest.warns(UserWarning, match="Duplicate"):
        more.writestr("a", b"y")
    with pytest.raises(InputError, match="two files of one name"):
        open_archive(tmp_path / "z")
    with pytest.raises(InputError, match="no such file"):
        open_archive(tmp_path / "none")
