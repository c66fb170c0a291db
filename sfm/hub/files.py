"""What a repository of sfm may hold, and whether a folder holds it undamaged. Light imports.

A model is `config.json` and safetensors; a pickle (.bin, .pt, .pth, .pkl, .ckpt) is neither read,
downloaded nor uploaded, because reading one runs code.
"""

from __future__ import annotations

import hashlib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sfm.data.replacing import settle
from sfm.errors import HubError, InputError
from sfm.formats.strict_json import read_object

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TRAINING = "training.json"  # how a model was trained, and its errors
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")

ALLOWED: dict[str, tuple[str, ...]] = {
    "model": ("README.md", "config.json", "*.json", "*.safetensors", "references.bib"),
    "dataset": ("README.md", "*.json", "*.parquet", "references.bib"),
}
"""Patterns that are downloaded, by kind of repository (`*` also crosses folders)."""

UPLOADED: dict[str, tuple[str, ...]] = {
    "model": ALLOWED["model"],
    "dataset": (*ALLOWED["dataset"], "build.py", "LICENSE*"),
}
"""Patterns that are uploaded. A dataset's `build.py` travels as a document; nothing runs it."""


def repo_files(folder: Path, repo_type: str = "model") -> list[Path]:
    """Files of `folder` that belong in a repository, sorted.

    Hidden ones and pickles never do, nor does what a link brings in from outside the folder.

    Raises:
        HubError: a file that belongs there is a link out of the folder.
    """
    files = []
    inside = [folder.resolve()]
    if inside[0].parent.name == "snapshots":  # of huggingface_hub's cache: its files are links
        inside.append(inside[0].parent.parent / "blobs")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.parent != folder and (path.parent / ADAPTER).is_file():
            continue  # an adapter is a repository of its own
        hidden = any(part.startswith((".", "__")) for part in name.split("/"))
        allowed = any(fnmatch(name, pattern) for pattern in UPLOADED[repo_type])
        if not path.is_file() or not allowed or hidden or path.suffix in PICKLES:
            continue
        if not any(path.resolve().is_relative_to(place) for place in inside):
            raise HubError(
                f"{path} is a link out of the folder, to {path.resolve()}: "
                "put the file itself there, if it is to be published"
            )
        files.append(path)
    return files


def is_plain_path(path: str) -> bool:
    r"""Whether a name that somebody else chose is a path inside the folder it is put in.

    >>> tuple(map(is_plain_path, ("data/part-0.parquet", "../x", "/x", "a//b", "C:x", "x\ty")))
    (True, False, False, False, False, False)
    """
    parts = path.split("/")
    return (
        path.isprintable()
        and not set(path) & set('\\:*?"<>|')
        and all(part.strip(". ") and len(part.encode()) <= 255 for part in parts)
    )


def check_folder(folder: str | Path, repo_type: str = "model") -> Path:
    """`folder` as a Path if it holds a complete, undamaged model (or dataset).

    Raises:
        InputError: the folder does not exist.
        HubError: a file is missing or damaged, the config is not of sfm, or weights are a pickle.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"no folder {folder}")
    settle(folder if repo_type == "model" else folder / "data")
    if repo_type == "dataset":
        if not any(folder.rglob("*.parquet")):
            raise HubError(f"{folder} holds no .parquet file: it is not a dataset of sfm")
        return folder
    read_config(folder)
    for path in weight_files(folder):
        check_safetensors(path)
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder, whose `model_type` must be `sfm`."""
    path = folder / "config.json"
    if not path.is_file():
        raise HubError(f"{folder} holds no config.json: it is not a model of sfm")
    config = read_object(path)
    kind = config.get("model_type")
    if kind != "sfm":
        raise HubError(
            f"{path}: model_type is {kind!r}, not 'sfm': this model is of another library"
        )
    return config


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder: one, or the shards that its index names.

    Of an adapter the one that holds what it changes; its base is elsewhere.
    """
    if (folder / INDEX).is_file():
        shards = read_object(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise HubError(f"{folder / INDEX} is damaged: it has no weight_map")
        names = sorted({str(name)[:300] for name in shards.values()})
        for name in names:
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise HubError(
                    f"{folder / INDEX} names {name!r}: only safetensors beside it are read"
                )
        paths = [folder / name for name in names]
    else:
        paths = [folder / (ADAPTER_WEIGHTS if (folder / ADAPTER).is_file() else WEIGHTS)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if pickles:
            raise HubError(
                f"{folder} has {pickles[0]} but no {missing[0]}: sfm reads safetensors only, "
                "because reading a pickle runs code"
            )
        raise HubError(f"{folder} lacks {missing[0]}: the model is incomplete")
    return paths


def check_safetensors(path: Path) -> None:
    """Check header and length of a safetensors file, without reading its tensors.

    Raises:
        HubError: the file is truncated or is not a safetensors file.
    """
    tensor_shapes(path)


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors in a safetensors file by name, from its header alone.

    Raises:
        HubError: the file is truncated or is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            names = list(file.keys())
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:160]
        raise HubError(
            f"{path} is damaged (truncated or not safetensors: {reason}): download or save it again"
        ) from None


def digest_matches(path: Path, etag: str) -> bool:
    """Whether a file has the announced sha256 (64 digits) or git blob id (40 digits)."""
    if len(etag) == 64:
        digest = hashlib.sha256()
    elif len(etag) == 40:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        return True
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest() == etag
