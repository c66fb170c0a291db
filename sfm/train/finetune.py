"""`finetune`: a pretrained model learns new data, and the report says what it gained and lost."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfm.data.label_names import LabelNames
from sfm.errors import InputError, did_you_mean
from sfm.formats.strict_json import read_object
from sfm.hub.resolve import resolve
from sfm.model import FoundationModel
from sfm.model.checkpoint import load
from sfm.nn.head_classes import head_class
from sfm.recipe import MODES, FinetuneRecipe, Goal, ModelSection, OptimizerSection
from sfm.registry import parts
from sfm.train.build import (
    fit_normalisers,
    heads_of,
    measure_neighbours,
    model_config,
    new_model,
)
from sfm.train.cover import cover
from sfm.train.engine import fit
from sfm.train.evaluate import Evaluation, evaluate
from sfm.train.folders import RUN, one_run
from sfm.train.label_checks import check_labels
from sfm.train.losses import forgotten, pretraining_tasks
from sfm.train.outcome import Outcome
from sfm.train.pretrain import data_record, split_sizes, write_reports
from sfm.train.report import TRAINING, card_metrics, hardware, thinned, versions
from sfm.train.selection import CLOSED, closed_form, compete
from sfm.train.sources import Source, open_source
from sfm.train.tasks import TaskData
from sfm.train.trained import train
from sfm.train.transfer import grow

SCRATCH_LEARNING_RATE = 3e-3
WEIGHTS = {"forces": 10.0}


@one_run
def finetune(
    model: str | Path | FoundationModel,
    data: Any,
    target: str | Sequence[str] | None = None,
    mode: str | None = None,
    out: str | Path = "finetuned",
    *,
    recipe: FinetuneRecipe | None = None,
    encoder: str | None = None,
    level: str | None = None,
    scratch: bool = False,
    resume: bool = False,
    name: str | None = None,
    test_samples: int | None = 500,
    log: bool = True,
    names: LabelNames | None = None,
    trust_labels: bool = False,
) -> Path:
    """Fine-tune `model` on `data`, and save the result with its report into `out`.

    Args:
        model: a bundled name, a folder, a Hub id, or a model.
        data: name of a dataset part, a dataset folder, a file of labelled systems, or samples. A
            file is split 80:10:10 (see `sfm.train.sources.split_samples`).
        target: quantity or quantities to learn, also the user's own (`sfm.registry.define`); None
            takes all labels. With `energy` alone come
            the forces and the stress that the data has; a list is taken as it is.
        mode: `auto`, `ridge`, `gp`, `delta`, `full`, `head` or `lora` (see `FinetuneRecipe`); None
            takes the recipe's.
        out: folder of the new model.
        recipe: settings; see `sfm.recipe.load_finetune`.
        encoder: which of the model's encoders, where several fit.
        level: level of theory of the labels, where the data does not say; a name that the model
            knows continues that level, any other opens a new one.
        scratch: also train a model of the same size from nothing on the same data and steps.
        resume: go on from `out/run/last.ckpt`.
        name: of the new model; default: the base's name and the target.
        test_samples: at most so many test systems in the report.
        log: write CSV and TensorBoard logs.
        names: what a file calls its labels, and their units there.
        trust_labels: train on labels that look like another unit or sign, too.

    Returns:
        The folder. Its report.json has `target` (metrics beside baselines, before and after),
        `forgetting` (losses on the pretraining tasks before and after) and `scratch`.

    Raises:
        InputError: the model has no encoder for the data, or the data has no such label.
        RunError: a label, prediction or gradient is not finite.
    """
    out, began = Path(out), time.perf_counter()
    recipe = _with_mode(recipe or FinetuneRecipe(), mode)
    training = recipe.training
    base, base_name, record = _base(model)
    source = open_source(data, whole=False, names=names)
    task = make_task(base, source, target, recipe, encoder=encoder, level=level)
    check_labels(base, task, trust=trust_labels)
    task = task.limited(training.max_samples, training.seed)
    old_tasks, note = pretraining_tasks(record)
    start, _ = grow(base, task, training.seed)
    before = evaluate(start, task, split="test", max_samples=test_samples)
    resolved = {**recipe.to_dict(), "base_model": base_name, "data": source.name,
                "quantities": list(task.goals)}  # fmt: skip
    outcome = _outcome(
        base, task, recipe, run=out / RUN, resolved=resolved, old_tasks=old_tasks, note=note,
        resume=resume, log=log,
    )  # fmt: skip
    grown, result = outcome.model, outcome.result
    if not result.is_main:
        return out
    grown.config = dataclasses.replace(
        grown.config, name=name or f"{base.config.name}-{_slug(task)}"
    )
    grown.save_pretrained(out)
    evaluation = evaluate(grown, task, split="test", max_samples=test_samples)
    forgetting = forgotten(base, grown, old_tasks, note, moved=result.steps > 0)
    from_scratch = None
    if scratch:
        model = scratch_model(task, base, recipe, out)
        from_scratch = evaluate(model, task, split="test", max_samples=test_samples)
    extra = {
        "mode": outcome.mode,
        "asked": recipe.mode,
        "note": outcome.note,
        "candidates": [c.to_dict() for c in outcome.candidates],
        "parameters": dict(outcome.counts),
        "target": compare(before, evaluation, from_scratch),
        "forgetting": forgetting,
        "scratch": None if from_scratch is None else from_scratch.to_dict()["metrics"],
    }
    (row,) = rows = data_record([task])
    write_reports(
        out,
        {
            "name": grown.config.name,
            "base_model": base_name,
            "recipe": resolved,
            "seeds": [training.seed],
            "data": [{**row, "samples": row["samples"]["train"]}],
            "splits": split_sizes(rows),
            "pretraining": {k: record[k] for k in ("recipe", "data", "versions") if k in record},
            "uncertainty": dict(outcome.calibrated),
            "versions": versions(),
            "hardware": hardware(result.device),
            "cost": {
                "parameters": outcome.counts["all"],
                "trained parameters": outcome.counts["trainable"],
                "steps": result.steps,
                "training time [s]": round(result.seconds, 1),
                "device": result.device,
            },
            "losses": thinned([r for r in result.history if "loss" in r]),
            "validation": thinned([r for r in result.history if "validation/loss" in r]),
            "metrics": _card_rows(evaluation, from_scratch),
            **{k: extra[k] for k in ("mode", "candidates", "target", "forgetting")},
        },
        evaluation,
        result,
        total_seconds=time.perf_counter() - began,
        extra=extra,
    )
    return out


def _outcome(
    base: FoundationModel, task: TaskData, recipe: FinetuneRecipe, **options: Any
) -> Outcome:
    """What the recipe's mode makes of the task."""
    if recipe.mode in CLOSED:
        return closed_form(base, task, recipe.mode)
    return (compete if recipe.mode == "auto" else train)(base, task, recipe, **options)


def _with_mode(recipe: FinetuneRecipe, mode: str | None) -> FinetuneRecipe:
    if mode is None:
        return recipe
    if mode not in MODES:
        raise InputError(
            f"mode '{mode}' is not one of {', '.join(MODES)}.{did_you_mean(mode, MODES)}"
        )
    return recipe.model_copy(update={"mode": mode})


def _base(model: str | Path | FoundationModel) -> tuple[FoundationModel, str, dict[str, Any]]:
    """The model, its name, and its training.json (empty where it has none)."""
    if isinstance(model, FoundationModel):
        # everything but the steps themselves is computed on the CPU; the user's model stays put
        own = model if model.device.type == "cpu" else copy.deepcopy(model).to("cpu")
        return own, model.config.name, {}
    folder = resolve(model)
    path = folder / TRAINING
    record = read_object(path) if path.is_file() else {}
    loaded = load(FoundationModel, folder)
    return loaded, loaded.config.name, record


def make_task(
    model: FoundationModel,
    source: Source,
    target: str | Sequence[str] | None,
    recipe: FinetuneRecipe,
    *,
    encoder: str | None = None,
    level: str | None = None,
) -> TaskData:
    """The source as a task for one of the model's encoders.

    Raises:
        InputError: no such label, no encoder, or no samples.
    """
    wanted = [target] if isinstance(target, str) else list(target or source.quantities)
    for one in wanted:
        if one not in source.quantities:
            raise InputError(
                f"{source.name}: no labels '{one}' (it has: {', '.join(source.quantities)})."
                f"{did_you_mean(one, source.quantities)} A quantity of your own needs its unit and "
                "kind: --unit UNIT and --intensive or --extensive"
            )
    wanted = [q for q in wanted if not q.endswith("_uncertainty")]
    derived = [q for q in ("forces", "stress") if q in wanted]
    if derived and "energy" not in wanted:
        raise InputError(f"'{derived[0]}' is a derivative of the energy: add 'energy' as a target")
    if "energy" in wanted and isinstance(target, str):
        wanted += [q for q in ("forces", "stress") if q in source.quantities]
    part = encoder or _encoder(model, source, wanted)
    model.encoder(part)
    present = [(v, q) for v, q in source.present if q in wanted]
    relabel = None
    if level is not None:
        levels = {v for v, _ in present}
        if len(levels) > 1:
            raise InputError(
                f"{source.name}: its labels have {len(levels)} levels of theory "
                f"({', '.join(sorted(levels))}); they cannot all be '{level}'"
            )
        relabel = dict.fromkeys(levels, level)
    goals = {q: recipe.weights.get(q, Goal(weight=WEIGHTS.get(q, 1.0))) for q in wanted}
    task = source.task(part, present, goals=goals, relabel=relabel)
    for split in ("train", "test"):
        if not len(task.split(split)):
            raise InputError(f"{source.name}: no samples in the split '{split}'")
    _check_heads(model, task)
    return task


def _check_heads(model: FoundationModel, task: TaskData) -> None:
    """Whether the encoder makes what the heads of the task's quantities read, before it starts.

    Raises:
        InputError: it does not; other encoders of the domain are named.
    """
    made = model.encoder(task.encoder).tokenize(task.train[0]).extras
    for spec in heads_of(task):
        missing = [name for name in head_class(spec.part).needs if name not in made]
        if missing:
            others = [p.full_name for p in parts("encoders", domain=task.domain)]
            named = ", ".join(p for p in others if p != task.encoder) or "none installed"
            raise InputError(
                f"{task.name}: '{spec.quantity}' needs {', '.join(missing)} of the encoder, which "
                f"'{task.encoder}' of model '{model.config.name}' does not make; take a model with "
                f"another encoder of {task.domain} ({named}), or pretrain one"
            )


def _encoder(model: FoundationModel, source: Source, wanted: Sequence[str]) -> str:
    sample = source.splits["train"][0] if len(source.splits["train"]) else None
    fitting = [
        part
        for part, domain in model.config.encoder_domains.items()
        if domain == source.domain and (sample is None or model.encoder(part).accepts(sample))
    ]
    if not fitting:
        raise InputError(
            f"{source.name} belongs to domain '{source.domain}'; model '{model.config.name}' has "
            f"encoders for {', '.join(model.domains)}"
        )
    heads = {h.key for h in model.config.heads}
    return max(fitting, key=lambda part: sum(f"{part}:{q}" in heads for q in wanted))


def scratch_model(
    task: TaskData, base: FoundationModel, recipe: FinetuneRecipe, out: Path
) -> FoundationModel:
    """The base's trunk, new, trained on the same data for the same number of steps."""
    trunk = dict(base.config.trunk)
    options = {task.encoder: dict(base.config.encoders[task.encoder])}
    section = ModelSection(**trunk, encoders=options)
    model = new_model(model_config([task], section, "scratch"), recipe.training.seed)
    model.to(dtype=base.dtype)
    cover(model, [task])
    _, stresses = fit_normalisers(model, [task])
    measure_neighbours(model, [task])
    with tempfile.TemporaryDirectory(dir=out) as folder:
        fit(
            model,
            [task],
            settings=recipe.training,
            optimizer=OptimizerSection(
                **{**recipe.optimizer.model_dump(), "lr": SCRATCH_LEARNING_RATE}
            ),
            stress_scales=stresses,
            run=Path(folder),
            recipe={},
            title=f"from scratch on {task.name}",
            log=False,
        )
    return model.to("cpu")


def compare(
    before: Evaluation, after: Evaluation, scratch: Evaluation | None
) -> list[dict[str, Any]]:
    """One row per quantity: errors of the baseline, before, from scratch, and fine-tuned."""
    rows = []
    for m in after.metrics:
        start = before.of(m.quantity, m.level, m.encoder)
        row = {
            "quantity": m.quantity,
            "level": m.level,
            "unit": m.unit,
            "n": m.n,
            "baseline": m.baseline,
            "baseline_mae": m.baseline_mae,
            "before_mae": start.mae,
            "after_mae": m.mae,
        }
        if scratch is not None:
            row["scratch_mae"] = scratch.of(m.quantity).mae
        rows.append(row)
    return rows


def _card_rows(evaluation: Evaluation, scratch: Evaluation | None) -> list[dict[str, Any]]:
    rows = card_metrics(evaluation.metrics)
    if scratch is not None:
        for row, other in zip(rows, card_metrics(scratch.metrics), strict=True):
            row["baselines"]["from scratch"] = other["value"]
    return rows


def _slug(task: TaskData) -> str:
    return "-".join(q.replace("_", "-") for q in task.goals)
