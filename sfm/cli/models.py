"""`sfm models`: bundled and cached models, and with `--remote` those on the Hub."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm models`."""
    parser.add_argument("--remote", action="store_true", help="ask the Hub, too")
    parser.add_argument("--search", metavar="TEXT", help="only names that contain TEXT")
    parser.add_argument("--author", help="only this namespace")
    parser.add_argument("--tag", action="append", default=[], help="only with this tag (a domain)")
    parser.add_argument("--limit", type=int, default=100, help="at most this many from the Hub")
    parser.add_argument("--datasets", action="store_true", help="datasets instead of models")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """List them."""
    from dataclasses import asdict

    from sfm.cli.output import emit, emit_json, table
    from sfm.hub.catalogue import list_models

    rows = list_models(
        remote=arguments.remote,
        author=arguments.author,
        search=arguments.search,
        tags=arguments.tag,
        limit=arguments.limit,
        repo_type="dataset" if arguments.datasets else "model",
    )
    if arguments.json:
        emit_json({"datasets" if arguments.datasets else "models": [asdict(r) for r in rows]})
    elif not rows:
        emit("none; `sfm pretrain` makes one, `sfm models --remote` asks the Hub")
    else:
        table(
            [(r.name, r.where, r.revision[:8], _size(r.size), r.licence, r.summary) for r in rows],
            ("name", "where", "revision", "size", "licence", "summary"),
            wrap=True,
        )
    return 0


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size else ""
