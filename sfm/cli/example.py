"""`sfm example [NAME]`: the small input files that come with sfm."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm example`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="print the path of this file")
    parser.add_argument("--list", action="store_true", help="all files, and what each holds")
    parser.add_argument("--copy", type=Path, metavar="DIR", help="copy it (or all of them) to DIR")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.epilog = 'example: sfm predict sfm-tiny "$(sfm example ethanol.xyz)"'
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a path, copy, or list."""
    from sfm.cli.output import emit, emit_json, table
    from sfm.data.bundled import EXAMPLES, example

    if arguments.name and arguments.list:
        from sfm.errors import InputError

        raise InputError("give NAME or --list, not both")
    names = [arguments.name] if arguments.name else list(EXAMPLES)
    paths = {name: example(name) for name in names}
    if arguments.copy:
        paths = {name: _copied(path, arguments.copy) for name, path in paths.items()}
    if arguments.json:
        rows = [{"name": n, "path": str(p), "summary": EXAMPLES[n]} for n, p in paths.items()]
        emit_json({"examples": rows})
    elif arguments.name or arguments.copy:
        for path in paths.values():
            emit(str(path))
    else:
        table([(n, EXAMPLES[n], str(p)) for n, p in paths.items()], ("name", "what", "path"))
    return 0


def _copied(path: Path, folder: Path) -> Path:
    import shutil

    from sfm.data.atomic import atomic

    with atomic(folder / path.name) as scratch:
        shutil.copyfile(path, scratch)
    return folder / path.name
