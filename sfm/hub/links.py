"""Links from a published model to the repositories of its data.

A model's record names datasets as plugins do (`molecules/molecules-xtb`); where those are published
only their publisher knows. Told so, the card links them (`datasets`, and `type` in `model-index`),
and `.eval_results/sfm.yaml` states the errors for the Hub's tables of results:
https://huggingface.co/docs/hub/eval-results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sfm.errors import InputError, did_you_mean
from sfm.hub.cards import report_of
from sfm.hub.markdown import Report, number, rows_of

RESULTS = ".eval_results/sfm.yaml"


def linked(folder: Path, card: str, links: Mapping[str, str]) -> dict[str, str]:
    """Texts of the files that say where a model's data are: its card, and its results if any.

    Args:
        folder: of the model.
        card: text of its README.md.
        links: repository (`owner/name`) of each dataset, by the name in the model's record.

    Raises:
        InputError: the record names no such dataset; what it is linked to is no repository.
    """
    from huggingface_hub import ModelCard

    report = report_of(folder)
    metrics = rows_of(report, "metrics")
    known = [row["name"] for row in rows_of(report, "data") if row.get("name")]
    known = list(dict.fromkeys([*known, *(row["dataset"] for row in metrics if "dataset" in row)]))
    for name, repo in links.items():
        if name not in known:
            there = f"(there: {', '.join(known) or 'none'}).{did_you_mean(name, known)}"
            raise InputError(f"{folder}: no dataset {name!r} in its record {there}")
        if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo):
            raise InputError(f"{repo!r} is not a repository name: write it as 'owner/name'")
    parsed = ModelCard(card)
    head: Any = parsed.data
    head.datasets = list(dict.fromkeys([*(head.get("datasets") or ()), *links.values()]))
    for result in head.get("eval_results") or ():
        result.dataset_type = links.get(result.dataset_name, result.dataset_type)
    texts = {"README.md": str(parsed)}
    if entries := results(metrics, links):
        texts[RESULTS] = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    return texts


def results(metrics: list[dict[str, Any]], links: Mapping[str, str]) -> list[dict[str, Any]]:
    """Entries of `.eval_results`: each metric on a linked dataset, in the unit that its notes name.

    Args:
        metrics: rows of a report, see `sfm.hub.cards`.
        links: as for `linked`.
    """
    return [
        {
            "dataset": {"id": links[row["dataset"]], "task_id": _task(row)},
            "value": row["value"],
            "notes": _notes(row),
        }
        for row in metrics
        if row.get("dataset") in links and row.get("value") is not None
    ]


def _task(row: Report) -> str:
    """Metrics as plugins name them: `energy.mae@GFN2-xTB`."""
    level = f"@{row['level']}" if row.get("level") else ""
    return f"{row.get('quantity', 'prediction')}.{row.get('metric', 'mae')}{level}"


def _notes(row: Report) -> str:
    """Metric, unit, split, and what baselines reach."""
    words = [f"{row.get('metric', 'mae')} in {row.get('unit') or '1'}"]
    words += [f"split {row['split']}"] if row.get("split") else []
    baselines = row.get("baselines") or {}
    words += [f"{name}: {number(value)}" for name, value in baselines.items()]
    return "; ".join(words)
