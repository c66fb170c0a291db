"""Learned functionals as safetensors files: weights, and class and options in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sfm.data.atomic import atomic
from sfm.errors import HubError, InputError
from sfm.formats.strict_json import parse
from sfm.nn.bounded import BuiltWithin, checked_options
from sfm_dft.ladder.neural import GlobalXC, LocalXC

KINDS: Mapping[str, type[nn.Module]] = {"local": LocalXC, "global": GlobalXC}
BUNDLED = Path(__file__).parent / "functionals"


def save(
    functional: nn.Module, path: Path, *, kind: str, options: Mapping[str, Any], **info: Any
) -> None:
    """Write the weights; `info` says how they were trained."""
    from safetensors.torch import save_file

    state = {name: value.detach().contiguous() for name, value in functional.state_dict().items()}
    head = {"kind": kind, "options": json.dumps(dict(options)), "info": json.dumps(info)}
    with atomic(path) as scratch:
        save_file(state, str(scratch), metadata=head)


def load(name: str | Path) -> nn.Module:
    """A functional from a file, or a bundled one by its name: `global` (of two H2),
    `global-families` (of H2, H4 and H2-H2).

    Raises:
        InputError: there is no such file, it holds no functional, or a damaged one.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(name)
    if not path.exists():
        path = BUNDLED / f"{name}.safetensors"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in BUNDLED.glob("*.safetensors")))
        raise InputError(f"{name}: no such file, and no bundled functional (there are {known})")
    try:
        with safe_open(str(path), framework="pt") as file:
            head = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged, or no safetensors file ({error})") from None
    if head.get("kind") not in KINDS:
        raise InputError(f"{path}: holds no functional of this package")
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    try:
        with BuiltWithin(shapes, str(path)):
            functional = KINDS[head["kind"]](**checked_options(parse(head["options"])))
        functional.load_state_dict(state, strict=True)
    except HubError:
        raise
    except Exception as error:  # whatever a constructor says of options that cannot be
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise InputError(f"{path}: its weights do not fit its options ({reason})") from error
    return functional
