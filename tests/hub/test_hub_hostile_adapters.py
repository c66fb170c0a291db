"""Adapters from strangers: applied as they state, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import sfm
from sfm.errors import HubError
from sfm.model import FoundationModel
from sfm.model.adapter import PREFIX, save_adapter
from sfm.nn.lora import add_lora, low_rank, merge_lora
from sfm.recipe import Lora

MUSEUM = max((Path(__file__).parents[1] / "museum").glob("format-*"))
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
Change = Callable[[dict[str, Any], dict[str, Tensor], dict[str, str]], None]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> tuple[Path, FoundationModel]:
    """An adapter with random updates of every map of the trunk, and the model that it makes."""
    model = FoundationModel.from_pretrained(MUSEUM)
    add_lora(model.trunk, Lora(rank=2, alpha=3.0), seed=0)
    updates = {f"trunk.{key}": update for key, update in low_rank(model.trunk).items()}
    torch.manual_seed(0)
    with torch.no_grad():
        for update in updates.values():
            update.b.normal_()
        model.trunk.types.weight[1] += 1.0  # something that is kept whole
    merge_lora(model)
    return save_adapter(model, updates, MUSEUM, tmp_path_factory.mktemp("adapter")), model


def altered(source: Path, folder: Path, change: Change) -> Path:
    folder.mkdir(exist_ok=True)
    body = json.loads((source / CONFIG).read_text())
    with safe_open(str(source / WEIGHTS), "pt") as file:
        tensors, header = {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118
    change(body, tensors, header)
    (folder / CONFIG).write_text(body if isinstance(body, str) else json.dumps(body))
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / WEIGHTS, header)
    (folder / "config.json").write_text((source / "config.json").read_text())
    return folder


def stating(**entries: Any) -> Change:
    return lambda body, tensors, header: body.update(entries)


def holding(change: Callable[[dict[str, Tensor], str], object]) -> Change:
    """A change of the tensors; the second argument is the name of a map of nn.Linear's kind."""

    def apply(body: dict[str, Any], tensors: dict[str, Tensor], header: dict[str, str]) -> None:
        change(tensors, PREFIX + body["target_modules"][0])

    return apply


A, B = ".lora_A.weight", ".lora_B.weight"


def put(key: str, make: Callable[[Tensor], Tensor]) -> Change:
    return holding(lambda tensors, name: tensors.update({name + key: make(tensors[name + key])}))


def both(tensors: dict[str, Tensor], name: str, rank: int) -> None:
    a, b = tensors[name + A], tensors[name + B]
    tensors[name + A], tensors[name + B] = a.new_zeros(rank, a.shape[1]), b.new_zeros(len(b), rank)


def header(**entries: str) -> Change:
    return lambda body, tensors, head: head.update(entries)


TYPES = f"{PREFIX}trunk.types.weight"
HOSTILE: dict[str, tuple[Change, str]] = {
    "rank 0 stated": (stating(r=0), "r: Input should be greater than or equal to 1"),
    "a negative rank": (stating(r=-2), "r: "),
    "a giant rank": (stating(r=10**9), "r: "),
    "another rank": (stating(r=3), "where rank 3"),
    "a rank that is text": (stating(r="2"), "r: "),
    "a rank of a map": (stating(rank_pattern={"trunk.nothing": 2}), "no target of it"),
    "a giant alpha": (stating(lora_alpha=1e300), "lora_alpha: "),
    "an alpha that is true": (stating(lora_alpha=True), "lora_alpha: "),
    "alphas in a list": (stating(alpha_pattern=[1]), "alpha_pattern: "),
    "another method": (stating(peft_type="IA3"), "no LoRA adapter that can be applied"),
    "weight decomposition": (stating(use_dora=True), "states 'use_dora'"),
    "a bias": (stating(bias="all"), "bias: "),
    "transposed maps": (stating(fan_in_fan_out=True), "states 'fan_in_fan_out'"),
    "an unknown key": (stating(**{"\x1b[2J": 1}), "states '\\x1b[2J'"),
    "targets by a pattern": (stating(target_modules="(a+)+b"), "target_modules: "),
    "no targets": (stating(target_modules=[]), "target_modules: "),
    "a base that is a number": (stating(base_model_name_or_path=7), "base_model_name_or_path: "),
    "a base elsewhere": (stating(base_model_name_or_path="/no/such"), "its base cannot be taken"),
    "a revision that is a list": (stating(revision=["main"]), "revision: "),
    "no object": (lambda body, tensors, head: body.clear(), "no LoRA adapter"),
    "a rank that is 0": (holding(lambda t, n: both(t, n, 0)), "does not fit"),
    "a wide update": (put(A, lambda x: torch.zeros(2, 10_000)), "does not fit"),
    "a number": (put(A, lambda x: torch.tensor(1.0)), "does not fit"),
    "three axes": (put(B, lambda x: x[None]), "does not fit"),
    "matrices in turn": (put(A, lambda x: x.T), "does not fit"),
    "whole numbers": (put(A, lambda x: x.long()), "holds int64"),
    "complex ones": (put(B, lambda x: x + 0j), "holds complex64"),
    "more digits": (put(B, lambda x: x.double()), "holds float64"),
    "not a number": (put(B, lambda x: x * torch.nan), "must be finite"),
    "an infinity": (put(A, lambda x: x / 0.0), "must be finite"),
    "half an update": (holding(lambda t, n: t.pop(n + A)), "lacks the update of"),
    "an unnamed update": (
        holding(lambda t, n: t.update({f"{PREFIX}trunk.types{A}": t[n + A] + 1})),
        "does not name",
    ),
    "a name without prefix": (holding(lambda t, n: t.update(x=t[n + A] + 1)), "no adapter has"),
    "a magnitude": (
        holding(lambda t, n: t.update({f"{n}.lora_magnitude_vector": torch.ones(3)})),
        "does not name",
    ),
    "whole weights of whole numbers": (
        holding(lambda t, n: t.update({TYPES: t[TYPES].long()})),
        "'trunk.types.weight' holds int64 where float32 belongs",
    ),
    "whole weights of another shape": (
        holding(lambda t, n: t.update({TYPES: t[TYPES][:5]})),
        "size mismatch for trunk.types.weight",
    ),
    "another base": (header(base_sha256="0" * 64), "was trained on other weights"),
    "without a number": (header(without="7"), "leaves out what the base does not have"),
    "without a stranger": (header(without='["x"]'), "leaves out"),
    "without, deep": (header(without="[" * 100_000), "leaves out"),
    "without a needed one": (header(without='["trunk.contexts"]'), "do not fit config.json"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_adapter_is_one_line(tuned, tmp_path, name):
    change, said = HOSTILE[name]
    with pytest.raises(HubError) as caught:
        sfm.load(altered(tuned[0], tmp_path / "adapter", change))
    words = str(caught.value)
    assert said in words
    assert "\n" not in words
    assert "\x1b" not in words
    assert len(words) < 900


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"[" * 100_000], ids=["none", "junk", "deep"])
@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_a_damaged_file_is_one_line(tuned, tmp_path, file, data):
    folder = altered(tuned[0], tmp_path / "adapter", stating())
    (folder / file).write_bytes(data)
    with pytest.raises(HubError, match=rf"{file}(:| is) damaged"):
        sfm.load(folder)


def test_an_adapter_of_an_adapter_is_refused(tuned, tmp_path):
    change = stating(base_model_name_or_path=str(tuned[0]))
    with pytest.raises(HubError, match="is an adapter itself"):
        sfm.load(altered(tuned[0], tmp_path / "adapter", change))


def test_an_honest_one_is_applied_as_it_states(tuned, tmp_path):
    folder, model = tuned
    expected = model.state_dict()
    idle = stating(peft_version="0.18.0", use_dora=False, loftq_config={}, layers_pattern=None)
    loaded = sfm.load(altered(folder, tmp_path / "same", idle)).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())
    # alpha / sqrt(r) instead of alpha / r, r = 2: the updates grow by sqrt(2)
    stable = sfm.load(altered(folder, tmp_path / "stable", stating(use_rslora=True))).state_dict()
    base = FoundationModel.from_pretrained(MUSEUM).state_dict()
    for name in json.loads((folder / CONFIG).read_text())["target_modules"]:
        key = f"{name}.weight"
        once, more = expected[key] - base[key], stable[key] - base[key]
        assert torch.allclose(more, 2**0.5 * once, rtol=1e-4, atol=1e-6)
