"""Model cards: the README.md of a repository, made from a plain report.

A report is a dict of JSON values; every key is optional, and a section without data is left out.

    name, summary, licence (SPDX), tags [..], limits [..], citations [BibTeX, doi:...]
    base_model, base_relation (`finetune` or `adapter`)
    encoders  [{part, domain, cutoff, length_unit, ...}]
    coverage  [{encoder, level, systems, elements, charges}]
    beneath   [{encoder, level, theory}]  what the model's energy is added to
    heads     [{quantity, unit, per, domain, levels [..]}]
    data      [{name, repo, revision, levels [..], licence, origin, samples}]
    few_labels  [{target, labels, seeds, auto, best rival, ...}]  errors after fine-tuning
    metrics   [{dataset, split, level, quantity, metric, value, unit, std, seeds,
                baselines {name: value}}]
    cost      {parameters, device, wall_time, ...}      printed as a table, in this order
    recipe    what was run, as text or dict
    use       how to use it, Markdown; for what is not loaded with sfm.load
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfm.config.coverage import signed
from sfm.data.replacing import replacing
from sfm.errors import InputError
from sfm.formats.strict_json import read_object
from sfm.hub.bibtex import references
from sfm.hub.files import TRAINING, read_config
from sfm.hub.markdown import (
    Report,
    assemble,
    bullets,
    citation,
    fenced,
    licence,
    line,
    number,
    pairs,
    rows_of,
    section,
    table,
    text,
)

PIPELINE = "graph-ml"  # the task of the Hub under which models of atoms and meshes are searched


def model_card(report: Report) -> str:
    """Text of a model card: YAML head (for search and `model-index`) and sections.

    Raises:
        InputError: the report has no name.
    """
    from huggingface_hub import ModelCardData

    name = report.get("name")
    if not name:
        raise InputError("a model card needs the model's name: report['name']")
    data = rows_of(report, "data")
    head = ModelCardData(
        **licence(report.get("licence")),
        library_name="sfm",
        tags=_tags(report),
        datasets=[row["repo"] for row in data if row.get("repo")] or None,
        metrics=sorted({row["metric"] for row in rows_of(report, "metrics")}) or None,
        pipeline_tag=PIPELINE if rows_of(report, "encoders") else None,
        **base(report.get("base_model"), report.get("base_relation", "finetune")),
        model_name=str(name),
        eval_results=_eval_results(report) or None,
    )
    if not head.eval_results:
        head.model_name = None
    sections = [
        f"# {text(line(name))}",
        text(report.get("summary", "")),
        section("What is inside", _inside(report)),
        section("What lies beneath", _beneath(rows_of(report, "beneath"))),
        section("What it covers", _covered(rows_of(report, "coverage"))),
        section("How to use it", _snippet(report)),
        section("Training data", _data_table(data)),
        section("Errors", _metrics_table(rows_of(report, "metrics"))),
        section("Fine-tuned on few labels", _few_labels(rows_of(report, "few_labels"))),
        section("Cost", pairs(report.get("cost"))),
        section("Recipe", _recipe(report.get("recipe"))),
        section("Limits", bullets(report.get("limits"))),
        section("Citation", citation(report.get("citations"))),
    ]
    return assemble(head.to_yaml(), sections)


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
    path = folder / TRAINING
    training = read_object(path) if path.is_file() else {}
    report: dict[str, Any] = dict(training.get("report") or training)
    report.setdefault("name", name or config.get("name") or folder.resolve().name)
    if not report.get("encoders"):
        report["encoders"] = _encoders(config)
    if not report.get("heads"):
        report["heads"] = _heads(config)
    if not report.get("coverage"):
        report["coverage"] = _coverage(config)
    if not report.get("beneath"):
        report["beneath"] = _theories(config)
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
    for coverage in config.get("coverage") or ():
        row = {k: coverage.get(k) for k in ("encoder", "level", "systems", "elements")}
        row["charges (unpaired electrons)"] = _states(coverage)
        rows.append(row)
        for quantity, elements in (coverage.get("narrower") or {}).items():
            rows.append(
                {
                    **row,
                    "level": f"{coverage['level']}, {quantity}",
                    "systems": "",
                    "elements": elements,
                }
            )
    return rows


def _states(coverage: Report) -> str:
    """`-1 (1); 0 (0); 0 (2)`, or both apart where nobody recorded what occurs together."""
    if states := coverage.get("states"):
        return "; ".join(f"{signed(charge)} ({spin:g})" for charge, spin in states)
    charges = ", ".join(signed(charge) for charge in coverage.get("charges") or ())
    spins = ", ".join(f"{spin:g}" for spin in coverage.get("spins") or ())
    return f"{charges} ({spins})" if spins else charges


def _theories(config: Report) -> list[dict[str, Any]]:
    """One row per theory beneath an energy."""
    rows = []
    for spec in config.get("baselines") or ():
        simulator, model = spec.get("simulator"), spec.get("model")
        values = ", ".join(f"{k}={v}" for k, v in (spec.get("values") or {}).items())
        files = ", ".join(f"{k} in config.json" for k in spec.get("files") or {})
        words = [simulator or f"{model} at {spec.get('model_level')}", values, files]
        theory = "; ".join(w for w in words if w)
        rows.append({"encoder": spec["encoder"], "level": spec["level"], "theory": theory})
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


def base(name: str | None, relation: str = "finetune") -> dict[str, Any]:
    """The head's fields of a fine-tune: the repository that it comes from, and how.

    A folder of this machine is nobody else's base, so it is not named.
    """
    if not name or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        return {}
    return {"base_model": name, "base_model_relation": relation}


# -- parts of a card ------------------------------------------------------------------------
def _tags(report: Report) -> list[str]:
    domains = [row["domain"] for row in rows_of(report, "encoders") if row.get("domain")]
    quantities = [row["quantity"] for row in rows_of(report, "heads") if row.get("quantity")]
    return list(dict.fromkeys(["sfm", *domains, *quantities, *(report.get("tags") or ())]))


def _eval_results(report: Report) -> list[Any]:
    from huggingface_hub import EvalResult

    results = []
    for row in rows_of(report, "metrics"):
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
        part
        for part in (table(rows_of(report, "encoders")), table(rows_of(report, "heads")))
        if part
    )


def _covered(rows: Sequence[Report]) -> str:
    if not rows:
        return ""
    return (
        f"{table(rows)}\n\nOther elements, charges and spins, and atoms nearer to each other than "
        "0.9 of the closest approach in these data (`config.json`), are refused unless one asks to "
        "extrapolate."
    )


def _few_labels(rows: Sequence[Report]) -> str:
    if not rows:
        return ""
    return (
        "Mean absolute errors on systems that are no relatives of those learned from. `auto`: "
        "`sfm finetune` by itself; `best rival`: the best on the test systems of what knows "
        "nothing of this model; `scratch`: the same trunk, new, trained on the same labels; "
        f"`random weights`: closed forms on the features of such a trunk.\n\n{table(rows)}"
    )


def _beneath(rows: Sequence[Report]) -> str:
    if not rows:
        return ""
    said = "The energy, its forces and its stress are those of a theory plus what the model learned"
    return f"{said}; both are always there.\n\n{table(rows)}"


def _snippet(report: Report) -> str:
    if report.get("use"):
        return str(report["use"])
    name = line(report.get("repo") or report["name"]).replace("`", "'")
    repository = name if "/" in name else "owner/name"  # transformers knows no bundled names
    return (
        "```python\n"
        "import sfm\n\n"
        f"model = sfm.load({json.dumps(name, ensure_ascii=False)})  # a bundled name, a folder or "
        "owner/name\n"
        "model.predict(atoms)  # {quantity: value} with units\n"
        "```\n\n"
        f"or `sfm predict {name} FILE`. With transformers: `import sfm`, then "
        f"`transformers.AutoModel.from_pretrained({json.dumps(repository, ensure_ascii=False)})`."
    )


def _data_table(data: Sequence[Report]) -> str:
    keys = ("name", "repo", "revision", "levels", "samples", "licence", "origin")
    return table([{k: row[k] for k in keys if row.get(k)} for row in data])


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
    return table(rows)


def _recipe(recipe: Any) -> str:
    if not recipe:
        return ""
    if isinstance(recipe, str):
        return fenced("yaml", recipe)
    from sfm.formats import yaml12

    return fenced("yaml", yaml12.write(recipe))


def _plain(options: Any) -> dict[str, Any]:
    """The entries of a mapping that are no mappings themselves."""
    return {k: v for k, v in (options or {}).items() if not isinstance(v, Mapping)}
