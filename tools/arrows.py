"""Who imports whom, read from the source: modules, rooms and circles of a package.

A *room* of a folder is a subfolder or a file that lies loose in it; an *arrow* is an import from
one room into another; a *circle* is a set of modules or rooms that reach each other. Absolute,
relative and local imports (inside functions) count, `import_module("...")` of a literal and
attributes of imported packages (`sfm.load`) too; imports for type checkers only do not.
The `__init__` of a package that a dotted name passes through does not count, only one that is
named: `from a.b import c` is an import of `a.b.c` if that is a module, else of `a.b`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One name that a module imports or reaches.

    Attributes:
        name: absolute dotted name, `sfm.data.tokens.Tokens`.
        line: where.
        local: inside a function.
        relative: written with dots, `from .tokens import Tokens`.
        star: of all names, `from sfm.data.tokens import *`.
    """

    name: str
    line: int
    local: bool = False
    relative: bool = False
    star: bool = False


def _for_types_only(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def _dotted(node: ast.AST) -> str | None:
    """`a.b.c` of a chain of attributes on a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value)):
        return f"{base}.{node.attr}"
    return None


class _Reader(ast.NodeVisitor):
    def __init__(self, module: str, *, is_package: bool) -> None:
        self.package = module if is_package else module.rpartition(".")[0]
        self.names: list[Import] = []
        self.bound: dict[str, str] = {}  # local name of an imported module: its dotted name
        self.depth = 0

    def _add(self, name: str, node: ast.AST, **flags: bool) -> None:
        self.names.append(Import(name, node.lineno, local=self.depth > 0, **flags))  # type: ignore[attr-defined]

    def visit_If(self, node: ast.If) -> None:
        if not _for_types_only(node.test):
            return self.generic_visit(node)
        for child in node.orelse:
            self.visit(child)
        return None

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node)
            top = alias.name.partition(".")[0]
            self.bound[alias.asname or top] = alias.name if alias.asname else top

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self.package.split(".")
            above = parts[: len(parts) - node.level + 1]
            base = ".".join([*above, *base.split(".")] if base else above)
        for alias in node.names:
            star = alias.name == "*"
            name = base if star else f"{base}.{alias.name}"
            self._add(name, node, relative=bool(node.level), star=star)
            self.bound[alias.asname or alias.name] = name

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = _dotted(node)
        if name and (module := self.bound.get(name.partition(".")[0])):
            self._add(f"{module}.{name.partition('.')[2]}", node)
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = (_dotted(node.func) or "").rpartition(".")[2]
        first = node.args[0] if node.args else None
        if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
            self._add(str(first.value), node)
        self.generic_visit(node)

    def _inside(self, node: ast.AST) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _inside

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    def visit_arguments(self, node: ast.arguments) -> None:
        for default in (*node.defaults, *node.kw_defaults):
            if default:
                self.visit(default)


def imports(path: Path, module: str) -> list[Import]:
    """What the file of `module` imports. Annotations are not read: they need no import to run."""
    reader = _Reader(module, is_package=path.stem == "__init__")
    reader.visit(ast.parse(path.read_text(encoding="utf-8")))
    return reader.names


@dataclass(frozen=True)
class Package:
    """The modules of one package and what they import.

    Attributes:
        name: of the package.
        files: path of each module; a folder's `__init__` is `sfm.data.__init__`.
        imports: of each module, in the order of the file.
    """

    name: str
    files: Mapping[str, Path]
    imports: Mapping[str, list[Import]]

    @staticmethod
    def read(folder: Path) -> Package:
        """All modules below `folder`, whose name is the package's."""
        files, read = {}, {}
        for path in sorted(folder.rglob("*.py")):
            parts = (folder.name, *path.relative_to(folder).with_suffix("").parts)
            module = ".".join(parts)
            files[module] = path
            read[module] = imports(path, module.removesuffix(".__init__"))
        return Package(folder.name, files, read)

    def module(self, name: str) -> str | None:
        """The module of this package that holds the dotted name; None for a name from outside."""
        parts = name.split(".")
        if parts[0] != self.name:
            return None
        for end in range(len(parts), 0, -1):
            stem = ".".join(parts[:end])
            if stem in self.files:
                return stem
            if f"{stem}.__init__" in self.files:
                return f"{stem}.__init__"
        return None

    @cached_property
    def arrows(self) -> dict[str, set[str]]:
        """Module -> the other modules of the package that it imports."""
        result: dict[str, set[str]] = {}
        for module, names in self.imports.items():
            targets = {self.module(i.name) for i in names}
            result[module] = {t for t in targets if t and t != module}
        return result

    def folders(self) -> list[str]:
        """The package and its folders, dotted, outermost first."""
        return sorted({m.rpartition(".")[0] for m in self.files}, key=lambda f: (f.count("."), f))

    def room(self, module: str, folder: str | None = None) -> str | None:
        """Name of the room of `folder` (the package) that holds the module; None outside of it."""
        folder = folder or self.name
        rest = module.removeprefix(f"{folder}.")
        return rest.partition(".")[0] if rest != module else None

    def rooms(self, folder: str | None = None) -> dict[str, set[str]]:
        """Room -> the rooms of the same folder that it imports, at any depth."""
        result: dict[str, set[str]] = {}
        for module, targets in self.arrows.items():
            if (here := self.room(module, folder)) is None:
                continue
            others = {self.room(t, folder) for t in targets}
            result.setdefault(here, set()).update(o for o in others if o and o != here)
        return result


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:  # noqa: C901
    """Sets of two and more that reach each other (Tarjan, SIAM J. Comput. 1, 146, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    result: list[list[str]] = []

    def visit(node: str) -> Iterator[str]:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(arrows.get(node, ())):
            if target not in index:
                yield target
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            start = stack.index(node)
            if len(stack) - start > 1:
                result.append(sorted(stack[start:]))
            del stack[start:]

    for root in sorted(arrows):
        if root in index:
            continue
        open_nodes = [visit(root)]
        while open_nodes:
            below = next(open_nodes[-1], None)
            if below is None:
                open_nodes.pop()
            else:
                open_nodes.append(visit(below))
    return result


def room_circles(package: Package) -> list[list[str]]:
    """Circles between the rooms of the package and of each folder in it, with dotted names."""
    return [
        [f"{folder}.{room}" for room in circle]
        for folder in package.folders()
        for circle in circles(package.rooms(folder))
    ]


def packages(root: Path) -> list[Path]:
    """Folders of the core and of the plugins of a source tree."""
    plugins = sorted(p for p in root.glob("plugins/*/sfm_*") if (p / "__init__.py").is_file())
    return [root / "sfm", *plugins]
