"""What there is to look at: models, datasets, plugins and simulators as plain data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from sfm.errors import PluginError, SfmError
from sfm.serve.desk import Desk

LONGEST_CARD = 200_000  # characters


def models(desk: Desk) -> list[dict[str, Any]]:
    """Bundled and cached models, those of this page first and marked `open`."""
    from sfm.hub.catalogue import list_models
    from sfm.hub.resolve import locate

    folders: dict[str, Path | None] = {row.name: row.path for row in list_models()}
    for name in desk.names:
        if name not in folders:
            folders[name] = locate(name).folder
    order = [*desk.names, *(name for name in folders if name not in desk.names)]
    return [_model(name, folders[name], name in desk.names) for name in order]


def _model(name: str, folder: Path | None, is_open: bool) -> dict[str, Any]:
    from sfm.hub.cards import report_of
    from sfm.hub.files import read_config

    body: dict[str, Any] = {"name": name, "open": is_open, "card": "", "targets": []}
    if folder is None:
        return body
    body["card"] = card(folder)
    try:
        report, config = report_of(folder), read_config(folder)
    except SfmError as error:
        return {**body, "error": str(error)}
    keys = ("summary", "licence", "metrics", "coverage", "limits", "cost", "data", "seeds")
    domains = config.get("encoder_domains") or {}
    return {
        **body,
        **{key: report.get(key) for key in keys},
        # functionals are models too, but say nothing of a system by themselves
        "predicts": config.get("architectures") == ["FoundationModel"],
        "domains": sorted(set(domains.values())),
        "targets": [
            {**t, "unit": (config["quantities"].get(t["quantity"]) or {}).get("unit", "1")}
            for t in config.get("targets", [])
        ],
    }


def card(folder: Path) -> str:
    """The README.md of a folder as HTML, without its YAML head and without any HTML of its own."""
    from markdown_it import MarkdownIt

    path = folder / "README.md"
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")[:LONGEST_CARD]
    if text.startswith("---\n"):
        text = text.partition("\n---\n")[2]
    return str(
        MarkdownIt("commonmark", {"html": False}).enable("table").disable("image").render(text)
    )


def datasets(desk: Desk) -> list[dict[str, Any]]:
    """The datasets of the installed plugins."""
    from sfm.cli.dataset import spec_json
    from sfm.registry import parts

    rows = []
    for part in parts("datasets"):
        row = spec_json(part.full_name, part.load())
        row.pop("folder")
        rows.append({"domain": part.domain, **row})
    return rows


def dataset(desk: Desk, *, name: str, samples: int = 3) -> dict[str, Any]:
    """Columns with units and levels, sizes of the splits, first samples, the card.

    Raises:
        PluginError: no such dataset.
        InputError: its files are not here.
    """
    from sfm.cli.dataset import preview_of
    from sfm.data.splits import SPLITS
    from sfm.data.storage import open_dataset
    from sfm.registry import find
    from sfm.serve.predicting import atoms

    spec = find("datasets", name).load()
    data = open_dataset(spec.folder, length_unit=spec.length_unit)
    sizes = {s: len(open_dataset(spec.folder, split=s)) for s in SPLITS}
    first = [data[i] for i in range(min(samples, len(data)))]
    return {
        "name": name,
        "splits": sizes,
        "columns": [asdict(column) for column in data.columns],
        "samples": [preview_of(sample) for sample in first],
        "atoms": [atoms(sample) for sample in first],
        "card": card(spec.folder),
    }


def plugins(desk: Desk) -> list[dict[str, Any]]:
    """Installed plugins and their parts; a broken one is a row with its error."""
    from sfm.cli.plugin import as_json
    from sfm.registry import discover

    return [as_json(row) for row in discover()]


def simulators(desk: Desk) -> list[dict[str, Any]]:
    """Name and summary of every simulator; one that cannot be imported says why."""
    from sfm.registry import parts

    rows: list[dict[str, Any]] = []
    for part in sorted(parts("simulators"), key=lambda part: part.full_name):
        row: dict[str, Any] = {"name": part.full_name, "domain": part.domain}
        try:
            rows.append({**row, "summary": part.load().summary})
        except PluginError as error:
            rows.append({**row, "error": str(error)})
    return rows


def simulator(desk: Desk, *, name: str) -> dict[str, Any]:
    """Equation, parameters with bounds, settings, observables; which closures fit.

    Raises:
        PluginError: no such simulator.
    """
    from sfm.cli.describe import description
    from sfm.registry import find
    from sfm.serve.numbers import as_array, listed

    part = find("simulators", name)
    cls = part.load()
    body = description(part.full_name, cls)
    for parameter in body["parameters"]:  # an open bound is infinite, which JSON does not know
        for bound in ("low", "high"):
            parameter[bound] = listed(as_array(parameter[bound]))
    return {
        **body,
        "domain": part.domain,
        "steps": cls.default_steps,
        "time_unit": cls.time_unit,
        "closure_quantity": cls.closure_quantity,
        "closures": _closures(desk, part.domain, cls.closure_quantity),
    }


def _closures(desk: Desk, domain: str, quantity: str | None) -> list[dict[str, Any]]:
    """Models of this page that supply the missing term, and their levels of it."""
    if quantity is None:
        return []
    closures = []
    for name in desk.names:
        config = desk.model(name).config
        levels = [
            t.level
            for t in config.targets
            if t.quantity == quantity and config.encoder_domains[t.encoder] == domain
        ]
        if levels:
            closures.append({"model": name, "levels": list(dict.fromkeys(levels))})
    return closures
