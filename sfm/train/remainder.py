"""Labels without what lies beneath an energy.

They are freed of the theory once, before anything is trained, and the network learns what is left;
afterwards the theory is put beneath it (`Network.stand_on`). So a theory that takes 0.1 s an energy
costs a set of labels once, not once a step.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sfm.config import BaselineSpec, Target
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.progress import report
from sfm.train.tasks import TaskData


def without_theory(model: FoundationModel, part: str, sample: Sample) -> Sample:
    """The sample with labels of the energy and its derivatives without the theory's share.

    The theory is that of the model at the sample's level, which has to have one.

    Raises:
        InputError: a system that the theory is not for.
    """
    tokens = model.encoder(part).tokenize(sample)
    context = model.context(part, str(sample.level))
    theirs = model.baselines.labels(
        tokens.replace(context=torch.full_like(tokens.context, context))
    )
    labels = {name: value - theirs.get(name, 0.0) for name, value in sample.labels.items()}
    return sample.replace(labels=labels)


class Remainder(Sequence[Any]):
    """Samples without a theory's share in their labels; each is worked out once."""

    def __init__(self, source: Sequence[Sample], model: FoundationModel, part: str) -> None:
        self.source, self.model, self.part = source, model, part
        self._labels: dict[int, Mapping[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.source)

    def work_out(self, name: str) -> None:
        """All of them now, so that what the theory is not for is known before anything is trained.

        Raises:
            InputError: says how many there are, and names the first.
        """
        refused = []
        for index in range(len(self)):
            report(f"{name}: energies beneath", index, len(self))
            try:
                self[index]
            except InputError as error:
                refused.append(str(error))
        if refused:
            raise InputError(
                f"{name}: {len(refused)} of {len(self)} training systems are not for the baseline; "
                f"leave them out, or the baseline ({refused[0]})"
            )

    def __getitem__(self, item: Any) -> Any:
        index = int(item)
        if not 0 <= index < len(self):
            raise IndexError(item)
        sample = self.source[index]
        context = self.model.context(self.part, str(sample.level))
        if not self.model.baselines.knows(context):
            return sample
        if index not in self._labels:
            self._labels[index] = without_theory(self.model, self.part, sample).labels
        return sample.replace(labels=self._labels[index])


def standing(
    base: FoundationModel, task: TaskData, specs: Sequence[BaselineSpec]
) -> tuple[FoundationModel, TaskData, tuple[BaselineSpec, ...]]:
    """The base without what lies beneath it, and the task without its share; and all theories.

    Put the last beneath what the first two give. A base and a task without any stay as they are.

    Args:
        base: stays as it is.
        task: what is to be learned, with the labels as they are.
        specs: what lies beneath the energies of its levels.
    """
    every = (*base.config.baselines, *(s for s in specs if s not in base.config.baselines))
    if not every:
        return base, task, ()
    targets = [Target(task.encoder, level, name) for level, name in task.present]
    grown = base.extended(targets, (), task.definitions)
    grown.stand_on(every)
    bare = copy.copy(base)
    bare.stand_on(())
    return bare, remaining(task, grown), every


def remaining(task: TaskData, model: FoundationModel) -> TaskData:
    """The task with labels less what lies beneath the model's energy at their levels.

    Args:
        task: its own baseline, if it has one, is the model's.
        model: knows the theories; it may be a model of any weights.

    Raises:
        InputError: training systems that the theory is not for.
    """
    known = {(b.encoder, b.level) for b in model.config.baselines}
    if "energy" not in task.goals or known.isdisjoint((task.encoder, v) for v in task.levels):
        return task
    train, validation, test = (
        Remainder(samples, model, task.encoder)
        for samples in (task.train, task.validation, task.test)
    )
    train.work_out(task.name)
    return replace(task, baseline=None, train=train, validation=validation, test=test)
