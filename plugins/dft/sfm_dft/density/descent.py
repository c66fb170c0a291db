"""Training on molecules: AdamW, a short warm-up, a cosine, averaged weights, small batches.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.nn.descent import batches, cosine, descend

Example = TypeVar("Example")
Model = TypeVar("Model", bound=nn.Module)
WARMUP = 100


def train_on_molecules(
    model: Model,
    examples: Sequence[Example],
    loss: Callable[[list[Example]], Float[Tensor, ""]],
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
    """`sfm.nn.descent.descend` on batches of molecules; the model ends with its averaged weights.

    Args:
        loss: of some examples, (), in the caller's unit. clip: largest norm of a step's gradient.
        ema: decay of the moving average of the weights.
        validate: called with the averaged model before the first step, after each `every` steps
            and after the last.

    Returns:
        Losses: `step`, `validation`, and but for step 0 `train`, the mean since the last row.

    Raises:
        RunError: the loss is not a finite number.
    """
    rows = batches(len(examples), batch, seed=seed)
    fall = cosine(steps)
    descent = descend(
        model,
        lambda _: loss([examples[i] for i in next(rows)]),
        work=f"training {type(model).__name__}",
        steps=steps,
        optimizer=torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=weight_decay
        ),
        schedule=lambda step: min(1.0, (step + 1) / WARMUP) * fall(step + 1),
        clip=clip,
        average=ema,
        validate=validate,
        every=every,
        log=report,
    )
    history: list[dict[str, float]] = []
    said = 0
    for step, validation in descent.validations.items():
        since = descent.losses[said:step]
        train = {"train": sum(since) / len(since)} if since else {}
        history.append({"step": step, **train, "validation": validation})
        said = step
    return history
