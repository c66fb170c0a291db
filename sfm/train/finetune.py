"""`finetune`: a pretrained model learns new data, and the report says what it gained and lost."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfm.data.label_names import LabelNames
from sfm.errors import InputError, SfmError, did_you_mean
from sfm.model import FoundationModel
from sfm.recipe import (
    FinetuneRecipe,
    Goal,
    ModelSection,
    OptimizerSection,
    Recipe,
    parse,
)
from sfm.strict_json import read_object
from sfm.train.build import fit_normalisers, measure_neighbours, model_config, new_model
from sfm.train.calibrate import calibrate
from sfm.train.cover import cover
from sfm.train.data import INFERENCE, Tokenizer, pack
from sfm.train.engine import fit
from sfm.train.evaluate import Evaluation, evaluate
from sfm.train.folders import RUN, one_run
from sfm.train.label_checks import check_labels
from sfm.train.lora import merge_lora
from sfm.train.objective import Objective, mean_losses
from sfm.train.pretrain import data_record, split_sizes, write_reports
from sfm.train.report import TRAINING, card_metrics, hardware, thinned, versions
from sfm.train.sources import Source, open_source
from sfm.train.tasks import TaskData, open_tasks, subset
from sfm.train.transfer import choose_trainable, grow, limited

LEARNING_RATE = {"full": 5e-4, "head": 5e-3, "lora": 2e-3}
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
        target: quantity or quantities to learn; None takes all labels. With `energy` alone come
            the forces and the stress that the data has; a list is taken as it is.
        mode: `full`, `head` or `lora`; None takes the recipe's.
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
    before_losses = task_losses(base, old_tasks)
    grown, stresses = grow(base, task, training.seed)
    before = evaluate(grown, task, split="test", max_samples=test_samples)
    new_contexts = len(grown.config.contexts) > len(base.config.contexts)
    counts = choose_trainable(grown, task, recipe, new_contexts=new_contexts)
    tasks, shares = [task], None
    if recipe.replay > 0:
        tasks, shares = _with_replay(task, old_tasks, recipe, note)
        _, old_stresses = fit_normalisers(grown, limited(old_tasks, 200), contexts=())
        for part, own in old_stresses.items():
            stresses.setdefault(part, {}).update(
                {c: v for c, v in own.items() if c not in stresses.get(part, {})}
            )
    optimizer = _optimizer(recipe, LEARNING_RATE[recipe.mode])
    resolved = {**recipe.to_dict(), "base_model": base_name, "data": source.name,
                "quantities": list(task.goals)}  # fmt: skip
    result = fit(
        grown,
        tasks,
        settings=training,
        optimizer=optimizer,
        stress_scales=stresses,
        run=out / RUN,
        recipe=resolved,
        title=f"fine-tuning ({recipe.mode}) on {source.name}",
        resume=resume,
        probabilities=shares,
        log=log,
    )
    if not result.is_main:
        return out
    merge_lora(grown)
    grown.requires_grad_(True).to("cpu")
    calibrated = calibrate(grown, [task])
    grown.config = dataclasses.replace(
        grown.config, name=name or f"{base.config.name}-{_slug(task)}"
    )
    grown.save_pretrained(out)
    evaluation = evaluate(grown, task, split="test", max_samples=test_samples)
    after_losses = task_losses(grown, old_tasks)
    from_scratch = _scratch(task, base, recipe, out, test_samples) if scratch else None
    extra = {
        "mode": recipe.mode,
        "parameters": counts,
        "target": compare(before, evaluation, from_scratch),
        "forgetting": {
            "note": note or "losses on validation samples of the pretraining tasks",
            "before": before_losses,
            "after": after_losses,
        },
        "scratch": None if from_scratch is None else from_scratch.to_dict()["metrics"],
    }
    (row,) = data = data_record([task])
    write_reports(
        out,
        {
            "name": grown.config.name,
            "base_model": base_name,
            "recipe": resolved,
            "seeds": [training.seed],
            "data": [{**row, "samples": row["samples"]["train"]}],
            "splits": split_sizes(data),
            "pretraining": {k: record[k] for k in ("recipe", "data", "versions") if k in record},
            "uncertainty": calibrated,
            "versions": versions(),
            "hardware": hardware(result.device),
            "cost": {
                "parameters": counts["all"],
                "trained parameters": counts["trainable"],
                "steps": result.steps,
                "training time [s]": round(result.seconds, 1),
                "device": result.device,
            },
            "losses": thinned([r for r in result.history if "loss" in r]),
            "validation": thinned([r for r in result.history if "validation/loss" in r]),
            "metrics": _card_rows(evaluation, from_scratch),
            **{k: extra[k] for k in ("mode", "target", "forgetting")},
        },
        evaluation,
        result,
        total_seconds=time.perf_counter() - began,
        extra=extra,
    )
    return out


def _with_mode(recipe: FinetuneRecipe, mode: str | None) -> FinetuneRecipe:
    if mode is None:
        return recipe
    if mode not in LEARNING_RATE:
        raise InputError(
            f"mode '{mode}' is not one of {', '.join(LEARNING_RATE)}."
            f"{did_you_mean(mode, LEARNING_RATE)}"
        )
    return recipe.model_copy(update={"mode": mode})


def _optimizer(recipe: FinetuneRecipe, lr: float) -> OptimizerSection:
    own = recipe.optimizer
    return OptimizerSection(**{**own.model_dump(), "lr": own.lr or lr})


def _base(model: str | Path | FoundationModel) -> tuple[FoundationModel, str, dict[str, Any]]:
    """The model, its name, and its training.json (empty where it has none)."""
    if isinstance(model, FoundationModel):
        # everything but the steps themselves is computed on the CPU; the user's model stays put
        own = model if model.device.type == "cpu" else copy.deepcopy(model).to("cpu")
        return own, model.config.name, {}
    from sfm.checkpoint import load
    from sfm.hub.resolve import resolve

    folder = resolve(model)
    path = folder / TRAINING
    record = read_object(path) if path.is_file() else {}
    loaded = load(folder)
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
                f"{did_you_mean(one, source.quantities)}"
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
    return task


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


def pretraining_tasks(record: Mapping[str, Any]) -> tuple[list[TaskData], str]:
    """The tasks that a model was pretrained on, or why they are not at hand."""
    own = record.get("pretraining") or record
    if not isinstance(own, Mapping) or "tasks" not in (own.get("recipe") or {}):
        return [], "the model carries no training.json, so its pretraining tasks are not known"
    try:
        old: Recipe = parse(own["recipe"])
        return open_tasks(old), ""
    except SfmError as error:
        return [], f"the pretraining tasks are not at hand: {error}"


def task_losses(model: FoundationModel, tasks: Sequence[TaskData], n: int = 64) -> dict[str, float]:
    """Validation losses on the tasks, by name: the weighted sum, per domain, per quantity."""
    if not tasks:
        return {}
    _, stresses = fit_normalisers(model, limited(tasks, 200), contexts=())
    objective = Objective(model, tasks, stresses)
    tokenizer = Tokenizer(model, tasks, 1)
    items = [
        tokenizer.make(number, sample)
        for number, task in enumerate(tasks)
        for sample in subset(task.validation, n)
    ]
    batches = pack(items, INFERENCE, tokenizer.quantities)
    return mean_losses(model, objective.to(model.device), batches)


def _with_replay(
    task: TaskData, old: Sequence[TaskData], recipe: FinetuneRecipe, note: str
) -> tuple[list[TaskData], list[float]]:
    if not old:
        raise InputError(f"replay needs the pretraining tasks: {note}")
    share = recipe.replay / len(old)
    return [task, *old], [1 - recipe.replay, *([share] * len(old))]


def _scratch(
    task: TaskData, base: FoundationModel, recipe: FinetuneRecipe, out: Path, n: int | None
) -> Evaluation:
    """The same trunk, new, trained on the same data for the same number of steps."""
    trunk = dict(base.config.trunk)
    options = {task.encoder: dict(base.config.encoders[task.encoder])}
    section = ModelSection(**trunk, encoders=options)
    model = new_model(model_config([task], section, "scratch"), recipe.training.seed)
    model.to(dtype=base.dtype)
    cover(model, [task])
    _, stresses = fit_normalisers(model, [task])
    measure_neighbours(model, [task])
    import tempfile

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
    model.to("cpu")
    return evaluate(model, task, split="test", max_samples=n)


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
