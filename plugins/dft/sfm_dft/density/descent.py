"""Training on molecules: AdamW, a short warm-up, a cosine, averaged weights, small batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sfm.errors import RunError

Example = TypeVar("Example")
Model = TypeVar("Model", bound=nn.Module)
WARMUP = 100


def descend(
    model: Model,
    examples: Sequence[Example],
    loss: Callable[[list[Example]], Tensor],
    *,
    steps: int,
    batch: int,
    lr: float,
    weight_decay: float,
    clip: float,
    ema: float,
    seed: int,
    every: int,
    validate: Callable[[Model], float],
    report: Callable[[str], None],
) -> list[dict[str, float]]:
    """Lower the loss of the examples by `steps` steps; the model ends with its averaged weights.

    Args:
        loss: of some examples, (). clip: largest norm of a step's gradient.
        ema: decay of the moving average of the weights; it forgets faster in the first steps.
        validate: called with the averaged model after each `every` steps and after the last.

    Returns:
        Losses: `step`, `train` (moving mean) and `validation`.

    Raises:
        RunError: the loss is not a finite number.
    """

    def averaging(mean: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        return mean + (value - mean) * (1.0 - min(ema, float(count) / (float(count) + 9.0)))

    averaged: Any = torch.optim.swa_utils.AveragedModel(model, avg_fn=averaging)
    parameters = [p for p in model.parameters() if p.requires_grad]
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
        averaged.update_parameters(model)
        last = float(value.detach())
        mean = last if math.isnan(mean) else 0.98 * mean + 0.02 * last
        if step % every == 0 or step == steps:
            held = validate(averaged.module)
            history.append({"step": step, "train": mean, "validation": held})
            report(f"step {step}/{steps}: loss {mean:.4f}, validation {held:.4f}")
    model.load_state_dict(averaged.module.state_dict())
    return history
