"""Dataset cards: the README.md of a dataset repository.

`datasets.load_dataset` and the Hub's viewer go by the `configs` in the head of a card: what is
published gets them, whoever wrote the card (`published_card`).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sfm.errors import InputError
from sfm.hub.files import repo_files
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


def _config(path: str | list[str]) -> dict[str, Any]:
    return {"config_name": "default", "data_files": [{**FULL, "path": path}]}


def published_card(folder: Path) -> str:
    """The card under which a dataset's folder is published; its own file is left as it is.

    A card that names no `configs` gets them: one split, `full`, of all Parquet files. Without a
    README.md one is made from what the files say of themselves.

    Args:
        folder: holds Parquet files of `sfm.data.storage.write_dataset`.

    Raises:
        InputError: it holds none; the head of its card is no YAML of a card.
    """
    import pyarrow.parquet as pq
    from huggingface_hub import DatasetCard

    from sfm.data.storage import explained

    files = [path for path in repo_files(folder, "dataset") if path.suffix == ".parquet"]
    if not files:
        raise InputError(f"{folder}: holds no .parquet file")
    info, columns = explained(pq.read_schema(files[0]), files[0])
    readme = folder / "README.md"
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
    else:
        text = _described(info, columns, files, folder.resolve().name)
    try:
        card = DatasetCard(text, ignore_metadata_errors=False)
    except Exception as error:  # of yaml and of huggingface_hub, which share no class
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{readme}: its head cannot be read: {reason}") from None
    names = [path.relative_to(folder).as_posix() for path in files]
    inside = all(path.parent == folder / "data" for path in files)
    head: Any = card.data  # its fields are whatever YAML says
    if not head.get("configs"):
        head.configs = [_config(FULL["path"] if inside else names)]
    elif readme.is_file():
        return text
    return str(card)


def _described(info: Report, columns: Any, files: list[Path], name: str) -> str:
    """The card of a dataset that has none, from the schema and the splits of its files."""
    import pyarrow.parquet as pq

    labels = [column for column in columns if column.role == "label"]
    cited = info.get("citation") or ()
    spec = SimpleNamespace(
        name=str(info.get("name") or name),
        domain=str(info["domain"]),
        summary=str(info.get("summary") or ""),
        quantities=tuple(dict.fromkeys(column.quantity for column in labels)),
        levels=tuple(dict.fromkeys(column.level for column in labels)),
        licence=str(info.get("licence") or "unknown"),
        origin=str(info.get("origin") or info.get("converted_from") or ""),
        citation=(cited,) if isinstance(cited, str) else tuple(cited),
    )
    splits = Counter(
        split for path in files for split in pq.read_table(path, columns=["split"])[0].to_pylist()
    )
    rows = [
        {"name": c.name, "unit": c.unit, "level": c.level or "", "shape": list(c.shape) or ""}
        for c in columns
    ]
    return dataset_card(spec, {"splits": dict(splits), "columns": rows})


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
        configs=[_config(FULL["path"])],
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
