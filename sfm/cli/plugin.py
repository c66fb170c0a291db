"""`sfm plugin list | index | check NAME | new NAME`."""

from __future__ import annotations

import argparse
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sfm.registry import Found


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm plugin`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="installed plugins and their parts")
    listing.add_argument("--json", action="store_true", help="one JSON object on stdout")
    listing.set_defaults(handler=show)

    index = actions.add_parser("index", help="a page of the plugins, in Markdown")
    index.add_argument("--out", type=Path, metavar="FILE", help="write it there")
    index.set_defaults(handler=render)

    check = actions.add_parser("check", help="run the conformance kit on an installed plugin")
    check.add_argument("name", help="name of the plugin, as `sfm plugin list` shows it")
    check.add_argument(
        "--only", metavar="TEXT", help="only checks whose id contains TEXT: 'atoms', ':gradcheck'"
    )
    check.add_argument("--json", action="store_true", help="one JSON object on stdout")
    check.set_defaults(handler=run_checks)

    new = actions.add_parser("new", help="write a plugin package that passes the kit")
    new.add_argument("name", help="lower case letters, digits and -")
    new.add_argument("--domain", help="domain of its parts (default: the plugin's name)")
    new.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        help="only these: dataset, simulator, encoder, metric, reader (default: all)",
    )
    new.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the package (default: ./sfm-NAME)"
    )
    new.set_defaults(handler=create)


def show(arguments: argparse.Namespace) -> int:
    """List what was discovered; a broken plugin is a row."""
    from sfm.cli.output import emit, emit_json, table
    from sfm.plugin import KINDS
    from sfm.registry import discover

    rows = discover()
    if arguments.json:
        emit_json({"plugins": [as_json(row) for row in rows]})
        return 0
    if not rows:
        emit("no plugins (SFM_PLUGINS restricts them; `sfm doctor` says more)")
        return 0
    table(
        [
            (
                row.name,
                f"{row.distribution} {row.version}".strip(),
                "ok" if row.plugin else "broken",
                row.plugin.summary if row.plugin else row.error,
            )
            for row in rows
        ],
        ("plugin", "distribution", "state", "summary"),
    )
    for row in rows:
        if row.plugin is None:
            continue
        emit(f"\n{row.name}")
        for kind in KINDS:
            names = list(getattr(row.plugin, kind))
            if names:
                emit(f"  {kind:<11} {', '.join(names)}")
        measured = [f"{q.name} [{q.unit}]" for q in row.plugin.quantities]
        if measured:
            emit(f"  {'quantities':<11} {', '.join(measured)}")
    return 0


def render(arguments: argparse.Namespace) -> int:
    """One section for each plugin, with its parts and how to get it."""
    from sfm.cli.output import emit
    from sfm.cli.plugin_index import page

    text = page()
    if arguments.out is None:
        emit(text.rstrip())
        return 0
    from sfm.data.atomic import atomic

    with atomic(arguments.out) as scratch:
        scratch.write_text(text, encoding="utf-8")
    emit(str(arguments.out))
    return 0


def as_json(row: Found) -> dict[str, Any]:
    """A plugin, or why it is broken, as plain JSON."""
    from sfm.plugin import KINDS

    entry: dict[str, Any] = {
        "name": row.name,
        "distribution": row.distribution,
        "version": row.version,
        "error": row.error,
    }
    if row.plugin is not None:
        entry |= {"domain": row.plugin.domain, "summary": row.plugin.summary}
        entry |= {kind: dict(getattr(row.plugin, kind)) for kind in KINDS}
        entry["quantities"] = {
            q.name: {"unit": q.unit, "irreps": q.irreps, "per": q.per, "extensive": q.extensive}
            for q in row.plugin.quantities
        }
        entry["citations"] = list(row.plugin.citations)
    return entry


def run_checks(arguments: argparse.Namespace) -> int:
    """Run the kit; exit code 1 if a check fails."""
    from dataclasses import asdict

    from sfm.cli.output import emit, emit_json, note
    from sfm.testing.conformance import iterate_checks, summary

    results = []
    for result in iterate_checks(arguments.name, only=arguments.only):
        results.append(result)
        line = f"{result.status:<8} {result.name}  {result.seconds:.2f} s"
        if result.detail:
            line += f"  {result.detail}"
        (note if arguments.json else emit)(line)
    counts = summary(results)
    if arguments.json:
        emit_json({"plugin": arguments.name, **counts, "checks": [asdict(r) for r in results]})
    else:
        emit(
            f"{arguments.name}: {counts['passed']} checks passed, {counts['failed']} failed, "
            f"{counts['expected']} failed as expected, {counts['skipped']} skipped"
        )
    return 1 if counts["failed"] else 0


def create(arguments: argparse.Namespace) -> int:
    """Write the scaffold."""
    from sfm.cli.output import emit, note
    from sfm.scaffold import write_plugin

    parts = {} if arguments.parts is None else {"parts": arguments.parts}
    folder = write_plugin(arguments.name, domain=arguments.domain, folder=arguments.out, **parts)
    emit(str(folder))
    note(f"next: pip install -e {folder} && sfm plugin check {arguments.name}")
    return 0
