"""What the local Hub holds: repositories, commits, branches, tags and blobs. No HTTP here.

Everything lives in memory; with a `root` folder it is also written to disk after every change and
read back on start, so that a server can be stopped and started again.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LFS_SUFFIXES = (".safetensors", ".parquet", ".arrow", ".bin", ".pt", ".ckpt", ".npz", ".h5", ".png")
LFS_SIZE = 10 * 1024 * 1024
GITATTRIBUTES = "".join(f"*{s} filter=lfs diff=lfs merge=lfs -text\n" for s in LFS_SUFFIXES)


class HubFault(Exception):
    """An answer other than success: HTTP status, the Hub's error code, one line for a person."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers, self.body = headers or {}, body or {"error": message}


@dataclass(frozen=True)
class Entry:
    """One file of a commit. `key` is the sha256 of its bytes, under which the store keeps them."""

    key: str
    size: int
    oid: str
    lfs: bool

    @property
    def etag(self) -> str:
        """What the client stores as the file's name in its cache: sha256 (LFS) or git blob id."""
        return self.key if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """One commit and all files of its tree."""

    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    time: float
    files: dict[str, Entry]

    @property
    def date(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(self.time))


@dataclass
class Repository:
    """A repository, its branches and who may read it."""

    kind: str
    id: str
    private: bool = False
    gated: bool = False
    allowed: set[str] = field(default_factory=set)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pull_requests: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]

    def commit(self, revision: str) -> Commit:
        """The commit of a branch, tag, pull request (`refs/pr/1`) or full commit id."""
        short = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        for table in (self.branches, self.tags):
            if short in table:
                return self.commits[table[short]]
        oid = self.pull_requests.get(revision, revision)
        if oid in self.commits:
            return self.commits[oid]
        raise HubFault(404, f"Invalid rev id: {revision}", "RevisionNotFound")


class HubStore:
    """All repositories and bytes. Public methods take the lock, so threads may share one store."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root
        self.lock = threading.RLock()
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, bytes] = {}
        if root is not None:
            self._read(root)

    # -- bytes ------------------------------------------------------------------------------
    def put(self, data: bytes) -> str:
        """Keep `data`; returns its sha256."""
        key = hashlib.sha256(data).hexdigest()
        with self.lock:
            if key not in self.blobs:
                self.blobs[key] = data
                if self.root is not None:
                    (self.root / "blobs" / key).write_bytes(data)
        return key

    def entry(self, data: bytes, lfs: bool) -> Entry:
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        return Entry(self.put(data), len(data), git, lfs)

    # -- repositories -----------------------------------------------------------------------
    def find(self, kind: str, repo_id: str) -> Repository | None:
        return self.repositories.get((kind, repo_id))

    def create(self, kind: str, repo_id: str, *, private: bool, author: str) -> Repository:
        """A repository with the first commit that the Hub makes (a `.gitattributes`)."""
        with self.lock:
            repo = Repository(kind, repo_id, private=private)
            self.repositories[kind, repo_id] = repo
            first = {".gitattributes": self.entry(GITATTRIBUTES.encode(), lfs=False)}
            self.branch(
                repo, "main", self._new_commit(repo, None, first, "initial commit", "", author)
            )
            return repo

    def branch(self, repo: Repository, name: str, oid: str) -> None:
        with self.lock:
            repo.branches[name] = oid
            self.save()

    def change(
        self,
        repo: Repository,
        revision: str,
        files: dict[str, Entry],
        *,
        title: str,
        message: str,
        author: str,
        expected_parent: str | None,
        pull_request: bool,
    ) -> tuple[Commit, str | None]:
        """Commit the complete table `files` on top of `revision`; returns it and the PR's ref."""
        with self.lock:
            parent = repo.commit(revision)
            if expected_parent is not None and expected_parent != parent.oid:
                raise HubFault(412, "A commit has happened since. Please refresh and try again.")
            oid = self._new_commit(repo, parent.oid, files, title, message, author)
            ref: str | None = None
            if pull_request:
                ref = f"refs/pr/{len(repo.pull_requests) + 1}"
                repo.pull_requests[ref] = oid
            elif revision in repo.pull_requests:
                repo.pull_requests[revision] = oid
            elif revision in repo.branches:
                repo.branches[revision] = oid
            else:
                raise HubFault(400, f"{revision} is not a branch: cannot commit on it")
            self.save()
            return repo.commits[oid], ref

    def _new_commit(
        self,
        repo: Repository,
        parent: str | None,
        files: dict[str, Entry],
        title: str,
        message: str,
        author: str,
    ) -> str:
        table = {path: entry.key for path, entry in sorted(files.items())}
        text = json.dumps([repo.kind, repo.id, parent, table, title, len(repo.commits)])
        oid = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        repo.commits[oid] = Commit(oid, parent, title, message, author, time.time(), files)
        return oid

    # -- disk -------------------------------------------------------------------------------
    def save(self) -> None:
        """Write the state to `root` (nothing without one)."""
        if self.root is None:
            return
        with self.lock:
            state = []
            for repo in self.repositories.values():
                fields = asdict(repo)
                fields["allowed"] = sorted(repo.allowed)
                state.append(fields)
            temporary = self.root / "state.json.new"
            temporary.write_text(json.dumps(state))
            temporary.replace(self.root / "state.json")

    def _read(self, root: Path) -> None:
        (root / "blobs").mkdir(parents=True, exist_ok=True)
        for path in (root / "blobs").iterdir():
            self.blobs[path.name] = path.read_bytes()
        if not (root / "state.json").exists():
            return
        for fields in json.loads((root / "state.json").read_text()):
            commits = {
                oid: Commit(**{**c, "files": {p: Entry(**e) for p, e in c["files"].items()}})
                for oid, c in fields.pop("commits").items()
            }
            fields["allowed"] = set(fields["allowed"])
            repo = Repository(**fields, commits=commits)
            self.repositories[repo.kind, repo.id] = repo


def wants_lfs(path: str, size: int, sample: bytes) -> bool:
    """The Hub's rule: by suffix, by size, or because the first bytes are not text."""
    return path.endswith(LFS_SUFFIXES) or size > LFS_SIZE or b"\0" in sample
