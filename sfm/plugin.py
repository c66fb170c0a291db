"""The plugin contract: what an installed package says about the parts that it adds.

A plugin is a frozen `Plugin` object behind an entry point of the group `sfm.plugins`. Its parts
are strings `"module:attribute"`, so that listing them imports nothing heavy: the module that holds
the `Plugin` may import `sfm.plugin`, `sfm.quantity` and the standard library only.

    [project.entry-points."sfm.plugins"]
    molecules = "sfm_molecules:plugin"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sfm.errors import PluginError
from sfm.quantity import Quantity

API = 1
KINDS = (
    "datasets",
    "simulators",
    "encoders",
    "heads",
    "metrics",
    "readers",
    "descriptors",
    "discoverers",
)

_NAME = re.compile(r"[a-z][a-z0-9-]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _parts() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """What a package adds to a domain. Every part is `name: "module:attribute"`.

    Attributes:
        name: the plugin's name; equal to the name of its entry point.
        domain: `molecules`, `crystals`, `fluids`, `dft`, or a new one.
        summary: one line.
        api: version of this contract that the plugin was written for.
        datasets: `sfm.data.spec.DatasetSpec` values.
        simulators: `sfm.simulate.Simulator` subclasses.
        encoders: `sfm.nn.encoder.Encoder` subclasses.
        heads: `sfm.nn.head.Head` subclasses, keyed by the quantity that they predict.
        metrics: callables `(predicted, target) -> float`, keyed `quantity.name`.
        readers: callables `(path) -> list[Sample]` or `(object) -> Sample`; the key is a file
            suffix (`.cif`), a word in file names (`poscar`), a comma-separated list of these,
            `object:<module>.<Class>`, or `text:<name>` for strings that are no file (SMILES).
        descriptors: callables `(Sample) -> {name: number}`, classical descriptors that stand
            beside the model's features (`sfm.data.descriptors`).
        discoverers: callables `(path, *, degree, threshold, seed) -> report` that find the equation
            behind a time series, for `sfm discover`; a report holds `equations` (lines),
            `quantities` and `warnings`.
        quantities: quantities that the parts use, besides the core's energy, forces and stress.
        citations: DOI, arXiv or URL strings.
        expected_failures: conformance checks known to fail, `"part:check": "reason"`.
        requires: modules that the parts import and that come with the plugin's extra.
    """

    name: str
    domain: str
    summary: str
    api: int = API
    datasets: Mapping[str, str] = field(default_factory=_parts)
    simulators: Mapping[str, str] = field(default_factory=_parts)
    encoders: Mapping[str, str] = field(default_factory=_parts)
    heads: Mapping[str, str] = field(default_factory=_parts)
    metrics: Mapping[str, str] = field(default_factory=_parts)
    readers: Mapping[str, str] = field(default_factory=_parts)
    descriptors: Mapping[str, str] = field(default_factory=_parts)
    discoverers: Mapping[str, str] = field(default_factory=_parts)
    quantities: tuple[Quantity, ...] = ()
    citations: tuple[str, ...] = ()
    expected_failures: Mapping[str, str] = field(default_factory=_parts)
    requires: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise PluginError(f"plugin name '{self.name}': use lower case letters, digits and -")
        if self.name == "core":
            raise PluginError("plugin name 'core' is reserved for the heads of sfm itself")
        for kind in KINDS:
            for part, target in getattr(self, kind).items():
                if not isinstance(target, str) or not _TARGET.fullmatch(target):
                    raise PluginError(
                        f"plugin '{self.name}': {kind}['{part}'] is {target!r}; "
                        "write it as 'module:attribute', so that listing imports nothing"
                    )

    def parts(self) -> Iterator[tuple[str, str, str]]:
        """Every part as `(kind, name, target)`."""
        for kind in KINDS:
            for part, target in getattr(self, kind).items():
                yield kind, part, target
