"""The weights of a model folder: safetensors only, one file or shards.

Of the matrices by which heads judge themselves (`sfm.nn.uncertainty`, `sfm.nn.error_scale`) only
those of calibrated contexts are kept: a head answers for a few of a model's levels, and the others'
are zeros. They are symmetric, so that files hold lower triangles. Of references
(`sfm.nn.normalise`) only the rows that are not zero are kept, beside their places. Half precision
is a way to store weights, not to compute with: it is read as float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfm.errors import HubError
from sfm.formats.strict_json import read_object
from sfm.hub.files import INDEX, WEIGHTS

PLACES = "_places"


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
    import torch

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
    halves = (torch.float16, torch.bfloat16)
    return {key: x.float() if x.dtype in halves else x for key, x in state.items()}


def packed(state: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors as files hold them: triangles (K, C (C + 1) / 2) of the K calibrated contexts,
    and rows (R, dim) of references with their places (R, 2), context and token type.
    """
    kept = dict(state)
    for key, value in state.items():
        if _is_references(key) and value.ndim == 3:
            places = value.abs().sum(-1).nonzero()
            kept[key], kept[key + PLACES] = value[places[:, 0], places[:, 1]], places
        alpha = _calibration(key, state)
        if alpha is not None and len(value) == len(alpha):
            rows, columns = _triangle(value.shape[-1])
            kept[key] = value[alpha > 0][:, rows, columns]
    return kept


def unpacked(state: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The tensors as a model holds them; files of earlier versions, with whole matrices, too.

    Args:
        state: as files hold them.
        shapes: of the model's tensors, by name; nothing larger is made.

    Raises:
        ValueError: there are not as many matrices as calibrated contexts, or references have places
            that the model does not.
    """
    whole = dict(state)
    for key, value in state.items():
        shape = tuple(shapes.get(key, ()))
        if _is_references(key) and key + PLACES in state:
            whole[key] = _at_places(key, value, whole.pop(key + PLACES), shape)
        alpha = _calibration(key, state)
        if alpha is None or not shape or tuple(value.shape) == shape:
            continue
        known, size = alpha > 0, shape[-1]
        count = int(known.sum())
        forms = ((count, size, size), (count, size * (size + 1) // 2))
        if tuple(known.shape) != shape[:1] or tuple(value.shape) not in forms:
            raise ValueError(f"{key} {tuple(value.shape)} for {count} calibrated contexts")
        whole[key] = value.new_zeros(shape)
        whole[key][known] = value if value.ndim == len(shape) else _square(value, size)
    return whole


def _is_references(key: str) -> bool:
    return key.startswith("normalisers.") and key.endswith(".shift")


def _at_places(key: str, rows: Any, places: Any, shape: Sequence[int]) -> Any:
    """References (contexts, types, dim) with these rows (R, dim) at their places (R, 2)."""
    import torch

    if tuple(rows.shape) == tuple(shape):  # an adapter of an earlier version holds whole tables
        return rows
    fits = len(shape) == 3 and tuple(rows.shape) == (len(places), *shape[2:])
    fits = fits and places.dtype == torch.int64 and tuple(places.shape) == (len(rows), 2)
    if not fits or bool(((places < 0) | (places >= torch.tensor(shape[:2]))).any()):
        raise ValueError(f"{key} {tuple(rows.shape)} does not fit its places")
    table = rows.new_zeros(tuple(shape))
    table[places[:, 0], places[:, 1]] = rows
    return table


def _square(triangles: Any, size: int) -> Any:
    """Symmetric matrices (K, C, C) of lower triangles (K, C (C + 1) / 2)."""
    rows, columns = _triangle(size)
    matrices = triangles.new_zeros(len(triangles), size, size)
    matrices[:, rows, columns] = triangles
    matrices[:, columns, rows] = triangles
    return matrices


def _triangle(size: int) -> tuple[Any, Any]:
    import torch

    rows, columns = torch.tril_indices(size, size)
    return rows, columns


def is_precision(key: str) -> bool:
    """Whether a tensor of this name is a matrix by which a head judges itself."""
    return key.startswith(("uncertainties.", "error_scales.")) and key.endswith(".precision")


def _calibration(key: str, state: Mapping[str, Any]) -> Any:
    """Factors (contexts,) beside a matrix of an uncertainty; None for any other tensor."""
    if not is_precision(key):
        return None
    return state.get(key.removesuffix("precision") + "alpha")
