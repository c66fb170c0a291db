"""Model folders from strangers: one line, quickly; cards and lists obey nobody."""

from __future__ import annotations

import copy
import json
import random
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sfm
from sfm.errors import HubError, PluginError, SfmError
from sfm.formats.strict_json import read_object
from sfm.hub import list_models, model_card
from sfm.hub.files import check_folder, is_plain_path

MUSEUM = max((Path(__file__).parents[1] / "museum").glob("format-*"))
CONFIG = json.loads((MUSEUM / "config.json").read_text())
WEIGHTS = (MUSEUM / "model.safetensors").read_bytes()
QUICK = 30.0  # seconds of this process


def folder_of(path: Path, config: Any = None, weights: bytes = WEIGHTS) -> Path:
    path.mkdir(exist_ok=True)
    text = config if isinstance(config, (str, bytes)) else json.dumps(config or CONFIG)
    data = text if isinstance(text, bytes) else text.encode()
    (path / "config.json").write_bytes(data)
    (path / "model.safetensors").write_bytes(weights)
    return path


def refused(folder: Path, kinds: type[SfmError] | tuple[type[SfmError], ...] = HubError) -> str:
    began = time.process_time()
    with pytest.raises(kinds) as caught:
        sfm.load(folder)
    assert time.process_time() - began < QUICK
    assert caught.value.exit_code in (3, 4)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900
    return str(caught.value)


def changed(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *way, last = path.split(".")
    here: Any = config
    for key in way:
        here = here[int(key)] if isinstance(here, list) else here[key]
    here[int(last) if isinstance(here, list) else last] = value
    return config


PART = next(iter(CONFIG["encoders"]))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (changed("trunk.layers", 10**9), "trunk.layers"),
        (changed("trunk.layers", 256), "do not"),
        (changed("trunk.channels", 10**12), "trunk.channels"),
        (changed("trunk.channels", 60_000), "the two do not belong together"),
        (changed("trunk.channels", True), "trunk.channels"),
        (changed("trunk.channels", "8"), "trunk.channels"),
        (changed("trunk.channels", 8.0), "trunk.channels"),
        (changed("trunk.experts", -1), "trunk.experts"),
        (changed("trunk", {**CONFIG["trunk"], "depth": 3}), "trunk.depth"),
        (changed("trunk", [1]), "trunk"),
        (changed("encoders", {PART: {"cutoff": 1e9}}), "at most 100 angstrom"),
        (changed("encoders", {PART: {"cutoff": "5"}}), ""),
        (changed("encoders", {PART: {"cutoff": -1}}), "must be positive"),
        (changed("encoders", {PART: {"power": 1}}), "power"),
        (changed("encoders", {PART: {"__class__": 1}}), "__class__"),
        (changed("heads.0.options", {"hidden": [[[1]]]}), "heads.0.options"),
        (changed("heads.0.quantity", "nothing"), "no quantity 'nothing'"),
        (changed("contexts", []), "contexts"),
        (changed("contexts", [["a", "b", "c"]]), "contexts"),
        (changed("targets", "all"), "targets"),
        (changed("quantities.energy.irreps", "99999999x9e"), "irreps are too large"),
        (changed("quantities.energy.irreps", "9" * 5000 + "x0e"), "irreps"),
        (changed("format", 10**30), "reads formats"),
        (changed("format", True), "reads formats"),
        (changed("name", "x" * 10**6), "name"),
        (changed("architectures", 7), "not a foundation model"),
        (changed("plugins", {"a": 1}), "plugins"),
        (changed("coverage", [{"encoder": PART}]), "coverage.0.level"),
        (changed("coverage.0.elements", "CHO"), "coverage.0.elements"),
        (changed("coverage.0.closest", {"H-C": "x"}), "coverage.0.closest"),
        (changed("repulsion", "other"), "repulsion"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
        ('{"model_type": "sfm", "format": ' + "1" * 10_000 + "}", "not JSON"),
        ('{"model_type": "sfm", "model_type": "sfm"}', "given twice"),
        ('{"model_type": "sfm", "format": NaN}', "NaN is no number of JSON"),
        ("[]", "not a JSON object"),
        (b"\xff\xfe{\x00}\x00", "not JSON"),
        (b"", "not JSON"),
    ],
    ids=lambda value: None if isinstance(value, (dict, bytes)) else value[:24],
)
def test_a_config_that_cannot_be_is_one_line(tmp_path, config, said):
    assert said in refused(folder_of(tmp_path / "m", config))


def header_with(**tensors: Any) -> bytes:
    head = json.dumps(tensors).encode()
    return struct.pack("<Q", len(head)) + head


HEADERS = {
    "offsets that are strings": header_with(w={"dtype": "F32", "shape": [1], "data_offsets": "01"}),
    "offsets of strings": header_with(w={"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}),
    "a negative shape": header_with(w={"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}),
    "a huge shape": header_with(w={"dtype": "F32", "shape": [10**18], "data_offsets": [0, 4]}),
    "an unknown type": header_with(w={"dtype": "PKL", "shape": [1], "data_offsets": [0, 4]}),
    "no tensors": header_with(),
    "a list": struct.pack("<Q", 2) + b"[]",
    "a long header": struct.pack("<Q", 2**63) + b"{}",
    "deep": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "overlaps": header_with(
        a={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        b={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    )
    + b"\0" * 4,
}


@pytest.mark.parametrize("name", HEADERS)
def test_weights_that_cannot_be_are_one_line(tmp_path, name):
    refused(folder_of(tmp_path / "m", weights=HEADERS[name]))


@pytest.mark.parametrize("key", ["trunk.types.weight", "trunk.types.projection", "trunk.contexts"])
@pytest.mark.parametrize("kind", ["int64", "bool", "complex64", "float8_e4m3fn"])
def test_weights_of_another_kind_are_refused(tmp_path, key, kind):
    """PyTorch would round them, or drop half of them, and the model would answer."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load, save

    tensors = load(WEIGHTS)
    known = str(tensors[key].dtype).removeprefix("torch.")
    if kind == known:
        pytest.skip("is right")
    tensors[key] = tensors[key].to(getattr(torch, kind))
    said = refused(folder_of(tmp_path / "m", weights=save(tensors)))
    assert f"'{key}' holds {kind} where {known} belongs" in said


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_weights_of_any_precision_are_read(tmp_path, kind):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load, save

    dtype = getattr(torch, kind)
    tensors = {k: x.to(dtype) if x.is_floating_point() else x for k, x in load(WEIGHTS).items()}
    model = sfm.load(folder_of(tmp_path / "m", weights=save(tensors)))
    # half precision stores weights, nothing computes with it
    assert model.dtype == (torch.float64 if kind == "float64" else torch.float32)
    state = model.state_dict()
    assert all(torch.equal(state[k], x.to(state[k])) for k, x in tensors.items() if "trunk" in k)


@pytest.mark.parametrize(
    "index",
    [
        "[" * 100_000,
        "{}",
        '{"weight_map": 1}',
        '{"weight_map": {"w": 1}}',
        '{"weight_map": {"w": "\\u001b[2J.safetensors"}}',
        '{"weight_map": {"w": "../m.safetensors"}}',
    ],
    ids=lambda text: text[:20],
)
def test_an_index_that_cannot_be_is_one_line(tmp_path, index):
    folder = folder_of(tmp_path / "m")
    (folder / "model.safetensors.index.json").write_text(index)
    refused(folder)


HOSTILE = [
    None, True, -1, 0, 1, 10**9, 10**30, 1.5, 1e308, "", "x", "\x1b[2J", "../x", "x" * 5000, [],
    [[]], {}, {"a": {}}, [None], ["molecules/atoms", "x"], "molecules/atoms", "__import__('os')",
]  # fmt: skip


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if way:
        yield way
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield from places(value[key], (*way, key))


def at(config: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        config = config[key]
    return config


@pytest.mark.slow
def test_hundreds_of_hostile_folders(tmp_path):
    """Every value of the config in turn becomes another, goes, or moves; and bytes are flipped."""
    dice = random.Random(0)
    ways = list(places(CONFIG))
    loaded = said = 0
    for number in range(700):
        config, weights = copy.deepcopy(CONFIG), bytearray(WEIGHTS)
        way = ways[number % len(ways)]
        *above, last = way
        kind = dice.choice(["change", "change", "change", "drop", "rename", "text", "bytes"])
        text: Any = config
        if kind == "change":
            at(config, tuple(above))[last] = dice.choice(HOSTILE)
        elif kind == "drop":
            del at(config, tuple(above))[last]
        elif kind == "rename" and isinstance(last, str):
            here = at(config, tuple(above))
            here[dice.choice(["", "x", "\x1b", last.upper()])] = here.pop(last)
        elif kind == "text":
            text = json.dumps(config)
            cut = dice.randrange(len(text))
            text = text[:cut] + dice.choice(["", "[" * 5000, "}", '"', "\0"]) + text[cut + 1 :]
        else:
            place = dice.choice([dice.randrange(8), dice.randrange(8, 4000)])
            weights[place] ^= 1 << dice.randrange(8)
        folder = folder_of(tmp_path / "m", text, bytes(weights))
        began = time.process_time()
        try:
            sfm.load(folder)
            loaded += 1
        except SfmError as error:
            said += 1
            assert "\n" not in str(error), (number, kind, way)  # noqa: PT017
            assert error.exit_code in (3, 4), (number, kind, way, str(error))  # noqa: PT017
        assert time.process_time() - began < QUICK, (number, kind, way)
    assert said > 300
    assert loaded > 10


@pytest.mark.slow
def test_every_door_says_one_line(tmp_path):
    """In processes of their own, as a user would: exit code 4, no "(unexpected)"."""
    folder = folder_of(tmp_path / "m", changed("trunk.layers", 10**9))
    water = Path(__file__).parents[2] / "docs" / "examples" / "water.xyz"
    commands = [
        ["predict", str(folder), str(water)],
        ["evaluate", str(folder), "--data", str(water)],
        ["finetune", str(folder), "--data", str(water), "--out", str(tmp_path / "out")],
    ]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "sfm", *command], capture_output=True, text=True, timeout=900
        )
        lines = [x for x in done.stderr.splitlines() if x.startswith("sfm: error")]
        assert (done.returncode, len(lines)) == (4, 1), done.stderr
        assert "unexpected" not in lines[0]
        assert "Traceback" not in done.stderr


def test_a_functional_of_a_stranger(tmp_path):
    pytest.importorskip("sfm_dft")
    from sfm_dft.neural.functional import KINDS
    from sfm_dft.neural.saving import load, save

    folder = save([KINDS["NeuralGGA"](seed=0, hidden=4)], tmp_path / "f")
    config = json.loads((folder / "config.json").read_text())
    for key, value in [
        ("hidden", 10**9), ("hidden", "4"), ("hidden", -1), ("layers", 10**9), ("seed", 1),
        ("seed", ["x"]), ("seed", [10**30]), ("base", 7), ("base", "nothing"), ("hidde", 4),
        ("exact_exchange", "x"),
    ]:  # fmt: skip
        bad = {**config, "functional": {**config["functional"], key: value}}
        (folder / "config.json").write_text(json.dumps(bad))
        began = time.process_time()
        with pytest.raises(HubError) as caught:
            load(folder)
        assert "\n" not in str(caught.value)
        assert time.process_time() - began < QUICK
    for key, value in [("architectures", 7), ("architectures", []), ("format", "9"), ("format", 9)]:
        (folder / "config.json").write_text(json.dumps({**config, key: value}))
        with pytest.raises(HubError):
            load(folder)


BOMB = "a0: &a0 [1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)
HEADS = {
    "a bad date": "license: mit\ndate: 2026-99-01",
    "an alias bomb": f"{BOMB}tags: *a29",
    "deep nesting": "tags: " + "[" * 50_000,
    "a tag that is code": "tags: !!python/object/apply:os.system [id]",
    "no list": "tags: 7\nlicense: {a: b}",
    "a terminal's command": 'license: "\\e[2J\\e[31m"\ntags: ["\\x9b2J"]',
}


@pytest.mark.parametrize("name", HEADS)
def test_a_card_does_not_stop_the_list(tmp_path, name, monkeypatch, capsys):
    from sfm.cli import main

    snapshot = tmp_path / "models--evil--model" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    folder_of(snapshot)
    (snapshot / "README.md").write_text(f"---\n{HEADS[name]}\n---\n# x\n\nsummary \x1b[31m red\n")
    rows = [row for row in list_models(cache_dir=tmp_path) if row.where == "cached"]
    assert [row.name for row in rows] == ["evil/model"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for flags in ([], ["--json"]):
        assert main(["models", *flags]) == 0
        shown = capsys.readouterr().out
        assert "evil/model" in shown
        assert not set(shown) & {"\x1b", "\x9b", "\x07"}
    listed = json.loads(shown)["models"]
    assert next(r for r in listed if r["name"] == "evil/model")["summary"] == "summary \x1b[31m red"


def test_a_card_shows_html_and_does_not_obey_it():
    bad = "<script>alert(1)</script>"
    report = {
        "name": f"x{bad}\n# more",
        "summary": f"a < b {bad} \x1b[31m",
        "limits": [bad],
        "data": [{"name": bad, "repo": "a/b", "licence": bad, "origin": "a|b"}],
        "metrics": [{"dataset": bad, "metric": "mae", "value": 1.0, "baselines": {bad: 2.0}}],
        "cost": {bad: bad},
        "recipe": {"note": "```\n</code>" + bad},
        "citations": ["```\n" + bad],
    }
    text = model_card(report)
    body = text.split("\n---\n", 1)[1]
    outside = []
    fence = None
    for row in body.splitlines():
        if fence is None and row.startswith("```"):
            fence = row[: len(row) - len(row.lstrip("`"))]
        elif fence is not None and row == fence:
            fence = None
        elif fence is None:
            outside.append(row)
    assert fence is None
    assert "<script" not in re.sub("`[^`]*`", "", "\n".join(outside))  # code shows itself
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "# more" not in [row.strip() for row in outside]
    assert "\x1b" not in text


def test_plain_paths():
    for path in ("README.md", "data/part-0.parquet", "größe.json", "a b.json"):
        assert is_plain_path(path)
    for path in ("", ".", "..", "../x", "/x", "x/", "a//b", "a/../b", "a\\b", "C:x", "a\nb",
                 "\x1b[2J", "x" * 300, "a\0b", "\u202egnp.exe", "a/ /b"):  # fmt: skip
        assert not is_plain_path(path), path


def test_strict_json(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(FileNotFoundError):
        read_object(path)
    path.write_text('{"a": {"b": [1, 2.5, null, "\\u00fc"]}}')
    assert read_object(path) == {"a": {"b": [1, 2.5, None, "ü"]}}
    path.write_text('{"a": {"b": 1, "b": 2}}')
    with pytest.raises(HubError, match="'b' is given twice"):
        read_object(path)


def test_a_missing_plugin_is_still_told_so(tmp_path):
    bad = json.loads(json.dumps(CONFIG).replace(PART, "absent/atoms"))
    assert "absent" in refused(folder_of(tmp_path / "m", bad), PluginError)
    assert check_folder(tmp_path / "m") == tmp_path / "m"
