"""Pieces of a card: Markdown that commands neither a page nor a terminal."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sfm.errors import InputError, printable
from sfm.hub.bibtex import references

Report = Mapping[str, Any]

SPDX = {
    "apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "cc0-1.0", "cc-by-4.0", "cc-by-3.0",
    "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "gpl-3.0", "lgpl-3.0", "odc-by", "unknown",
}  # fmt: skip


def licence(name: str | None) -> dict[str, Any]:
    """The head's licence fields: a known SPDX id, or `other` with its name."""
    if not name:
        return {"license": "unknown"}
    if name.lower() in SPDX:
        return {"license": name.lower()}
    return {"license": "other", "license_name": name}


def text(value: Any) -> str:
    """Text of a card: its HTML is shown, not obeyed, and no character commands a terminal."""
    return html.escape(printable(str(value)), quote=False)


def line(value: Any) -> str:
    """One line of text."""
    return " ".join(printable(str(value)).split())


def fenced(kind: str, body: str) -> str:
    """A block of code whose fence is longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{printable(body).strip()}\n{fence}"


def number(value: Any) -> str:
    """Three significant digits; text and missing values as they are."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def table(rows: Sequence[Report]) -> str:
    """A Markdown table with the union of the rows' keys as columns."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [[cell(column) for column in columns], ["---"] * len(columns)]
    lines += [[cell(row.get(column)) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(value: Any) -> str:
    """One value of a table: no line breaks, no bars."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{k} {cell(v)}" for k, v in value.items())
    elif isinstance(value, (list, tuple)):
        value = ", ".join(cell(v) for v in value)
    return text(number(value)).replace("|", "\\|").replace("\n", " ")


def pairs(values: Any) -> str:
    """A mapping as a table of two columns."""
    return table([{"": key.replace("_", " "), "value": v} for key, v in (values or {}).items()])


def bullets(lines: Any) -> str:
    """A list of lines."""
    return "\n".join(f"- {text(one)}" for one in lines or ())


def section(title: str, body: str) -> str:
    """A section with its title; nothing without a body."""
    return f"## {title}\n\n{body}" if body else ""


def citation(citations: Any) -> str:
    """BibTeX of what is cited, in a block."""
    entries = references([citations] if isinstance(citations, str) else citations or ())
    return fenced("bibtex", entries) if entries else ""


def rows_of(report: Report, key: str) -> list[dict[str, Any]]:
    """The list of dicts at a key of the report; absent is empty.

    Raises:
        InputError: it is something else.
    """
    value = report.get(key) or []
    if not isinstance(value, Sequence) or not all(isinstance(row, Mapping) for row in value):
        raise InputError(f"report[{key!r}] must be a list of dicts")
    return [dict(row) for row in value]


def assemble(head: str, sections: Sequence[str]) -> str:
    """The YAML head and the sections that are not empty."""
    return f"---\n{head.strip()}\n---\n\n" + "\n\n".join(s.strip() for s in sections if s) + "\n"
