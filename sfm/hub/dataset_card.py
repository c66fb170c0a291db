"""Dataset cards: the README.md of a dataset repository."""

from __future__ import annotations

from typing import Any

from sfm.hub.markdown import (
    Report,
    assemble,
    bullets,
    citation,
    licence,
    line,
    rows_of,
    section,
    table,
    text,
)

_SIZES = (
    (1e3, "n<1K"),
    (1e4, "1K<n<10K"),
    (1e5, "10K<n<100K"),
    (1e6, "100K<n<1M"),
    (1e7, "1M<n<10M"),
)


FULL = {"split": "full", "path": "data/*.parquet"}  # our splits stand in a column of that name


def dataset_card(spec: Any, statistics: Report) -> str:
    """Text of a dataset card.

    Args:
        spec: a `sfm.data.spec.DatasetSpec`, or any object with its attributes.
        statistics: `rows` (int), `splits` {name: rows}, `columns` [{name, unit, level, shape,
            summary}], `bytes`, `made` (text), `limits` [..], `sources` [{name, licence, url}];
            each optional.
    """
    from huggingface_hub import DatasetCardData

    rows = int(statistics.get("rows") or sum((statistics.get("splits") or {}).values()))
    splits = statistics.get("splits") or {}
    head = DatasetCardData(
        **licence(spec.licence),
        pretty_name=spec.name,
        tags=list(dict.fromkeys(["sfm", spec.domain, *spec.quantities])),
        # without it `datasets` would take the names of the files for splits
        configs=[{"config_name": "default", "data_files": [FULL]}],
        size_categories=[next((word for top, word in _SIZES if rows < top), "n>10M")],
    )
    parts = [
        f"# {text(line(spec.name))}",
        text(spec.summary),
        section("Columns", table(rows_of(statistics, "columns"))),
        section("Levels of theory", bullets(spec.levels)),
        section("Splits", table([{"split": k, "rows": v} for k, v in splits.items()])),
        section("How it was made", text(statistics.get("made") or "")),
        section("Licence and origin", text(f"{spec.licence}. {spec.origin}".strip())),
        section("Sources", table(rows_of(statistics, "sources"))),
        section("Limits", bullets(statistics.get("limits"))),
        section("Citation", citation(spec.citation)),
    ]
    return assemble(head.to_yaml(), parts)
