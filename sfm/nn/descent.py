"""The trainer of small modules: closures, functionals, heads. Whole models train in `sfm.train`.

    fit = descend(
        closure,
        lambda step: (closure(x) - y).square().mean(),
        work="eddy viscosity",
        steps=300,
        optimizer=torch.optim.AdamW(closure.parameters(), lr=3e-3),
        schedule=cosine(300),
    )

The optimiser is any of torch's; one that evaluates the loss more than once in a step, as L-BFGS
does, works too. Averaged weights: Polyak and Juditsky, SIAM J. Control Optim. 30, 838 (1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from sfm.errors import RunError
from sfm.progress import report

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Descent:
    """What training did.

    Attributes:
        losses: one per evaluation, before the step that it leads to.
        validations: by the number of steps that were taken.
        kept: number of steps after which the module had the weights that it has now.
    """

    losses: list[float]
    validations: dict[int, float]
    kept: int


def descend(
    module: Module,
    loss: Callable[[int], Float[Tensor, ""]],
    *,
    work: str,
    steps: int,
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[int], float] | None = None,
    clip: float | None = None,
    average: float | None = None,
    validate: Callable[[Module], float] | None = None,
    keep_best: bool = False,
    every: int = 0,
    log: Callable[[str], None] | None = None,
) -> Descent:
    """Lower a loss, in place; whatever ends the training, `module` has the weights kept so far.

    Args:
        module: what is trained.
        loss: called with the number of the step, from 0; () with a graph to the weights, in any
            unit.
        work: what messages and `sfm.progress` call it.
        steps: of the optimiser.
        optimizer: of weights of `module`, with the largest learning rates.
        schedule: factor of the learning rates at each step, such as `cosine(steps)`.
        clip: largest norm of a gradient; None for no limit.
        average: keep a moving average of the weights instead, with this decay; it forgets faster
            in the first steps: min(average, n / (n + 9)) after n steps.
        validate: called with the module, or with a copy that has the averaged weights, before the
            first step, after each `every` and after the last.
        keep_best: keep the weights of the smallest validation, not the last ones.
        every: steps between validations; 0 for none in between.
        log: gets a line after each `every` steps and after the last.

    Raises:
        RunError: a loss or its gradient is not finite; the step is named, and not taken.
    """
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    rates = [group["lr"] for group in optimizer.param_groups]
    kept = _Kept(module, average, validate, keep_best)
    losses: list[float] = []

    def evaluate() -> float:
        value = loss(step)
        _check(value, work, step, "loss")
        optimizer.zero_grad()
        value.backward()
        gradients = [p.grad for p in weights if p.grad is not None]
        norm = get_total_norm(gradients)
        _check(norm, work, step, "loss's gradient")
        if clip is not None:
            clip_grads_with_norm_(weights, clip, norm)
        losses.append(float(value.detach()))
        return losses[-1]

    said = 0
    try:
        kept.validate(0)
        for step in range(steps):
            if schedule is not None:
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * schedule(step)
            optimizer.step(evaluate)
            done = step + 1
            kept.update()
            report(work, done, steps, f"loss {losses[-1]:.4g}")
            if done == steps or (every and done % every == 0):
                text = f"step {done}/{steps}: loss {_mean(losses[said:]):.4f}"
                said = len(losses)
                if validate is not None:
                    text += f", validation {kept.validate(done):.4f}"
                if log is not None:
                    log(text)
    finally:
        last = kept.restore()
    return Descent(losses, kept.validations, steps if last is None else last)


class _Kept:
    """The weights that count: the module's own, their average, or the best of either."""

    def __init__(
        self,
        module: Any,
        average: float | None,
        validate: Callable[[Any], float] | None,
        keep_best: bool,
    ) -> None:
        self.module, self.judge, self.keep_best = module, validate, keep_best
        self.validations: dict[int, float] = {}
        self.best: tuple[float, int, dict[str, Tensor]] | None = None
        self.averaged: Any = None
        if average is not None:

            def averaging(mean: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
                decay = min(average, float(count) / (float(count) + 9.0))
                return mean + (value - mean) * (1.0 - decay)

            self.averaged = torch.optim.swa_utils.AveragedModel(module, avg_fn=averaging)

    @property
    def current(self) -> nn.Module:
        module: nn.Module = self.module if self.averaged is None else self.averaged.module
        return module

    def update(self) -> None:
        if self.averaged is not None:
            self.averaged.update_parameters(self.module)

    def validate(self, done: int) -> float:
        if self.judge is None:
            return math.nan
        value = self.validations[done] = float(self.judge(self.current))
        best = math.inf if self.best is None else self.best[0]
        if self.keep_best and (self.best is None or math.isnan(best) or value < best):
            state = {k: v.detach().clone() for k, v in self.current.state_dict().items()}
            self.best = value, done, state
        return value

    def restore(self) -> int | None:
        """Give the module its weights; the step that they are of, None for the last."""
        if self.best is not None:
            self.module.load_state_dict(self.best[2])
            return self.best[1]
        if self.averaged is not None:
            self.module.load_state_dict(self.averaged.module.state_dict())
        return None


def _check(value: Tensor, work: str, step: int, what: str) -> None:
    if not torch.isfinite(value):
        number = float(value.detach())
        raise RunError(
            f"{work}: the {what} is {number} at step {step + 1}; lower the learning rate"
        )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def cosine(steps: int) -> Callable[[int], float]:
    """Half a cosine from 1 at step 0 to 0 at `steps` (Loshchilov, Hutter, arXiv:1608.03983).

    Examples:
        >>> [round(cosine(2)(step), 3) for step in range(3)]
        [1.0, 0.5, 0.0]
    """
    return lambda step: 0.5 * (1.0 + math.cos(math.pi * step / steps))


def batches(count: int, size: int, *, seed: int = 0) -> Iterator[list[int]]:
    """Rows of `count` examples, `size` at a time, in a new order each time they are used up.

    What is left of an order and is no whole batch is dropped.
    """
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while True:
        if len(order) < size:
            order = torch.randperm(count, generator=generator).tolist()
        yield order[:size]
        order = order[size:]
