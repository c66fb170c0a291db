"""Figures of the house: rooms, arrows and circles, sizes, docstrings, types, copies.

    python tools/house.py                      # a table, one column per package
    python tools/house.py --commit c8c0a65     # of an earlier commit
    python tools/house.py --mypy               # with the errors of mypy --strict (minutes)
    python tools/house.py --json FILE          # numbers instead of a table
    python tools/house.py --list copies        # the places behind a number

Only the standard library is needed (and mypy for `--mypy`). What the words mean: `tools/arrows.py`,
`tools/docstrings.py`, `tools/copies.py`.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docstrings
from arrows import Package, circles, packages, room_circles
from copies import copies

ROOT = Path(__file__).parent.parent
LONG = 60
LISTS = ("circles", "functions", "copies", "arrows")


def functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, first line and number of lines, docstring aside, of every function of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                text = node.body[0]
                lines -= (text.end_lineno or text.lineno) - text.lineno + 1
            yield node.name, node.lineno, lines


def figures(folder: Path) -> dict[str, float]:
    """The numbers of one package."""
    package = Package.read(folder)
    files = list(package.files.values())
    rooms, loops = package.rooms(), circles(package.arrows)
    sizes = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    entries = [e for e in docstrings.read([folder]) if e.of_arrays]
    share = {w: sum(w in e.has for e in entries) for w in ("shape", "unit", "source")}
    stated = [e for e in entries if "signature" in e.has]
    return {
        "files": len(files),
        "rooms": len(rooms),
        "of these loose files": sum(folder / f"{r}.py" in files for r in rooms),
        "arrows between rooms": sum(map(len, rooms.values())),
        "files in circles": sum(map(len, loops)),
        "rooms in circles": sum(map(len, room_circles(package))),
        "relative imports": sum(i.relative for names in package.imports.values() for i in names),
        "lines of a file: median": statistics.median(sizes),
        "lines of a file: p90": sizes[int(0.9 * (len(sizes) - 1))],
        "lines of a file: most": sizes[-1],
        f"functions over {LONG} lines": sum(n > LONG for p in files for *_, n in functions(p)),
        "public functions of arrays": len(entries),
        "of these, shapes in the signature": len(stated),
        **{f"% that name {w}": round(100 * n / max(len(entries), 1)) for w, n in share.items()},
        "pairs of repeated blocks": len(copies(files)),
    }


def strict_errors(root: Path) -> dict[str, int]:
    """Errors of `mypy --strict` by package."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    places = re.findall(r"^(.*?):\d+: error:", done.stdout, re.M)
    names = [folder.relative_to(root).as_posix() for folder in packages(root)]
    return {n.rpartition("/")[2]: sum(p.startswith(f"{n}/") for p in places) for n in names}


def report(root: Path, *, mypy: bool) -> dict[str, dict[str, float]]:
    """Package -> figure -> number."""
    result = {folder.name: figures(folder) for folder in packages(root)}
    if mypy:
        for name, number in strict_errors(root).items():
            result[name]["mypy --strict: errors"] = number
    return result


def table(now: dict[str, dict[str, float]], before: dict[str, dict[str, float]]) -> str:
    """Markdown; with `before`, cells read `before -> now`."""
    names = list(now)
    rows = [["", *names], ["---", *["---:"] * len(names)]]
    for what in next(iter(now.values())):
        cells = []
        for name in names:
            old, new = before.get(name, {}).get(what), now[name][what]
            cells.append(f"{new:g}" if old is None or old == new else f"{old:g} -> **{new:g}**")
        rows.append([what, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def places(root: Path, what: str) -> Iterator[str]:  # noqa: C901
    """The places behind a number."""
    for folder in packages(root):
        package = Package.read(folder)
        if what == "circles":
            for kind, loops in (
                ("files", circles(package.arrows)),
                ("rooms", room_circles(package)),
            ):
                yield from (f"{kind}: {', '.join(circle)}" for circle in loops)
        elif what == "arrows":
            for room, targets in package.rooms().items():
                yield f"{package.name}: {room} -> {' '.join(sorted(targets))}"
        elif what == "copies":
            for copy in copies(list(package.files.values())):
                ends = (f"{p.relative_to(root)}:{n}" for p, n in (copy.first, copy.second))
                yield f"{copy.lines} lines: {' and '.join(ends)}"
        else:
            for path in package.files.values():
                for name, line, lines in functions(path):
                    if lines > LONG:
                        yield f"{lines} lines: {path.relative_to(root)}:{line} {name}"


def main() -> None:
    """The table, the numbers or the places."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commit", help="look at this commit, not at the working tree")
    parser.add_argument("--mypy", action="store_true", help="count the errors of mypy --strict")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write numbers")
    parser.add_argument("--before", type=Path, metavar="FILE", help="numbers to stand beside")
    parser.add_argument("--list", choices=LISTS, help="print the places behind a number")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = ROOT
        if arguments.commit:
            root = Path(scratch)
            command = ["git", "-C", str(ROOT), "archive", arguments.commit]
            archive = subprocess.run(command, check=True, capture_output=True).stdout
            subprocess.run(["tar", "-x", "-C", scratch], input=archive, check=True)
        if arguments.list:
            print("\n".join(places(root, arguments.list)))
            return
        numbers = report(root, mypy=arguments.mypy)
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
        return
    before = json.loads(arguments.before.read_text("utf-8")) if arguments.before else {}
    print(table(numbers, before))


if __name__ == "__main__":
    main()
