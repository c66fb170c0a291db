"""Adapters: what a low-rank fine-tuning changed, in PEFT's layout; `sfm.model.stacking` reads them.

`adapter_config.json` is a `peft.LoraConfig`: which maps have an update, of which rank, and the
base with its revision. `adapter_model.safetensors` holds `base_model.model.<map>.lora_A.weight`
(r, in) and `.lora_B.weight` (out, r), and whole what is new or changed otherwise (heads,
references, table rows). Its metadata pin the base's weights by their hash. `config.json` is that
of the whole model (Hu et al., LoRA, arXiv:2106.09685).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfm.data.replacing import replacing
from sfm.hub.files import ADAPTER, ADAPTER_WEIGHTS, weight_files
from sfm.hub.resolve import bundled, locate, resolve
from sfm.model.weights import packed, read_weights

if TYPE_CHECKING:
    from sfm.model.network import Network
    from sfm.nn.lora import LowRank

PREFIX = "base_model.model."


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter, not a whole model."""
    return (folder / ADAPTER).is_file()


def named_base(model: str | Path) -> tuple[str, str | None]:
    """How an adapter names its base: a bundled name, a folder's path, a Hub id and its commit."""
    place = locate(model)
    if place.repo_id is not None:
        return place.repo_id, resolve(model).name
    assert place.folder is not None
    known = isinstance(model, str) and model in bundled()
    return (str(model) if known else str(place.folder.resolve())), None


def save_adapter(
    model: Network, updates: Mapping[str, LowRank], base: str | Path, folder: Path
) -> Path:
    """Write what `model` has beyond its base into `folder`.

    Args:
        model: with the updates merged.
        updates: by the name of the map (`sfm.nn.lora.low_rank`, before they were merged).
        base: bundled name, folder or Hub id of the model that was started from.
        folder: may hold other files.
    """
    from safetensors.torch import save_file

    name, revision = named_base(base)
    source = resolve(base)
    before, after = packed(read_weights(source)), packed(model.state_dict())
    tensors: dict[str, Any] = {}
    for key, update in updates.items():
        tensors[f"{PREFIX}{key}.lora_A.weight"] = update.a.T
        tensors[f"{PREFIX}{key}.lora_B.weight"] = update.b.T
    maps = {f"{key}.weight" for key in updates}
    changed = [k for k, v in after.items() if k not in maps and not _same(v, before.get(k))]
    tensors |= {PREFIX + key: after[key] for key in changed}
    metadata = {
        "format": "pt",
        "base_sha256": digest(source),
        "without": json.dumps(sorted(set(before) - set(after))),
    }
    with replacing(folder, stale=("*.safetensors",)) as scratch:
        plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        save_file(plain, scratch / ADAPTER_WEIGHTS, metadata)
        body = {"base_model_name_or_path": name, "revision": revision, **_layout(updates, changed)}
        (scratch / ADAPTER).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
        text = json.dumps(model.config.to_dict(), indent=2, ensure_ascii=False)
        (scratch / "config.json").write_text(text + "\n", encoding="utf-8")
    return folder


def _same(value: Any, other: Any) -> bool:
    return other is not None and value.shape == other.shape and bool((value.cpu() == other).all())


def _layout(updates: Mapping[str, LowRank], changed: list[str]) -> dict[str, Any]:
    """The keys of `peft.LoraConfig`; PEFT scales by alpha over the rank of each map."""
    ranks = {key: update.a.shape[1] for key, update in updates.items()}
    rank = max(ranks.values())
    alphas = {key: update.factor * ranks[key] for key, update in updates.items()}
    alpha = next(a for key, a in alphas.items() if ranks[key] == rank)
    return {
        "peft_type": "LORA",
        "task_type": None,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {key: r for key, r in ranks.items() if r != rank},
        "alpha_pattern": {key: a for key, a in alphas.items() if ranks[key] != rank},
        "target_modules": sorted(updates),
        "modules_to_save": sorted({key.rpartition(".")[0] or key for key in changed}) or None,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }


def digest(folder: Path) -> str:
    """sha256 of the weights of a whole model, over its files in their order."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
