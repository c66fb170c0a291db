"""In tests, calls of functions that state shapes are held against their annotations.

A function states shapes when its annotations are `jaxtyping`'s, a dataclass when its fields are.
Outside the tests nothing is checked, and an annotation costs nothing. In the tests a check costs
some 20 microseconds, more than a small function itself, so functions that are called very often
are sampled: of each test the first `FIRST` calls of a function are checked, then one in `EVERY`.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from arrows import packages
from beartype import BeartypeConf, beartype
from docstrings import JAXTYPING
from jaxtyping import jaxtyped

ROOT = Path(__file__).parent.parent
CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float, as for type checkers
FIRST, EVERY = 10, 32

functions: list[Callable[..., Any]] = []  # that are checked, of modules imported so far
_tests = 0  # how many have begun


def stating(root: Path = ROOT) -> Iterator[str]:
    """Modules of all packages that state shapes."""
    for folder in packages(root):
        for path in sorted(folder.rglob("*.py")):
            if "\nfrom jaxtyping import" in path.read_text(encoding="utf-8"):
                yield ".".join(path.relative_to(folder.parent).with_suffix("").parts)


def begin_test() -> None:
    """Count calls from the start."""
    global _tests
    _tests += 1


def checked(thing: Any) -> Any:
    """A function, or a dataclass by its `__init__`, with a check of arguments and result."""
    if isinstance(thing, type):
        thing.__init__ = checked(thing.__init__)  # type: ignore[misc]
        return thing
    return _sampled(thing)


def unreadable(function: Callable[..., Any]) -> list[str]:
    """Annotations of shapes that jaxtyping cannot read, and so passes over.

    Names that a module imports for type checkers alone are passed over, too, and not listed.
    """
    wrong = []
    for text in function.__annotations__.values():
        try:
            if isinstance(text, str) and JAXTYPING.search(text):
                eval(text, function.__globals__)
        except NameError:
            pass
        except Exception as error:  # whatever jaxtyping raises
            wrong.append(f"{function.__module__}.{function.__qualname__}: {text}: {error}")
    return wrong


def _sampled(function: Callable[..., Any]) -> Callable[..., Any]:
    functions.append(function)
    strict: Callable[..., Any] | None = None  # made at the first call: most are never called
    test = count = 0

    @functools.wraps(function)
    def held(*args: Any, **kwargs: Any) -> Any:
        nonlocal strict, test, count
        if test != _tests:
            test, count = _tests, 0
        count += 1
        if count > FIRST and count % EVERY:
            return function(*args, **kwargs)
        if strict is None:
            strict = jaxtyped(function, typechecker=beartype(conf=CONF))
        return strict(*args, **kwargs)

    return held


def _mark(node: ast.stmt) -> ast.expr:
    """`checked` of this module, as a decorator of the node."""
    source = f"__import__({__name__!r}).{checked.__name__}"
    return ast.copy_location(ast.parse(source, mode="eval").body, node)


class _Decorator(ast.NodeTransformer):
    """Decorates functions of a module and its classes that state shapes, and such dataclasses."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [a for a in (arguments.vararg, arguments.kwarg) if a]
        notes = [*(a.annotation for a in every), node.returns]
        if any(n is not None and JAXTYPING.search(ast.unparse(n)) for n in notes):
            node.decorator_list.append(_mark(node))  # innermost: it sees the annotations
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        fields = [n.annotation for n in node.body if isinstance(n, ast.AnnAssign)]
        is_dataclass = any("dataclass" in ast.unparse(d) for d in node.decorator_list)
        self.generic_visit(node)
        if is_dataclass and any(JAXTYPING.search(ast.unparse(n)) for n in fields):
            node.decorator_list.insert(0, _mark(node))
        return node


class Loader(SourceFileLoader):
    """Of modules whose functions are checked; their code is compiled anew, never cached."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = _Decorator().visit(ast.parse(self.get_data(path), path))
        code: CodeType = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
        return code


class _Finder(MetaPathFinder):
    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = frozenset(modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: Any = None
    ) -> ModuleSpec | None:
        if fullname not in self.modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Check modules that are imported from now on.

    Raises:
        RuntimeError: one of them is imported already, and would go unchecked.
    """
    modules = list(stating())
    if late := sorted(set(modules) & set(sys.modules)):
        raise RuntimeError(f"imported before their shapes are checked: {', '.join(late)}")
    sys.meta_path.insert(0, _Finder(modules))
