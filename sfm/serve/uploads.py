"""What a client sends, as a file that our own readers read.

The bytes go into an empty temporary folder; of the client's name only letters, digits, `.`, `_`,
`-` are kept, since readers go by suffixes and words of names. Nothing that a client says is ever
opened as a path.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfm.data.readers import suffixes
from sfm.errors import InputError, SfmError

# their formats can name other files, or are databases whose libraries trust what they hold
REFUSED = (".db", ".traj", ".gjf")


def plain_name(name: str) -> str:
    """A file name without anything that could be a path.

    >>> plain_name("../../etc/pass wd.xyz")
    'pass-wd.xyz'
    """
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).lstrip(".-")[:100] or "input"


def readable() -> list[str]:
    """Suffixes and words of names that are read here."""
    return sorted(s for s in suffixes() if s not in REFUSED)


@contextmanager
def as_file(name: str, content: bytes) -> Iterator[Path]:
    """A file with this content for the length of the block; errors name it as the client did.

    Raises:
        InputError: it is empty, or of a format that is not read here.
    """
    name = plain_name(name)
    if not content.strip():
        raise InputError(f"{name}: empty; give a SMILES, or a file with one system or more")
    if Path(name).suffix.lower() in REFUSED:
        raise InputError(
            f"{name}: '{Path(name).suffix}' files are not taken here; `sfm predict` reads them"
        )
    with tempfile.TemporaryDirectory(prefix="sfm-serve-") as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            yield path
        except SfmError as error:
            raise type(error)(str(error).replace(f"{folder}/", "")) from None
