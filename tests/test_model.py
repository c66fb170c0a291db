"""The model: one pass for all, saved without pickles, extended, collapsed, restricted, refused."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sfm.config import FORMAT, HeadSpec, ModelConfig, Target
from sfm.errors import HubError, InputError, PluginError
from sfm.model import FoundationModel
from sfm.model.checkpoint import load, read_config
from sfm.registry import clear_cache, quantities
from sfm.testing.conformance_dataset import few_samples
from sfm.testing.models import SMALL_TRUNK

PART, LJ, PBE = "toy/points", "Lennard-Jones (argon)", "PBE"


def config(**changes) -> ModelConfig:
    table = quantities()
    values = {
        "trunk": SMALL_TRUNK,
        "encoders": {PART: {}},
        "encoder_domains": {PART: "toy"},
        "heads": (HeadSpec(PART, "energy", "toy/energy"),),
        "targets": (Target(PART, LJ, "energy"), Target(PART, PBE, "energy")),
        "contexts": ((PART, LJ), (PART, PBE)),
        "quantities": {q: table[q] for q in ("energy", "forces", "stress")},
        "plugins": {"toy": {"distribution": "sfm-toy", "version": ">=0.1.0"}},
        "name": "test",
    }
    return ModelConfig(**{**values, **changes})


def make(seed: int = 0, **changes) -> FoundationModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FoundationModel(config(**changes))
    normaliser = model.normalisers[f"{PART}:energy"]
    normaliser.scale[:, 0] = torch.tensor([0.5, 2.0], dtype=torch.float64)[: len(normaliser.scale)]
    normaliser.shift[:, 18, 0] = torch.tensor([-12.5, -14000.0], dtype=torch.float64)[
        : len(normaliser.scale)
    ]
    return model.eval()


@pytest.fixture
def samples(toy, tmp_path, monkeypatch):
    from sfm.registry import plugin

    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))
    return few_samples(plugin("toy"), lambda s: True)


def energies(model, samples, level=LJ) -> torch.Tensor:
    tokens = model.tokenize(PART, samples, level)
    return model({PART: tokens}, {PART: ["energy"]})[PART]["energy"].detach()


def test_save_and_load_is_exact(samples, tmp_path):
    model = make()
    model.save_pretrained(tmp_path / "m")
    again = load(FoundationModel, tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert again.config == model.config
    assert not again.training
    assert torch.equal(energies(again, samples), energies(model, samples))
    for (name, a), (_, b) in zip(model.named_buffers(), again.named_buffers(), strict=True):
        assert a.dtype == b.dtype, name
        assert torch.equal(a, b), name


def test_only_calibrated_contexts_keep_their_matrices(toy, tmp_path):
    """Files are smaller by the zeros; whole tables, as earlier versions wrote, are read, too."""
    model = make()
    key = next(k for k in model.uncertainties if k.endswith(":energy"))
    unit = model.uncertainties[key]
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(3, 40, unit.precision.shape[1], generator=g)
    unit.calibrate(1, rows[0], rows[1], rows[2, :, 0])
    model.save_pretrained(tmp_path / "m")
    name = f"uncertainties.{key}.precision"
    stored = load_file(tmp_path / "m" / "model.safetensors")
    assert len(unit.precision) > 1
    assert len(stored[name]) == 1
    again = FoundationModel.from_pretrained(tmp_path / "m").state_dict()
    for k, v in model.state_dict().items():
        assert torch.equal(again[k], v), k
    save_file(model.state_dict(), tmp_path / "m" / "model.safetensors")
    assert torch.equal(
        FoundationModel.from_pretrained(tmp_path / "m").state_dict()[name], unit.precision
    )
    save_file(stored | {name: stored[name].repeat(3, 1, 1)}, tmp_path / "m" / "model.safetensors")
    with pytest.raises(HubError, match="for 1 calibrated contexts"):
        FoundationModel.from_pretrained(tmp_path / "m")


def test_references_are_kept_where_they_are_not_zero(toy, tmp_path):
    """Beside their places; whole tables, as earlier versions wrote, are read, too."""
    model = make()
    key = next(k for k in model.normalisers if k.endswith(":energy"))
    shift = model.normalisers[key].shift
    shift.zero_()
    shift[1, 6], shift[1, 8] = -3.5, 2.0
    model.save_pretrained(tmp_path / "m")
    file, name = tmp_path / "m" / "model.safetensors", f"normalisers.{key}.shift"
    stored = load_file(file)
    assert stored[name].tolist() == [[-3.5], [2.0]]
    assert stored[name + "_places"].tolist() == [[1, 6], [1, 8]]
    again = FoundationModel.from_pretrained(tmp_path / "m").state_dict()
    for k, v in model.state_dict().items():
        assert torch.equal(again[k], v), k
    save_file(model.state_dict(), file)
    assert torch.equal(FoundationModel.from_pretrained(tmp_path / "m").state_dict()[name], shift)
    for places in ([[1, 6]], [[1, 6], [9, 8]], [[1, 6], [1, -1]], [[1, 6], [1, 119]]):
        save_file(stored | {name + "_places": torch.tensor(places)}, file)
        with pytest.raises(HubError, match="does not fit its places"):
            FoundationModel.from_pretrained(tmp_path / "m")
    save_file({k: v for k, v in stored.items() if k != name}, file)
    with pytest.raises(HubError, match=r"do not fit config\.json"):
        FoundationModel.from_pretrained(tmp_path / "m")


def test_weights_in_half_as_many_bytes(samples, tmp_path):
    """Rounded once: saved again, they are the same; what they say moves by 1e-3 of its spread."""
    model = make()
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "half", half=True)
    sizes = [(tmp_path / d / "model.safetensors").stat().st_size for d in ("whole", "half")]
    assert sizes[1] < 0.7 * sizes[0]
    again = load(FoundationModel, tmp_path / "half")
    assert again.dtype == torch.float32
    spread = energies(model, samples).std()
    torch.testing.assert_close(
        energies(again, samples), energies(model, samples), rtol=0, atol=5e-3 * float(spread)
    )
    again.save_pretrained(tmp_path / "again", half=True)
    files = [(tmp_path / d / "model.safetensors").read_bytes() for d in ("half", "again")]
    assert files[0] == files[1]
    with torch.no_grad():
        next(again.parameters()).fill_(1e5)
    with pytest.raises(InputError, match="is beyond float16"):
        again.save_pretrained(tmp_path / "again", half=True)


def test_a_float64_model_stays_float64(samples, tmp_path):
    model = make().double()
    model.save_pretrained(tmp_path / "m")
    again = load(FoundationModel, tmp_path / "m")
    assert again.dtype == torch.float64
    assert torch.equal(energies(again, samples), energies(model, samples))


def test_large_models_are_sharded(samples, tmp_path):
    model = make()
    model.save_pretrained(tmp_path / "m", max_shard_size="20KB")
    files = {p.name for p in (tmp_path / "m").iterdir()}
    assert "model.safetensors.index.json" in files
    assert len(files) > 3
    assert torch.equal(
        energies(load(FoundationModel, tmp_path / "m"), samples), energies(model, samples)
    )
    model.save_pretrained(tmp_path / "m")
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"config.json", "model.safetensors"}


def test_energies_carry_the_references_of_their_level_in_float64(samples):
    model = make()
    n = np.array([len(s.types) for s in samples])
    difference = energies(model, samples, PBE).numpy() - energies(model, samples, LJ).numpy()
    assert difference.dtype == np.float64
    np.testing.assert_allclose(difference / n, -14000 + 12.5, atol=20)


def test_predictions_of_a_collapsed_model_are_equal(samples):
    model = make().double()
    for level in (LJ, PBE):
        dense = model.collapsed(PART, level)
        assert sum(p.numel() for p in dense.parameters()) < sum(
            p.numel() for p in model.parameters()
        )
        torch.testing.assert_close(
            energies(dense, samples, level), energies(model, samples, level), rtol=1e-12, atol=1e-9
        )


def test_forces_do_not_depend_on_the_references(samples):
    """Energies of -1e5 eV must not cost the forces their digits in float32."""
    model = make()
    tokens = model.tokenize(PART, samples, PBE)
    before = model({PART: tokens}, {PART: ["forces"]})[PART]["forces"]
    model.normalisers[f"{PART}:energy"].shift[:, 18, 0] = -1e7
    after = model({PART: tokens}, {PART: ["forces"]})[PART]["forces"]
    assert torch.equal(before, after)


def test_an_extended_model_says_what_it_said(samples):
    model = make().double()
    table = quantities()
    target = Target(PART, "CCSD(T)", "toy_coordination")
    grown = model.extended(
        [target, Target(PART, "CCSD(T)", "energy")],
        [HeadSpec(PART, "toy_coordination", "toy/toy_coordination")],
        {"toy_coordination": table["toy_coordination"]},
    )
    for level in (LJ, PBE):
        torch.testing.assert_close(
            energies(grown, samples, level), energies(model, samples, level), rtol=0, atol=1e-9
        )
    tokens = grown.tokenize(PART, samples, "CCSD(T)")
    out = grown({PART: tokens}, {PART: ["toy_coordination"]})[PART]["toy_coordination"]
    assert out.shape == (len(samples),)
    assert len(grown.config.contexts) == 3


def test_unknown_questions_are_one_line(samples):
    model = make()
    tokens = model.tokenize(PART, samples, LJ)
    with pytest.raises(InputError, match=r"no head for 'enrgy'.*Did you mean 'energy'"):
        model({PART: tokens}, {PART: ["enrgy"]})
    with pytest.raises(InputError, match=f"name one of '{PBE}'|is unknown"):
        model.tokenize(PART, samples, "CCSD")
    with pytest.raises(InputError, match=r"no encoder 'toy/point'.*Did you mean"):
        model.encoder("toy/point")
    with pytest.raises(InputError, match="not trained on anything of domain 'fluids'"):
        model.closure("fluids")


def saved(tmp_path):
    make().save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"format": FORMAT + 1}, HubError, "upgrade with pip install -U sfm-hub"),
        ({"format": None}, HubError, "has format None"),
        ({"model_type": "bert"}, HubError, "this is not an sfm model"),
        ({"targets": [{"encoder": 1}]}, HubError, "config.json is damaged"),
        ({"trunk": {**SMALL_TRUNK, "channels": 8}}, HubError, "weights do not fit"),
    ],
)
def test_a_config_that_cannot_be_is_refused(toy, tmp_path, changes, error, said):
    folder = saved(tmp_path)
    change_config(folder, **changes)
    with pytest.raises(error, match=said):
        load(FoundationModel, folder)


def test_damage_is_told(toy, tmp_path):
    folder = saved(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(HubError, match="damaged or truncated"):
        load(FoundationModel, folder)
    weights.unlink()
    with pytest.raises(HubError, match="only safetensors are read"):
        load(FoundationModel, folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(HubError, match=r"config.json: damaged"):
        read_config(folder)


def test_a_pickle_is_never_opened(toy, tmp_path):
    """A pickle in the place of the weights is refused before anything in it could run."""

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    folder = saved(tmp_path)
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(HubError):
        load(FoundationModel, folder)
    assert not (tmp_path / "exploded").exists()


def test_an_index_cannot_point_out_of_the_folder(toy, tmp_path):
    folder = saved(tmp_path)
    index = {"weight_map": {"x": "../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(HubError, match="outside the model's folder"):
        load(FoundationModel, folder)


def test_a_missing_plugin_is_named_and_other_domains_load(samples, tmp_path):
    folder = saved(tmp_path)
    data = json.loads((folder / "config.json").read_text())
    data["encoder_domains"]["absent/atoms"] = "absent"
    data["encoders"]["absent/atoms"] = {}
    data["plugins"]["absent"] = {"distribution": "evil-package", "version": ""}
    (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises(PluginError, match=r"needs the plugin 'absent'.*'evil-package'") as error:
        load(FoundationModel, folder)
    assert "pip install" not in str(error.value)
    model = load(FoundationModel, folder, domains=["toy"])
    assert torch.equal(energies(model, samples), energies(make(), samples))
    with pytest.raises(InputError, match="has no domain"):
        load(FoundationModel, folder, domains=["oceans"])


def test_a_missing_first_party_plugin_says_how_to_get_it(toy, tmp_path, monkeypatch):
    folder = saved(tmp_path)
    change_config(folder, encoder_domains={"crystals/atoms": "crystals"})
    with pytest.raises(PluginError, match=r"pip install 'sfm-hub\[crystals\]'"):
        load(FoundationModel, folder)
    monkeypatch.setenv("SFM_PLUGINS", "")
    clear_cache()


def test_config_survives_json(toy):
    assert ModelConfig.from_dict(json.loads(json.dumps(config().to_dict()))) == config()
