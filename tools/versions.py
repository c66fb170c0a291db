"""The core of the suite on the lowest and highest allowed libraries, and on every Python here.

    python tools/versions.py --list                 # the matrix, and what runs unasked
    python tools/versions.py                        # the cells with the torch of this environment
    python tools/versions.py --all                  # all cells: pip may load gigabytes of torch
    python tools/versions.py --cell lowest --torch 2.6.0

A cell is an environment of its own under build/versions: the built wheel with its extra `all`, no
constraints of ours, and the pins of the cell. `lowest` pins the lower bounds of pyproject.toml for
transformers and huggingface-hub, `highest` takes whatever pip finds; both have the torch that runs
this. `lowest-torch`, `plain` (nothing is pinned) and `python3.x` run when they are asked for. What
is tested is the wheel, not this folder; then the README's snippets run. One line a cell; exits 1 if
one fails.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "versions"
WATCHED = ("torch", "transformers", "huggingface-hub")
CORE = ("tests/test_auto.py", "tests/test_model.py", "tests/test_museum.py", "tests/hub")
README = ("tests/test_readme.py::test_a_page_runs[README]",)
TOOLS = ("pytest>=8", "hypothesis>=6.100", "beartype>=0.20")
OLDEST = (3, 11)


@dataclass(frozen=True)
class Cell:
    """One environment.

    Attributes:
        name: of the cell.
        python: interpreter.
        pins: requirements beside the wheel.
        unasked: runs without being named.
    """

    name: str
    python: str
    pins: tuple[str, ...] = ()
    unasked: bool = False


def lower_bounds() -> dict[str, str]:
    """What pyproject.toml allows at least of what is watched, by distribution.

    >>> sorted(lower_bounds())
    ['huggingface-hub', 'torch', 'transformers']
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = {}
    for requirement in project["dependencies"]:
        name, _, version = requirement.partition(">=")
        if name in WATCHED:
            bounds[name] = re.split(r"[,; ]", version)[0]
    return bounds


def pythons() -> list[str]:
    """Every interpreter from 3.11 on this machine, one for each minor version."""
    places = os.environ.get("PATH", "").split(os.pathsep)
    places += [str(p) for p in Path.home().glob(".pyenv/versions/3.*/bin")]
    known: dict[tuple[int, int], str] = {sys.version_info[:2]: sys.executable}
    for minor in range(OLDEST[1], 30):
        for place in places:
            path = shutil.which(f"python3.{minor}", path=place)
            if path is not None and _works(path, minor):
                known.setdefault((3, minor), path)
                break
    return [known[version] for version in sorted(known)]


def _works(path: str, minor: int) -> bool:
    code = "import sys, venv; print(sys.version_info[1])"
    done = subprocess.run([path, "-c", code], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.strip() == str(minor)


def cells(torch: str | None = None) -> list[Cell]:
    """The matrix.

    Args:
        torch: version in every cell; None takes the cell's own.
    """
    bounds = lower_bounds()
    here = importlib.metadata.version("torch").partition("+")[0]
    libraries = tuple(f"{name}=={bounds[name]}" for name in WATCHED if name != "torch")

    def pins(version: str | None, *others: str) -> tuple[str, ...]:
        chosen = torch or version
        return (*((f"torch=={chosen}",) if chosen else ()), *others)

    matrix = [
        Cell("lowest", sys.executable, pins(here, *libraries), True),
        Cell("highest", sys.executable, pins(here), True),
        Cell("lowest-torch", sys.executable, pins(bounds["torch"], *libraries)),
        Cell("plain", sys.executable, pins(None)),
    ]
    others = [path for path in pythons() if path != sys.executable]
    return matrix + [Cell(Path(path).resolve().name, path, pins(here)) for path in others]


def built_wheel() -> Path:
    """The wheel of this folder, made now."""
    folder = PLACE / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment(cell: Cell, wheel: Path) -> Path:
    """A new environment with wheel and pins, by uv if it is here; its interpreter."""
    folder = PLACE / cell.name
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([cell.python, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    uv = shutil.which("uv")
    name = str(python)
    pip = [uv, "pip", "install", "--python", name] if uv else [name, "-m", "pip", "install"]
    subprocess.run([*pip, "--quiet", f"{wheel}[all]", *cell.pins, *TOOLS], check=True)
    return python


def versions_in(python: Path) -> dict[str, str]:
    """Versions of the watched distributions, and where sfm is."""
    code = (
        "import json, importlib.metadata as m, sfm; "
        f"print(json.dumps({{**{{n: m.version(n) for n in {WATCHED!r}}}, 'sfm': sfm.__file__}}))"
    )
    command = [str(python), "-c", code]
    text = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=PLACE, env=surroundings()
    ).stdout
    versions: dict[str, str] = json.loads(text)
    return versions


def surroundings() -> dict[str, str]:
    """The variables of this process, less what would put this folder before the wheel."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**clean, "PYTHONSAFEPATH": "1"}


def tested(python: Path, words: Sequence[str], log: Path) -> tuple[bool, str]:
    """Run pytest from this folder: whether all passed, and its last line."""
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    with log.open("w", encoding="utf-8") as file:
        code = subprocess.run(
            command, cwd=ROOT, env=surroundings(), stdout=file, stderr=subprocess.STDOUT
        ).returncode
    last = (log.read_text(encoding="utf-8").strip().splitlines() or [""])[-1]
    return code == 0, last.strip("= ")


def run(cell: Cell, wheel: Path, tests: Sequence[str]) -> tuple[bool, str]:
    """Install and test a cell: whether it passed, and the line to print."""
    began = time.perf_counter()
    try:
        python = environment(cell, wheel)
        installed = versions_in(python)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or " ".join(map(str, error.cmd))).strip().splitlines()[-1]
        return False, f"{cell.name:<12} cannot be installed: {reason[:200]}"
    if Path(installed["sfm"]).is_relative_to(ROOT / "sfm"):
        return False, f"{cell.name:<12} imports {installed['sfm']}, not the wheel"
    core = tested(python, ["-m", "not slow", *tests], PLACE / f"{cell.name}.log")
    readme = tested(python, README, PLACE / f"{cell.name}-readme.log")
    versions = "  ".join(f"{name} {installed[name]}" for name in WATCHED)
    minutes = (time.perf_counter() - began) / 60
    said = f"{cell.name:<12} {versions}  core: {core[1]}  README: {readme[1]}  ({minutes:.0f} min)"
    return core[0] and readme[0], said


def main() -> int:
    """Run the cells that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cell", action="append", metavar="NAME", help="only this one")
    parser.add_argument("--all", action="store_true", help="those too that run when asked only")
    parser.add_argument("--torch", metavar="VERSION", help="of every cell")
    parser.add_argument("--list", action="store_true", help="show the cells and leave")
    parser.add_argument("tests", nargs="*", default=list(CORE), help="files or folders of tests")
    arguments = parser.parse_args()
    matrix = cells(arguments.torch)
    if unknown := set(arguments.cell or ()) - {cell.name for cell in matrix}:
        names = ", ".join(cell.name for cell in matrix)
        print(f"no cell {', '.join(sorted(unknown))}; there are {names}", file=sys.stderr)
        return 2
    if arguments.cell:
        matrix = [cell for cell in matrix if cell.name in arguments.cell]
    if arguments.list:
        for cell in matrix:
            word = "" if cell.unasked else "  (when asked)"
            print(f"{cell.name:<12} {cell.python}  {' '.join(cell.pins) or 'no pins'}{word}")
        return 0
    PLACE.mkdir(parents=True, exist_ok=True)
    wheel = built_wheel()
    passed = []
    for cell in matrix:
        if not (cell.unasked or arguments.all or arguments.cell):
            print(f"skip  {cell.name:<12} --cell {cell.name} or --all runs it", flush=True)
            continue
        good, line = run(cell, wheel, arguments.tests)
        print(f"{'pass' if good else 'FAIL'}  {line}", flush=True)
        passed.append(good)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    raise SystemExit(main())
