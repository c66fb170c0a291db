"""In tests, every call of a module that states shapes is held against its annotations.

A module states shapes when it imports `jaxtyping`. Outside the tests nothing is checked, and an
annotation costs nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from arrows import packages
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

ROOT = Path(__file__).parent.parent
CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float, as for type checkers
SHAPE = re.compile(r"\b(Float|Int|Bool|Complex|Inexact|Num|Shaped)\[")
Checked = TypeVar("Checked", bound=Callable[..., Any])


def stating(root: Path = ROOT) -> Iterator[str]:
    """Modules of all packages that state shapes."""
    for folder in packages(root):
        for path in sorted(folder.rglob("*.py")):
            if "\nfrom jaxtyping import" in path.read_text(encoding="utf-8"):
                yield ".".join(path.relative_to(folder.parent).with_suffix("").parts)


def checked(function: Checked) -> Checked:
    """The function with a check of its arguments and result, if its annotations state shapes."""
    annotations = getattr(function, "__annotations__", {}).values()
    states = any(SHAPE.search(str(annotation)) for annotation in annotations)
    return beartype(conf=CONF)(function) if states else function


def install() -> None:
    """Check modules that are imported from now on.

    Raises:
        RuntimeError: one of them is imported already, and would go unchecked.
    """
    modules = list(stating())
    if late := sorted(set(modules) & set(sys.modules)):
        raise RuntimeError(f"imported before their shapes are checked: {', '.join(late)}")
    install_import_hook(modules, f"{__name__}.{checked.__name__}")
