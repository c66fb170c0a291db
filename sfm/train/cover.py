"""Recording what the training data cover, per encoder and level, for `config.json`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from sfm.config import ModelConfig, Target
from sfm.config.coverage import Coverage, coverage_of, replaced
from sfm.data.covering import Survey
from sfm.data.rows import row, rows_left_out
from sfm.data.sample import Sample
from sfm.errors import InputWarning, OutsideError
from sfm.model import FoundationModel
from sfm.model.guard import Guard
from sfm.nn.encoder import PointEncoder, holds_atoms
from sfm.progress import report
from sfm.train.tasks import TaskData
from sfm.units import factor


def surveyed(
    model: FoundationModel,
    tasks: Iterable[TaskData],
    *,
    before: Iterable[Coverage] = (),
    said: Iterable[Target] = (),
) -> tuple[Coverage, ...]:
    """Coverage of the training samples of all tasks of encoders of atoms.

    One pass over the samples, with a neighbour list of each.

    Args:
        model: its encoders are used.
        tasks: several of one (encoder, level) are taken together.
        before: what is covered already; the same contexts are added to, others kept.
        said: what it was covered for.
    """
    surveys: dict[tuple[str, str], Survey] = {}
    for task in tasks:
        encoder = model.encoder(task.encoder)
        if not isinstance(encoder, PointEncoder) or not holds_atoms(encoder):
            continue
        scale = factor(encoder.length_unit, "angstrom")
        for number, sample in enumerate(task.train):
            report(f"{task.name}: what it covers, system", number, len(task.train))
            level = str(sample.level)
            if level not in task.levels:
                continue
            context = task.encoder, level
            if context not in surveys:
                surveys[context] = Survey(
                    *context, cutoff=encoder.cutoff * scale, spins="charge" in encoder.conditions
                )
            surveys[context].add(sample, task.goals, scale)
    before, said = list(before), list(said)
    coverages = []
    for context, survey in surveys.items():
        known = {t.quantity for t in said if t.context == context}
        coverages.append(survey.coverage(coverage_of(before, *context), known))
    return replaced(before, coverages)


def cover(
    model: FoundationModel, tasks: Iterable[TaskData], *, base: ModelConfig | None = None
) -> None:
    """Record in `model` what the tasks cover.

    To be called before references are fitted and anything is trained: what is nearer than the data
    is repelled from then on, so that the data themselves never are.

    Args:
        model: changed in place.
        tasks: what it is going to learn.
        base: of the model that it grew out of. What that covers is kept and added to; where it
            never recorded what it covers, nothing is claimed now.
    """
    before, said = ((), ()) if base is None else (base.coverage, base.targets)
    untold = {t.context for t in said} - {c.context for c in before}
    coverages = surveyed(model, tasks, before=before, said=said)
    model.cover(c for c in coverages if c.context not in untold)


def answerable(
    model: FoundationModel, part: str, level: str, samples: Sequence[Sample], name: str
) -> list[Sample]:
    """The samples that the model can be asked for at `level`.

    One line warns of those that a prediction would refuse; within `sfm.data.rows.collecting` they
    are left out, as in predictions, and so are those that the encoder cannot take.

    Raises:
        RowError: a token that is no atom, two atoms at one place, or a sample that the encoder
            refuses.
    """
    guard = Guard(model, part, level)
    skipped = rows_left_out()
    if skipped is None and not guard.atoms:
        return list(samples)
    kept, outside, first = [], 0, ""
    for sample in samples:
        with row():
            tokens = model.tokenize(part, [sample], level)
            (findings,) = guard.findings(tokens, [sample.conditions])
            refused = [one for one in findings if one.refused and one.quantity is None]
            if refused and skipped is not None:
                raise OutsideError(f"{sample.id}: {refused[0].text}")
            if refused:
                outside += 1
                first = first or f"{sample.id}: {refused[0].text}"
            kept.append(sample)
    if outside:
        warnings.warn(
            f"{name}: {outside} of {len(samples)} systems lie outside the training data of "
            f"'{model.config.name}' ({first})",
            InputWarning,
            stacklevel=2,
        )
    return kept
