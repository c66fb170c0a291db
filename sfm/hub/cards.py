"""Model and dataset cards: the README.md of a repository, made from a plain report.

A report is a dict of JSON values; every key is optional, and a section without data is left out.

    name, summary, licence (SPDX), base_model, tags [..], limits [..], citations [BibTeX, doi:...]
    encoders  [{part, domain, cutoff, length_unit, ...}]
    coverage  [{encoder, level, systems, elements, charges, unpaired electrons}]
    heads     [{quantity, unit, per, domain, levels [..]}]
    data      [{name, repo, revision, levels [..], licence, origin, samples}]
    metrics   [{dataset, split, level, quantity, metric, value, unit, std, seeds,
                baselines {name: value}}]
    cost      {parameters, device, wall_time, ...}      printed as a table, in this order
    recipe    what was run, as text or dict
    use       how to use it, Markdown; for what is not loaded with sfm.load
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfm.data.replacing import replacing
from sfm.errors import InputError, printable
from sfm.formats.strict_json import read_object
from sfm.hub.bibtex import references
from sfm.hub.files import read_config

Report = Mapping[str, Any]

PIPELINE = "graph-ml"  # the task of the Hub under which models of atoms and meshes are searched

_SPDX = {
    "apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "cc0-1.0", "cc-by-4.0", "cc-by-3.0",
    "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "gpl-3.0", "lgpl-3.0", "odc-by", "unknown",
}  # fmt: skip
_SIZES = (
    (1e3, "n<1K"),
    (1e4, "1K<n<10K"),
    (1e5, "10K<n<100K"),
    (1e6, "100K<n<1M"),
    (1e7, "1M<n<10M"),
)


def model_card(report: Report) -> str:
    """Text of a model card: YAML head (for search and `model-index`) and sections.

    Raises:
        InputError: the report has no name.
    """
    from huggingface_hub import ModelCardData

    name = report.get("name")
    if not name:
        raise InputError("a model card needs the model's name: report['name']")
    data = _rows(report, "data")
    head = ModelCardData(
        **licence(report.get("licence")),
        library_name="sfm",
        tags=_tags(report),
        datasets=[row["repo"] for row in data if row.get("repo")] or None,
        metrics=sorted({row["metric"] for row in _rows(report, "metrics")}) or None,
        pipeline_tag=PIPELINE if _rows(report, "encoders") else None,
        **base(report.get("base_model")),
        model_name=str(name),
        eval_results=_eval_results(report) or None,
    )
    if not head.eval_results:
        head.model_name = None
    sections = [
        f"# {text(line(name))}",
        text(report.get("summary", "")),
        _section("What is inside", _inside(report)),
        _section("What it covers", _covered(_rows(report, "coverage"))),
        _section("How to use it", _snippet(report)),
        _section("Training data", _data_table(data)),
        _section("Errors", _metrics_table(_rows(report, "metrics"))),
        _section("Cost", _pairs(report.get("cost"))),
        _section("Recipe", _recipe(report.get("recipe"))),
        _section("Limits", _bullets(report.get("limits"))),
        _section("Citation", _citation(report.get("citations"))),
    ]
    return _assemble(head.to_yaml(), sections)


def write_model_card(folder: str | Path, report: Report | None = None) -> Path:
    """Write README.md and references.bib into a model folder; returns the path of README.md.

    Without a report, it is read from the folder's config.json and training.json.
    """
    folder = Path(folder)
    content = dict(report) if report is not None else report_of(folder)
    content.setdefault("name", folder.resolve().name)
    bib = references(content.get("citations") or ())
    with replacing(folder) as scratch:
        (scratch / "README.md").write_text(model_card(content), encoding="utf-8")
        if bib:
            (scratch / "references.bib").write_text(bib, encoding="utf-8")
    return folder / "README.md"


def report_of(folder: Path, *, name: str | None = None) -> dict[str, Any]:
    """The report that a model folder carries: `training.json`, completed from `config.json`."""
    config = read_config(folder)
    path = folder / "training.json"
    training = read_object(path) if path.is_file() else {}
    report: dict[str, Any] = dict(training.get("report") or training)
    report.setdefault("name", name or config.get("name") or folder.resolve().name)
    if not report.get("encoders"):
        report["encoders"] = _encoders(config)
    if not report.get("heads"):
        report["heads"] = _heads(config)
    if not report.get("coverage"):
        report["coverage"] = _coverage(config)
    if not report.get("limits") and not report.get("metrics"):
        report["limits"] = ["Errors and limits were not measured when this card was made."]
    return report


def _encoders(config: Report) -> list[dict[str, Any]]:
    """One row per encoder of `config.json`, with its plain options."""
    domains = config.get("encoder_domains") or {}
    return [
        {"part": part, "domain": domains.get(part, ""), **_plain(options)}
        for part, options in (config.get("encoders") or {}).items()
    ]


def _coverage(config: Report) -> list[dict[str, Any]]:
    """One row per encoder and level that recorded what its training data cover.

    A quantity that has labels for fewer elements has a row of its own.
    """
    rows = []
    for own in config.get("coverage") or ():
        row = {k: own.get(k) for k in ("encoder", "level", "systems", "elements", "charges")}
        row["unpaired electrons"] = own.get("spins")
        rows.append(row)
        for quantity, elements in (own.get("narrower") or {}).items():
            rows.append(
                {**row, "level": f"{own['level']}, {quantity}", "systems": "", "elements": elements}
            )
    return rows


def _heads(config: Report) -> list[dict[str, Any]]:
    """One row per encoder and quantity that the model was trained to say."""
    domains, quantities = config.get("encoder_domains") or {}, config.get("quantities") or {}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for target in config.get("targets") or ():
        part, name = target["encoder"], target["quantity"]
        known = {k: v for k, v in (quantities.get(name) or {}).items() if k in ("unit", "per")}
        row = rows.setdefault(
            (part, name), {"quantity": name, **known, "domain": domains.get(part, ""), "levels": []}
        )
        row["levels"].append(target["level"])
    return list(rows.values())


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
        size_categories=[next((word for top, word in _SIZES if rows < top), "n>10M")],
    )
    parts = [
        f"# {text(line(spec.name))}",
        text(spec.summary),
        _section("Columns", _table(_rows(statistics, "columns"))),
        _section("Levels of theory", _bullets(spec.levels)),
        _section("Splits", _table([{"split": k, "rows": v} for k, v in splits.items()])),
        _section("How it was made", text(statistics.get("made") or "")),
        _section("Licence and origin", text(f"{spec.licence}. {spec.origin}".strip())),
        _section("Sources", _table(_rows(statistics, "sources"))),
        _section("Limits", _bullets(statistics.get("limits"))),
        _section("Citation", _citation(spec.citation)),
    ]
    return _assemble(head.to_yaml(), parts)


def licence(name: str | None) -> dict[str, Any]:
    """The head's licence fields: a known SPDX id, or `other` with its name."""
    if not name:
        return {"license": "unknown"}
    if name.lower() in _SPDX:
        return {"license": name.lower()}
    return {"license": "other", "license_name": name}


def base(name: str | None) -> dict[str, Any]:
    """The head's fields of a fine-tune: the repository that it comes from, and how.

    A folder of this machine is nobody else's base, so it is not named.
    """
    if not name or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        return {}
    return {"base_model": name, "base_model_relation": "finetune"}


# -- parts of a card ------------------------------------------------------------------------
def _tags(report: Report) -> list[str]:
    domains = [row["domain"] for row in _rows(report, "encoders") if row.get("domain")]
    quantities = [row["quantity"] for row in _rows(report, "heads") if row.get("quantity")]
    return list(dict.fromkeys(["sfm", *domains, *quantities, *(report.get("tags") or ())]))


def _eval_results(report: Report) -> list[Any]:
    from huggingface_hub import EvalResult

    results = []
    for row in _rows(report, "metrics"):
        if row.get("value") is None:
            continue
        unit = f" ({row['unit']})" if row.get("unit") else ""
        extra = {k: row[k] for k in ("baselines", "std", "seeds", "level", "unit") if row.get(k)}
        results.append(
            EvalResult(
                task_type="other",
                task_name=f"{row.get('quantity', 'prediction')}",
                dataset_type=str(row.get("repo") or row.get("dataset", "unknown")),
                dataset_name=str(row.get("dataset", "unknown")),
                dataset_split=row.get("split"),
                metric_type=str(row.get("metric", "mae")),
                metric_name=f"{row.get('metric', 'mae')} of {row.get('quantity', '')}{unit}",
                metric_value=row["value"],
                metric_args=extra or None,
            )
        )
    return results


def _inside(report: Report) -> str:
    return "\n\n".join(
        part for part in (_table(_rows(report, "encoders")), _table(_rows(report, "heads"))) if part
    )


def _covered(rows: Sequence[Report]) -> str:
    if not rows:
        return ""
    return (
        f"{_table(rows)}\n\nOther elements, charges and spins, and atoms nearer to each other than "
        "0.9 of the closest approach in these data (`config.json`), are refused unless one asks to "
        "extrapolate."
    )


def _snippet(report: Report) -> str:
    if report.get("use"):
        return str(report["use"])
    name = line(report.get("repo") or report["name"]).replace("`", "'")
    own = name if "/" in name else "owner/name"  # transformers knows no bundled names
    return (
        "```python\n"
        "import sfm\n\n"
        f"model = sfm.load({json.dumps(name, ensure_ascii=False)})  # a bundled name, a folder or "
        "owner/name\n"
        "model.predict(atoms)  # {quantity: value} with units\n"
        "```\n\n"
        f"or `sfm predict {name} FILE`. With transformers: `import sfm`, then "
        f"`transformers.AutoModel.from_pretrained({json.dumps(own, ensure_ascii=False)})`."
    )


def _data_table(data: Sequence[Report]) -> str:
    keys = ("name", "repo", "revision", "levels", "samples", "licence", "origin")
    return _table([{k: row[k] for k in keys if row.get(k)} for row in data])


def _metrics_table(metrics: Sequence[Report]) -> str:
    """One row per metric; each baseline is a column, so that no error stands without one."""
    rows = []
    for metric in metrics:
        row = {
            k: metric.get(k, "")
            for k in ("dataset", "split", "level", "quantity", "metric", "unit")
        }
        spread = f" ± {number(metric['std'])}" if metric.get("std") is not None else ""
        row["this model"] = f"{number(metric.get('value'))}{spread}"
        row |= {name: number(value) for name, value in (metric.get("baselines") or {}).items()}
        if metric.get("seeds") is not None:
            row["seeds"] = metric["seeds"]
        rows.append(row)
    return _table(rows)


def _recipe(recipe: Any) -> str:
    if not recipe:
        return ""
    if isinstance(recipe, str):
        return _fenced("yaml", recipe)
    from sfm.formats import yaml12

    return _fenced("yaml", yaml12.write(recipe))


def _citation(citations: Any) -> str:
    found = references([citations] if isinstance(citations, str) else citations or ())
    return _fenced("bibtex", found) if found else ""


def text(value: Any) -> str:
    """Text of a card: its HTML is shown, not obeyed, and no character commands a terminal."""
    return html.escape(printable(str(value)), quote=False)


def line(value: Any) -> str:
    """One line of text."""
    return " ".join(printable(str(value)).split())


def _fenced(kind: str, body: str) -> str:
    """A block of code whose fence is longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{printable(body).strip()}\n{fence}"


def number(value: Any) -> str:
    """Three significant digits; text and missing values as they are."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(rows: Sequence[Report]) -> str:
    """A Markdown table with the union of the rows' keys as columns."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [[_cell(column) for column in columns], ["---"] * len(columns)]
    lines += [[_cell(row.get(column)) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        value = ", ".join(f"{k} {_cell(v)}" for k, v in value.items())
    elif isinstance(value, (list, tuple)):
        value = ", ".join(_cell(v) for v in value)
    return text(number(value)).replace("|", "\\|").replace("\n", " ")


def _pairs(values: Any) -> str:
    return _table([{"": key.replace("_", " "), "value": v} for key, v in (values or {}).items()])


def _bullets(lines: Any) -> str:
    return "\n".join(f"- {text(one)}" for one in lines or ())


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _rows(report: Report, key: str) -> list[dict[str, Any]]:
    """The list of dicts at a key of the report; absent is empty.

    Raises:
        InputError: it is something else.
    """
    value = report.get(key) or []
    if not isinstance(value, Sequence) or not all(isinstance(row, Mapping) for row in value):
        raise InputError(f"report[{key!r}] must be a list of dicts")
    return [dict(row) for row in value]


def _plain(options: Any) -> dict[str, Any]:
    """The entries of a mapping that are no mappings themselves."""
    return {k: v for k, v in (options or {}).items() if not isinstance(v, Mapping)}


def _assemble(head: str, sections: Sequence[str]) -> str:
    return f"---\n{head.strip()}\n---\n\n" + "\n\n".join(s.strip() for s in sections if s) + "\n"
