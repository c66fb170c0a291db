"""The saver of small modules: whole or not at all, and strict with what others wrote."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sfm.errors import HubError, InputError
from sfm.model.pretrained import pretrained_module
from sfm.nn.bounded import checked_options
from sfm.nn.saving import load_module, load_tensors, save_module, save_tensors

CONFIG = {"class": "Linear", "options": {"in_features": 3, "out_features": 2}, "seed": 7}
BOTH = pytest.mark.parametrize("name", ["mine.safetensors", "mine"])
QUICK = 2.0  # seconds


def linear(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(3, 2)


def build(config):
    return nn.Linear(**checked_options(config["options"]))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@BOTH
def test_what_is_saved_is_loaded(name, tmp_path):
    path = save_module(linear(), tmp_path / "deep" / name, CONFIG)
    assert same(load_module(path, build), linear())
    assert load_tensors(path)[0] == CONFIG
    for file in [path] if path.is_file() else path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
    save_module(linear(1), path, CONFIG)
    assert same(load_module(path, build), linear(1))
    names = ["mine.safetensors"] if path.is_file() else ["config.json", "model.safetensors"]
    assert sorted(p.name for p in (path.parent if path.is_file() else path).iterdir()) == names


def test_tensors_need_not_be_contiguous_nor_detached(tmp_path):
    x = torch.arange(6.0, dtype=torch.float64, requires_grad=True).reshape(2, 3).T
    path = save_tensors({"x": x}, tmp_path / "x.safetensors", {})
    config, tensors = load_tensors(path)
    assert config == {}
    assert torch.equal(tensors["x"], x.detach())


KILLED = """
import os, sys, torch
import safetensors.torch
whole = safetensors.torch.save_file
def half(state, path, **options):
    whole(state, path, **options)
    os.truncate(path, os.path.getsize(path) // 2)
    os._exit(9)
safetensors.torch.save_file = half
from sfm.nn.saving import save_module
for path in sys.argv[1:]:
    if os.fork() == 0:
        save_module(torch.nn.Linear(3, 2), path, {"options": {}})
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 9
"""


def test_a_killed_write_leaves_the_old_file_whole(tmp_path):
    paths = [save_module(linear(), tmp_path / n / n, CONFIG) for n in ("a.safetensors", "b")]
    before = contents(tmp_path)
    subprocess.run([sys.executable, "-c", KILLED, *map(str, paths)], timeout=120, check=True)
    after = contents(tmp_path)
    assert {k: after[k] for k in before} == before
    left = set(after) - set(before)
    assert len(left) == 2  # half a file each, hidden
    assert all("/.sfm-" in name for name in left)
    for path in paths:
        assert same(load_module(path, build), linear())
        save_module(linear(1), path, CONFIG)  # and what is left is in nobody's way
        assert same(load_module(path, build), linear(1))


def refused(path, build=build, kind=InputError):
    """The line of a refusal, which is one and comes soon."""
    started = time.process_time()
    with pytest.raises(kind) as caught:
        load_module(path, build)
    assert time.process_time() - started < QUICK
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


@BOTH
def test_a_wrong_config_or_wrong_shapes(name, tmp_path):
    path = tmp_path / name
    for options in (
        {"in_features": 4, "out_features": 2},
        {"in_features": 3},
        {"in_features": 3, "out_features": "2"},
        {"in_features": 3, "out_features": 2, "wrong": 1},
        {"in_features": -3, "out_features": 2},
        {"in_features": 60_000, "out_features": 60_000},
        {"in_features": 10**30, "out_features": 2},
        [3, 2],
        None,
    ):
        save_module(linear(), path, {**CONFIG, "options": options})
        assert str(path) in refused(path)
    save_module(linear(), path, {})
    assert "KeyError: 'options'" in refused(path)
    save_tensors({"weight": torch.zeros(2, 3)}, path, CONFIG)
    assert "bias" in refused(path)
    save_tensors({**linear().state_dict(), "more": torch.zeros(1)}, path, CONFIG)
    assert "more" in refused(path)
    for dtype in (torch.int64, torch.complex64, torch.float8_e4m3fn):
        state = linear().state_dict()
        save_tensors({**state, "weight": state["weight"].to(dtype)}, path, CONFIG)
        assert f"'weight' holds {str(dtype)[6:]} where float32 belongs" in refused(path)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"options": {"in_features": NaN}}', "NaN is no number"),
        ('{"options": {}, "options": {}}', "is given twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"options": {"in_features": 1' + "0" * 5000 + "}}", "is not JSON"),
    ],
)
def test_a_hostile_header(header, said, tmp_path):
    path = tmp_path / "theirs.safetensors"
    save_file(linear().state_dict(), path, metadata={"config": header})
    assert said in refused(path)
    save_file(linear().state_dict(), path, metadata={"options": header})  # of older files
    refused(path)
    save_module(linear(), tmp_path / "theirs", CONFIG)
    (tmp_path / "theirs" / "config.json").write_text(header)
    assert "config.json" in refused(tmp_path / "theirs")


def test_what_is_not_there_or_damaged(tmp_path):
    assert refused(tmp_path / "none.safetensors").endswith("no such file")
    path = save_module(linear(), tmp_path / "one.safetensors", CONFIG)
    whole = path.read_bytes()
    for damaged in (b"", b"nothing", whole[: len(whole) // 2], b"\xff" * 8 + whole[8:]):
        path.write_bytes(damaged)
        assert "damaged, or no safetensors file" in refused(path)
    assert refused(tmp_path).endswith("holds no config.json")
    folder = save_module(linear(), tmp_path / "folder", CONFIG)
    (folder / "model.safetensors").unlink()
    assert refused(folder).endswith("model.safetensors: no such file")


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in ("file", "file/mine.safetensors", "file/mine"):
        with pytest.raises(InputError):
            save_module(linear(), tmp_path / name, CONFIG)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        save_module(linear(), tmp_path / "folder.safetensors", CONFIG)
    for config in ({"x": object()}, {"x": float("nan")}):
        with pytest.raises(InputError, match="not plain values of JSON"):
            save_module(linear(), tmp_path / "mine", config)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.safetensors"]


def test_a_published_one_is_loaded_by_name(tmp_path, monkeypatch):
    """A folder as `sfm push` takes it; of another kind, or of no kind, it is refused."""
    config = {"model_type": "sfm", "architectures": ["Linear"], **CONFIG}
    folder = save_module(linear(), tmp_path / "mine", config)
    monkeypatch.chdir(tmp_path)

    def load(name, kinds=("Linear",)):
        return pretrained_module(name, build, kinds=kinds, what="linear map")

    assert same(load(folder), linear())
    assert same(load("mine"), linear())
    with pytest.raises(InputError, match="no bundled model and no folder is called 'other'"):
        load("other")
    with pytest.raises(HubError, match="holds no linear map but 'Linear'"):
        load(folder, kinds=("Bilinear",))
    for changed, said in (
        ({"architectures": 7}, "holds no linear map but 'something else'"),
        ({"model_type": "bert"}, "not 'sfm'"),
        ({"options": {"in_features": 9, "out_features": 9}}, "do not fit"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **changed}))
        with pytest.raises(HubError, match=said) as caught:
            load(folder)
        assert "\n" not in str(caught.value)
