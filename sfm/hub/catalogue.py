"""Which models (or datasets) there are: bundled, in the cache, and on the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfm.errors import HubError, InputError
from sfm.hub.client import conversation
from sfm.hub.files import read_config
from sfm.hub.resolve import bundled

LARGEST_CARD = 1_000_000  # characters that are read of a card
LONGEST = 100  # characters of a licence or tag


@dataclass(frozen=True)
class Row:
    """One model or dataset.

    Attributes:
        name: what to write for MODEL.
        where: "bundled", "cached" or "hub".
        revision: commit id; empty for bundled ones.
        size: bytes on this disk; 0 where unknown.
        licence: from the card; empty where unknown.
        tags: from the card.
        summary: first line of the card's text.
        path: local folder, None on the Hub.
    """

    name: str
    where: str
    revision: str = ""
    size: int = 0
    licence: str = ""
    tags: tuple[str, ...] = ()
    summary: str = ""
    path: Path | None = None


def list_models(
    *,
    remote: bool = False,
    author: str | None = None,
    search: str | None = None,
    tags: Iterable[str] = (),
    limit: int = 100,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    repo_type: str = "model",
) -> list[Row]:
    """Bundled models, then cached ones, then (with `remote`) those of library sfm on the Hub.

    Args:
        remote: ask the Hub; needs a network.
        author: only this namespace on the Hub.
        search: only names that contain this text.
        tags: only those with all these tags, such as a domain.
        limit: at most this many from the Hub, newest first.
        repo_type: "model" or "dataset".

    Raises:
        HubError: `remote`, and the Hub refused or cannot be reached.
    """
    asked = set(tags)
    rows = [_row(name, "bundled", path) for name, path in bundled(repo_type).items()]
    rows += _cached(repo_type, cache_dir)
    rows = [
        row
        for row in rows
        if (search or "").lower() in row.name.lower()
        and asked <= set(row.tags)
        and author in (None, row.name.split("/")[0])
    ]
    if remote:
        rows += _remote(repo_type, author, search, asked, limit, token)
    return rows


def _cached(repo_type: str, cache_dir: str | Path | None) -> list[Row]:
    """Snapshots of models of sfm in huggingface_hub's cache; others are passed over."""
    from huggingface_hub import constants

    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    rows = []
    for folder in sorted(cache.glob(f"{repo_type}s--*--*")):
        name = folder.name.removeprefix(f"{repo_type}s--").replace("--", "/", 1)
        for snapshot in sorted((folder / "snapshots").glob("*")):
            if _is_ours(snapshot, repo_type):
                rows.append(_row(name, "cached", snapshot, revision=snapshot.name))
    return rows


def _is_ours(folder: Path, repo_type: str) -> bool:
    if repo_type == "dataset":
        return "sfm" in _tags(_card(folder / "README.md")[0])
    try:
        read_config(folder)
    except HubError:
        return False
    return True


def _remote(
    repo_type: str,
    author: str | None,
    search: str | None,
    tags: set[str],
    limit: int,
    token: str | bool | None,
) -> list[Row]:
    with conversation(author or "sfm", action="list"):
        from huggingface_hub import HfApi, constants
        from huggingface_hub.utils import get_session

        get_session().head(constants.ENDPOINT)  # fail now, not after half a minute of retries
        api = HfApi(token=token, library_name="sfm")
        ask = api.list_models if repo_type == "model" else api.list_datasets
        listed = ask(
            filter=["sfm", *sorted(tags)],
            author=author,
            search=search,
            sort="last_modified",
            limit=limit,
        )
        return [_hub_row(info) for info in listed]


def _hub_row(info: Any) -> Row:
    names = tuple(info.tags or ())
    licences = [tag.removeprefix("license:") for tag in names if tag.startswith("license:")]
    return Row(
        name=info.id,
        where="hub",
        revision=info.sha or "",
        licence=licences[0] if licences else "",
        tags=tuple(tag for tag in names if ":" not in tag),
    )


def _row(name: str, where: str, folder: Path, revision: str = "") -> Row:
    head, summary = _card(folder / "README.md")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    licence = str(head.get("license_name") or head.get("license") or "")
    return Row(
        name=name,
        where=where,
        revision=revision,
        size=size,
        licence=licence[:LONGEST],
        tags=_tags(head),
        summary=summary,
        path=folder,
    )


def _tags(head: dict[str, Any]) -> tuple[str, ...]:
    tags = head.get("tags")
    return tuple(str(tag)[:LONGEST] for tag in tags) if isinstance(tags, list) else ()


def _card(path: Path) -> tuple[dict[str, Any], str]:
    """YAML head of a card, and the first line of text after its title."""
    if not path.is_file():
        return {}, ""
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(LARGEST_CARD)
    match = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", text, re.DOTALL)
    head: Any = {}
    if match is not None:
        from sfm.formats import yaml12

        try:
            head = yaml12.read(match[1], str(path))
        except InputError:
            head = {}
        text = text[match.end() :]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    plain = [line for line in lines if not line.startswith(("#", "|", "```"))]
    return head if isinstance(head, dict) else {}, plain[0][:1000] if plain else ""
