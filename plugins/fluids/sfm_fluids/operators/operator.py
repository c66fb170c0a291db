"""An operator learner with its task and scales: samples in, answers on the grid out; kept in files.

    operator = Operator("darcy", "fourier", width=20)
    fit(operator, train, steps=600)
    save(operator, "fno.safetensors")
    pressure = operator.predict(test)            # (B, 1, H, W)

The sources of the networks stand in their modules; how `Operator` scales what goes in and out is
its own choice, by definition. Any consistent system of units; those of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError, did_you_mean
from sfm.nn.bounded import checked_options
from sfm.nn.descent import Descent, batches, cosine, descend
from sfm.nn.saving import load_module, save_module
from sfm_fluids.operators import tasks
from sfm_fluids.operators.deeponet import DeepONet
from sfm_fluids.operators.fourier import FourierOperator
from sfm_fluids.operators.multipole import MultipoleOperator
from sfm_fluids.operators.symmetry import turned

KINDS: dict[str, type[nn.Module]] = {
    "fourier": FourierOperator,
    "deeponet": DeepONet,
    "multipole": MultipoleOperator,
}


class Operator(nn.Module):
    """answer = base + scale network((inputs - mean) / deviation), channel by channel.

    Args:
        task: of `sfm_fluids.operators.tasks`.
        kind: of `KINDS`.
        known: whether the classical solver's answer is the base, and an input.
        options: of the network: `width`, `modes`, ...

    Raises:
        InputError: no such task or kind.
        PluginError: the network's package is not installed.
    """

    mean: Tensor
    deviation: Tensor
    scale: Tensor

    def __init__(self, task: str, kind: str, *, known: bool = False, **options: Any) -> None:
        super().__init__()
        self.name, self.kind, self.known = task, kind, known
        self.task = tasks.task(task)
        if kind not in KINDS:
            raise InputError(
                f"no operator '{kind}' ({', '.join(KINDS)}).{did_you_mean(kind, KINDS)}"
            )
        inputs, outputs = self.task.channels[int(known)], self.task.channels[2]
        where = {"axes": self.task.axes} if kind == "fourier" else {"grid": self.task.grid}
        self.options = options
        self.network = KINDS[kind](
            inputs=inputs, outputs=outputs, periodic=self.task.periodic, **where, **options
        )
        ones = (1,) * self.task.axes
        self.register_buffer("mean", torch.zeros(inputs, *ones))
        self.register_buffer("deviation", torch.ones(inputs, *ones))
        self.register_buffer("scale", torch.ones(outputs, *ones))

    def forward(
        self, inputs: Float[Tensor, "B C *grid"], base: Float[Tensor, "B K *grid"]
    ) -> Float[Tensor, "B K *grid"]:
        """(B, C, *grid), (B, K, *grid) -> (B, K, *grid)."""
        scaled: Tensor = self.network((inputs - self.mean) / self.deviation)
        return base + self.scale * scaled

    @torch.no_grad()
    def predict(self, samples: Sequence[Sample], *, size: int = 32) -> Float[Tensor, "B K *grid"]:
        """(B, K, *grid): answers to samples of one grid, `size` at a time.

        Raises:
            InputError: a sample lacks a field, a condition or a box.
        """
        answers = []
        for first in range(0, len(samples), size):
            examples = [self.task.example(s, self.known) for s in samples[first : first + size]]
            inputs = torch.stack([e.inputs for e in examples]).to(self.mean)
            bases = torch.stack([e.base for e in examples]).to(self.mean)
            answers.append(self(inputs, bases))
        return torch.cat(answers)


def fit(
    operator: Operator,
    train: Sequence[Sample],
    validation: Sequence[Sample] = (),
    *,
    steps: int,
    size: int = 16,
    lr: float = 3e-3,
    weight_decay: float = 1e-4,
    seed: int = 0,
    log: Callable[[str], None] = lambda text: None,
) -> Descent:
    """Train in place with AdamW, cosine to zero, on random symmetries of the task.

    The loss is the root mean square error of each answer, over that of a network that says 0. With
    a validation split the best of eleven validations is kept.

    Args:
        operator: its network is trained, its scales are measured.
        train: samples with labels.
        validation: likewise, or none.
        steps: of the optimiser.
        size: samples per step.
        lr: largest learning rate, after a warm-up of a twentieth of the steps.
        weight_decay: of AdamW.
        seed: of the order and the symmetries.
        log: gets a line now and then.

    Raises:
        InputError: a sample has no label, or there are fewer than `size`.
        RunError: a loss is not finite.
    """
    if len(train) < size:
        raise InputError(f"{len(train)} samples to learn from, and {size} are taken a step")
    data = tasks.arrays(operator.task, train, known=operator.known)
    _measure(operator, data)
    held = tasks.arrays(operator.task, validation, known=operator.known) if validation else None
    generator = torch.Generator().manual_seed(seed)
    order = batches(len(train), size, seed=seed)

    def loss(_: int) -> Tensor:
        rows = next(order)
        some = turned(tuple(x[rows] for x in data), operator.name, generator)
        return _error(operator, *some)

    def judge(module: nn.Module) -> float:
        assert held is not None
        with torch.no_grad():
            return float(_error(operator, *held))

    fall, warm = cosine(steps), max(1, steps // 20)
    return descend(
        operator,
        loss,
        work=f"{operator.kind} of {operator.name}",
        steps=steps,
        optimizer=torch.optim.AdamW(
            operator.network.parameters(), lr=lr, weight_decay=weight_decay
        ),
        schedule=lambda step: min((step + 1) / warm, fall(step)),
        clip=1.0,
        validate=judge if held is not None else None,
        keep_best=held is not None,
        every=max(1, steps // 10),
        log=log,
    )


def _measure(operator: Operator, data: tuple[Tensor, ...]) -> None:
    """Means and deviations of the channels, over the data and its symmetries."""
    generator = torch.Generator().manual_seed(0)
    moved = [turned(data, operator.name, generator) for _ in range(8)]
    inputs, base, label = (torch.cat(parts) for parts in zip(*moved, strict=True))
    axes = (0, *range(2, inputs.ndim))
    operator.mean.copy_(inputs.mean(axes, keepdim=True)[0])
    operator.deviation.copy_(inputs.std(axes, keepdim=True)[0].clamp_min(1e-3))
    operator.scale.copy_((label - base).square().mean(axes, keepdim=True)[0].sqrt())


def _error(operator: Operator, inputs: Tensor, base: Tensor, label: Tensor) -> Tensor:
    """() mean over the batch of each answer's root mean square error, in scales."""
    off = (operator(inputs, base) - label) / operator.scale
    errors: Tensor = (off.flatten(1).square().mean(1) + 1e-12).sqrt()
    return errors.mean()


def save(operator: Operator, path: str | Path) -> None:
    """Write weights, task, kind and options to one safetensors file."""
    config = {"task": operator.name, "kind": operator.kind, "known": operator.known}
    save_module(operator, path, config | {"options": operator.options})


def load(path: str | Path) -> Operator:
    """The operator in a file of `save`, ready to run.

    Raises:
        InputError: no such file, or not an operator.
    """

    def build(config: dict[str, Any]) -> Operator:
        for name in ("task", "kind"):
            if not isinstance(config.get(name), str):
                raise InputError(f"{path}: holds no operator (no '{name}')")
        options = checked_options(config.get("options"))
        known = config.get("known") is True
        return Operator(config["task"], config["kind"], known=known, **options)

    return load_module(path, build).eval().requires_grad_(False)
