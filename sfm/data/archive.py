"""Several files in one, each with its checksum: a zip that is taken whole or refused.

Members are stored as they are (Parquet is compressed already) and bear one date, so that the same
content is the same file, bit for bit. The first, `manifest.json`, holds what the writer says, and
length and SHA-256 of every other one. Whoever reads takes nothing on trust: not a name that leaves
the folder, nor a member that the manifest does not name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfm.data.atomic import atomic, disk_errors
from sfm.errors import InputError, SfmError
from sfm.formats import strict_json

MANIFEST = "manifest.json"
LARGEST_MANIFEST = 4_000_000  # bytes
MAGIC = b"PK\x03\x04"
PIECE = 1 << 20
# no name begins with a dot, so none is a way out of the folder
_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,99}/){0,4}[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_STAMP = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Member:
    """One file.

    Attributes:
        size: bytes.
        sha256: of its content, 64 hexadecimal digits.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Member:
        """That of a file on the disk."""
        with path.open("rb") as handle:
            return cls(path.stat().st_size, hashlib.file_digest(handle, "sha256").hexdigest())


@dataclass(frozen=True)
class Archive:
    """An archive whose manifest has been read and fits the members that are there.

    Attributes:
        path: of the archive.
        about: what the writer said.
        members: by name.
        key: SHA-256 of the manifest, hence of all content.
    """

    path: Path
    about: Mapping[str, Any]
    members: Mapping[str, Member]
    key: str

    def read(self, name: str) -> bytes:
        """The bytes of one member.

        Raises:
            InputError: there is none, or it is not what the manifest says.
        """
        return b"".join(self._pieces(name))

    def unpack(self, parent: Path) -> Path:
        """Its files in the folder `parent/KEY`; one that is there and whole is taken as it is.

        Processes that want it at the same time wait for the first.

        Raises:
            InputError: a member is damaged, or the folder cannot be written.
            RunError: the disk is full.
        """
        from filelock import FileLock

        folder = parent / self.key[:32]
        if self._whole(folder):
            return folder
        with disk_errors(folder):
            parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(parent / f".{folder.name}.lock", thread_local=False)
        with disk_errors(folder), lock:
            if not self._whole(folder):
                self._unpack(folder)
        return folder

    def _unpack(self, folder: Path) -> None:
        with disk_errors(folder):
            scratch = tempfile.TemporaryDirectory(
                dir=folder.parent, prefix=".sfm-", ignore_cleanup_errors=True
            )
        with scratch as place, disk_errors(folder):
            for name in self.members:
                target = Path(place) / "new" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as handle:
                    for piece in self._pieces(name):
                        handle.write(piece)
            if folder.exists():  # damaged
                os.rename(folder, Path(place) / "old")
            os.rename(Path(place) / "new", folder)

    def _whole(self, folder: Path) -> bool:
        try:
            return all(Member.of(folder / name) == m for name, m in self.members.items())
        except OSError:
            return False

    def _pieces(self, name: str) -> Iterator[bytes]:
        if name not in self.members:
            raise InputError(f"{self.path}: holds no '{name}'")
        member, digest = self.members[name], hashlib.sha256()
        with _opened(self.path) as archive, archive.open(name) as handle:
            while piece := handle.read(PIECE):
                digest.update(piece)
                yield piece
        if digest.hexdigest() != member.sha256:
            raise InputError(f"{self.path}: '{name}' is damaged (its checksum is another one)")


def write_archive(path: str | Path, files: Mapping[str, Path], about: Mapping[str, Any]) -> Archive:
    """Write `path`, whole or not at all.

    Args:
        path: what it held before is replaced.
        files: what to take, by the name inside.
        about: what else the manifest says, plain values; `files` is taken.

    Raises:
        InputError: the place cannot be written.
        RunError: the disk is full.
    """
    members = {name: Member.of(file) for name, file in files.items()}
    stated = {name: {"size": m.size, "sha256": m.sha256} for name, m in members.items()}
    body = json.dumps({**about, "files": stated}, indent=1, ensure_ascii=False).encode()
    with (
        atomic(path) as scratch,
        disk_errors(path),
        zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive,
    ):
        archive.writestr(_entry(MANIFEST), body)
        for name, file in files.items():
            entry = _entry(name)
            entry.file_size = members[name].size
            with file.open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, PIECE)
    return Archive(Path(path), about, members, hashlib.sha256(body).hexdigest())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _STAMP)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3  # a zip of Windows is the same as one of Linux
    return entry


def is_archive(path: Path) -> bool:
    """Whether a file begins like a zip, whatever it is called."""
    try:
        with path.open("rb") as handle:
            return handle.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def open_archive(path: str | Path) -> Archive:
    """The archive at `path`, of anybody.

    Raises:
        InputError: no such file, no such archive, damaged or truncated, or members that are not
            those of its manifest; nothing is written.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with _opened(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) < len(archive.infolist()):
            raise InputError(f"{path}: holds two files of one name")
        first = entries.pop(MANIFEST, None)
        if first is None or first.file_size > LARGEST_MANIFEST:
            raise InputError(f"{path}: a zip without a {MANIFEST} of ours")
        for entry in (first, *entries.values()):
            # stored members are no longer than the file; nothing unfolds
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise InputError(f"{path}: '{entry.filename[:80]}' is compressed or encrypted")
        if sum(entry.file_size for entry in entries.values()) > path.stat().st_size:
            raise InputError(f"{path}: its members claim more bytes than the file has")
        body = archive.read(MANIFEST)
        about = strict_json.parse(body.decode())
        stated = about.pop("files")
        members = {name: Member(int(m["size"]), str(m["sha256"])) for name, m in stated.items()}
    for name in members:
        if not _NAME.fullmatch(name):
            raise InputError(f"{path}: '{name[:80]}' is no name of a file inside a folder")
    if {n: m.size for n, m in members.items()} != {n: e.file_size for n, e in entries.items()}:
        raise InputError(f"{path}: its files are not those that its {MANIFEST} names")
    return Archive(path, about, members, hashlib.sha256(body).hexdigest())


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (SfmError, GeneratorExit):
        raise
    except Exception as error:  # zipfile, zlib and json raise many kinds on damaged files
        first = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise InputError(f"{path}: damaged or truncated ({first})") from None
