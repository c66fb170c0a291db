"""Training on molecules: AdamW with a short warm-up and a cosine, small batches in random order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from sfm.errors import RunError

Example = TypeVar("Example")
WARMUP = 100


def descend(
    parameters: Sequence[Tensor],
    examples: Sequence[Example],
    loss: Callable[[list[Example]], Tensor],
    *,
    steps: int,
    batch: int,
    lr: float,
    weight_decay: float,
    clip: float,
    seed: int,
    every: int,
    moved: Callable[[int], None],
    validate: Callable[[], float],
    report: Callable[[str], None],
) -> list[dict[str, float]]:
    """Lower the loss of the examples by `steps` steps of the parameters.

    Args:
        loss: of some examples, (). clip: largest norm of a step's gradient.
        moved: called after each step with its number, from 1 on, to average weights.
        validate: called after each `every` steps and after the last.

    Returns:
        Losses: `step`, `train` (moving mean) and `validation`.

    Raises:
        RunError: the loss is not a finite number.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    history: list[dict[str, float]] = []
    order: list[int] = []
    mean = math.nan
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            warm, cosine = min(1.0, step / WARMUP), 0.5 + 0.5 * math.cos(math.pi * step / steps)
            group["lr"] = lr * warm * cosine
        if len(order) < batch:
            order = torch.randperm(len(examples), generator=generator).tolist()
        chosen, order = order[:batch], order[batch:]
        value = loss([examples[i] for i in chosen])
        if not torch.isfinite(value):
            raise RunError(f"step {step}: the loss is not finite; lower the learning rate")
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        moved(step)
        last = float(value.detach())
        mean = last if math.isnan(mean) else 0.98 * mean + 0.02 * last
        if step % every == 0 or step == steps:
            held = validate()
            history.append({"step": step, "train": mean, "validation": held})
            report(f"step {step}/{steps}: loss {mean:.4f}, validation {held:.4f}")
    return history
