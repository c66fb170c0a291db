"""Recording what the training data cover, per encoder and level, for `config.json`."""

from __future__ import annotations

from collections.abc import Iterable

from sfm.config import ModelConfig, Target
from sfm.coverage import Coverage, coverage_of, replaced
from sfm.data.covering import Survey
from sfm.model import FoundationModel
from sfm.nn.encoder import PointEncoder
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
        if not isinstance(encoder, PointEncoder):
            continue
        scale = factor(encoder.length_unit, "angstrom")
        for sample in task.train:
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
    found = []
    for context, survey in surveys.items():
        known = {t.quantity for t in said if t.context == context}
        found.append(survey.coverage(coverage_of(before, *context), known))
    return replaced(before, found)


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
    found = surveyed(model, tasks, before=before, said=said)
    model.cover(c for c in found if c.context not in untold)
