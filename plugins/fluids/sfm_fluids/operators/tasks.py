"""What the operator learners are asked: a sample's fields in, its label out, as arrays on the grid.

    darcy       log permeability (and the solver's pressure)       -> pressure, (1, H, W)
    burgers     velocity now (and the solver's 16 later states)    -> 16 later states, (16, N)
    turbulence  velocity, force, interval, viscosity, drag (and
                the solver's next state)                           -> velocity, (2, H, W)

`known=True` gives a network the classical solver's answer on the same points, and has it learn what
is missing of that; `known=False` is the operator learning of the literature. For `turbulence` the
plain target is what the velocity changes by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError, did_you_mean
from sfm_fluids.box import lengths, square_spacing
from sfm_fluids.darcy.nodes import pressure
from sfm_fluids.evaluation.forecast import coarse_solver
from sfm_fluids.periodic.burgers_points import later_states


@dataclass(frozen=True)
class Example:
    """One system: inputs (C, *grid); label and the base that answers add to (K, *grid)."""

    inputs: Tensor
    base: Tensor
    label: Tensor | None


@dataclass(frozen=True)
class Task:
    """A mapping between fields.

    Attributes:
        dataset: of the plugin. quantity: its label.
        grid: of training. channels: (in, in with `known`, out). periodic: whether the grid is.
        example: (sample, known) -> `Example`.
    """

    dataset: str
    quantity: str
    grid: tuple[int, ...]
    channels: tuple[int, int, int]
    periodic: bool
    example: Callable[[Sample, bool], Example]

    @property
    def axes(self) -> int:
        """Of the grid."""
        return len(self.grid)


def _label(sample: Sample, name: str) -> Tensor | None:
    value = sample.labels.get(name)
    return None if value is None else torch.from_numpy(np.array(value, dtype=np.float64))


def _field(sample: Sample, name: str) -> Tensor:
    if name not in sample.fields:
        raise InputError(f"{sample.id}: no field '{name}'")
    return torch.from_numpy(np.array(sample.fields[name], dtype=np.float64))


def _condition(sample: Sample, name: str) -> float:
    value = sample.conditions.get(name, 0.0)
    if not value > 0:
        raise InputError(f"{sample.id}: no positive condition '{name}'")
    return value


def _stated(length: float | None, sample: Sample) -> float:
    if length is None:
        raise InputError(f"{sample.id}: states no box, which the solver needs; give one")
    return length


def _darcy(sample: Sample, known: bool) -> Example:
    a = _field(sample, "permeability")
    inputs, base = (a.log() + 2.5)[None] / 1.5, torch.zeros_like(a)[None]
    if known:
        spacing = _stated(square_spacing(sample, "Darcy flow on points", "permeability"), sample)
        base = pressure(a, a, spacing)[None]
        inputs = torch.cat((inputs, base))
    label = _label(sample, "pore_pressure")
    return Example(inputs, base, None if label is None else label[None])


def _burgers(sample: Sample, known: bool) -> Example:
    u = _field(sample, "velocity")
    inputs, base = u[None], torch.zeros(16, len(u), dtype=u.dtype)
    if known:
        base = later_states(
            inputs,
            length=_stated(lengths(sample, 1).get("x"), sample),
            viscosity=_condition(sample, "viscosity"),
            interval=_condition(sample, "interval"),
            steps=16,
        )[0]
        inputs = torch.cat((inputs, base))
    return Example(inputs, base, _label(sample, "velocity"))


def _turbulence(sample: Sample, known: bool) -> Example:
    u, force = _field(sample, "velocity"), _field(sample, "force")
    numbers = [10 * _condition(sample, "interval"), 2 + np.log10(_condition(sample, "viscosity"))]
    numbers.append(sample.conditions.get("drag", 0.0))
    flat = torch.tensor(numbers, dtype=u.dtype)[:, None, None].expand(3, *u.shape[1:])
    inputs, base = torch.cat((u, force, flat)), u
    if known:
        base = coarse_solver(sample, 1)[0]
        inputs = torch.cat((inputs, base - u))
    change = _label(sample, "velocity_change")
    return Example(inputs, base, None if change is None else u + change.T.reshape(u.shape))


TASKS = {
    "darcy": Task("darcy-neuraloperator", "pore_pressure", (16, 16), (1, 2, 1), False, _darcy),
    "burgers": Task("burgers-neuraloperator", "velocity", (16,), (1, 17, 16), True, _burgers),
    "turbulence": Task(
        "turbulence-2d-steps", "velocity_change", (32, 32), (7, 9, 2), True, _turbulence
    ),
}


def task(name: str) -> Task:
    """One of `TASKS`.

    Raises:
        InputError: there is no such task.
    """
    if name not in TASKS:
        raise InputError(f"no task '{name}' ({', '.join(TASKS)}).{did_you_mean(name, TASKS)}")
    return TASKS[name]


def arrays(
    task: Task, samples: Sequence[Sample], *, known: bool
) -> tuple[Float[Tensor, "B C *grid"], Float[Tensor, "B K *grid"], Float[Tensor, "B K *grid"]]:
    """Inputs (B, C, *grid), bases and labels (B, K, *grid), float32.

    Raises:
        InputError: a sample has no label, or lacks a field, a condition or a box.
    """
    examples = [task.example(sample, known) for sample in samples]
    for sample, example in zip(samples, examples, strict=True):
        if example.label is None:
            raise InputError(f"{sample.id}: no label '{task.quantity}' to learn from")
    stacks = ([e.inputs for e in examples], [e.base for e in examples], [e.label for e in examples])
    inputs, bases, labels = (torch.stack(s).float() for s in stacks)  # type: ignore[arg-type]
    return inputs, bases, labels
