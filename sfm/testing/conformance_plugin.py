"""Checks of the plugin object: light, complete, documented."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError, entry_points, metadata
from typing import Any

from sfm.plugin import Plugin
from sfm.registry import GROUP, Found, find
from sfm.testing.checks import Check, ensure
from sfm.testing.conformance_globals import globals_stay
from sfm.testing.tolerances import HEAVY_MODULES, LIGHT_IMPORT_SECONDS
from sfm.units import check_unit

_CITATION = re.compile(r"(https?://|doi:|arxiv:|10\.\d{4,}/)\S+|.*\(\d{4}\).*", re.IGNORECASE)

_PROBE = """
import json, sys, time
import sfm.plugin, sfm.quantity, sfm.registry
before, start = set(sys.modules), time.perf_counter()
from importlib.metadata import entry_points
entry = next(e for e in entry_points(group=sys.argv[1]) if e.name == sys.argv[2])
module = __import__(entry.module)
start, _ = time.perf_counter() - start, entry.load()
print(json.dumps({"modules": sorted(set(sys.modules) - before), "seconds": start}))
"""


def checks(plugin: Plugin, row: Found) -> list[Check]:
    """Checks of `plugin`, which the distribution of `row` supplies."""
    name = plugin.name
    checklist = [
        Check(name, "light-import", partial(light_import, plugin)),
        Check(name, "globals-stay", partial(globals_stay, plugin)),
        Check(name, "units", partial(units, plugin)),
        Check(name, "citations", partial(citations, plugin)),
        Check(name, "licence", partial(licence, row)),
        Check(name, "entry-point", partial(entry_point, plugin)),
    ]
    for kind, part, _ in plugin.parts():
        run = partial(resolves, plugin, kind, part)
        checklist.append(Check(f"{kind}/{name}/{part}", "resolves", run))
    return checklist


def light_import(plugin: Plugin) -> str:
    """In a fresh interpreter, loading the plugin imports nothing heavy and is quick."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, GROUP, plugin.name], capture_output=True, text=True
    )
    ensure(done.returncode == 0, f"cannot be loaded in a fresh interpreter: {done.stderr[-300:]}")
    report = json.loads(done.stdout)
    roots = {module.partition(".")[0] for module in report["modules"]}
    heavy = sorted(roots.intersection(HEAVY_MODULES))
    ensure(not heavy, f"loading it imports {', '.join(heavy)}: keep its package's __init__ light")
    seconds = report["seconds"]
    ensure(seconds < LIGHT_IMPORT_SECONDS, f"loading it takes {seconds:.2f} s")
    return f"{1e3 * seconds:.0f} ms"


def units(plugin: Plugin) -> str:
    """Every quantity's unit is known and every quantity has a summary."""
    for quantity in plugin.quantities:
        check_unit(quantity.unit)
        ensure(bool(quantity.summary), f"quantity '{quantity.name}' has no summary")
    return f"{len(plugin.quantities)} quantities"


def citations(plugin: Plugin) -> str:
    """The plugin says where its science comes from, findably."""
    ensure(bool(plugin.citations), "has no citations: give DOI, arXiv or URL strings")
    for citation in plugin.citations:
        ensure(bool(_CITATION.match(citation)), f"citation '{citation}' is no DOI, arXiv id, URL")
    ensure(len(plugin.summary) > 10, "has no summary")
    return f"{len(plugin.citations)} citations"


def licence(row: Found) -> str:
    """The distribution's metadata name a licence and a summary."""
    try:
        head: Any = metadata(row.distribution)
    except PackageNotFoundError:
        ensure(False, f"distribution '{row.distribution}' is not installed")
        raise
    named = head.get("License-Expression") or head.get("License")
    classifiers = [c for c in head.get_all("Classifier") or [] if c.startswith("License")]
    ensure(bool(named or classifiers), f"distribution '{row.distribution}' names no licence")
    ensure(bool(head.get("Summary")), f"distribution '{row.distribution}' has no description")
    return str(named or classifiers[0])


def entry_point(plugin: Plugin) -> str:
    """Exactly one entry point of this name exists."""
    values = {e.value for e in entry_points(group=GROUP) if e.name == plugin.name}
    ensure(len(values) == 1, f"{len(values)} entry points are called '{plugin.name}': {values}")
    return values.pop()


def resolves(plugin: Plugin, kind: str, part: str) -> None:
    """The string leads to something of the right kind."""
    from sfm.data.spec import DatasetSpec
    from sfm.registry import Part

    if kind == "readers":
        target = Part(plugin.name, plugin.domain, kind, part, plugin.readers[part]).load()
    else:
        target = find(kind, f"{plugin.name}/{part}").load()
    if kind == "datasets":
        ensure(isinstance(target, DatasetSpec), f"is a {type(target).__name__}, not a DatasetSpec")
        return
    if kind in ("metrics", "readers", "descriptors", "discoverers"):
        ensure(callable(target), "cannot be called")
        return
    from sfm.nn.encoder import Encoder
    from sfm.nn.head import Head
    from sfm.simulate.base import Simulator

    base = {"simulators": Simulator, "encoders": Encoder, "heads": Head}[kind]
    ensure(
        isinstance(target, type) and issubclass(target, base), f"is no subclass of {base.__name__}"
    )
    if kind in ("simulators", "encoders"):
        ensure(
            getattr(target, "part", None) == f"{plugin.name}/{part}",
            f"its class attribute part is {getattr(target, 'part', None)!r}, "
            f"not '{plugin.name}/{part}'",
        )
    if kind == "encoders":
        ensure(target.domain == plugin.domain, f"its domain is '{target.domain}'")
