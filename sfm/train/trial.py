"""Training of all weights on trial: against closed forms that were fitted to the same labels.

A third of the labels is held out, relatives together (`sfm.train.relatives`). Training wins where
its errors there are smaller, label by label, by more than half the standard error of the mean
difference; where few labels cannot tell the two apart, the closed form is taken, which costs less.

Of nine splits of four targets by scaffold or set of elements (100 labels), a random quarter chose
wrongly in three, at this margin, at a plain one of 3 % and at a whole standard error; of the 27
thirds with their relatives none did at the first two, one at the last.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sfm.model import FoundationModel
from sfm.nn.kernel import FEATURES
from sfm.recipe import FinetuneRecipe
from sfm.train.afford import FEWEST_STEPS, affordable, budget_of
from sfm.train.calibrate import calibrate
from sfm.train.closed_form import Fitted, answers, fit_form, labelled_rows
from sfm.train.evaluate import evaluate
from sfm.train.outcome import Candidate, Outcome
from sfm.train.relatives import folds_of_relatives
from sfm.train.tasks import TaskData
from sfm.train.trained import train, without_split

FOLDS = 3  # one of them is held out
FEWEST = 8  # training systems that are worth a trial
# standard errors by which training has to be better: odds of 69 to 31, where errors are normal
MARGIN = 0.5


@dataclasses.dataclass(frozen=True)
class Winner:
    """Training that won its trial.

    Attributes:
        plan: how to train.
        model: what the trial gave.
        part: what it was trained on, and in `validation` what it was not.
    """

    plan: FinetuneRecipe
    model: FoundationModel
    part: TaskData

    def on_all(self, base: FoundationModel, task: TaskData, **options: Any) -> Outcome:
        """Train on all labels; the trial's errors calibrate, unless more validation labels can."""
        outcome = train(base, task, self.plan, **options)
        more = len(self.part.validation) > len(task.validation)
        present = tuple(
            (level, name)
            for level, name in task.present
            if more or f"{task.encoder}:{name}@{level}" not in outcome.calibrated
        )
        part = dataclasses.replace(self.part, present=present)
        factors = calibrate(outcome.model, [part], judge=self.model)
        return dataclasses.replace(outcome, calibrated={**outcome.calibrated, **factors})


def trial(
    base: FoundationModel,
    grown: FoundationModel,
    task: TaskData,
    chosen: Sequence[Fitted],
    recipe: FinetuneRecipe,
    left: float,
) -> tuple[list[Candidate], str, Winner | None]:
    """Training on two thirds of the labels against the closed forms, fitted to the same.

    Args:
        base: the model as it was.
        grown: with the task's levels.
        task: what to learn.
        chosen: the best closed form of every target, fitted to all labels.
        recipe: of the training.
        left: CPU seconds.

    Returns:
        Rows for the table, a note, and how to train on all labels, None if it lost.
    """
    mine = {(task.encoder, level, name) for level, name in task.present}
    single = [h for h in base.config.heads if h.level is not None]
    if any((h.encoder, h.level, h.quantity) not in mine for h in single):
        return [], "full was not tried: it would break the closed forms of other targets", None
    # one run for the comparison, and one on all labels if it wins
    plan = affordable(base, task, recipe, 0.45 * left) if len(task.train) >= FEWEST else None
    if plan is None:
        note = (
            f"full was not tried: fewer than {FEWEST_STEPS} steps fit into the budget of "
            f"{budget_of(recipe, task):g} CPU seconds; raise it with --set budget=SECONDS"
        )
        return [], note, None
    held = held_out(task, chosen, recipe.training.seed)
    part = without_split(task, held)
    with tempfile.TemporaryDirectory() as folder:
        tried = train(
            base, part, plan, run=Path(folder), resolved={}, log=False, title="trying full"
        ).model
    rows: list[Candidate] = []
    differences: dict[int, list[float]] = {}
    for fitted in chosen:
        pair = _errors(tried, grown, task, part, fitted, set(held))
        if pair is None:
            continue
        systems, full, closed = pair
        scale = max(float(closed.mean()), 1e-300)
        for system, difference in zip(systems, (full - closed) / scale, strict=True):
            differences.setdefault(system, []).append(difference)
        rows.append(_row(grown, fitted, full, closed))
    won = wins(np.array([np.mean(d) for d in differences.values()]))
    return rows, "", Winner(plan, tried, part) if won else None


def wins(differences: Float[np.ndarray, " n"]) -> bool:
    """Whether errors are smaller on average, by more than `MARGIN` standard errors of the average.

    Args:
        differences: (n,) absolute error of the dearer way less that of the cheaper one, per system,
            in any unit.
    """
    if len(differences) < 2:
        return False
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    return bool(differences.mean() < -MARGIN * error)


def held_out(task: TaskData, chosen: Sequence[Fitted], seed: int) -> list[int]:
    """The training systems to hold out, as positions: a third of them, relatives together.

    Systems without a label of the first target are spread at random.
    """
    order = np.random.default_rng([seed, len(task.train)]).permutation(len(task.train))
    fold = order % FOLDS
    first = chosen[0].inputs
    rows = labelled_rows(task, first.target)
    fold[rows] = folds_of_relatives(first.raw[FEATURES], FOLDS)
    return np.flatnonzero(fold == seed % FOLDS).tolist()


def _errors(
    tried: FoundationModel,
    grown: FoundationModel,
    task: TaskData,
    part: TaskData,
    fitted: Fitted,
    held: set[int],
) -> tuple[list[int], np.ndarray, np.ndarray] | None:
    """Held-out systems with the form's target, and absolute errors of both ways; None if few."""
    inputs, rows = fitted.inputs, labelled_rows(task, fitted.inputs.target)
    last = [i for i, row in enumerate(rows) if row in held]
    rest = [i for i, row in enumerate(rows) if row not in held]
    if not last or len(rest) < 3:
        return None
    labels = inputs.labels[last].numpy()
    values, _ = answers(grown, fit_form(fitted.form, inputs.of(rest)), inputs.of(last))
    systems = [int(rows[i]) for i in last]
    alone = dataclasses.replace(part, validation=[task.train[i] for i in systems])
    target = inputs.target
    evaluation = evaluate(tried, alone, split="validation", quantities=[target.quantity])
    said = evaluation.points[str(target)][1]
    return systems, np.abs(said - labels), np.abs(values.cpu().numpy() - labels)


def _row(grown: FoundationModel, fitted: Fitted, full: np.ndarray, closed: np.ndarray) -> Candidate:
    """The line of the table."""
    target = fitted.inputs.target
    how = f"held-out third, where {fitted.form.name} has {closed.mean():.4g}"
    unit = grown.config.quantities[target.quantity].unit
    return Candidate("full", str(target), float(full.mean()), unit, how)
