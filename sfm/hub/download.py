"""One repository at one commit into huggingface_hub's cache, every file checked.

The Hub's tree API states size and hash of each file of a commit: the sha256 of a large file, the
git blob id of any other. Each file is held against them once after it arrived, whoever brought it
(a blob that a killed pull left behind, too); what was checked is noted beside the snapshot with the
file's time, so that the next use reads no file twice.
"""

from __future__ import annotations

import json
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import Any

from sfm.data.atomic import write_text
from sfm.errors import HubError, SfmError, SfmWarning
from sfm.hub.client import bounded_file, conversation
from sfm.hub.errors import HubUnavailable, not_cached
from sfm.hub.files import ALLOWED, digest_matches, is_plain_path
from sfm.version import __version__

COMMIT = re.compile(r"[0-9a-f]{40}")
DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
MOST_FILES = 20_000
WORKERS = 8


@dataclass(frozen=True)
class Listed:
    """One file of a commit, as the Hub's tree API states it.

    Attributes:
        size: in bytes.
        digest: sha256 (64 digits) or git blob id (40).
        checked: modification time (ns) of the file that was found to have them, None if none was.
    """

    size: int
    digest: str
    checked: int | None = None


@dataclass(frozen=True)
class Download:
    """What is asked for; see `sfm.hub.resolve.resolve`."""

    repo_id: str
    revision: str
    repo_type: str
    token: str | bool | None
    cache: Path
    force: bool

    @property
    def store(self) -> Path:
        """The repository's folder in the cache."""
        return self.cache / f"{self.repo_type}s--{self.repo_id.replace('/', '--')}"

    def snapshot(self, commit: str) -> Path:
        return self.store / "snapshots" / commit

    # ------------------------------------------------------------------ from the cache

    def cached(self) -> Path:
        """The snapshot that the cache has of the revision, checked, without a network.

        Raises:
            HubError: it has none, or an incomplete or damaged one.
        """
        commit = self.revision
        if not COMMIT.fullmatch(commit):
            with suppress(OSError, UnicodeDecodeError):
                commit = (self.store / "refs" / commit).read_text(encoding="utf-8").strip()
        folder = self.snapshot(commit)
        if not COMMIT.fullmatch(commit) or not folder.is_dir():
            raise not_cached(self.repo_id, self.revision)
        listed = self.listing(commit) or _by_their_names(folder)
        missing, damaged, listed = self.check(commit, listed)
        if missing:
            raise not_cached(self.repo_id, self.revision, incomplete=True)
        if damaged:
            raise HubError(
                f"{', '.join(damaged)} of '{self.repo_id}' is damaged in the cache (wrong size or "
                "hash): pull it again with a network"
            )
        return folder

    def check(
        self, commit: str, listed: dict[str, Listed]
    ) -> tuple[list[str], list[str], dict[str, Listed]]:
        """Paths that are missing, paths that are damaged, and the listing with what was checked."""
        missing, damaged, sound = [], [], {}
        for path, entry in listed.items():
            file = self.snapshot(commit) / path
            if not file.is_file():
                missing.append(path)
                continue
            stat = file.stat()
            if stat.st_size != entry.size or (
                stat.st_mtime_ns != entry.checked
                and not digest_matches(file.resolve(), entry.digest)
            ):
                damaged.append(path)
            else:
                sound[path] = replace(entry, checked=stat.st_mtime_ns)
        if sound and sound != listed:
            with suppress(SfmError):  # a cache that cannot be written is checked every time
                self.keep(commit, {**listed, **sound})
        return missing, damaged, {**listed, **sound}

    # ------------------------------------------------------------------ the listing of a commit

    def listing_path(self, commit: str) -> Path:
        return self.store / "sfm" / f"{commit}.json"

    def listing(self, commit: str) -> dict[str, Listed]:
        """The files of a commit that we noted when it was fetched; none if it was not, by us."""
        try:
            text = self.listing_path(commit).read_text(encoding="utf-8")
            listed = {path: Listed(*row) for path, row in json.loads(text).items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}
        return listed if all(map(_is_sound, listed.items())) else {}

    def keep(self, commit: str, listed: dict[str, Listed]) -> None:
        rows = {path: [e.size, e.digest, e.checked] for path, e in listed.items()}
        write_text(self.listing_path(commit), json.dumps(rows, indent=1) + "\n")

    # ------------------------------------------------------------------ from the Hub

    def fetch(self) -> Path:
        """The snapshot of the revision as the Hub has it now; what the cache has is not sent again.

        Raises:
            HubError: refused, unreachable, damaged, or with names that lead out of the cache.
        """
        from huggingface_hub import HfApi, constants

        api = HfApi(token=self.token, library_name="sfm", library_version=__version__)
        commit = self.revision
        if not COMMIT.fullmatch(commit):
            info = api.repo_info(
                self.repo_id,
                repo_type=self.repo_type,
                revision=self.revision,
                timeout=constants.HF_HUB_ETAG_TIMEOUT,
            )
            commit = str(info.sha)
            if not COMMIT.fullmatch(commit):
                raise HubError(f"the Hub names {commit[:80]!r} as the commit of '{self.repo_id}'")
        listed = {} if self.force else self.listing(commit)
        if not listed:
            listed = self.ask(api, commit)
        missing, damaged, listed = self.check(commit, listed)
        for path in damaged:
            _forget(self.snapshot(commit) / path)
        lacking = list(listed) if self.force else [*missing, *damaged]
        if lacking:
            self.download(commit, lacking, listed)
            self.keep(commit, listed)
            missing, damaged, listed = self.check(commit, listed)
            for path in damaged:
                _forget(self.snapshot(commit) / path)
            if missing or damaged:
                raise HubError(
                    f"{', '.join([*missing, *damaged])} of '{self.repo_id}' arrived damaged (wrong "
                    "size or hash) and was removed from the cache: try again"
                )
        self.refer(commit)
        return self.snapshot(commit)

    def ask(self, api: Any, commit: str) -> dict[str, Listed]:
        """Size and hash of those files of a commit that we take."""
        tree = api.list_repo_tree(
            self.repo_id, recursive=True, revision=commit, repo_type=self.repo_type
        )
        listed = {}
        for row in islice(tree, MOST_FILES):
            path, allowed = str(row.path), ALLOWED[self.repo_type]
            if not hasattr(row, "blob_id") or not any(fnmatch(path, p) for p in allowed):
                continue
            lfs = getattr(row, "lfs", None)
            listed[path] = Listed(row.size, row.blob_id if lfs is None else lfs.sha256)
            if not _is_sound((path, listed[path])):
                raise HubError(
                    f"'{self.repo_id}' lists a file {path[:80]!r} whose name, size or hash cannot "
                    "be: do not use this repository"
                )
        return listed

    def download(self, commit: str, paths: list[str], listed: dict[str, Listed]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from huggingface_hub import hf_hub_download

        def one(path: str) -> None:
            with bounded_file(path, listed[path].size):
                hf_hub_download(
                    self.repo_id,
                    path,
                    repo_type=self.repo_type,
                    revision=commit,
                    cache_dir=self.cache,
                    token=self.token,
                    force_download=self.force,
                    library_name="sfm",
                    library_version=__version__,
                )

        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in pool.map(one, paths):
                pass

    def refer(self, commit: str) -> None:
        """Note which commit the revision was, as the client does, for use without a network."""
        path = self.store / "refs" / self.revision
        if self.revision == commit or (path.is_file() and path.read_text() == commit):
            return
        with suppress(SfmError):
            write_text(path, commit)


def download(request: Download, *, local_files_only: bool = False) -> Path:
    """The snapshot: from the Hub, or without one from the cache.

    Where the Hub cannot be reached, or what it has cannot be stored, a whole cached copy is used,
    with a `SfmWarning`.

    Raises:
        HubError, InputError: one line; see `sfm.hub.resolve.resolve`.
    """
    from huggingface_hub.constants import is_offline_mode

    if local_files_only or is_offline_mode():
        return request.cached()
    try:
        place: dict[str, Any] = {"revision": request.revision, "place": request.cache}
        with conversation(request.repo_id, **place):
            return request.fetch()
    except SfmError as error:
        refused = isinstance(error, HubError) and not isinstance(error, HubUnavailable)
        if refused or request.force:
            raise
        try:
            folder = request.cached()
        except SfmError:
            raise error from None
        text = f"{error}; the copy of commit {folder.name[:8]} in the cache is used"
        warnings.warn(text, SfmWarning, stacklevel=4)
        return folder


def _is_sound(row: tuple[str, Listed]) -> bool:
    path, entry = row
    return (
        is_plain_path(path)
        and isinstance(entry.size, int)
        and not isinstance(entry.size, bool)
        and entry.size >= 0
        and isinstance(entry.digest, str)
        and DIGEST.fullmatch(entry.digest) is not None
    )


def _by_their_names(folder: Path) -> dict[str, Listed]:
    """The files of a snapshot that another program fetched: their blobs are named by hash."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    named = {p.relative_to(folder).as_posix(): p.resolve() for p in files}
    return {
        path: Listed(blob.stat().st_size, blob.name)
        for path, blob in named.items()
        if DIGEST.fullmatch(blob.name)
    }


def _forget(file: Path) -> None:
    """Remove a damaged file of a snapshot, and the blob that it points to."""
    blob = file.resolve()
    file.unlink(missing_ok=True)
    if blob.parent.name == "blobs" and blob.parent.parent.resolve() in map(
        Path.resolve, file.parents
    ):
        blob.unlink(missing_ok=True)
