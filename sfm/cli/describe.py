"""A simulator in words and tables: what `--describe` and `sfm simulate NAME --help` show."""

from __future__ import annotations

import argparse
from typing import Any


def more_help(arguments: argparse.Namespace) -> None:
    """Behind the usage: the simulator's parameters if one is named, else the simulators."""
    from sfm.cli.output import emit
    from sfm.registry import find, parts

    name = getattr(arguments, "simulator", None)
    if name is None:
        emit("\nsimulators (`sfm simulate NAME --help` shows one's parameters):")
        for part in sorted(parts("simulators"), key=lambda part: part.full_name):
            emit(f"  {part.full_name}")
        return
    part = find("simulators", name)
    cls = part.load()
    emit(f"\n{part.full_name}: {cls.summary}")
    show_parameters(cls)
    emit("`--describe` shows the equation, good values, limits and sources, too")


def description(name: str, cls: Any) -> dict[str, Any]:
    """A simulator as plain data, for `--describe --json`."""
    from dataclasses import asdict

    return {
        "part": name,
        "summary": cls.summary,
        "description": cls.describe(),
        "parameters": [asdict(p) for p in cls.parameters_spec],
        "settings": [asdict(s) for s in cls.settings_spec],
        "observables": [{"name": q.name, "unit": q.unit} for q in cls.observables],
        "citations": list(cls.citations),
    }


def show_parameters(cls: Any) -> None:
    """Parameters and settings of `--set`, with defaults, units and bounds, and the observables."""
    from sfm.cli.output import emit, table

    if cls.parameters_spec:
        emit("\nparameters")
        table(
            [
                (p.name, p.default, p.unit, f"[{p.low:g}, {p.high:g}]", p.summary)
                for p in cls.parameters_spec
            ],
            ("name", "default", "unit", "bounds", "summary"),
            wrap=True,
        )
    if cls.settings_spec:
        emit("\nsettings")
        table(
            [
                (
                    s.name,
                    s.default,
                    s.unit,
                    ", ".join(str(c) for c in (*s.choices, s.others) if c != ""),
                    s.summary,
                )
                for s in cls.settings_spec
            ],
            ("name", "default", "unit", "choices", "summary"),
            wrap=True,
        )
    emit(f"\nobservables: {', '.join(f'{q.name} [{q.unit}]' for q in cls.observables)}")
