"""What public docstrings say of arrays and formulas: shape, unit, source.

A public function is one of a module or of a public class, without a leading underscore. If it
takes or returns a tensor or an array, its docstring names their shape and unit; annotations of
`jaxtyping` name shapes too. What a class or an overridden method says of shapes, and what class or
module say of units (`atomic units throughout`), need not be repeated. A docstring that shows a
formula names its source, there or in the docstring of the module; `by definition` is a source.

    python tools/docstrings.py            # what is missing
    python tools/docstrings.py --shrink   # take what is no longer missing off the list
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arrows import packages

ROOT = Path(__file__).parent.parent
EXCEPTIONS = ROOT / "tests" / "docstring_exceptions.txt"

ARRAYS = re.compile(r"\b(Tensor|ndarray|NDArray|ArrayLike|Float|Int|Bool|Shaped|Complex|Inexact)\b")
JAXTYPING = re.compile(r"\b(Float|Float64|Int|Int64|Bool|Shaped|Complex|Inexact|Num)\[")
# packages whose public signatures state every shape; of the others these rooms and every `forward`
WHOLE = ("sfm", "sfm_crystals", "sfm_dft", "sfm_dynamics", "sfm_fluids", "sfm_molecules")
STATED = ("closures", "learned", "model", "patches")
BARE = re.compile(r"\b(Tensor|ndarray|NDArray|ArrayLike)\b")
SHAPED = re.compile(rf"{JAXTYPING.pattern}(np\.)?\w+, ")

# a part of every encoder's `symmetries`: any quantity, of any shape
SYMMETRY = "Callable[[str, Tensor], Tensor]"

# one axis: N, 3, ..., *grid, dim, 2 n, N', n + 1; or a word beside one of those: (rows, 3)
_AXIS = (
    r"(?:\.\.\.|\d{1,3}|\*[a-z_]+|dim|[A-Za-z]{1,2}[0-9_']{0,2}"
    r"|\d* ?[A-Za-z][0-9_']?(?: ?(?:[-+*/^]|//) ?(?:\d )?[A-Za-z0-9]{1,3})+|\d ?[A-Za-z]"
    r"|[A-Z]_[a-z])"
)
_WORD = rf"(?:{_AXIS}|[A-Za-z_][A-Za-z0-9_' ]{{0,14}})"
SHAPE = re.compile(
    rf"\(\)|\({_WORD},\)|\((?:{_WORD}, )*{_AXIS}(?:, {_WORD})*,?\)"
    r"|\b(?:\d|[nNmMkK]) x (?:\d|[nNmMkK])\b"
    r"|\b(?:one number|any shape|(?:same|equal) shapes?|of the shape|scalar tensor)\b",
)
UNIT = re.compile(
    r"\b(?:[Uu]nits?|[Dd]imensionless|[Hh]artrees?|bohr|[Rr]ydbergs?|k?eV|meV|[Aa]ngstroms?|pm|nm|"
    r"fs|ps|[Kk]elvins?|K|[Pp]ascals?|Pa|GPa|hPa|kcal|kJ|mol|[Dd]ebyes?|amu|daltons?|cm\^?-1|1/cm|"
    r"[Ww]avenumbers?|seconds?|metres?|m/s|kg|s\^?-1|1/s|radians?|degrees?|Hz|THz|"
    r"in cells|fractional|[Ii]ndex|[Ii]ndices|[Nn]umbers? of|[Cc]ounts?|[Mm]ask|[Ww]hether)\b",
)
SOURCE = re.compile(
    r"arXiv:|\bdoi\b|https?://|ISBN|\bet al\b|\b(?:1[6-9]\d\d|20[012]\d)[a-z]?\b|"
    r"\b[Bb]y definition\b|\bderived (?:here|below|above)\b"
)
# an equation, no code that holds text or keywords: on an indented line, or in running text with an
# operator
FORMULA = re.compile(
    r"^ {4,}(?![^\n]*\w=\w)[^\s\"][^\"\n]* = [^\"\n]*[-+*/^(][^\"\n]*$"
    r"|\b\w+(?:\([^()]*\))? = [^.,;:`]*?(?: [-+*/] |\^|\*\*|sqrt|exp\(|sum_)",
    re.M,
)


@dataclass(frozen=True)
class Entry:
    """One public function and what its docstring lacks.

    Attributes:
        key: `sfm_dft:Pbe.energy`, whatever the file, so that moving it changes no list.
        place: `sfm_dft/xc/gga.py`.
        of_arrays: takes or returns a tensor or array.
        has: which of shape, unit, source it names; `signature` if that states every shape.
        missing: which of them it ought to name and does not.
    """

    key: str
    place: str
    of_arrays: bool
    has: frozenset[str]
    missing: tuple[str, ...]


@dataclass
class _Class:
    bases: tuple[str, ...]
    doc: str
    methods: dict[str, str] = field(default_factory=dict)


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [a for a in (arguments.vararg, arguments.kwarg) if a]
    notes = [a.annotation for a in every if a.annotation] + ([node.returns] if node.returns else [])
    return "; ".join(ast.unparse(n) for n in notes)


def _classes(trees: Mapping[Path, ast.Module]) -> dict[str, _Class]:
    result = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = tuple(ast.unparse(b).split("[")[0].rpartition(".")[2] for b in node.bases)
                entry = _Class(bases, ast.get_docstring(node) or "")
                for child in node.body:
                    if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                        entry.methods[child.name] = ast.get_docstring(child) or ""
                result[node.name] = entry
    return result


def _inherited(name: str, method: str, classes: Mapping[str, _Class], depth: int = 0) -> str:
    """Docstrings of the bases: of the same method."""
    if name not in classes or depth > 8:
        return ""
    said = [
        classes[base].methods.get(method, "") + _inherited(base, method, classes, depth + 1)
        for base in classes[name].bases
        if base in classes
    ]
    return "\n".join(said)


_Functions = Iterator[tuple[str | None, ast.FunctionDef | ast.AsyncFunctionDef]]


def _functions(tree: ast.Module) -> _Functions:
    def visit(body: list[ast.stmt], owner: str | None) -> _Functions:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if not node.name.startswith("_"):
                    yield owner, node
            elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from visit(node.body, node.name)
            elif isinstance(node, (ast.If, ast.Try, ast.With)):
                yield from visit(node.body, owner)

    yield from visit(tree.body, None)


def _overload(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(d).rpartition(".")[2] == "overload" for d in node.decorator_list)


def read(folders: list[Path]) -> list[Entry]:
    """Every public function, class and module of some packages."""
    trees = {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
    }
    classes = _classes(trees)
    tops = {path: next(f for f in folders if f in path.parents) for path in trees}
    result = []
    for path, tree in trees.items():
        place = path.relative_to(tops[path].parent).as_posix()
        module_doc = ast.get_docstring(tree) or ""
        result.append(_of_formulas(path.stem, place, module_doc, module_doc))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                doc = ast.get_docstring(node) or ""
                result.append(_of_formulas(node.name, place, doc, module_doc))
        for owner, node in _functions(tree):
            if not _overload(node):
                result.append(_of_function(place, owner, node, module_doc, classes))
    return result


def _of_formulas(name: str, place: str, doc: str, module_doc: str) -> Entry:
    """A class or module: its formulas have sources."""
    has = frozenset({"source"} if SOURCE.search(f"{doc}\n{module_doc}") else ())
    missing = ("source",) if FORMULA.search(doc) and not has else ()
    return Entry(f"{place.partition('/')[0]}:{name}", place, False, has, missing)


def _of_function(
    place: str,
    owner: str | None,
    node: ast.FunctionDef | ast.AsyncFunctionDef,
    module_doc: str,
    classes: Mapping[str, _Class],
) -> Entry:
    text = ast.get_docstring(node) or ""
    notes = _annotations(node)
    doc = text
    if owner:
        doc += f"\n{classes[owner].doc}\n{_inherited(owner, node.name, classes)}"
    has = set()
    if JAXTYPING.search(notes) and not BARE.search(SHAPED.sub("", notes.replace(SYMMETRY, ""))):
        has.add("signature")
    if SHAPE.search(doc) or "signature" in has:
        has.add("shape")
    if UNIT.search(f"{doc}\n{module_doc}"):
        has.add("unit")
    if SOURCE.search(f"{doc}\n{module_doc}"):
        has.add("source")
    of_arrays = bool(ARRAYS.search(notes.replace(SYMMETRY, "")))
    missing = [what for what in ("shape", "unit") if of_arrays and what not in has]
    if FORMULA.search(text) and "source" not in has:
        missing.append("source")
    name = f"{owner}.{node.name}" if owner else node.name
    key = f"{place.partition('/')[0]}:{name}"
    return Entry(key, place, of_arrays, frozenset(has), tuple(missing))


@dataclass
class Gap:
    """What the functions of one key lack, and the files that hold them."""

    what: set[str] = field(default_factory=set)
    places: list[str] = field(default_factory=list)


def gaps(root: Path = ROOT) -> dict[str, Gap]:
    """What functions, classes and modules lack, by key."""
    result: dict[str, Gap] = {}
    for entry in read(packages(root)):
        if entry.missing:
            gap = result.setdefault(entry.key, Gap())
            gap.what.update(entry.missing)
            gap.places.append(entry.place)
    return result


def unstated(root: Path = ROOT) -> list[str]:
    """Signatures that ought to state every shape and do not (`WHOLE`, `STATED`)."""
    return [
        f"{entry.place}: {entry.key} states not every shape"
        for entry in read(packages(root))
        if entry.of_arrays and "signature" not in entry.has and _states(entry)
    ]


def _states(entry: Entry) -> bool:
    """Whether the signature ought to."""
    package, _, path = entry.place.partition("/")
    whole = package in WHOLE or path.partition("/")[0] in STATED
    return whole or entry.key.endswith((".forward", ":forward"))


def listed(path: Path = EXCEPTIONS) -> dict[str, set[str]]:
    """The list of exceptions: a line is `key  shape unit`; `#` begins a remark."""
    lines = (line.partition("#")[0].split() for line in path.read_text("utf-8").splitlines())
    return {line[0]: set(line[1:]) for line in lines if line}


def new_gaps(now: Mapping[str, Gap], known: Mapping[str, set[str]]) -> list[str]:
    """What is missing and not listed, a line each."""
    return [
        f"{' '.join(gap.places)}: {key} names no {' and no '.join(sorted(rest))}"
        for key, gap in sorted(now.items())
        if (rest := gap.what - known.get(key, set()))
    ]


def filled(now: Mapping[str, Gap], known: Mapping[str, set[str]]) -> list[str]:
    """What is listed and no longer missing."""
    return [
        f"{key}  {' '.join(sorted(rest))}"
        for key, what in sorted(known.items())
        if (rest := what - (now[key].what if key in now else set()))
    ]


def shrink(now: Mapping[str, Gap], known: Mapping[str, set[str]]) -> None:
    """Take off the list what is filled."""
    text = EXCEPTIONS.read_text("utf-8").splitlines()
    kept = {k: v & now[k].what for k, v in known.items() if k in now}
    rows = [f"{k}  {' '.join(sorted(v))}" for k, v in sorted(kept.items()) if v]
    rows = [*(line for line in text if line.startswith("#")), *rows]
    EXCEPTIONS.write_text("\n".join(rows) + "\n", encoding="utf-8")


def main() -> int:
    """Print what is missing and not listed; 1 if there is any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shrink", action="store_true", help="take off what is no longer missing")
    parser.add_argument("--all", action="store_true", help="print what is listed too")
    arguments = parser.parse_args()
    now, known = gaps(), listed()
    if arguments.shrink:
        shrink(now, known)
    lines = new_gaps(now, {} if arguments.all else known)
    print(*lines, sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
