"""From what stands for MODEL (a bundled name, a folder, a Hub id) to a local folder.

The rule, in this order:

1. A `Path`, or a string that starts with `.`, `/` or `~`, is a folder and nothing else.
2. `hf://owner/name[@revision]` is a Hub repository and nothing else.
3. A string without `/` is a bundled model; if none has that name, a folder of that name.
   (Write `./name` for a folder that has the name of a bundled model.)
4. `owner/name[@revision]` is an existing folder of that relative path, else a Hub repository.

Everything of a repository is fetched at one commit, into the cache that huggingface_hub keeps, and
every file is compared once with the size and hash that the Hub states for that commit
(`sfm.hub.download`).
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from sfm.data.bundled import datasets_dir, models_dir
from sfm.data.replacing import replacing
from sfm.errors import HubError, InputError, did_you_mean
from sfm.hub.client import conversation
from sfm.hub.download import Download, download
from sfm.hub.files import check_folder, is_plain_path

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@\s]+))?")


@dataclass(frozen=True)
class Location:
    """Where a name points: a local folder, or a repository at a revision."""

    folder: Path | None = None
    repo_id: str | None = None
    revision: str | None = None


def bundled(repo_type: str = "model") -> dict[str, Path]:
    """Bundled models (or datasets) by name."""
    root = models_dir() if repo_type == "model" else datasets_dir()
    mark = "config.json" if repo_type == "model" else "README.md"
    if not root.is_dir():
        return {}
    return {path.name: path for path in sorted(root.iterdir()) if (path / mark).is_file()}


def locate(
    name_or_path: str | Path, *, revision: str | None = None, repo_type: str = "model"
) -> Location:
    """Apply the rule above; touches no network.

    Raises:
        InputError: nothing has this name, or a revision was given for a local folder.
    """
    text = os.fspath(name_or_path)
    if isinstance(name_or_path, Path) or text.startswith((".", "/", "~")) or "\\" in text:
        return _local(Path(text).expanduser(), revision)
    if text.startswith("hf://"):
        return _remote(text.removeprefix("hf://"), revision)
    if "/" not in text:
        known = bundled(repo_type)
        if text in known:
            return _local(known[text], revision)
        if Path(text).is_dir():
            return _local(Path(text), revision)
        names = ", ".join(known) or "none"
        raise InputError(
            f"no bundled {repo_type} and no folder is called {text!r} (bundled: {names}); "
            f"a repository is written owner/name.{did_you_mean(text, known)}"
        )
    if Path(text).is_dir():
        return _local(Path(text), revision)
    return _remote(text, revision)


def _local(folder: Path, revision: str | None) -> Location:
    if not folder.is_dir():
        raise InputError(f"no folder {folder}")
    if revision not in (None, "main"):
        raise InputError(f"{folder} is a local folder: it has no revision {str(revision)!r}")
    return Location(folder=folder)


def _remote(text: str, revision: str | None) -> Location:
    match = _HUB_ID.fullmatch(text)
    if match is None:
        raise InputError(
            f"{text!r} is neither a folder nor a repository written owner/name[@revision]"
        )
    for name in (match["revision"], revision):
        if name and not is_plain_path(name):
            raise InputError(f"{name!r} is not the name of a branch, tag or commit")
    if match["revision"] and revision not in (None, match["revision"]):
        raise InputError(f"two revisions were given: {text!r} and {str(revision)!r}")
    return Location(repo_id=match["id"], revision=revision or match["revision"])


def resolve(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    subfolder: str | None = None,
    repo_type: str = "model",
) -> Path:
    """The local folder that holds a model (or dataset), downloaded first where necessary.

    Args:
        name_or_path: bundled name, folder, or `owner/name[@revision]`; see the module's rule.
        revision: branch, tag or commit of a repository.
        token: bearer token; None takes HF_TOKEN or the one stored by `hf auth login`.
        cache_dir: cache of huggingface_hub; None takes HF_HUB_CACHE or HF_HOME.
        force_download: fetch again what is in the cache.
        local_files_only: use the cache only (as HF_HUB_OFFLINE=1 does).
        subfolder: folder inside the repository that holds the model.
        repo_type: "model" or "dataset".

    Raises:
        InputError: nothing has this name.
        HubError: refused, unreachable, not found, incomplete or damaged; one line each.
    """
    place = locate(name_or_path, revision=revision, repo_type=repo_type)
    if place.folder is not None:
        return check_folder(place.folder / (subfolder or ""), repo_type)
    assert place.repo_id is not None
    with conversation(place.repo_id, revision=place.revision):
        from huggingface_hub import constants
        from huggingface_hub.utils import validate_repo_id

        validate_repo_id(place.repo_id)
        request = Download(
            place.repo_id,
            place.revision or "main",
            repo_type=repo_type,
            token=token,
            cache=Path(cache_dir or constants.HF_HUB_CACHE).expanduser(),
            force=force_download,
        )
        snapshot = download(request, local_files_only=local_files_only)
        folder = snapshot / (subfolder or "")
        if not folder.is_dir():
            raise HubError(f"'{place.repo_id}' has no folder {subfolder!r}")
        return check_folder(folder, repo_type)


def pull(
    repo: str,
    *,
    folder: str | Path | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    repo_type: str = "model",
) -> Path:
    """Download a repository into the cache, and copy it into `folder` if one is given.

    Returns:
        `folder`, or the folder in the cache, whose name is the commit id.

    Raises:
        InputError: `folder` exists and is not empty, is a file, or cannot be written.
        HubError: as `resolve`.
    """
    target = Path(folder).expanduser() if folder is not None else None
    if target is not None and target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file; name a folder")
    if target is not None and target.is_dir() and any(target.iterdir()) and not force_download:
        raise InputError(f"{target} is not empty: name another folder, or force the download")
    source = resolve(
        repo,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        force_download=force_download,
        repo_type=repo_type,
    )
    if target is None:
        return source
    # weights or tables of another model would be read beside the new ones
    stale = ("*.safetensors", "*.safetensors.index.json", "**/*.parquet")
    with replacing(target, stale=stale) as scratch:
        shutil.copytree(source, scratch, symlinks=False, dirs_exist_ok=True)
    return target
