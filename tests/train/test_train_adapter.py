"""Adapters: PEFT's layout, read by peft itself; pushed, pulled, stacked at a pinned revision."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch import nn

from sfm.errors import HubError, InputError
from sfm.hub import push, resolve
from sfm.model import FoundationModel
from sfm.model.adapter import is_adapter, save_adapter
from sfm.nn.lora import add_lora, low_rank, merge_lora
from sfm.recipe import FinetuneRecipe, Lora, validate
from sfm.train.finetune import finetune
from sfm.train.pretrain import pretrain


@pytest.fixture(scope="module")
def base(make_recipe, tmp_path_factory):
    return pretrain(make_recipe(steps=5), tmp_path_factory.mktemp("base") / "model", log=False)


def tuned(base, out):
    recipe = {"mode": "lora", "training": {"steps": 8, "accelerator": "cpu"}, "lora": {"rank": 2}}
    options = validate(FinetuneRecipe, recipe, [])
    return finetune(base, "spiders/held-webs", "extent", out=out, recipe=options, log=False)


def same(one: FoundationModel, other: FoundationModel) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_an_adapter_travels_and_is_stacked_on_the_pinned_base(base, tmp_path, client, server):
    push(base, "tester/base")
    commit = resolve("tester/base").name
    out = tuned("tester/base", tmp_path / "tuned")
    whole = FoundationModel.from_pretrained(out)
    small, large = (out / "adapter" / "adapter_model.safetensors"), (out / "model.safetensors")
    assert small.stat().st_size < 0.5 * large.stat().st_size
    body = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert (body["base_model_name_or_path"], body["revision"]) == ("tester/base", commit)

    push(out / "adapter", "tester/adapter")
    push(out, "tester/base")  # the base's main branch moves on; the pin does not
    client.fresh_cache("elsewhere")
    assert is_adapter(resolve("tester/adapter"))
    stacked = FoundationModel.from_pretrained("tester/adapter")
    assert same(stacked, whole)
    assert stacked.config == whole.config
    card = (resolve("tester/adapter") / "README.md").read_text()
    assert "base_model: tester/base" in card
    assert "base_model_relation: adapter" in card

    from sfm.cli import main

    assert main(["pull", "tester/adapter", "--merge", "--out", str(tmp_path / "merged")]) == 0
    assert not is_adapter(tmp_path / "merged")
    assert same(FoundationModel.from_pretrained(tmp_path / "merged"), whole)


def test_another_base_is_refused(base, tmp_path):
    copy = tmp_path / "base"
    shutil.copytree(base, copy)
    out = tuned(copy, tmp_path / "tuned")
    with pytest.raises(InputError, match="base is a folder of this machine"):
        push(out / "adapter", "tester/adapter")
    model = FoundationModel.from_pretrained(copy)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    shutil.rmtree(copy)
    model.save_pretrained(copy)
    with pytest.raises(HubError, match="trained on other weights than those of"):
        FoundationModel.from_pretrained(out / "adapter")
    text = (out / "adapter" / "adapter_config.json").read_text()
    (out / "adapter" / "adapter_config.json").write_text(text.replace("LORA", "IA3"))
    with pytest.raises(HubError, match="no LoRA adapter"):
        FoundationModel.from_pretrained(out / "adapter")


def test_peft_reads_the_layout(base, tmp_path):
    """The same update of a linear map, through peft's own loading and merging."""
    peft = pytest.importorskip("peft")
    model = FoundationModel.from_pretrained(base)
    key = "heads.birds/points:energy.readout.inner"
    layer = model.get_submodule(key)
    before = layer.weight.detach().clone()
    add_lora(layer, Lora(rank=3, alpha=5.0), seed=0)
    with torch.no_grad():
        layer.parametrizations.weight[0].b.normal_()
    (update,) = low_rank(layer).values()
    merge_lora(layer)
    folder = save_adapter(model, {key: update}, base, tmp_path / "adapter")

    config = peft.LoraConfig.from_pretrained(folder)
    assert (config.r, config.lora_alpha, config.target_modules) == (3, 5.0, {key})
    tensors = peft.utils.load_peft_weights(folder, device="cpu")
    assert set(tensors) == {f"base_model.model.{key}.lora_{x}.weight" for x in "AB"}

    plain = nn.ModuleDict({"map": nn.Linear(*before.T.shape)})
    plain["map"].weight.data.copy_(before)
    named = peft.LoraConfig(r=3, lora_alpha=5.0, target_modules=["map"])
    theirs = peft.get_peft_model(plain, named)
    renamed = {k.replace(key, "map"): v for k, v in tensors.items()}
    peft.set_peft_model_state_dict(theirs, renamed)
    merged = theirs.merge_and_unload()["map"].weight
    assert torch.allclose(merged, layer.weight, rtol=1e-6, atol=1e-7)
