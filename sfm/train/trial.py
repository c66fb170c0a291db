"""Training on trial: against closed forms that were fitted to the same labels.

All weights are trained, and of a large model low-rank updates beside them (`sfm.train.afford`).

A third of the labels is held out, relatives together (`sfm.train.relatives`), and errors are
compared label by label. A quantity that the model knows, at this level or another, is trained
unless that is worse by three standard errors of the mean difference: of the labels that a trial
lacks training makes more than closed forms do. Of 20 trials of four such targets eight were lost,
and training on all labels was better after six of these. One that the model does not know has a
head to learn from a hundred labels, and closed forms seldom lose to that: training has to be better
by a standard error, for on so few labels a tie looks like a win one time in two.
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
from sfm.train.afford import contenders, too_dear
from sfm.train.calibrate import calibrate
from sfm.train.closed_form import Fitted, answers, fit_form, labelled_rows
from sfm.train.evaluate import evaluate
from sfm.train.outcome import Candidate, Outcome
from sfm.train.relatives import folds_of_relatives
from sfm.train.tasks import TaskData
from sfm.train.trained import train, without_split
from sfm.train.transfer import said_anywhere

FOLDS = 3  # one of them is held out
FEWEST = 8  # training systems that are worth a trial
# standard errors by which training has to be better, where the model knows the quantity and where
# it has a head to learn from nothing
KNOWN, NEW = -3.0, 1.0


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
) -> tuple[list[Candidate], str, Winner | None]:
    """Training on two thirds of the labels against the closed forms, fitted to the same.

    Args:
        base: the model as it was.
        grown: with the task's levels.
        task: what to learn.
        chosen: the best closed form of every target, fitted to all labels.
        recipe: of the training, with its budget.

    Returns:
        Rows for the table, a note, and how to train on all labels, None if it lost.
    """
    mine = {(task.encoder, level, name) for level, name in task.present}
    single = [h for h in base.config.heads if h.level is not None]
    if any((h.encoder, h.level, h.quantity) not in mine for h in single):
        return [], "full was not tried: it would break the closed forms of other targets", None
    if len(task.train) < FEWEST:
        return [], too_dear(recipe, task), None
    # a run each for the comparison, and one on all labels for what wins
    plans, note = contenders(base, task, recipe, final=1)
    held = held_out(task, chosen, recipe.training.seed)
    part = without_split(task, held)
    rows: list[Candidate] = []
    attempts: list[tuple[Float[np.ndarray, " n"], Winner]] = []
    for plan in plans:
        title = f"trying {plan.mode}"
        with tempfile.TemporaryDirectory() as folder:
            tried = train(base, part, plan, run=Path(folder), resolved={}, log=False, title=title)
        lines, differences = _compared(tried.model, grown, task, chosen, held, plan.mode)
        rows += lines
        attempts.append((differences, Winner(plan, tried.model, part)))
    known = any(said_anywhere(base, fitted.inputs.target) for fitted in chosen)
    judged = [a for a in attempts if wins(a[0], KNOWN if known else NEW)]
    best = min(judged, key=lambda attempt: float(attempt[0].mean()), default=None)
    return rows, note, None if best is None else best[1]


def _compared(
    tried: FoundationModel,
    grown: FoundationModel,
    task: TaskData,
    chosen: Sequence[Fitted],
    held: Sequence[int],
    mode: str,
) -> tuple[list[Candidate], Float[np.ndarray, " n"]]:
    """Lines of the table, and (n,) by how much training is worse on each held-out system.

    In units of the mean error of the closed form, averaged over the targets of the system.
    """
    rows: list[Candidate] = []
    differences: dict[int, list[float]] = {}
    for fitted in chosen:
        pair = paired_errors(tried, grown, task, fitted, held)
        if pair is None:
            continue
        systems, trained, closed = pair
        scale = max(float(closed.mean()), 1e-300)
        for system, difference in zip(systems, (trained - closed) / scale, strict=True):
            differences.setdefault(system, []).append(difference)
        rows.append(_row(mode, grown, fitted, trained, closed))
    return rows, np.array([np.mean(d) for d in differences.values()])


def wins(differences: Float[np.ndarray, " n"], margin: float) -> bool:
    """Whether errors are smaller on average, by more than so many standard errors of the average.

    Args:
        differences: (n,) absolute error of training less that of the closed form, per system, in
            any unit.
        margin: standard errors.
    """
    if len(differences) < 2:
        return False
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    return bool(differences.mean() < -margin * error)


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


def paired_errors(
    tried: FoundationModel,
    grown: FoundationModel,
    task: TaskData,
    fitted: Fitted,
    held: Sequence[int],
) -> tuple[list[int], Float[np.ndarray, " n"], Float[np.ndarray, " n"]] | None:
    """Held-out systems with the form's target, and (n,) absolute errors of both ways, in its unit.

    Args:
        tried: was trained without the systems `held`.
        grown: with the task's levels.
        task: what to learn.
        fitted: the closed form, which is fitted anew without them.
        held: positions among the training systems.

    Returns:
        Positions, errors of training, errors of the closed form; None if there are too few labels.
    """
    inputs, rows = fitted.inputs, labelled_rows(task, fitted.inputs.target).tolist()
    out = set(held)
    last = [i for i, row in enumerate(rows) if row in out]
    rest = [i for i, row in enumerate(rows) if row not in out]
    if not last or len(rest) < 3:
        return None
    labels = inputs.labels[last].numpy()
    values, _ = answers(grown, fit_form(fitted.form, inputs.of(rest)), inputs.of(last))
    systems = [rows[i] for i in last]
    target = inputs.target
    alone = without_split(task, systems)
    evaluation = evaluate(tried, alone, split="validation", quantities=[target.quantity])
    said = evaluation.points[str(target)][1]
    return systems, np.abs(said - labels), np.abs(values.cpu().numpy() - labels)


def _row(
    mode: str, grown: FoundationModel, fitted: Fitted, trained: np.ndarray, closed: np.ndarray
) -> Candidate:
    """The line of the table."""
    target = fitted.inputs.target
    how = f"held-out third, where {fitted.form.name} has {closed.mean():.4g}"
    unit = grown.config.quantities[target.quantity].unit
    return Candidate(mode, str(target), float(trained.mean()), unit, how)
