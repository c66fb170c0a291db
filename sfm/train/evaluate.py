"""How wrong a model is, in physical units, beside what one gets without a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sfm.data.batching import row_counts
from sfm.data.isotropy import isotropic
from sfm.data.label_names import LabelNames
from sfm.data.rows import not_finite, rows_left_out
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn.normalise import design
from sfm.nn.references import fit_references
from sfm.progress import report
from sfm.quantity import Quantity
from sfm.registry import find
from sfm.train.cover import answerable
from sfm.train.data import INFERENCE, Tokenizer, pack
from sfm.train.label_checks import check_labels
from sfm.train.sources import Source, open_source
from sfm.train.tasks import TaskData, subset

BASELINE_SAMPLES = 5_000
KEPT_POINTS = 20_000
WORST = 5


@dataclass(frozen=True)
class Metric:
    """Errors of one (encoder, level, quantity).

    Attributes:
        dataset: where the samples come from.
        split: which part of it.
        encoder: part name.
        level: level of theory.
        quantity: name.
        unit: of `mae` and `rmse`.
        n: systems.
        values: numbers compared (components count one by one).
        mae: mean absolute error.
        rmse: root mean square error.
        r2: 1 - squared error / variance of the labels; None where the labels do not vary.
        baseline: what the baseline says: see `baseline_of`.
        baseline_mae: its mean absolute error.
        baseline_rmse: its root mean square error.
        mae_per_token: of extensive numbers, mean of |error| / tokens.
        mean_mae: of a number per system, the error of the mean predictor.
        token: what a token is: `atom`, `patch`.
        worst: id and mean absolute error (per token, where `mae_per_token` is there) of the
            systems that the model is most wrong about, worst first.
        extra: the plugin's own metrics.
    """

    dataset: str
    split: str
    encoder: str
    level: str
    quantity: str
    unit: str
    n: int
    values: int
    mae: float
    rmse: float
    r2: float | None
    baseline: str
    baseline_mae: float
    baseline_rmse: float
    mae_per_token: float | None = None
    baseline_mae_per_token: float | None = None
    mean_mae: float | None = None
    token: str = "token"
    worst: tuple[tuple[str, float], ...] = ()
    extra: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """Metrics, and the numbers behind them for pictures.

    Attributes:
        metrics: one row per (encoder, level, quantity).
        points: by (encoder, level, quantity) name, labels and predictions in the quantity's unit,
            (n,) each, at most `KEPT_POINTS`.
    """

    metrics: list[Metric]
    points: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, without the points."""
        return {"metrics": [m.to_dict() for m in self.metrics]}

    def __iter__(self) -> Iterator[Metric]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def of(self, quantity: str, level: str | None = None, encoder: str | None = None) -> Metric:
        """The row of a quantity.

        Raises:
            InputError: there is none.
        """
        for m in self.metrics:
            if m.quantity == quantity and level in (None, m.level) and encoder in (None, m.encoder):
                return m
        raise InputError(f"'{quantity}' was not evaluated")


def evaluate(
    model: FoundationModel,
    data: Any,
    *,
    split: str = "test",
    encoder: str | None = None,
    level: str | None = None,
    quantities: Collection[str] | None = None,
    max_samples: int | None = None,
    names: LabelNames | None = None,
) -> Evaluation:
    """Errors of the model on labelled samples.

    Args:
        model: the model.
        data: name of a dataset part, a dataset folder, a file, samples, or a `TaskData`.
        split: of a dataset: `train`, `validation` or `test`. Files and samples are taken whole.
        encoder: which one, where the model has several for the domain.
        level: the level of theory at which to ask the model; needed where the labels' own level is
            not one that the model knows and it knows several. Of data that have labels at this
            level and at others, only those at this level are compared.
        quantities: only these.
        max_samples: at most this many systems, a random but fixed choice.
        names: what a file calls its labels, and their units there.

    Labels that look like another unit or sign are an `InputWarning`, and so are systems outside the
    model's training data. Within `sfm.data.rows.collecting`, systems that cannot be read or asked
    for, that lie outside, or whose prediction is not finite are left out.

    Raises:
        InputError: nothing to compare: no labels that the model can say; or labels of one quantity
            at several levels, none of which is `level`.
        RunError: a prediction is not finite.
    """
    tasks = (
        [data]
        if isinstance(data, TaskData)
        else tasks_for(model, data, encoder=encoder, level=level, names=names)
    )
    metrics: list[Metric] = []
    points: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for task in tasks:
        samples = subset(task.split(split), max_samples)
        if not isinstance(data, TaskData):
            check_labels(model, task, trust=True, split=split)
        train = list(subset(task.train, BASELINE_SAMPLES))
        for one in task.levels:
            asked = [
                q for v, q in task.present if v == one and (quantities is None or q in quantities)
            ]
            at_level = _of_level(samples, one)
            if asked and at_level:
                if not isinstance(data, TaskData):
                    at_level = answerable(model, task.encoder, one, at_level, task.name)
                if not at_level:
                    continue
                same = _of_level(train, one)
                level_metrics, kept = _evaluate_level(
                    model, task, one, asked, at_level, same, split
                )
                metrics += level_metrics
                points |= kept
    if not metrics:
        if skipped := rows_left_out():
            raise InputError(f"no row of the data can be used; {skipped.rows[0]}")
        raise InputError("nothing to evaluate: no sample has a label that the model can say")
    return Evaluation(metrics, points)


def tasks_for(
    model: FoundationModel,
    data: Any,
    *,
    encoder: str | None = None,
    level: str | None = None,
    names: LabelNames | None = None,
) -> list[TaskData]:
    """Tasks of the data: one for each encoder of the model that can say some of its labels.

    Raises:
        InputError: the model cannot say any of the labels.
    """
    source = open_source(data, names=names)
    given = _asked(source, level)
    tasks = []
    for part, domain in model.config.encoder_domains.items():
        if domain != source.domain or encoder not in (None, part):
            continue
        known = {(t.level, t.quantity) for t in model.targets(encoder=part)}
        said = {q for _, q in known}
        present, ask = [], {}
        for its_level, name in given:
            target = level or (its_level if (its_level, name) in known else None)
            if target is None:
                levels = {v for v, q in known if q == name}
                target = levels.pop() if len(levels) == 1 and not source.typed else None
            if name in said and target is not None and (target, name) in known:
                present.append((its_level, name))
                ask[its_level] = target
        if present:
            tasks.append(source.task(part, present, relabel=ask))
    if not tasks:
        labels = ", ".join(f"{q}@{v}" for v, q in source.present) or "no labels"
        says = sorted({f"{t.quantity}@{t.level}" for t in model.targets()})
        raise InputError(
            f"{source.name} has {labels}; model '{model.config.name}' says {', '.join(says)}: "
            "nothing to compare. Name the level to ask for with `level`, or fine-tune first"
        )
    return tasks


def _asked(source: Source, level: str | None) -> Sequence[tuple[str, str]]:
    """(level, quantity) of the labels that can be compared with predictions at `level`."""
    if level is None:
        return source.present
    same = [(v, q) for v, q in source.present if v == level]
    if same:
        return same
    for name in source.quantities:
        levels = [v for v, q in source.present if q == name]
        if len(levels) > 1:
            raise InputError(
                f"{source.name}: its labels '{name}' have {len(levels)} levels of theory "
                f"({', '.join(levels)}); they cannot all be compared with '{level}'"
            )
    return source.present


def _of_level(samples: Sequence[Sample], level: str) -> list[Sample]:
    return [s for s in samples if s.level == level]


def _evaluate_level(
    model: FoundationModel,
    task: TaskData,
    level: str,
    names: Sequence[str],
    samples: Sequence[Sample],
    train: Sequence[Sample],
    split: str,
) -> tuple[list[Metric], dict[str, tuple[np.ndarray, np.ndarray]]]:
    part = task.encoder
    predicted, labels, tokens, asked = _predict(model, task, names, samples)
    metrics, points = [], {}
    for name in names:
        if not labels[name]:
            continue
        quantity = model.config.quantities[name]
        known = asked[name]
        learned = [s for s in train if name in s.labels]
        text, base = baseline_of(model, part, level, quantity, known, labels[name], learned)
        metric, kept = _metric(quantity, predicted[name], labels[name], base, tokens[name])
        extra = plugin_metrics(part, quantity, predicted[name], labels[name], known)
        metrics.append(
            Metric(
                dataset=task.name,
                split=split if task.facts.get("split") else "all",
                encoder=part,
                level=level,
                quantity=name,
                unit=quantity.unit,
                baseline=text,
                mean_mae=mean_predictor_mae(quantity, labels[name], learned),
                token=model.encoder(part).token,
                worst=_worst(quantity, predicted[name], labels[name], tokens[name], known),
                extra=extra,
                **metric,
            )
        )
        points[f"{part}:{name}@{level}"] = kept
    return metrics, points


def _predict(
    model: FoundationModel,
    task: TaskData,
    names: Sequence[str],
    samples: Sequence[Sample],
) -> tuple[dict[str, list[Any]], ...]:
    """By quantity, of its labelled systems: predictions and labels, (rows, dim); token counts; the
    samples.

    Raises:
        RunError: a prediction is not finite, and no such rows are left out.
    """
    tokenizer = Tokenizer(model, [task], 1)
    items = [tokenizer.make(0, s) for s in samples]
    # consecutive systems keep their order: there is only one context
    batches = pack(items, INFERENCE, tokenizer.quantities)
    predicted: dict[str, list[Any]] = {n: [] for n in names}
    labels: dict[str, list[Any]] = {n: [] for n in names}
    counts: dict[str, list[Any]] = {n: [] for n in names}
    asked: dict[str, list[Any]] = {n: [] for n in names}
    part, first = task.encoder, 0
    for done, batch in enumerate(batches):
        report(f"{task.name}: evaluating, batch", done, len(batches))
        batch = batch.to(model.device)
        tokens = batch.tokens[part]
        with torch.no_grad():
            values = model({part: tokens}, {part: list(names)})[part]
        for name in names:
            label = batch.labels[part].get(name)
            if label is None:
                continue
            rows = row_counts(model.config.quantities[name], tokens).tolist()
            flat = values[name].detach().double().reshape(len(label.values), -1)
            size = tokens.counts().tolist()
            for i, (p, y) in enumerate(
                zip(flat.split(rows), label.values.split(rows), strict=True)
            ):
                if not bool(label.mask[i]):
                    continue
                if not torch.isfinite(p).all():
                    not_finite(f"{tokens.ids[i]}: the predicted '{name}' is not a finite number")
                    continue
                predicted[name].append(p.cpu().numpy())
                labels[name].append(y.cpu().numpy())
                counts[name].append(size[i])
                asked[name].append(samples[first + i])
        first += tokens.n_systems
    return predicted, labels, counts, asked


def _metric(
    quantity: Quantity,
    predicted: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    baseline: Sequence[np.ndarray],
    tokens: Sequence[int],
) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    p, y, b = (np.concatenate(x) for x in (predicted, labels, baseline))
    error, spread = p - y, y - y.mean(0)
    variance = float((spread**2).sum())
    result: dict[str, Any] = {
        "n": len(labels),
        "values": int(y.size),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "r2": 1 - float((error**2).sum()) / variance if variance > 0 else None,
        "baseline_mae": float(np.abs(b - y).mean()),
        "baseline_rmse": float(np.sqrt(((b - y) ** 2).mean())),
    }
    if quantity.extensive and quantity.per == "system":
        n = np.asarray(tokens, dtype=np.float64)[:, None]
        result["mae_per_token"] = float((np.abs(error) / n).mean())
        result["baseline_mae_per_token"] = float((np.abs(b - y) / n).mean())
    p, y = p.ravel(), y.ravel()
    step = max(len(y) // KEPT_POINTS, 1)
    return result, (y[::step], p[::step])


def _worst(
    quantity: Quantity,
    predicted: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    tokens: Sequence[int],
    samples: Sequence[Sample],
) -> tuple[tuple[str, float], ...]:
    """Ids and errors of the systems that are most wrong."""
    errors = np.array([np.abs(p - y).mean() for p, y in zip(predicted, labels, strict=True)])
    if quantity.extensive and quantity.per == "system":
        errors = errors / np.asarray(tokens)
    order = np.argsort(-errors, kind="stable")[:WORST]
    return tuple((samples[i].id, float(f"{errors[i]:.6g}")) for i in order)


def baseline_of(
    model: FoundationModel,
    part: str,
    level: str,
    quantity: Quantity,
    samples: Sequence[Sample],
    labels: Sequence[Float[np.ndarray, "_ _"]],
    train: Sequence[Sample],
) -> tuple[str, list[Float[np.ndarray, "_ _"]]]:
    """What one would say without a model, and its name.

    For a number per system: the composition reference, a sum (for an intensive one: a mean) of one
    number per atom type, fitted to the training labels and shrunk (`sfm.nn.references`). For
    everything else: the mean of the training labels (for token and grid quantities the mean row,
    for tensors of systems its isotropic part).
    Where there are no training labels of this level, the model's own references if it has some,
    else the mean of the evaluated labels themselves.

    Args:
        model: asked for its references.
        part: encoder.
        level: level of theory.
        quantity: what the labels are.
        samples: the evaluated systems.
        labels: their labels, (rows, dim) each.
        train: training samples of this level that have the label.
    """
    by_composition = quantity.dim == 1 and quantity.per == "system"
    if by_composition and all(s.types.any() for s in samples):
        counts = design(quantity, [s.types for s in samples])
        if train:
            y = np.array([float(np.asarray(s.labels[quantity.name]).ravel()[0]) for s in train])
            columns = design(quantity, [s.types for s in train])
            references = fit_references(columns, y)
            shift = references.values
            name = f"composition reference ({references.kind}, on the training split)"
            return name, list((counts @ shift).reshape(-1, 1, 1))
        key = f"{part}:{quantity.name}"
        context = model.context(part, level)
        based = quantity.name == "energy" and model.baselines.knows(context)
        if key in model.normalisers and not based:  # or its references are of what is left
            normaliser: Any = model.normalisers[key]
            shift = normaliser.shift[context, :, 0].cpu().numpy()
            name = "composition reference (stored in the model)"
            return name, list((counts @ shift).reshape(-1, 1, 1))
    dim = labels[0].shape[1]
    if train:
        rows = np.concatenate(
            [np.asarray(s.labels[quantity.name], dtype=np.float64).reshape(-1, dim) for s in train]
        )
        name = "mean of the training split"
    else:
        rows = np.concatenate(labels)
        name = "mean of the evaluated labels"
    mean = rows.mean(0)
    parts = isotropic(quantity.irreps) if quantity.per == "system" else None
    if parts is not None and parts.patterns.shape[1] == dim:  # crystals lie as they please
        mean, name = parts.part(mean[None])[0], f"isotropic {name}"
    return name, [np.broadcast_to(mean, y.shape) for y in labels]


def mean_predictor_mae(
    quantity: Quantity, labels: Sequence[Float[np.ndarray, " ..."]], train: Sequence[Sample]
) -> float | None:
    """Error of the training labels' mean, for a number per system; None without training labels.

    labels: (1,) or () of each system, in the unit of the error.
    """
    if quantity.dim != 1 or quantity.per != "system" or not train:
        return None
    known = [np.asarray(s.labels[quantity.name]).ravel() for s in train]
    return float(np.abs(np.concatenate([y.ravel() for y in labels]) - np.mean(known)).mean())


def plugin_metrics(
    part: str,
    quantity: Quantity,
    predicted: Sequence[Float[np.ndarray, "_ _"]],
    labels: Sequence[Float[np.ndarray, "_ _"]],
    samples: Sequence[Sample],
) -> dict[str, float]:
    """The metrics `quantity.name` of the encoder's plugin; predictions and labels (rows, dim)."""
    from sfm.registry import plugins

    plugin = plugins().get(part.partition("/")[0])
    results: dict[str, float] = {}
    for full in plugin.metrics if plugin else ():
        name, _, short = full.partition(".")
        if name != quantity.name or not short:
            continue
        shape = np.asarray(samples[0].labels[name]).shape
        if quantity.per == "system":
            tail = shape
        else:
            tail = shape[1:]
        p = np.concatenate(predicted).reshape(-1, *tail)
        y = np.concatenate(labels).reshape(-1, *tail)
        results[short] = float(find("metrics", f"{plugin.name}/{full}").load()(p, y))  # type: ignore[union-attr]
    return results
