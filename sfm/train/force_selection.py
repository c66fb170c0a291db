"""Choosing how to learn energies with forces: closed forms, the model as it is, and training.

Closed forms are compared by systems that they leave out (`sfm.train.force_forms`); the best of them
meets the model as it is and training on the validation split: of all weights, and of a large model
by low-rank updates too (`sfm.train.afford`).
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfm.config import Target
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn.derive import DERIVED
from sfm.recipe import FinetuneRecipe
from sfm.train.afford import contenders
from sfm.train.closed_form import baselines_of, with_levels
from sfm.train.engine import FitResult
from sfm.train.force_forms import FOLDS, ForceForm, fit_force_form, install_forces, reduction
from sfm.train.force_rows import System, gather_rows, token_invariants
from sfm.train.losses import task_losses
from sfm.train.outcome import Candidate, Outcome
from sfm.train.tasks import TaskData, subset
from sfm.train.trained import ready, train, without_split
from sfm.train.transfer import grow, nearest_levels

# systems that closed forms are fitted to at most: their rows are kept in memory
MOST = 400
LOOKED_AT = 4_000
FEWEST = 2 * FOLDS
HELD = 0.2
LEFT_OUT = f"left out, {FOLDS} folds"
BLOCK = "loss on the validation split"


def force_targets(task: TaskData) -> list[Target]:
    """The energies of a task that is about energies with forces and nothing else; else none."""
    names = set(task.goals)
    levels = {level for level, name in task.present if name == "forces"}
    if not {"energy", "forces"} <= names <= {"energy", *DERIVED}:
        return []
    if levels != {level for level, _ in task.present}:
        return []
    return [Target(task.encoder, level, "energy") for level in sorted(levels)]


@dataclasses.dataclass(frozen=True)
class ForceFits:
    """All forms of one level.

    Attributes:
        target: its energy.
        forms: the fitted ones.
        zero_shot: errors of the model as it is, by quantity; none where it says no energy.
    """

    target: Target
    forms: Sequence[ForceForm]
    zero_shot: Mapping[str, float]

    def score(self, form: ForceForm) -> float:
        """Sum of its errors over the least of any form."""
        names = list(form.maes)
        least = {n: min(f.maes[n] for f in self.forms) for n in names}
        return sum(form.maes[n] / max(least[n], 1e-12) for n in names)

    def best(self, mode: str) -> ForceForm:
        """The form of the mode with the least left-out errors.

        Raises:
            InputError: there is none.
        """
        names = {f.name for f in self.forms}
        if mode in ("ridge", "gp"):
            names = {mode}
        elif mode == "delta":
            names = {name for name in names if name.startswith("delta")}
        fitting = [f for f in self.forms if f.name in names]
        if not fitting:
            raise InputError(
                f"the model says no energy with '{self.target.encoder}' that this one could be a "
                "difference to: take mode auto, ridge or gp"
            )
        return min(fitting, key=self.score)


def fit_forces(
    base: FoundationModel, task: TaskData, targets: Sequence[Target]
) -> tuple[FoundationModel, list[ForceFits]]:
    """The model with the task's levels, and all closed forms of each.

    Raises:
        InputError: too few labelled systems.
    """
    base = ready(base, task, "head")
    grown = with_levels(base, task, nearest_levels(base, task))
    precise = with_levels(grown, task, {}).double()
    fits = []
    for target in targets:
        samples = _labelled(task, target)
        if len(samples) < FEWEST:
            raise InputError(
                f"{task.name}: only {len(samples)} training systems have energy and forces at "
                f"{target.level}; closed forms need {FEWEST}"
            )
        fits.append(_fits(precise, target, samples))
    return grown, fits


def _labelled(task: TaskData, target: Target) -> list[Sample]:
    """At most `MOST` training systems with energy and forces at the target's level."""
    drawn = subset(task.train, LOOKED_AT)
    at_level = [
        s for s in drawn if s.level == target.level and {"energy", "forces"} <= set(s.labels)
    ]
    return list(subset(at_level, MOST))


def enough(task: TaskData, targets: Sequence[Target]) -> bool:
    """Whether closed forms can be fitted, also where a fifth of the systems is held out."""
    return all(len(_labelled(task, t)) >= 2 * FEWEST for t in targets)


def _fits(model: FoundationModel, target: Target, samples: Sequence[Sample]) -> ForceFits:
    mean, rotation = reduced = reduction(token_invariants(model, target, samples))
    systems = gather_rows(model, target, samples, lambda h: (h - mean) @ rotation)
    known = bool(baselines_of(model, target))
    forms = [
        fit_force_form(model, target, systems, reduced, smooth=smooth, against=against)
        for against in ((True, False) if known else (False,))
        for smooth in (False, True)
    ]
    return ForceFits(target, forms, _own_errors(systems) if known else {})


def _own_errors(systems: Sequence[System]) -> dict[str, float]:
    strained = torch.cat([s.strained for s in systems])
    errors = torch.cat([s.slopes / torch.where(s.strained, s.volume, 1.0) for s in systems]).abs()
    by_quantity = {
        "energy": float(np.mean([abs(s.energy) for s in systems])),
        "forces": float(errors[~strained].mean()),
    }
    return by_quantity | ({"stress": float(errors[strained].mean())} if strained.any() else {})


def closed_forces(
    base: FoundationModel, task: TaskData, targets: Sequence[Target], mode: str
) -> Outcome:
    """The best closed form of the mode for energies and forces; as `selection.closed_form`."""
    began = time.perf_counter()
    grown, fits = fit_forces(base, task, targets)
    chosen = [f.best(mode) for f in fits]
    return _outcome(_installed(grown, task, chosen), chosen, _rows(grown, fits, chosen), began)


def _installed(
    grown: FoundationModel, task: TaskData, chosen: Sequence[ForceForm]
) -> FoundationModel:
    for form in chosen:
        targets = [Target(task.encoder, v, q) for v, q in task.present if v == form.target.level]
        grown = install_forces(grown, form, targets)
    return grown


def _outcome(
    model: FoundationModel,
    chosen: Sequence[ForceForm],
    candidates: Sequence[Candidate],
    began: float,
) -> Outcome:
    names = {f.name for f in chosen}
    return Outcome(
        model=model,
        mode=names.pop() if len(names) == 1 else "closed form",
        result=FitResult([], time.perf_counter() - began, 0, "cpu", True),
        counts={"trainable": 0, "all": sum(p.numel() for p in model.parameters())},
        calibrated={str(f.target): float(f.head.factor) for f in chosen},
        candidates=tuple(candidates),
    )


def _rows(
    model: FoundationModel, fits: Sequence[ForceFits], chosen: Sequence[ForceForm] = ()
) -> list[Candidate]:
    """Lines of the table of competitors."""
    units = {name: q.unit for name, q in model.config.quantities.items()}
    rows = []
    for fit in fits:
        zero_shot = [("zero-shot", fit.zero_shot, False)] if fit.zero_shot else []
        shown = [(f.name, f.maes, any(f is c for c in chosen)) for f in fit.forms]
        for name, maes, picked in (*zero_shot, *shown):
            for quantity, mae in maes.items():
                target = str(dataclasses.replace(fit.target, quantity=quantity))
                how = "labels of training" if name == "zero-shot" else LEFT_OUT
                rows.append(Candidate(name, target, mae, units[quantity], how, chosen=picked))
    return rows


def compete_forces(
    base: FoundationModel,
    task: TaskData,
    targets: Sequence[Target],
    recipe: FinetuneRecipe,
    options: Mapping[str, Any],
) -> Outcome:
    """Mode `auto` for energies with forces.

    Args:
        base: stays as it is.
        task: with enough training systems (`enough`).
        targets: its energies.
        recipe: in mode `full`.
        options: those of `sfm.train.trained.train`.
    """
    began = time.perf_counter()
    if len(task.validation) < 2:
        order = np.random.default_rng([recipe.training.seed, len(task.train)])
        drawn = order.permutation(len(task.train))[: max(int(HELD * len(task.train)), 2)]
        task = without_split(task, drawn.tolist())
    grown, fits = fit_forces(base, task, targets)
    chosen = [f.best("auto") for f in fits]
    closed = _outcome(_installed(grown, task, chosen), chosen, (), began)
    start, _ = grow(ready(base, task, "head"), task, recipe.training.seed)
    models = {"zero-shot": start, closed.mode: closed.model}
    plans: list[FinetuneRecipe] = []
    try:
        plans, note = contenders(base, task, recipe, final=0)
    except InputError as error:  # closed forms of other targets would not survive it
        note = f"full was not tried: {error}"
    trained: dict[str, Outcome] = {}
    for plan in reversed(plans):  # what `--resume` finds in the folder is of all weights
        with tempfile.TemporaryDirectory() as folder:
            place = {} if plan.mode == "full" else {"run": Path(folder)}
            trained[plan.mode] = train(base, task, plan, **{**options, **place})
    if any(not outcome.result.is_main for outcome in trained.values()):
        return trained["full"]
    models |= {mode: outcome.model for mode, outcome in trained.items()}
    losses = {name: task_losses(m, [task])["loss"] for name, m in models.items()}
    best = min(losses, key=lambda name: losses[name])
    name = f"{task.encoder} on {task.name}"
    rows = [Candidate(k, name, v, "1", BLOCK, chosen=k == best) for k, v in losses.items()]
    rows += _rows(grown, fits)
    if best in trained:
        return dataclasses.replace(trained[best], candidates=tuple(rows), note=note)
    calibrated = {} if best == "zero-shot" else closed.calibrated
    return dataclasses.replace(
        closed,
        model=models[best],
        mode=best,
        calibrated=calibrated,
        candidates=tuple(rows),
        note=note,
    )
