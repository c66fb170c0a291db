"""Learning rate over a run, and how far a run of another length has the same beginning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from sfm.errors import RecipeError
from sfm.recipe import OptimizerSection
from sfm.train.folders import LAST


def decay_start(section: OptimizerSection, steps: int) -> int:
    """Step at which the last decay of a `stable` schedule begins."""
    return max(steps - round(section.decay * steps), min(section.warmup, steps))


def lr_factor(step: int, section: OptimizerSection, steps: int) -> float:
    """Learning rate at `step` over the largest: linear warm-up, then the schedule.

    The decay of `stable` is 1 - sqrt(t) (Haegele et al., arXiv:2405.18392, section 3).
    """
    if step < section.warmup:
        return (step + 1) / section.warmup
    if section.schedule == "constant":
        return 1.0
    if section.schedule == "stable":
        start = decay_start(section, steps)
        if step <= start:  # a checkpoint at `start` holds this rate, whatever comes after it
            return 1.0
        curve = 1 - math.sqrt(min((step - start) / max(steps - start, 1), 1.0))
        return section.final + (1 - section.final) * curve
    done = min((step - section.warmup) / max(steps - section.warmup, 1), 1.0)
    curve = 0.5 * (1 + math.cos(math.pi * done)) if section.schedule == "cosine" else 1 - done
    return section.final + (1 - section.final) * curve


def checkpoint_for(
    run: Path, steps: int, section: OptimizerSection, saved: Mapping[str, tuple[int, int]]
) -> Path:
    """The checkpoint that a run of `steps` steps goes on from.

    That is the last one, or, for a `stable` run that becomes longer or shorter, one from before any
    decay: what comes out is what a run of that length from the beginning would have given.

    Args:
        run: folder of the checkpoints.
        steps: of the run that is wanted.
        section: its schedule.
        saved: steps by name of the checkpoint: (steps done, steps of its run).

    Raises:
        RecipeError: no such checkpoint is early enough.
    """
    done, planned = saved[LAST]
    if planned == steps:
        return run / LAST
    start = decay_start(section, steps)
    early = [
        (n, name) for name, (n, of) in saved.items() if n <= min(start, decay_start(section, of))
    ]
    if early:
        return run / max(early)[1]
    first = min(n for n, _ in saved.values())
    least = first
    while decay_start(section, least) < first:
        least += 1
    raise RecipeError(
        f"training.steps: the run is {done} steps long and its learning rate was constant up to "
        f"step {first}: it can be finished with {least} steps or more, not with {steps}"
    )
