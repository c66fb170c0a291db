"""Rules of the house: what `tests/test_architecture.py` holds, each as a list of violations.

A package states the order of its rooms in the docstring of its `__init__`, lowest first, one line
for rooms that do not import each other, each with what it holds:

    quantities, units    what is measured
    data                 samples and files

The package's own `__init__` stands above all, unless a line says where.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from arrows import Import, Package, circles, packages, room_circles

# what a plugin does not reach: what is above the model, and models by name
ABOVE_PLUGINS = ("cli", "demo", "hub", "load", "scaffold", "train")
# names that say that a value is there, and not which one
VAGUE = frozenset({"found", "made", "own", "wanted"})
# code that no package holds, beside the packages
OTHER_CODE = ("benchmarks", "conftest.py", "datasets", "docs", "examples", "model_cards", "recipes")
OTHER_CODE += ("tools", "tests")
LINE = re.compile(r"^    (\w+(?:, \w+)*) {2,}\S", re.M)


def heights(package: Package) -> dict[str, int]:
    """Room -> number of its line in the order that the package states."""
    path = package.files[f"{package.name}.__init__"]
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    lines = LINE.findall(text)
    rooms = {room: n for n, line in enumerate(lines) for room in line.split(", ")}
    return {"__init__": len(lines), **rooms}


def undeclared(package: Package) -> list[str]:
    """Rooms without a place in the order, and places without a room."""
    rooms, known = set(package.rooms()) - {"__init__"}, set(heights(package)) - {"__init__"}
    missing = [f"{package.name}.{r} has no place in the order" for r in rooms - known]
    return sorted([*missing, *(f"{package.name} has no room {r}" for r in known - rooms)])


def _each(package: Package) -> Iterator[tuple[str, Import, str]]:
    """Module, import, and the place in words."""
    for module, names in package.imports.items():
        for one in names:
            yield module, one, f"{package.files[module].name}:{one.line} ({module})"


def upward(package: Package) -> list[str]:
    """Imports of a room that does not stand below the own one, local imports too."""
    height = heights(package)
    violations = []
    for module, one, place in _each(package):
        target = package.module(one.name)
        room, other = package.room(module), package.room(target) if target else None
        if room and other and room != other and height.get(other, 0) >= height.get(room, 0):
            violations.append(f"{place} imports {one.name}: {other} is not below {room}")
    return violations


def circular(package: Package) -> list[str]:
    """Circles of files, and of rooms of the package or of a folder in it."""
    files = [f"files import each other: {', '.join(c)}" for c in circles(package.arrows)]
    return files + [f"rooms import each other: {', '.join(c)}" for c in room_circles(package)]


def styled(package: Package) -> list[str]:
    """Imports that are not written `from package.module import name` in full."""
    return [
        f"{place} imports {one.name} {'relatively' if one.relative else 'with a star'}"
        for _, one, place in _each(package)
        if one.relative or one.star
    ]


def trespassing(package: Package, *, core: str = "sfm") -> list[str]:
    """The core reaches no plugin; a plugin reaches no other, and nothing above the models."""
    violations = []
    for _, one, place in _each(package):
        top, _, rest = one.name.partition(".")
        other = top.startswith(f"{core}_") and top != package.name
        above = package.name != core and top == core and rest.split(".")[0] in ABOVE_PLUGINS
        if other or above:
            violations.append(f"{place} imports {one.name}")
    return violations


def _bound(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names that code gives to values, and where: variables, attributes, arguments, functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.alias):
            yield node.asname or "", node.lineno
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            yield node.name or "", node.lineno


def vague(path: Path) -> list[str]:
    """Names that say nothing of the quantity that they hold (`VAGUE`)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        f"{path.name}:{line}: `{name}` does not say what it holds"
        for name, line in _bound(tree)
        if name in VAGUE
    ]


def named(root: Path) -> Iterator[Path]:
    """Every file of code, tests among them."""
    for folder in packages(root):
        yield from sorted(folder.rglob("*.py"))
    folders = [*(root / name for name in OTHER_CODE), *sorted(root.glob("plugins/*/tests"))]
    for place in folders:
        files = [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))
        yield from (p for p in files if ".peers" not in p.parts)
