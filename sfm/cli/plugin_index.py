"""`sfm plugin index`: a page of the installed plugins, what is in them and where they come from."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from sfm.hub.markdown import cell, table
from sfm.plugin import KINDS
from sfm.registry import FIRST_PARTY, Found, discover


def page() -> str:
    """Markdown with a table of all plugins, and a section for each."""
    rows = discover()
    overview = table(
        [
            {
                "plugin": row.name,
                "domain": row.plugin.domain if row.plugin else "",
                "what": row.plugin.summary if row.plugin else f"broken: {row.error}",
                "install": _install(row),
            }
            for row in rows
        ]
    )
    return "\n\n".join(["# Plugins", overview, *(_section(row) for row in rows)]) + "\n"


def _install(row: Found) -> str:
    if row.name in FIRST_PARTY:
        return f"`pip install 'sfm-hub[{row.name}]'`"
    return f"`pip install {row.distribution}`"


def _section(row: Found) -> str:
    lines = [f"## {row.name}", f"{cell(row.distribution)} {row.version}{_origin(row)}"]
    if row.plugin is None:
        return "\n\n".join([*lines, f"Broken: {cell(row.error)}"])
    parts = [
        {"part": kind, "names": ", ".join(getattr(row.plugin, kind))}
        for kind in KINDS
        if getattr(row.plugin, kind)
    ]
    cited = "\n".join(f"- {cell(one)}" for one in row.plugin.citations)
    return "\n\n".join([*lines, table(parts), cited]).rstrip()


def _origin(row: Found) -> str:
    """Licence and home page, as the distribution's metadata name them."""
    try:
        head: Any = metadata(row.distribution)
    except PackageNotFoundError:
        return ""
    licence = head.get("License-Expression") or head.get("License")
    urls = [u.partition(",")[2].strip() for u in head.get_all("Project-URL") or []]
    said = [licence, head.get("Home-page"), *urls[:1]]
    return "".join(f", {cell(one)}" for one in said if one)
