"""Increments of Wiener processes that a seed and the number of a step determine; their systems.

States and times in the system's own units.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.errors import InputError, RunError
from sfm.quantity import Quantity
from sfm.simulate.rollout import rollout
from sfm.simulate.step import AutogradStep
from sfm_dynamics.quantities import STATE
from sfm_dynamics.simulators.system import State, System, Values


def wiener(
    like: Float[Tensor, "*shape"], dt: float, *, seed: int, number: int
) -> Float[Tensor, "*shape"]:
    """dW over `dt`, independent normal numbers of variance dt, of the shape of `like`.

    Args:
        like: gives shape, dtype and device; the numbers are the same in every precision.
        dt: length of the step.
        seed: of the whole run. number: of the step.
    """
    generator = torch.Generator().manual_seed((seed + 1) * 1_000_003 + number)
    numbers = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    scaled: Tensor = numbers.to(like) * dt**0.5
    return scaled


def mean_of_exp(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """(e^z - 1) / z, the mean of e^x from 0 to z; 1 at zero, with derivatives."""
    small = z.abs() < 1e-6
    safe = torch.where(small, torch.ones_like(z), z)
    return torch.where(small, 1 + 0.5 * z, torch.expm1(safe) / safe)


class Noisy(System):
    """A system whose steps take increments of Wiener processes, one for each number of its state.

    They are drawn from `seed` and the number of the step, so a state determines its future and
    gradients are those of one realisation. `forward` takes increments of one's own.
    """

    observables: ClassVar[tuple[Quantity, ...]] = (STATE,)
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg")

    dt: float
    seed: int

    @abstractmethod
    def step(
        self, x: Float[Tensor, "*paths d"], dw: Float[Tensor, "*paths d"], p: Values
    ) -> Float[Tensor, "*paths d"]:
        """x (..., d) after `dt`, with the increments dw (..., d)."""

    def observe(self, state: State) -> dict[str, Shaped[Tensor, " ..."]]:
        """All realisations (paths, d)."""
        return {"state": state.values}

    def forward(
        self, state: State, steps: int = 1, noise: Float[Tensor, "steps *paths d"] | None = None
    ) -> State:
        """The state after `steps` steps.

        Args:
            state: paths (..., d).
            steps: number of steps.
            noise: increments dW (steps, ..., d) of the Wiener processes, of variance dt, instead of
                those of `seed`.

        Raises:
            InputError: increments for another number of steps.
            RunError: a path is no longer finite.
        """
        if noise is not None and len(noise) != steps:
            raise InputError(f"{self.part}: increments for {len(noise)} of {steps} steps")
        p, first = self.values(), round(float(state.time.detach()) / self.dt)
        given = () if noise is None else (noise,)

        def advance(x: Tensor, number: int, *tensors: Tensor) -> Tensor:
            parameters = dict(zip(p, tensors, strict=False))
            dw = (
                wiener(x, self.dt, seed=self.seed, number=first + number)
                if noise is None
                else tensors[-1][number]
            )
            return self.step(x, dw, parameters)

        x = rollout(AutogradStep(advance), state.values, (*p.values(), *given), steps)
        if not bool(torch.isfinite(x).all()):
            raise RunError(f"{self.part}: a path is not finite; use a smaller dt than {self.dt:g}")
        return State(x, state.time + steps * self.dt)
