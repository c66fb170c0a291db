"""YAML as recipes, cards and `--set` have it: plain values of YAML 1.2's core schema, with limits.

pyyaml reads YAML 1.1, in which `0300` is 192, `no` is false, `1:30` is 90, `2026-99-01` is a date
that cannot be, and a key given twice takes the last. Here `0300` is 300, the others are text, and a
key given twice is refused, as are tags, files too large, and aliases that multiply.
(https://yaml.org/spec/1.2.2/#103-core-schema)
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import yaml

from sfm.errors import RecipeError
from sfm.formats.limits import MOST_DIGITS

LARGEST_TEXT = 1_000_000  # bytes
MOST_VALUES = 100_000  # with every alias written out

_TAG = "tag:yaml.org,2002:"
_CORE = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}
_BASES = {"0o": 8, "0x": 16}


class NotYaml(RecipeError):
    """The text is not YAML at all."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012
    yaml_constructors: ClassVar[dict[Any, Any]] = {
        _TAG + name: yaml.SafeLoader.yaml_constructors[_TAG + name]
        for name in ("null", "bool", "float", "str", "seq", "map")
    }

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _written_out(node, {}) > MOST_VALUES:
            raise RecipeError(f"more than {MOST_VALUES} values, with every alias written out")
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                mark = key_node.start_mark
                raise RecipeError(
                    f"line {mark.line + 1}, column {mark.column + 1}: the key {key!r} is given "
                    "twice; keep one"
                )
            seen.add(key if isinstance(key, Hashable) else id(key_node))
        return super().construct_mapping(node, deep)

    def construct_int(self, node: Any) -> int:
        text = self.construct_scalar(node)
        if len(text) > MOST_DIGITS:
            mark = node.start_mark
            raise RecipeError(
                f"line {mark.line + 1}, column {mark.column + 1}: a number of {len(text)} digits, "
                f"at most {MOST_DIGITS} are read"
            )
        base = _BASES.get(text[:2], 10)
        return int(text if base == 10 else text[2:], base)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would read as something else than text; writes every alias out."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_constructors[_TAG + "int"] = _Loader.construct_int
_Loader.yaml_constructors[None] = yaml.SafeLoader.construct_undefined
for _name, (_pattern, _first) in _CORE.items():
    for _cls in (_Loader, _Dumper):
        _cls.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), _first)


def _written_out(node: Any, sizes: dict[int, int]) -> int:
    """Number of values behind a node when every alias is written out."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise RecipeError("an alias inside what it stands for")
        return sizes[id(node)]
    sizes[id(node)] = 0
    children = node.value if not isinstance(node.value, str) else []
    pairs = (child if isinstance(child, tuple) else (child,) for child in children)
    sizes[id(node)] = total = 1 + sum(_written_out(part, sizes) for pair in pairs for part in pair)
    return total


def read(text: str | bytes, where: str) -> Any:
    """Plain values of a YAML text; bytes are UTF-8, or UTF-16 with its mark.

    Raises:
        NotYaml: not YAML; line and column are named.
        RecipeError: a key given twice, a tag, a number too long, or too large or deep a text.
    """
    if len(text) > LARGEST_TEXT:
        raise RecipeError(f"{where}: larger than {LARGEST_TEXT} bytes")
    try:
        return yaml.load(text, _Loader)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise NotYaml(f"{where}:{place} not YAML: {problem[:200]}") from None
    except RecursionError:
        raise RecipeError(f"{where}: nested too deeply") from None
    except (ValueError, TypeError) as error:  # a list as a key
        raise RecipeError(f"{where}: {' '.join(str(error).split())[:200]}") from None


def write(value: Mapping[str, Any]) -> str:
    """Plain values to YAML, in their own order; `read` gives them back."""

    def dumped(unicode: bool) -> str:
        return yaml.dump(
            dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=unicode, width=100
        )

    text = dumped(True)
    # pyyaml does not escape the line breaks of Unicode by itself, and reads them as spaces
    return dumped(False) if set(text) & set("\x85\u2028\u2029") else text
