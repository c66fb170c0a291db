"""The saver of small modules: weights in safetensors, and a config that says what they belong to.

    save_module(closure, "mine.safetensors", {"class": "LocalClosure", "options": {"scales": 2}})

    def build(config):
        return CLOSURES[config["class"]](**checked_options(config["options"]))

    closure = load_module("mine.safetensors", build)

A path that ends in `.safetensors` is one file with the config in its header. Any other is a folder
as the Hub keeps them, `config.json` beside `model.safetensors`; with `"model_type": "sfm"` in its
config `sfm push` publishes it. Either is written whole or not at all, and holds no code.
Whole models are kept by `sfm.model.checkpoint`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jaxtyping import Shaped
from torch import Tensor, nn

from sfm.data.atomic import atomic
from sfm.data.replacing import replacing, settle
from sfm.errors import InputError, SfmError
from sfm.formats.strict_json import parse, read_object
from sfm.nn.bounded import BuiltWithin
from sfm.nn.strict_state import load_strictly

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
ENTRY = "config"  # of a file's header
APART = ("options", "info")  # entries that were JSON of their own in headers before `ENTRY`

Module = TypeVar("Module", bound=nn.Module)


def save_module(module: nn.Module, path: str | Path, config: Mapping[str, Any]) -> Path:
    """Write a module's weights, and what `load_module` needs to build it again.

    Args:
        module: its `state_dict` is kept.
        path: a file `*.safetensors`, or a folder, which may hold other files.
        config: plain values of JSON: class, options, how it was trained.

    Raises:
        InputError: the place cannot be written, or the config is not JSON.
        RunError: the disk is full; what was there is untouched.
    """
    return save_tensors(module.state_dict(), path, config)


def load_module(path: str | Path, build: Callable[[dict[str, Any]], Module]) -> Module:
    """What `save_module` wrote.

    Args:
        path: file or folder.
        build: from the config, in the dtype that the weights shall have; options that may be
            anybody's go through `sfm.nn.bounded.checked_options`. It can make no more numbers than
            the weights account for.

    Raises:
        InputError: nothing is there, it is damaged, or weights and config do not belong together.
    """
    config, tensors = load_tensors(path)
    try:
        with BuiltWithin({key: tuple(x.shape) for key, x in tensors.items()}, str(path)):
            module = build(config)
        load_strictly(module, tensors)
    except SfmError as error:
        raise InputError(str(error)) from error
    except Exception as error:  # whatever a constructor says of options that cannot be
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise InputError(f"{path}: its weights do not fit its options ({reason})") from error
    return module


def save_tensors(
    tensors: Mapping[str, Shaped[Tensor, " ..."]], path: str | Path, config: Mapping[str, Any]
) -> Path:
    """Write named tensors, of any shape and unit, and a config; see `save_module`."""
    from safetensors.torch import save_file

    path = Path(path)
    state = {key: x.detach().cpu().contiguous() for key, x in tensors.items()}
    try:
        text = json.dumps(dict(config), indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: the config is not plain values of JSON ({error})") from None
    if path.suffix == ".safetensors":
        with atomic(path) as scratch:
            save_file(state, str(scratch), metadata={"format": "pt", ENTRY: text})
            scratch.chmod(0o644)  # safetensors writes files that only their owner may read
        return path
    with replacing(path, stale=("model*.safetensors*",)) as folder:
        save_file(state, str(folder / WEIGHTS), metadata={"format": "pt"})
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    return path


def load_tensors(path: str | Path) -> tuple[dict[str, Any], dict[str, Shaped[Tensor, " ..."]]]:
    """Config and named tensors, of any shape and unit, of `save_tensors` or any safetensors file.

    Raises:
        InputError: nothing is there, or it is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        header, tensors = _read(path)
        return _config(header, path), tensors
    settle(path)
    try:
        config = read_object(path / CONFIG)
    except FileNotFoundError:
        raise InputError(f"{path}: holds no {CONFIG}") from None
    except SfmError as error:
        raise InputError(str(error)) from None
    return config, _read(path / WEIGHTS)[1]


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as file:
            names = list(file.keys())
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, OverflowError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: damaged, or no safetensors file ({reason})") from None


def _config(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        if ENTRY not in header:
            return {k: parse(v) if k in APART else v for k, v in header.items()}
        config = parse(header[ENTRY])
    except RecursionError:
        raise InputError(f"{path}: damaged, its header is nested too deeply") from None
    except ValueError as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: damaged, its header is not JSON ({reason})") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: damaged, the config in its header is not a JSON object")
    return config
