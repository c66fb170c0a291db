"""Checks of heads, metrics, readers and descriptors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.isotropy import ELASTIC, SHAPES, TRACELESS
from sfm.data.readers import OBJECT, TEXT
from sfm.errors import SfmError
from sfm.plugin import Plugin
from sfm.registry import Part, find, quantities
from sfm.testing.checks import Check, CheckFailed, Skipped, ensure


def checks(plugin: Plugin) -> list[Check]:
    """Checks of all the plugin's heads, metrics, readers and descriptors."""
    checklist = []
    for part in plugin.heads:
        checklist.append(
            Check(f"heads/{plugin.name}/{part}", "quantity", partial(head, plugin, part))
        )
    for part in plugin.metrics:
        checklist.append(
            Check(f"metrics/{plugin.name}/{part}", "value", partial(metric, plugin, part))
        )
    for part in plugin.readers:
        checklist.append(
            Check(f"readers/{plugin.name}/{part}", "bad-input", partial(reader, plugin, part))
        )
    for part in plugin.descriptors:
        checklist.append(
            Check(f"descriptors/{plugin.name}/{part}", "turned", partial(descriptor, plugin, part))
        )
    return checklist


def descriptor(plugin: Plugin, part: str) -> str:
    """Numbers by name, the same for a sample that was turned, at least ten that are finite."""
    import torch

    from sfm.nn.symmetry import random_rotation
    from sfm.testing.models import encoder_samples

    function = find("descriptors", f"{plugin.name}/{part}").load()
    turn = random_rotation(torch.Generator().manual_seed(0)).numpy()
    most = 0
    for encoder in plugin.encoders:
        for sample in encoder_samples(f"{plugin.name}/{encoder}")[:3]:
            cell = None if sample.cell is None else sample.cell @ turn.T
            described = function(sample)
            moved = function(sample.replace(positions=sample.positions @ turn.T, cell=cell))
            ensure(described.keys() == moved.keys(), f"{sample.id}: other names after a rotation")
            for name, value in described.items():
                # a self-consistent field is converged to some digits, not to all
                close = np.isclose(value, moved[name], rtol=1e-3, atol=1e-3, equal_nan=True)
                ensure(bool(close), f"{sample.id}: {name} is {value}, turned {moved[name]}")
            most = max(most, int(np.isfinite(list(described.values())).sum()))
    ensure(most >= 10, f"says at most {most} finite numbers")
    return f"{most} descriptors"


def head(plugin: Plugin, part: str) -> None:
    """Its name is a known quantity, its normalisation a known one."""
    quantity = quantities()[part]
    cls = find("heads", f"{plugin.name}/{part}").load()
    ensure(
        cls.normalisation in ("references", "standard", "rms", "none"),
        f"normalisation '{cls.normalisation}' is not references, standard, rms or none",
    )
    instance = cls(quantity, 8)
    ensure(instance.quantity == quantity, "does not keep its quantity")


def metric(plugin: Plugin, part: str) -> str:
    """Named `quantity.name`; a perfect prediction and a bad one give two different numbers."""
    name, dot, _ = part.partition(".")
    ensure(bool(dot), "write its name as quantity.name")
    ensure(name in quantities(), f"no quantity is called '{name}'")
    quantity = quantities()[name]
    function = find("metrics", f"{plugin.name}/{part}").load()
    rng = np.random.default_rng(0)
    shape: tuple[int, ...] = (12,) if quantity.dim == 1 else (12, quantity.dim)
    if quantity.irreps == "0e+2e":
        shape = (12, 2, 2) if quantity.per == "grid" else (12, 3, 3)
    if quantity.irreps in (TRACELESS, ELASTIC):
        shape = (12, *SHAPES[quantity.irreps])
    target = rng.normal(size=shape)
    good = float(function(target, target))
    bad = float(function(target + rng.normal(size=shape), target))
    ensure(
        bool(np.isfinite([good, bad]).all()),
        f"is {good} for a perfect prediction, {bad} for a bad one",
    )
    ensure(good != bad, f"is {good} for a perfect and for a bad prediction")
    return f"{good:.3g} perfect, {bad:.3g} with noise of one standard deviation"


def reader(plugin: Plugin, part: str) -> None:
    """A truncated and an empty file give one line of `SfmError`, no traceback."""
    if part.startswith((OBJECT, TEXT)):
        raise Skipped("reads objects or text, not files")
    function = Part(plugin.name, plugin.domain, "readers", part, plugin.readers[part]).load()
    with tempfile.TemporaryDirectory() as folder:
        for suffix in part.split(","):
            suffix = suffix.strip()
            name = f"bad{suffix}" if suffix.startswith(".") else suffix.upper()
            for content in (b"", b"\x00\x01garbage\n3\n", b"7\n"):
                path = Path(folder) / name
                path.write_bytes(content)
                _refuses(function, path, content)


def _refuses(function: Callable[[Path], Any], path: Path, content: bytes) -> None:
    try:
        samples = function(path)
    except SfmError as error:
        ensure("\n" not in str(error).strip(), f"{path.name}: its message has several lines")
        return
    except Exception as error:
        raise CheckFailed(
            f"{path.name} with content {content!r} raises {type(error).__name__}, not an SfmError"
        ) from error
    ensure(not samples, f"{path.name} with content {content!r} is read as {len(samples)} samples")
