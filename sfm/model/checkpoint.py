"""Saving and loading models: JSON and safetensors only, strict, all files or none."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sfm.config import ModelConfig
from sfm.data.replacing import replacing, settle
from sfm.errors import HubError, InputError, PluginError
from sfm.formats.strict_json import read_object
from sfm.hub.files import INDEX
from sfm.model.adapter import is_adapter
from sfm.model.stacking import stacked
from sfm.model.weights import PLACES, is_precision, packed, read_weights, unpacked
from sfm.nn.bounded import BuiltWithin
from sfm.nn.strict_state import FLOATS, check_kinds, load_strictly
from sfm.registry import FIRST_PARTY, define, discover, quantities

if TYPE_CHECKING:
    from torch import Tensor

    from sfm.model.network import Network

Model = TypeVar("Model", bound="Network")

CONFIG = "config.json"
PRECISION = "trunk.types.weight"  # the tensor whose dtype is the model's


def plugin_ranges(parts: Collection[str]) -> dict[str, dict[str, str]]:
    """`{plugin: {"distribution", "version"}}` for `plugin/part` names, as config.json keeps it."""
    rows = {row.name: row for row in discover()}
    ranges = {}
    for name in sorted({part.partition("/")[0] for part in parts}):
        row = rows.get(name)
        ranges[name] = {
            "distribution": row.distribution if row else "unknown",
            "version": f">={row.version}" if row else "",
        }
    return ranges


def save(model: Network, folder: Path, *, max_shard_size: str = "5GB", half: bool = False) -> Path:
    """Write the model's config and weights into `folder`, which may hold other files.

    Args:
        model: what is saved.
        folder: where.
        max_shard_size: of one file.
        half: weights in float16, rounded by up to 5e-4; they are read as float32 again. Standard
            errors move by up to 5e-3.

    Raises:
        InputError: `folder` is a file or cannot be written, or a weight is beyond float16.
        RunError: the disk is full; a model that was there is untouched.
    """
    from huggingface_hub import save_torch_state_dict

    with replacing(folder, stale=("model*.safetensors", INDEX)) as scratch:
        state = {k: v.detach().cpu().contiguous() for k, v in packed(model.state_dict()).items()}
        if half:
            state |= _halves(model, state)
        save_torch_state_dict(
            state, scratch, max_shard_size=max_shard_size, metadata={"format": "pt"}
        )
        text = json.dumps(model.config.to_dict(), indent=2, ensure_ascii=False)
        (scratch / CONFIG).write_text(text + "\n", encoding="utf-8")
    return folder


def _halves(model: Network, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in float16, and the matrices by which heads judge themselves in float32."""
    weights = {name: p.detach().cpu().half() for name, p in model.named_parameters()}
    beyond = [name for name, value in weights.items() if not bool(value.isfinite().all())]
    if beyond:
        raise InputError(f"'{beyond[0]}' is beyond float16 (65504): save in full precision")
    return weights | {k: v.float() for k, v in state.items() if is_precision(k)}


def read_config(folder: Path) -> ModelConfig:
    """The config of the model in `folder`.

    Raises:
        HubError: missing or damaged.
    """
    try:
        return ModelConfig.from_dict(read_object(folder / CONFIG))
    except FileNotFoundError:
        raise HubError(f"{folder}: holds no {CONFIG}, so it is not a model") from None


def check_plugins(config: ModelConfig, domains: Collection[str] | None) -> None:
    """Say what to install where a plugin that the model names is missing.

    Raises:
        PluginError: a needed plugin is missing or broken.
    """
    installed = {row.name: row for row in discover()}
    needed = {
        part.partition("/")[0]
        for part, domain in config.encoder_domains.items()
        if domains is None or domain in domains
    }
    for name in sorted(needed):
        row = installed.get(name)
        if row is not None and row.plugin is not None:
            continue
        others = [d for p, d in config.encoder_domains.items() if p.partition("/")[0] in installed]
        rest = f"; load its other domains with domains={sorted(set(others))}" if others else ""
        if row is not None:
            raise PluginError(
                f"model '{config.name}' needs the plugin '{name}', "
                f"which is broken: {row.error}{rest}"
            )
        if name in FIRST_PARTY:
            hint = f"install it with: pip install 'sfm-hub[{name}]'"
        else:
            source = config.plugins.get(name, {}).get("distribution", "unknown")
            hint = (
                f"the model's author names the distribution '{source}'. Plugin code runs on your "
                "machine: install it only from an author you trust"
            )
        raise PluginError(
            f"model '{config.name}' needs the plugin '{name}', which is not installed; {hint}{rest}"
        )


def load(cls: type[Model], folder: Path, *, domains: Collection[str] | None = None) -> Model:
    """The model in `folder`, in evaluation mode on the CPU.

    Args:
        cls: what to build: `FoundationModel`.
        folder: holds its files.
        domains: load only these domains.

    Raises:
        HubError: files are missing, damaged, or do not fit the config.
        PluginError: a plugin is missing.
        InputError: `domains` names one that the model does not have.
    """
    settle(folder)
    config = read_config(folder)
    if domains is not None:
        unknown = set(domains) - set(config.domains)
        if unknown:
            raise InputError(
                f"model '{config.name}' has no domain {sorted(unknown)} (it has: {config.domains})"
            )
    check_plugins(config, domains)
    state = stacked(folder) if is_adapter(folder) else read_weights(folder)
    if domains is not None:
        config = config.restricted(domains)
    model = _build(cls, config, {key: value.shape for key, value in state.items()}, folder)
    if domains is not None:
        known = model.state_dict()
        state = {
            k: v for k, v in state.items()
            if k.removesuffix(PLACES) in known or k.startswith("trunk.")
        }  # fmt: skip
    precision = state.get(PRECISION)
    if precision is not None and precision.dtype in FLOATS:
        model.to(dtype=precision.dtype)
    try:
        check_kinds(model, state)
        shapes = {key: value.shape for key, value in model.state_dict().items()}
        load_strictly(model, unpacked(state, shapes))
    except ValueError as error:
        raise HubError(f"{folder}: the weights do not fit {CONFIG}: {error}") from None
    known_names = quantities()
    for quantity in config.quantities.values():
        if quantity.name not in known_names:  # a user's own, which the model has learned
            define(quantity)
    return model.eval()


def _build(
    cls: type[Model], config: ModelConfig, shapes: Mapping[str, Sequence[int]], folder: Path
) -> Model:
    """The model with first weights; what a config of nobody's making asks for is bounded."""
    try:
        with BuiltWithin(shapes, str(folder)):
            return cls(config)
    except (HubError, PluginError):
        raise
    except Exception as error:  # whatever a constructor says of options that cannot be
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise HubError(f"{folder}: no model can be built from {CONFIG} ({reason})") from error


def distribution_version(name: str = "sfm-hub") -> str:
    """Installed version of a distribution, or 'unknown'."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
