"""A real model through the Hub: predictions after push, wiping and pull are bit for bit the same.

The model's encoder comes from a plugin of its own, found as a stranger's is: by its metadata on
the path, in this process and in a fresh one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sfm.data.sample import Sample
from sfm.errors import HubError, PluginError
from sfm.hub import pull, push_folder
from sfm.testing.distributions import install
from sfm.testing.hub_server import HubServer

PLUGIN = """
from sfm.plugin import Plugin
plugin = Plugin(
    name="hubtoy", domain="hubtoy", summary="points for a test of the Hub",
    encoders={"points": "hubtoy_encoder:Points"}, heads={"energy": "sfm.nn.head:ScalarSum"},
)
"""
ENCODER = """
from sfm.nn.encoder import PointEncoder
class Points(PointEncoder):
    part, domain, length_unit = "hubtoy/points", "hubtoy", "angstrom"
"""


@pytest.fixture
def toy_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from sfm import registry

    site = tmp_path / "site"
    modules = {"hubtoy": PLUGIN, "hubtoy_encoder": ENCODER}
    install(site, "hubtoy", {"hubtoy": "hubtoy:plugin"}, modules, version="0.1")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("SFM_PLUGINS", "hubtoy")
    registry.clear_cache()
    yield site
    for name in ("hubtoy", "hubtoy_encoder"):
        sys.modules.pop(name, None)
    monkeypatch.undo()
    registry.clear_cache()


@pytest.fixture
def model(toy_plugin):
    import torch

    from sfm.config import HeadSpec, ModelConfig, Target
    from sfm.model import FoundationModel
    from sfm.model.checkpoint import plugin_ranges
    from sfm.registry import quantities

    part, level = "hubtoy/points", "toy"
    config = ModelConfig(
        trunk={"channels": 8, "layers": 1, "experts": 2, "radial": 4, "carried": 4},
        encoders={part: {"cutoff": 4.0}},
        encoder_domains={part: "hubtoy"},
        heads=(HeadSpec(part, "energy", "hubtoy/energy"),),
        targets=(Target(part, level, "energy"), Target(part, level, "forces")),
        contexts=((part, level),),
        quantities={name: quantities()[name] for name in ("energy", "forces")},
        plugins=plugin_ranges([part]),
        name="toy",
    )
    fresh = FoundationModel(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return fresh


@pytest.fixture
def sample() -> Sample:
    random = np.random.default_rng(1)
    return Sample(
        id="s", domain="hubtoy", positions=random.normal(size=(6, 3)) * 1.5,
        types=np.array([1, 6, 8, 1, 7, 1]),
    )  # fmt: skip


def same(first, second, sample) -> None:
    ours, theirs = first.predict(sample), second.predict(sample)
    assert set(ours) == {"energy", "forces"} == set(theirs)
    assert ours["forces"].shape == (6, 3)
    assert np.abs(ours["forces"]).max() > 1e-6
    for name in ours:
        assert np.array_equal(ours[name], theirs[name]), name
    buffers = dict(second.named_buffers())
    for name, value in first.named_buffers():
        assert value.equal(buffers[name]), name


def test_push_wipe_pull_gives_identical_predictions(client, server, model, sample, monkeypatch):
    from huggingface_hub import constants

    import sfm

    url = model.push_to_hub("tester/toy")
    client.fresh_cache("wiped")
    same(model, sfm.load("tester/toy"), sample)
    same(model, sfm.load(pull("tester/toy@main")), sample)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    server.requests.clear()
    same(model, sfm.load("tester/toy", revision=url.rsplit("/", 1)[1]), sample)
    assert server.requests == []


def test_a_card_is_made_when_there_is_none(client, model):
    model.push_to_hub("tester/toy")
    text = (pull("tester/toy") / "README.md").read_text()
    assert "library_name: sfm" in text
    assert "| hubtoy/points | hubtoy | 4 |" in text
    assert "| energy | eV | system | hubtoy | toy |" in text


def test_auto_model(client, server, model, sample, tmp_path):
    from transformers import AutoConfig, AutoModel

    from sfm.errors import InputError

    model.push_to_hub("tester/toy")
    config = AutoConfig.from_pretrained("tester/toy")
    assert config.model_type == "sfm"
    assert config.encoder_domains == {"hubtoy/points": "hubtoy"}
    loaded = AutoModel.from_pretrained("tester/toy", revision="main")
    assert type(loaded).__name__ == "FoundationModel"
    same(model, loaded, sample)
    folder = model.save_pretrained(tmp_path / "local")
    same(model, AutoModel.from_pretrained(str(folder)), sample)
    with pytest.raises(InputError, match="does not take device_map"):
        AutoModel.from_pretrained(str(folder), device_map="auto")


FRESH = """
import json, sys
import sfm
from transformers import AutoModel
import numpy as np
from sfm.data.sample import Sample
types = np.array([1, 6, 8, 1, 7, 1])
sample = Sample(id="s", domain="hubtoy", positions=np.load(sys.argv[1]), types=types)
for model in (AutoModel.from_pretrained("tester/toy"), sfm.load("tester/toy")):
    print(json.dumps({k: v.tolist() for k, v in model.predict(sample).items()}))
"""


def test_fresh_process_offline(client, server: HubServer, model, sample, toy_plugin, tmp_path):
    """Pulled by this process, loaded without a network by another that knows the variables only."""
    model.push_to_hub("tester/toy")
    pull("tester/toy", cache_dir=tmp_path / "fresh" / "hub")
    np.save(tmp_path / "positions.npy", sample.positions)
    changes = {"PYTHONPATH": str(toy_plugin), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "positions.npy")],
        env=server.environment(tmp_path / "fresh") | changes,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    expected = {name: value.tolist() for name, value in model.predict(sample).items()}
    assert [json.loads(row) for row in done.stdout.splitlines()] == [expected, expected]


def test_damaged_pickled_or_foreign_weights_are_refused(model, tmp_path):
    import torch

    import sfm

    folder = model.save_pretrained(tmp_path / "local")
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-10])
    with pytest.raises(HubError, match="damaged"):
        sfm.load(folder)
    weights.unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(HubError, match="safetensors only"):
        sfm.load(folder)
    weights.write_bytes(content)
    sfm.load(folder)


def test_missing_plugin_is_named(client, model, monkeypatch):
    import sfm
    from sfm import registry

    model.push_to_hub("tester/toy")
    monkeypatch.setenv("SFM_PLUGINS", "")
    registry.clear_cache()
    with pytest.raises(PluginError, match="hubtoy") as caught:
        sfm.load("tester/toy")
    assert caught.value.exit_code == 3
    assert "pip install" not in str(caught.value), "no command for a name that a repository made up"


def test_sharded(client, model, sample, tmp_path):
    import sfm

    folder = model.save_pretrained(tmp_path / "shards", max_shard_size="5KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    push_folder(folder, "tester/toy")
    same(model, sfm.load("tester/toy"), sample)
