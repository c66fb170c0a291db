"""What a repository of sfm may hold, and whether a folder holds it undamaged. Light imports.

A model is `config.json` and safetensors; a pickle (.bin, .pt, .pth, .pkl, .ckpt) is neither read,
downloaded nor uploaded, because reading one runs code.
"""

from __future__ import annotations

import hashlib
import json
import struct
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sfm.data.replacing import settle
from sfm.errors import HubError, InputError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
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
    found = []
    inside = [folder.resolve()]
    if inside[0].parent.name == "snapshots":  # of huggingface_hub's cache: its files are links
        inside.append(inside[0].parent.parent / "blobs")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith((".", "__")) for part in name.split("/"))
        allowed = any(fnmatch(name, pattern) for pattern in UPLOADED[repo_type])
        if not path.is_file() or not allowed or hidden or path.suffix in PICKLES:
            continue
        if not any(path.resolve().is_relative_to(place) for place in inside):
            raise HubError(
                f"{path} is a link out of the folder, to {path.resolve()}: "
                "put the file itself there, if it is to be published"
            )
        found.append(path)
    return found


def is_plain_path(path: str) -> bool:
    """Whether a name that somebody else chose is a path inside the folder it is put in.

    >>> [is_plain_path(p) for p in ("data/part-0.parquet", "../x", "/x", "a//b", "C:x", "x\\ty")]
    [True, False, False, False, False, False]
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
    config = _json(path)
    kind = config.get("model_type")
    if kind != "sfm":
        raise HubError(
            f"{path}: model_type is {kind!r}, not 'sfm': this model is of another library"
        )
    return config


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder: one, or the shards that its index names."""
    if (folder / INDEX).is_file():
        shards = _json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise HubError(f"{folder / INDEX} is damaged: it has no weight_map")
        names = sorted({str(name) for name in shards.values()})
        for name in names:
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise HubError(
                    f"{folder / INDEX} names {name!r}: only safetensors beside it are read"
                )
        paths = [folder / name for name in names]
    else:
        paths = [folder / WEIGHTS]
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

    The file is 8 bytes (little-endian header length), the header (JSON), then tensors without
    gaps: it must end where the last tensor ends.

    Raises:
        HubError: the file is truncated or is not a safetensors file.
    """
    size = path.stat().st_size
    damaged = HubError(
        f"{path} is damaged (truncated or not safetensors): download or save it again"
    )
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise damaged
        length = struct.unpack("<Q", start)[0]
        if 8 + length > size:
            raise damaged
        try:
            header = json.loads(file.read(length))
            ends = [t["data_offsets"][1] for k, t in header.items() if k != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise damaged from None
    if 8 + length + max(ends, default=0) != size:
        raise damaged


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


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise HubError(f"{path} is damaged (not JSON: {error})") from None
    if not isinstance(data, dict):
        raise HubError(f"{path} is damaged (not a JSON object)")
    return data
