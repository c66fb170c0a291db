"""Choosing how to fine-tune: every way competes on labels that it was not fitted to.

Numbers per system have closed forms (`sfm.train.closed_form`), among them zero-shot and simple
rivals that know nothing of the model; fits that leave out a fifth of the labels with its relatives
judge them in seconds (`sfm.train.cross_fit`). Where the budget allows, training of all weights
competes with the best of them (`sfm.train.trial`). Everything else is trained, and is kept only if
it says the validation split better than the model did before.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sfm.config import Target
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn.derive import DERIVED
from sfm.recipe import FinetuneRecipe
from sfm.train.closed_form import Fitted, all_forms, gather, install, labelled, with_levels
from sfm.train.cross_fit import cross_fitted
from sfm.train.engine import FitResult
from sfm.train.force_selection import closed_forces, compete_forces, enough, force_targets
from sfm.train.losses import task_losses
from sfm.train.outcome import Candidate, Outcome
from sfm.train.tasks import TaskData
from sfm.train.trained import mode_of, ready, train
from sfm.train.transfer import grow, nearest_levels, said_anywhere
from sfm.train.trial import trial, wins

CLOSED = ("ridge", "gp", "delta")


def targets_in_closed_form(base: FoundationModel, task: TaskData) -> list[Target]:
    """The task's targets, if closed forms can say all of them; else none."""
    targets = [Target(task.encoder, level, name) for level, name in task.present]
    fit_all = all(
        t.quantity not in DERIVED and task.definitions[t.quantity].is_number for t in targets
    )
    return targets if fit_all else []


def closed_form(base: FoundationModel, task: TaskData, mode: str) -> Outcome:
    """The best closed form of the mode for every target of the task.

    Args:
        base: stays as it is.
        task: what to learn.
        mode: `ridge`, `gp`, `delta`, or `auto` for all forms.

    Raises:
        InputError: the labels are no numbers per system, or there is nothing to be a difference to.
    """
    began = time.perf_counter()
    targets = targets_in_closed_form(base, task)
    if not targets and (energies := force_targets(task)):
        return closed_forces(base, task, energies, mode)
    if not targets:
        names = ", ".join(task.goals)
        raise InputError(
            f"mode '{mode}' is for one number per system, not for {names}, and for energies with "
            "forces: take mode full or head"
        )
    grown, fits = fit_all(base, task, targets)
    chosen = [best_of(fits[target], mode, grown) for target in targets]
    return finish(grown, chosen, fits, began, mode)


def fit_all(
    base: FoundationModel, task: TaskData, targets: Sequence[Target]
) -> tuple[FoundationModel, dict[Target, list[Fitted]]]:
    """The model with the task's levels, and all forms of every target, judged."""
    base = ready(base, task, "head")
    grown = with_levels(base, task, nearest_levels(base, task))
    fits: dict[Target, list[Fitted]] = {}
    for target in targets:
        samples = labelled(task, target)
        if len(samples) < 3:
            raise InputError(f"{task.name}: only {len(samples)} training labels of {target}")
        inputs = gather(grown, task, target, samples)
        fitted = all_forms(grown, inputs, known=said_anywhere(base, target))
        fits[target] = cross_fitted(grown, fitted)
    return grown, fits


def best_of(fits: Sequence[Fitted], mode: str, model: FoundationModel) -> Fitted:
    """The form of the mode with the least error on labels that were left out.

    Simple rivals are at hand in mode `auto`, and are taken where they are better by more than a
    standard error of the mean difference: their inputs are among those of `ridge` and `gp`, so that
    of a tie these will make more.

    Raises:
        InputError: there is none.
    """
    modes: dict[str, Callable[[Fitted], bool]] = {
        "auto": lambda f: True,
        "ridge": lambda f: f.form.name == "ridge",
        "gp": lambda f: f.form.name == "gp",
        "delta": lambda f: f.form.against is not None and not f.form.fixed,
    }
    fitting = [f for f in fits if modes[mode](f)]
    if not fitting:
        target = fits[0].inputs.target
        raise InputError(
            f"model '{model.config.name}' says nothing that {target.quantity} could be a "
            f"difference to with '{target.encoder}': take mode auto, ridge or gp"
        )
    rivals = [f for f in fitting if f.form.rival]
    best = min((f for f in fitting if not f.form.rival), key=lambda f: f.mae)
    rival = min(rivals, key=lambda f: f.mae, default=best)
    return rival if wins(errors_of(rival) - errors_of(best), 1.0) else best


def errors_of(fitted: Fitted) -> Float[np.ndarray, " n"]:
    """(n,) absolute errors on labels that were left out, in the target's unit."""
    return (fitted.left_out - fitted.inputs.labels).abs().numpy()


def finish(
    grown: FoundationModel,
    chosen: Sequence[Fitted],
    fits: Mapping[Target, Sequence[Fitted]],
    began: float,
    mode: str,
    others: Sequence[Candidate] = (),
    note: str = "",
) -> Outcome:
    """The model with the chosen forms, and the table of all."""
    picked = {id(f) for f in chosen}
    model = install(grown, chosen)
    candidates = [
        Candidate(
            f.form.name,
            str(target),
            f.mae,
            grown.config.quantities[target.quantity].unit,
            f.how,
            f.form.rival,
            id(f) in picked,
        )
        for target, target_fits in fits.items()
        for f in target_fits
    ]
    names = {f.form.name for f in chosen}
    seconds = time.perf_counter() - began
    return Outcome(
        model=model,
        mode=names.pop() if len(names) == 1 else f"{mode}: closed form",
        result=FitResult([], seconds, 0, "cpu", True),
        counts={"trainable": 0, "all": sum(p.numel() for p in model.parameters())},
        calibrated={str(f.inputs.target): f.factor for f in chosen},
        candidates=(*candidates, *others),
        note=note,
    )


def compete(
    base: FoundationModel,
    task: TaskData,
    recipe: FinetuneRecipe,
    *,
    run: Path,
    resolved: Mapping[str, Any],
    old_tasks: Sequence[TaskData] = (),
    note: str = "",
    resume: bool = False,
    log: bool = True,
) -> Outcome:
    """Mode `auto`; arguments as for `sfm.train.trained.train`."""
    options: dict[str, Any] = {
        "run": run, "resolved": resolved, "old_tasks": old_tasks, "note": note, "log": log,
    }  # fmt: skip
    targets = targets_in_closed_form(base, task)
    full = recipe.model_copy(update={"mode": "full"})
    if resume:
        begun = recipe.model_copy(update={"mode": mode_of(run)})
        return train(base, task, begun, resume=True, **options)
    if not targets:
        energies = force_targets(task)
        if energies and enough(task, energies):
            return compete_forces(base, task, energies, full, options)
        return _trained_if_better(base, task, full, options)
    began = time.perf_counter()
    grown, fits = fit_all(base, task, targets)
    chosen = [best_of(fits[target], "auto", grown) for target in targets]
    others, text, winner = trial(base, grown, task, chosen, recipe)
    if winner is not None:
        outcome = winner.on_all(base, task, **options)
        lost = finish(grown, chosen, fits, began, "auto", others, text).candidates
        return dataclasses.replace(
            outcome,
            candidates=tuple(dataclasses.replace(c, chosen=c.name == outcome.mode) for c in lost),
        )
    return finish(grown, chosen, fits, began, "auto", others, text)


def _trained_if_better(
    base: FoundationModel, task: TaskData, recipe: FinetuneRecipe, options: Mapping[str, Any]
) -> Outcome:
    """Training, unless it says the validation split worse than the model did before."""
    outcome = train(base, task, recipe, **options)
    if not outcome.result.is_main or not len(task.validation):
        return outcome
    start, _ = grow(ready(base, task, "full"), task, recipe.training.seed)
    losses = {"zero-shot": task_losses(start, [task]), "full": task_losses(outcome.model, [task])}
    name = f"{task.encoder} on {task.name}"
    best = min(losses, key=lambda k: losses[k].get("loss", float("inf")))
    rows = tuple(
        Candidate(k, name, v["loss"], "1", "loss on the validation split", chosen=k == best)
        for k, v in losses.items()
        if "loss" in v
    )
    if best == "full":
        return dataclasses.replace(outcome, candidates=rows)
    return dataclasses.replace(
        outcome,
        model=start,
        mode="zero-shot",
        candidates=rows,
        note="training did not improve on the model as it was, which is kept",
    )
