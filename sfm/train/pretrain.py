"""`pretrain`: from a recipe to a model folder, with a report that says how good it is."""

from __future__ import annotations

import copy
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfm.data.mixing import shares
from sfm.hub.files import TRAINING
from sfm.model import FoundationModel
from sfm.recipe import Recipe
from sfm.train.build import Fitted, fit_normalisers, measure_neighbours, model_config, new_model
from sfm.train.calibrate import calibrate
from sfm.train.cover import cover
from sfm.train.engine import FitResult, fit
from sfm.train.evaluate import Evaluation, evaluate
from sfm.train.folders import RUN, one_run
from sfm.train.loggers import check_loggers
from sfm.train.remainder import remaining
from sfm.train.report import (
    REPORT,
    card_metrics,
    finite,
    hardware,
    plot_losses,
    plot_parity,
    thinned,
    versions,
    write_json,
)
from sfm.train.start import start_from
from sfm.train.tasks import TaskData, open_tasks
from sfm.train.through import through_terms


@one_run
def pretrain(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    test_samples: int | None = 500,
    log: bool = True,
    folders: Sequence[Path | None] | None = None,
) -> Path:
    """Train one model on all tasks of the recipe, and save it with its report.

    Writes into `out`: config.json, model.safetensors, training.json, report.json, losses.png,
    parity.png; and `run/` with last.ckpt and logs, which is never published.

    Args:
        recipe: what to train on what; see `sfm.recipe.load`.
        out: folder of the model.
        resume: go on from `out/run/last.ckpt`, to the very weights that an unbroken run gives.
        test_samples: at most so many test systems per task and level in the report.
        log: use the recipe's loggers.
        folders: of each task's data, where they come from a pack (`sfm.train.packed`).

    Returns:
        The folder.

    Raises:
        InputError: `out` already holds a run or another is at work there, or there is nothing to
            resume.
        RunError: a label, prediction or gradient is not finite, or the disk is full.
        KeyboardInterrupt: Ctrl-C or SIGTERM; `resume=True` goes on from there.
    """
    check_loggers(recipe.training.loggers)
    out = Path(out)
    began = time.perf_counter()
    tasks = open_tasks(recipe, folders)
    training = recipe.training
    model = new_model(model_config(tasks, recipe.model, recipe.name), training.seed)
    if training.precision == 64:
        model.double()
    cover(model, tasks)
    fitted, stresses = fit_normalisers(model, tasks)
    measure_neighbours(model, tasks)
    if recipe.start is not None and not resume:  # a checkpoint holds all that it gave
        for line in start_from(model, recipe.start):
            print(line, file=sys.stderr)
    terms = through_terms(recipe, tasks)
    for term in terms:
        term.check(model)
    theories = model.config.baselines
    learned = tasks
    if not terms:  # a simulator needs the whole energy of its closure
        learned = [remaining(task, copy.copy(model)) for task in tasks]
        model.stand_on(())
    result = fit(
        model,
        learned,
        settings=training,
        optimizer=recipe.optimizer,
        stress_scales=stresses,
        probabilities=probabilities(recipe, tasks),
        through=terms,
        run=out / RUN,
        recipe=recipe.to_dict(),
        title=f"pretraining {recipe.name}",
        resume=resume,
        log=log,
    )
    if result.is_main:
        model.to("cpu")
        calibrated = calibrate(model, learned)
        model.stand_on(theories)
        model.save_pretrained(out)
        evaluation = evaluate_tasks(model, tasks, max_samples=test_samples)
        record = training_record(recipe, model, tasks, fitted, result, evaluation, calibrated)
        ran = finite([term.report(model) for term in terms if term.of_split("test")])
        extra = {"through": ran} if ran else {}
        spent = time.perf_counter() - began
        write_reports(out, record | extra, evaluation, result, total_seconds=spent, extra=extra)
    return out


def probabilities(recipe: Recipe, tasks: Sequence[TaskData]) -> list[float]:
    """Share of the tokens that each task gives: the temperature's times the task's own."""
    drawn = shares([len(t.train) for t in tasks], recipe.training.temperature)
    weighted = drawn * [t.share for t in recipe.tasks]
    share: list[float] = (weighted / weighted.sum()).tolist()
    return share


def evaluate_tasks(
    model: FoundationModel,
    tasks: Sequence[TaskData],
    *,
    split: str = "test",
    max_samples: int | None = 500,
) -> Evaluation:
    """All tasks' metrics in one table."""
    parts = [
        evaluate(model, task, split=split, max_samples=max_samples)
        for task in tasks
        if len(task.split(split))
    ]
    return Evaluation(
        [m for e in parts for m in e.metrics], {k: v for e in parts for k, v in e.points.items()}
    )


def data_record(tasks: Sequence[TaskData]) -> list[dict[str, Any]]:
    """What was trained on, for training.json and cards."""
    return [
        {
            "name": task.name,
            "encoder": task.encoder,
            "domain": task.domain,
            "levels": list(task.levels),
            "quantities": {k: g.model_dump() for k, g in task.goals.items()},
            "samples": {
                "train": len(task.train),
                "validation": len(task.validation),
                "test": len(task.test),
            },
            **dict(task.facts),
        }
        for task in tasks
    ]


def split_sizes(data: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Samples by split of every row of `data_record`, by `encoder on dataset`."""
    return {f"{row['encoder']} on {row['name']}": row["samples"] for row in data}


def training_record(
    recipe: Recipe,
    model: FoundationModel,
    tasks: Sequence[TaskData],
    fitted: Sequence[Fitted],
    result: FitResult,
    evaluation: Evaluation,
    calibrated: dict[str, float],
) -> dict[str, Any]:
    """training.json: everything that is needed to do it again, and what came out."""
    data = data_record(tasks)
    return {
        "name": recipe.name,
        "summary": recipe.summary,
        "recipe": recipe.to_dict(),
        "seeds": [recipe.training.seed],
        "data": [{**row, "samples": row["samples"]["train"]} for row in data],
        "splits": split_sizes(data),
        "references": [dataclasses.asdict(f.used_by(model, recipe.start)) for f in fitted],
        "uncertainty": calibrated,
        "versions": versions(),
        "hardware": hardware(result.device),
        "cost": {
            "parameters": sum(p.numel() for p in model.parameters()),
            "steps": result.steps,
            "training time [s]": round(result.seconds, 1),
            "device": result.device,
        },
        "losses": finite(thinned([r for r in result.history if "loss" in r])),
        "validation": finite(thinned([r for r in result.history if "validation/loss" in r])),
        "metrics": card_metrics(evaluation.metrics),
    }


def write_reports(
    out: Path,
    record: dict[str, Any],
    evaluation: Evaluation,
    result: FitResult,
    *,
    total_seconds: float,
    extra: dict[str, Any] | None = None,
) -> None:
    """training.json, report.json and the pictures."""
    write_json(out / TRAINING, record)
    pictures = [plot_losses(result.history, out / "losses.png")] if result.history else []
    if evaluation.points:
        pictures.append(plot_parity(evaluation.points, evaluation.metrics, out / "parity.png"))
    write_json(
        out / REPORT,
        {
            "name": record["name"],
            "steps": result.steps,
            "training_seconds": result.seconds,
            "total_seconds": total_seconds,
            "history": finite(result.history),
            "metrics": [m.to_dict() for m in evaluation.metrics],
            "pictures": [path.name for path in pictures],
            **(extra or {}),
        },
    )
