"""An adapter of anybody's making on its base: read within limits, applied as stated, or refused.

The layout is that of `sfm.model.adapter`. Of what a `peft.LoraConfig` may state, what changes the
weights is honoured (ranks, alphas, rank-stabilised scaling: alpha / sqrt(r), Kalajdzievski,
arXiv:2312.03732) or refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from jaxtyping import Shaped
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from sfm.errors import HubError, InputError
from sfm.formats.strict_json import parse, read_object
from sfm.hub.files import ADAPTER, ADAPTER_WEIGHTS
from sfm.hub.resolve import resolve
from sfm.model.adapter import PREFIX, digest, is_adapter
from sfm.model.weights import PLACES, packed, read_weights
from sfm.nn.lora import LowRank
from sfm.nn.strict_state import check_kind

# keys of PEFT that change nothing when an adapter is applied
IDLE = {
    "auto_mapping", "inference_mode", "init_lora_weights", "lora_dropout", "megatron_core",
    "peft_version", "qalora_group_size", "task_type",
}  # fmt: skip
A, B = ".lora_A.weight", ".lora_B.weight"

Name = Annotated[str, Field(min_length=1, max_length=300)]
Rank = Annotated[int, Field(ge=1, le=65_536)]
Alpha = Annotated[float, Field(ge=-1e6, le=1e6)]


class _Layout(BaseModel):
    """What counts of `adapter_config.json`; `_layout` refuses other keys that say something."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    peft_type: Literal["LORA"]
    base_model_name_or_path: Annotated[str, Field(min_length=1, max_length=4096)]
    revision: Name | None = None
    r: Rank
    lora_alpha: Alpha
    rank_pattern: dict[Name, Rank] | None = None
    alpha_pattern: dict[Name, Alpha] | None = None
    target_modules: Annotated[list[Name], Field(min_length=1, max_length=20_000)]
    modules_to_save: Annotated[list[Name], Field(max_length=20_000)] | None = None
    bias: Literal["none"] = "none"
    use_rslora: bool = False

    def factor(self, name: str) -> float:
        """What the product of a map's two matrices is multiplied by."""
        rank = self.rank(name)
        alpha = (self.alpha_pattern or {}).get(name, self.lora_alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def rank(self, name: str) -> int:
        return (self.rank_pattern or {}).get(name, self.r)


def stacked(folder: Path) -> dict[str, Shaped[Tensor, " ..."]]:
    """All tensors of the model that an adapter and its base make, of any shape and unit.

    Raises:
        HubError: the base is missing, is an adapter itself, or has other weights than those that
            the adapter was trained on; a file is damaged; its updates do not fit the base, or are
            not what its config states.
    """
    layout = _layout(folder)
    name = layout.base_model_name_or_path
    try:
        base = resolve(name, revision=layout.revision)
    except InputError as error:
        raise HubError(f"{folder}: its base cannot be taken: {error}") from None
    if is_adapter(base):
        raise HubError(f"{folder}: its base {name!r} is an adapter itself; merge that first")
    changes, metadata = _read(folder / ADAPTER_WEIGHTS)
    if metadata.get("base_sha256") != digest(base):
        raise HubError(
            f"{folder}: was trained on other weights than those of {name!r} here; "
            "take the base at the revision that its card names"
        )
    state = packed(read_weights(base))
    try:
        _leave_out(state, metadata.get("without", "[]"))
        return _applied(state, _split(changes, layout), layout)
    except ValueError as error:
        raise HubError(f"{folder / ADAPTER_WEIGHTS}: {error}") from None


def _layout(folder: Path) -> _Layout:
    """The checked `adapter_config.json`."""
    path = folder / ADAPTER
    body = read_object(path)
    try:
        layout = _Layout.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(x) for x in first["loc"])[:120]
        raise HubError(
            f"{path}: no LoRA adapter that can be applied: {where}: {first['msg'][:200]}"
        ) from None
    for key, value in (layout.model_extra or {}).items():
        if value and key not in IDLE:
            raise HubError(f"{path}: states {key[:80]!r}, which is not applied here")
    patterns = {*(layout.rank_pattern or {}), *(layout.alpha_pattern or {})}
    stray = sorted(patterns - set(layout.target_modules))
    if stray:
        raise HubError(f"{path}: has a rank or alpha for {stray[0]!r}, which is no target of it")
    return layout


def _split(changes: Mapping[str, Tensor], layout: _Layout) -> dict[str, tuple[Tensor, ...]]:
    """By name without the prefix: (A, B) of a map, or the one tensor that replaces a weight.

    Raises:
        ValueError: a tensor that the config does not name, or one that it names is absent.
    """
    known = {key.removeprefix(PREFIX): x for key, x in changes.items() if key.startswith(PREFIX)}
    if len(known) < len(changes):
        stray = next(key for key in changes if not key.startswith(PREFIX))
        raise ValueError(f"holds {stray[:120]!r}, which no adapter has")
    parts: dict[str, tuple[Tensor, ...]] = {}
    for name in layout.target_modules:
        a, b = known.pop(name + A, None), known.pop(name + B, None)
        if a is None or b is None:
            raise ValueError(f"lacks the update of {name!r}, which {ADAPTER} names")
        parts[name] = (a, b)
    saved = set(layout.modules_to_save or ())
    for key, value in known.items():
        if (key.rpartition(".")[0] or key) not in saved:
            raise ValueError(f"holds {key[:120]!r}, which {ADAPTER} does not name")
        parts[key] = (value,)
    return parts


def _applied(
    state: dict[str, Tensor], parts: Mapping[str, tuple[Tensor, ...]], layout: _Layout
) -> dict[str, Tensor]:
    """`state` with every part; raises a `ValueError` that names one that does not fit."""
    for name, part in parts.items():
        if len(part) == 1:
            if name in state:
                check_kind(name, part[0], state[name])
            state[name] = part[0]
            continue
        weight = state.get(f"{name}.weight")
        if weight is None or weight.ndim not in (2, 3):
            raise ValueError(f"its update of {name!r} does not fit: the base has no such map")
        state[f"{name}.weight"] = _update(name, part, weight, layout)(weight).detach()
    return state


def _update(name: str, part: tuple[Tensor, ...], weight: Tensor, layout: _Layout) -> LowRank:
    """The update of one map of shape (out, in), as in `nn.Linear`, or (experts, in, out)."""
    transposed = weight.ndim == 2
    n_in, n_out = tuple(weight.shape[-2:])[:: -1 if transposed else 1]
    rank = layout.rank(name)
    shapes = tuple(tuple(x.shape) for x in part)
    if shapes != ((rank, n_in), (n_out, rank)) or rank > min(n_in, n_out):
        raise ValueError(
            f"its update of {name!r} does not fit: A {shapes[0]} and B {shapes[1]}, where rank "
            f"{rank} on the base's {n_in} -> {n_out} needs ({rank}, {n_in}) and ({n_out}, {rank})"
        )
    for x in part:
        if x.dtype != weight.dtype or not bool(x.isfinite().all()):
            raise ValueError(
                f"its update of {name!r} does not fit: it holds {str(x.dtype)[6:]}, of which all "
                f"must be finite, on the base's {str(weight.dtype)[6:]}"
            )
    a, b = (x.T.contiguous() for x in part)
    return LowRank.of(a, b, layout.factor(name), transposed)


def _leave_out(state: dict[str, Tensor], text: str) -> None:
    """Remove what the adapter's header says that the model has no longer."""
    try:
        names = parse(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(x, str) and x in state for x in names):
        raise ValueError("damaged: its header leaves out what the base does not have")
    for name in names:
        state.pop(name, None)
        state.pop(name + PLACES, None)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, OverflowError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise HubError(f"{path}: damaged or truncated ({reason})") from None
