"""Learned functionals as safetensors files: weights, and class and options in the header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sfm.errors import InputError
from sfm.nn.bounded import checked_options
from sfm.nn.saving import load_module, save_module
from sfm_dft.ladder.neural import GlobalXC, LocalXC

KINDS: Mapping[str, type[nn.Module]] = {"local": LocalXC, "global": GlobalXC}
BUNDLED = Path(__file__).parent / "functionals"


def save(
    functional: nn.Module, path: Path, *, kind: str, options: Mapping[str, Any], **info: Any
) -> None:
    """Write the weights; `info` says how they were trained."""
    save_module(functional, path, {"kind": kind, "options": dict(options), "info": info})


def load(name: str | Path) -> nn.Module:
    """A functional from a file, or a bundled one by its name: `global` (of two H2),
    `global-families` (of H2, H4 and H2-H2).

    Raises:
        InputError: there is no such file, it holds no functional, or a damaged one.
    """
    path = Path(name)
    if not path.exists():
        path = BUNDLED / f"{name}.safetensors"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in BUNDLED.glob("*.safetensors")))
        raise InputError(f"{name}: no such file, and no bundled functional (there are {known})")

    def build(config: dict[str, Any]) -> nn.Module:
        if config.get("kind") not in KINDS:
            raise InputError(f"{path}: holds no functional of this package")
        return KINDS[config["kind"]](**checked_options(config.get("options")))

    return load_module(path, build)
