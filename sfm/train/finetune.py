"""`finetune`: a pretrained model learns new data, and the report says what it gained and lost."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfm.config import BaselineSpec
from sfm.data.label_names import LabelNames
from sfm.errors import InputError, did_you_mean
from sfm.formats.strict_json import read_object
from sfm.hub.files import TRAINING
from sfm.hub.resolve import resolve
from sfm.model import FoundationModel
from sfm.model.adapter import named_base, save_adapter
from sfm.model.checkpoint import load
from sfm.recipe import MODES, FinetuneRecipe
from sfm.train.evaluate import Evaluation, evaluate
from sfm.train.finetune_report import Finetuned
from sfm.train.finetune_task import make_task
from sfm.train.folders import RUN, one_run
from sfm.train.label_checks import check_labels
from sfm.train.loggers import check_loggers
from sfm.train.losses import forgotten, pretraining_tasks
from sfm.train.outcome import Outcome
from sfm.train.remainder import remaining, standing
from sfm.train.report import write_json
from sfm.train.scratch import scratch_model
from sfm.train.selection import CLOSED, closed_form, compete
from sfm.train.sources import open_source
from sfm.train.tasks import TaskData
from sfm.train.theory import section_of, theories_of
from sfm.train.trained import train
from sfm.train.transfer import grow


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
    baseline: str | None = None,
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
        level: level of theory of the labels, where the data does not say; of several, the one to
            learn. A name that the model knows continues that level, any other opens a new one.
        scratch: also train a model of the same size from nothing on the same data and steps.
        resume: go on from `out/run/last.ckpt`.
        name: of the new model; default: the base's name and the target.
        test_samples: at most so many test systems in the report.
        log: use the recipe's loggers.
        names: what a file calls its labels, and their units there.
        trust_labels: train on labels that look like another unit or sign, too.
        baseline: theory beneath the energy (`sfm.train.theory.section_of`), in the place of the
            recipe's; the model keeps it.

    Returns:
        The folder. With `lora`, its folder `adapter` holds the updates alone, in PEFT's layout
        (`sfm.model.adapter`). Its report.json has `target` (metrics beside baselines, before and
        after), `forgetting` (losses on the pretraining tasks before and after) and `scratch`.

    Raises:
        InputError: the model has no encoder for the data, or the data has no such label.
        RunError: a label, prediction or gradient is not finite.
    """
    out, began = Path(out), time.perf_counter()
    recipe = _with_mode(recipe or FinetuneRecipe(), mode)
    check_loggers(recipe.training.loggers)
    base, base_name, record = _base(model)
    source = open_source(data, whole=False, names=names)
    task = make_task(base, source, target, recipe, encoder=encoder, level=level)
    check_labels(base, task, trust=trust_labels)
    task = task.limited(recipe.training.max_samples, recipe.training.seed)
    old_tasks, note = pretraining_tasks(record)
    recipe = _with_baseline(recipe, baseline, task.domain)
    beneath = theories_of(base, task, recipe.baseline)
    bare, learned, theories = standing(base, task, beneath)
    resolved = {**recipe.to_dict(), "base_model": base_name, "data": source.name,
                "quantities": list(task.goals)}  # fmt: skip

    def errors(model: FoundationModel, theories: Sequence[BaselineSpec] = theories) -> Evaluation:
        model.stand_on(theories)
        return evaluate(model, task, split="test", max_samples=test_samples)

    before = errors(grow(bare, learned, recipe.training.seed)[0])
    outcome = _outcome(
        bare, learned, recipe, on_theory=bool(beneath), run=out / RUN, resolved=resolved,
        old_tasks=[remaining(old, base) for old in old_tasks], note=note, resume=resume, log=log,
    )  # fmt: skip
    grown = outcome.model
    grown.stand_on(theories)
    if not outcome.result.is_main:
        return out
    name = name or f"{base.config.name}-{_slug(task)}"
    grown.config = dataclasses.replace(grown.config, name=name)
    grown.save_pretrained(out)
    finetuned = Finetuned(
        base_name=base_name, record=record, task=task, recipe=recipe, resolved=resolved,
        outcome=outcome, before=before, after=errors(grown),
        forgetting=forgotten(base, grown, old_tasks, note, moved=outcome.result.steps > 0),
        scratch=errors(scratch_model(learned, bare, recipe, out), beneath) if scratch else None,
    )  # fmt: skip
    finetuned.write(out, total_seconds=time.perf_counter() - began)
    if outcome.updates and not isinstance(model, FoundationModel):
        _write_adapter(outcome, model, out)
    return out


def _with_baseline(recipe: FinetuneRecipe, baseline: str | None, domain: str) -> FinetuneRecipe:
    """The recipe with the theory that a caller names instead of its own."""
    if baseline is None:
        return recipe
    return recipe.model_copy(update={"baseline": section_of(baseline, domain)})


def _write_adapter(outcome: Outcome, base: str | Path, out: Path) -> None:
    """The updates alone, beside the whole model in `out`."""
    folder = save_adapter(outcome.model, outcome.updates, base, out / "adapter")
    write_json(folder / TRAINING, {**read_object(out / TRAINING), "base_relation": "adapter"})


def _outcome(
    base: FoundationModel,
    task: TaskData,
    recipe: FinetuneRecipe,
    *,
    on_theory: bool,
    **options: Any,
) -> Outcome:
    """What the recipe's mode makes of the task; on a theory every closed form is a difference."""
    if recipe.mode in CLOSED:
        return closed_form(
            base, task, "auto" if on_theory and recipe.mode == "delta" else recipe.mode
        )
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
    """The model, what others call it, and its training.json (empty where it has none)."""
    if isinstance(model, FoundationModel):
        # everything but the steps themselves is computed on the CPU; the user's model stays put
        on_cpu = model if model.device.type == "cpu" else copy.deepcopy(model).to("cpu")
        return on_cpu, model.config.name, {}
    folder = resolve(model)
    path = folder / TRAINING
    record = read_object(path) if path.is_file() else {}
    loaded = load(FoundationModel, folder)
    name, _ = named_base(model)
    # a path of this machine is nobody else's business
    return loaded, f"./{loaded.config.name}" if Path(name).is_absolute() else name, record


def _slug(task: TaskData) -> str:
    return "-".join(q.replace("_", "-") for q in task.goals)
