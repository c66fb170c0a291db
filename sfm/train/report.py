"""What a run leaves for people: report.json and pictures, and training.json beside the weights."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sfm.data.atomic import atomic, write_text
from sfm.model.checkpoint import distribution_version

REPORT = "report.json"
PACKAGES = ("torch", "pytorch-lightning", "numpy", "e3nn", "safetensors", "sfm-hub")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide about numbers."""
    return {
        "python": platform.python_version(),
        **{name: distribution_version(name) for name in PACKAGES},
    }


def hardware(device: str) -> dict[str, Any]:
    """What it ran on, as far as it matters for speed."""
    import torch

    return {
        "device": device,
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """`value` as JSON, all of it or nothing; tables (histories, metrics) have a row a line."""
    entries = [f"  {_json(key)}: {_entry(item)}" for key, item in value.items()]
    write_text(path, "{\n" + ",\n".join(entries) + "\n}\n")


def _entry(item: Any) -> str:
    """A value of the outermost object: as it is, or as a table if it is a list of objects."""
    if isinstance(item, list) and item and all(isinstance(row, Mapping) for row in item):
        rows = (_json(row, separators=(",", ":")) for row in item)
        return "[\n    " + ",\n    ".join(rows) + "\n  ]"
    return _json(item, indent=2).replace("\n", "\n  ")


def _json(value: Any, **style: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **style)


def finite(value: Any) -> Any:
    """The same with None in the place of numbers that are not finite, which JSON does not have.

    A run through a simulator may blow up when it is only measured: that is a result, and must not
    cost a finished training its report.
    """
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def thinned(rows: Sequence[Mapping[str, float]], n: int = 100) -> list[dict[str, float]]:
    """At most about `n` rows of a history, first and last included, to four digits."""
    chosen = sorted({round(i) for i in np.linspace(0, len(rows) - 1, min(n, len(rows)))})
    return [
        {k: v if k == "step" else float(f"{v:.4g}") for k, v in rows[i].items()} for i in chosen
    ]


def card_metrics(metrics: Sequence[Any]) -> list[dict[str, Any]]:
    """Metrics as rows of a model card (`sfm.hub.cards`)."""
    rows = []
    for m in metrics:
        pairs = [("mae", m.mae, m.unit, m.baseline_mae)]
        if m.mae_per_token is not None:
            pairs = [
                ("mae", m.mae_per_token, per_token_unit(m.unit, m.token), m.baseline_mae_per_token)
            ]
        for name, value, unit, baseline in pairs:
            beside = {"without a model": baseline}
            if m.mean_mae is not None and m.mae_per_token is None:
                beside = {"mean predictor": m.mean_mae, "composition": baseline}
            rows.append(
                {
                    "dataset": m.dataset,
                    "encoder": m.encoder,
                    "split": m.split,
                    "level": m.level,
                    "quantity": m.quantity,
                    "metric": name,
                    "value": value,
                    "unit": unit,
                    "n": m.n,
                    "baselines": beside,
                    "baseline": m.baseline,
                }
            )
    return rows


def plot_losses(rows: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Loss curves per domain, training and validation, on a log scale."""
    figure, axis = _figure()
    keys = sorted({k for row in rows for k in row if k.startswith("loss/")})
    for number, key in enumerate(keys):
        for prefix, style in (("", "-"), ("validation/", "o--")):
            points = [(r["step"], r[prefix + key]) for r in rows if prefix + key in r]
            if points:
                label = f"{key.partition('/')[2]}{', validation' if prefix else ''}"
                axis.plot(*zip(*points, strict=True), style, color=f"C{number}", label=label, ms=4)
    axis.set(xlabel="step", ylabel="loss (weighted, normalised)", yscale="log")
    axis.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return _save(figure, path)


def per_token_unit(unit: str, token: str) -> str:
    """`eV/atom`."""
    return f"{unit}/{token}" if unit != "1" else f"1/{token}"


def error_of(metric: Any) -> str:
    """The mean absolute error with its unit, per token where that is how it is given."""
    if metric.mae_per_token is None:
        return f"{metric.mae:.3g} {metric.unit}"
    return f"{metric.mae_per_token:.3g} {per_token_unit(metric.unit, metric.token)}"


def plot_parity(
    points: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]],
    metrics: Sequence[Any],
    path: Path,
) -> Path:
    """Predictions against labels, and below them what lies between, in the quantities' own units.

    Args:
        points: labels and predictions (n,) by `encoder:quantity@level`, as `Evaluation.points`
            holds them.
        metrics: for units and errors.
        path: a PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = {f"{m.encoder}:{m.quantity}@{m.level}": m for m in metrics}
    columns = min(4, max(len(points), 1))
    rows = -(-len(points) // columns)
    figure = Figure(figsize=(3.4 * columns, 4.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
    for number, (key, (labels, predicted)) in enumerate(points.items()):
        row, column = divmod(number, columns)
        axis = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column], sharex=axis)
        unit = f" [{known[key].unit}]" if key in known else ""
        axis.plot(labels, predicted, ".", ms=2, alpha=0.4, rasterized=True)
        low = float(min(labels.min(), predicted.min()))
        high = float(max(labels.max(), predicted.max()))
        axis.plot([low, high], [low, high], "k-", lw=0.7)
        below.plot(labels, predicted - labels, ".", ms=2, alpha=0.4, rasterized=True)
        below.axhline(0, color="k", lw=0.7)
        encoder, _, rest = key.partition(":")
        quantity, _, level = rest.partition("@")
        error = f"\nmean absolute error {error_of(known[key])}" if key in known else ""
        axis.set_title(f"{encoder}: {quantity}\n{level}{error}", fontsize=8)
        axis.set_ylabel(f"model{unit}", fontsize=8)
        axis.tick_params(labelbottom=False)
        below.set_xlabel(f"label{unit}", fontsize=8)
        below.set_ylabel("error", fontsize=8)
        for one in (axis, below):
            one.tick_params(labelsize=7)
    return _save(figure, path)


def _figure() -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path) -> Path:
    with atomic(path) as scratch:
        figure.savefig(scratch, dpi=120)
    return path
