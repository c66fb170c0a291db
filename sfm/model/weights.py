"""Reading the weights of a model folder: safetensors only, one file or shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sfm.errors import HubError
from sfm.formats.strict_json import read_object
from sfm.hub.files import INDEX, WEIGHTS


def read_weights(folder: Path) -> dict[str, Any]:
    """All tensors of the model in `folder`, by name.

    Raises:
        HubError: files are missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    files = [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        shards = read_object(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(v, str) for v in shards.values()):
            raise HubError(f"{folder / INDEX}: damaged (it has no weight_map)")
        files = [folder / name for name in sorted(set(shards.values()))]
    state: dict[str, Any] = {}
    for path in files:
        if path.parent != folder:
            raise HubError(f"{folder / INDEX}: names a file outside the model's folder")
        try:
            state.update(load_file(path))
        except FileNotFoundError:
            raise HubError(f"{folder}: holds no {path.name}; only safetensors are read") from None
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise HubError(
                f"{path}: damaged or truncated ({error}); download the model again"
            ) from None
    return state
