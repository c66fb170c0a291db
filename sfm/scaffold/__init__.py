"""`sfm plugin new`: a complete outside plugin that passes the conformance kit, to start from."""

from __future__ import annotations

import re
import runpy
import shutil
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path

from sfm.errors import InputError, did_you_mean

_TEMPLATES = Path(__file__).with_name("templates")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
PARTS = ("dataset", "simulator", "encoder", "metric", "reader")
_MARK = re.compile(r"  #@([a-z|]+)$")  # a line of a template that belongs to some parts only
_FILES = {  # beginnings of names of templates that belong to some parts only
    "@package@/datasets/": "dataset",
    "@package@/data/specs": "dataset",
    "@package@/data/readers": "reader",
    "@package@/data/": "dataset|reader",
    "@package@/model/metrics": "metric",
    "@package@/model/__init__": "encoder|metric",
    "@package@/model/": "encoder",
    "@package@/simulators/": "simulator",
    "@package@/figures": "simulator",
    "@package@/quantities": "dataset|encoder|simulator",
    "tests/test_oscillator": "simulator",
}


def write_plugin(
    name: str,
    *,
    domain: str | None = None,
    folder: Path | None = None,
    parts: Sequence[str] = PARTS,
) -> Path:
    """Write the package `sfm-<name>` and build its small dataset.

    Args:
        name: name of the plugin; lower case letters, digits and single hyphens.
        domain: domain of its parts; the plugin's name if None.
        folder: where to; `./sfm-<name>` if None. It must not exist, or be empty.
        parts: which of `PARTS`; an encoder brings the dataset that it is tried on.

    Returns:
        The folder.

    Raises:
        InputError: a bad name, an unknown part, a folder that holds something, or one that cannot
            be written.
    """
    domain = domain or name
    for word, what in ((name, "plugin"), (domain, "domain")):
        if not _NAME.fullmatch(word):
            raise InputError(
                f"{what} name '{word}': start with a letter; lower case letters, digits and -"
            )
    chosen = _with_needed(parts)
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
            place = source.relative_to(_TEMPLATES).as_posix()
            belongs = next((p for start, p in _FILES.items() if place.startswith(start)), None)
            if belongs is not None and not chosen.intersection(belongs.split("|")):
                continue
            target = folder / fill(place, words).removesuffix(".template")
            target.parent.mkdir(parents=True, exist_ok=True)
            text = _chosen(source.read_text(encoding="utf-8"), chosen)
            target.write_text(fill(text, words), encoding="utf-8")
        if "dataset" in chosen:
            _build(folder / words["package"] / "datasets" / "clusters" / "build.py")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            text = f"{folder}: cannot be written ({error.strerror or error})"
            raise InputError(text) from None
        raise
    return folder


def _with_needed(parts: Sequence[str]) -> set[str]:
    asked = set(parts)
    if unknown := sorted(asked - set(PARTS)):
        raise InputError(
            f"no part is called '{unknown[0]}' (there are {', '.join(PARTS)})."
            f"{did_you_mean(unknown[0], PARTS)}"
        )
    return asked | ({"dataset"} if "encoder" in asked else set())


def _chosen(text: str, parts: Collection[str]) -> str:
    """The lines of a template that belong to these parts, or to none in particular."""
    kept = []
    for line in text.split("\n"):
        mark = _MARK.search(line)
        if mark is None or any(part in parts for part in mark[1].split("|")):
            kept.append(_MARK.sub("", line))
    return "\n".join(kept)


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
