"""`sfm plugin new`: a complete outside plugin that passes the conformance kit, to start from."""

from __future__ import annotations

import re
import runpy
import shutil
from datetime import date
from pathlib import Path

from sfm.errors import InputError

_TEMPLATES = Path(__file__).with_name("templates")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_plugin(name: str, *, domain: str | None = None, folder: Path | None = None) -> Path:
    """Write the package `sfm-<name>` and build its small dataset.

    Args:
        name: name of the plugin; lower case letters, digits and single hyphens.
        domain: domain of its parts; the plugin's name if None.
        folder: where to; `./sfm-<name>` if None. It must not exist, or be empty.

    Returns:
        The folder.

    Raises:
        InputError: a bad name, a folder that holds something, or one that cannot be written.
    """
    domain = domain or name
    for word, what in ((name, "plugin"), (domain, "domain")):
        if not _NAME.fullmatch(word):
            raise InputError(
                f"{what} name '{word}': start with a letter; lower case letters, digits and -"
            )
    folder = Path(f"sfm-{name}") if folder is None else Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not empty; give another --out")
    words = {
        "name": name,
        "domain": domain,
        "package": f"sfm_{name.replace('-', '_')}",
        "prefix": name.replace("-", "_"),
        "year": str(date.today().year),
    }
    try:
        for source in sorted(_TEMPLATES.rglob("*.template")):
            relative = fill(source.relative_to(_TEMPLATES).as_posix(), words)
            target = folder / relative.removesuffix(".template")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(fill(source.read_text(encoding="utf-8"), words), encoding="utf-8")
        _build(folder / words["package"] / "datasets" / "clusters" / "build.py")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            text = f"{folder}: cannot be written ({error.strerror or error})"
            raise InputError(text) from None
        raise
    return folder


def fill(text: str, words: dict[str, str]) -> str:
    """Put words in the place of marks such as `@name@`.

    >>> fill("sfm-@name@", {"name": "waves"})
    'sfm-waves'
    """
    for key, value in words.items():
        text = text.replace(f"@{key}@", value)
    return text


def _build(script: Path) -> None:
    runpy.run_path(str(script))["main"]([])
