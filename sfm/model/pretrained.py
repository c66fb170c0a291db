"""Small modules by name, as whole models have `FoundationModel.from_pretrained`.

A plugin publishes its functionals or closures so: `sfm.nn.saving.save_module` into a folder, with
`"model_type": "sfm"` and `"architectures": [class]` in the config; then `sfm push`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from sfm.errors import HubError, InputError
from sfm.hub.files import read_config
from sfm.hub.resolve import resolve
from sfm.nn.saving import load_module

Module = TypeVar("Module", bound=nn.Module)


def pretrained_module(
    name_or_path: str | Path,
    build: Callable[[dict[str, Any]], Module],
    *,
    kinds: Collection[str],
    what: str,
    **options: Any,
) -> Module:
    """The module in a folder, a bundled one, or one of the Hub.

    Args:
        name_or_path: bundled name, folder, or `owner/name[@revision]`.
        build: as `sfm.nn.saving.load_module` has it.
        kinds: classes of which the first of the config's `architectures` is one.
        what: what they are together, for the message.
        options: of `sfm.hub.resolve.resolve`.

    Raises:
        InputError: nothing has this name.
        HubError: refused, damaged, or a model of another kind.
    """
    folder = resolve(name_or_path, **options)
    classes = read_config(folder).get("architectures")
    kind = str(classes[0]) if isinstance(classes, list) and classes else ""
    if kind not in kinds:
        raise HubError(f"{folder} holds no {what} but {kind[:80] or 'something else'!r}")
    try:
        return load_module(folder, build)
    except InputError as error:
        raise HubError(str(error)) from error
