"""`dynamics/equilibrium`: x = g(x), and layers whose output is such an x. All without unit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.quantity import Quantity
from sfm.simulate import Parameter, Setting, Trajectory
from sfm.simulate.fixed_point import implicit
from sfm_dynamics.quantities import FIXED_POINT, FIXED_POINT_RESIDUAL
from sfm_dynamics.simulators.system import State, System

Map = Callable[[Float[Tensor, "*rows d"]], Float[Tensor, "*rows d"]]


class Equilibrium(System):
    """The fixed point x = g(x) of an iteration, found by Anderson's acceleration.

        g(x) = amplitude cos(x) + shift + closure(x)

    for every component of x (..., d). One step is a search of its own, and its derivative is that
    of the solution (implicit function theorem), whatever the way there. The closure is a module
    from (..., d) to (..., d); `amplitude=0` leaves it alone.

    Without unit. Good values: the defaults, whose x is Dottie's number 0.739085133215161.

    Limits: g should contract near the solution; of several solutions one is found.

    Source: D. G. Anderson, J. ACM 12, 547 (1965); as layers: S. Bai, J. Z. Kolter, V. Koltun,
    NeurIPS (2019), arXiv:1909.01377.
    """

    amplitude: Tensor
    shift: Tensor
    part: ClassVar[str] = "dynamics/equilibrium"
    summary: ClassVar[str] = "fixed points x = g(x)"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("amplitude", "1", 1.0, -1e3, 1e3, "of the cosine; 1"),
        Parameter("shift", "1", 0.0, -1e3, 1e3, "constant; 0"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("tolerance", 1e-12, summary="largest |g(x) - x| of a solution"),
        Setting("iterations", 50, summary="at most, in one step"),
    )
    closure_quantity: ClassVar[str | None] = "fixed_point"
    observables: ClassVar[tuple[Quantity, ...]] = (FIXED_POINT, FIXED_POINT_RESIDUAL)
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1145/321296.321305", "arXiv:1909.01377")
    default_steps: ClassVar[int] = 1
    batched: ClassVar[bool] = True

    tolerance: float
    iterations: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.positive("tolerance", "iterations")

    def map(self, x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        """g(x) (..., d)."""
        known = self.amplitude * torch.cos(x) + self.shift
        return known if self.closure is None else known + self.closure(x)

    def state(self, sample: Sample | None = None) -> State:
        """x = 1, or the sample's field `state` (d,), as a first guess.

        Raises:
            InputError: the sample has no such field.
        """
        first = torch.ones(1, dtype=self.dtype)
        if sample is not None:
            if "state" not in sample.fields:
                raise InputError(f"{sample.id}: no field 'state', which {self.part} starts from")
            first = torch.tensor(sample.fields["state"], dtype=self.dtype)
        first = first.to(self.amplitude.device)
        return State(first, first.new_zeros(first.shape[:-1]))

    def forward(self, state: State, steps: int = 1) -> State:
        """The solution, or the best guess if `iterations` are too few (`converged` tells)."""
        x = state.values
        if steps > 0:
            x = fixed_point(
                self.map, x, tolerance=self.tolerance, iterations=steps * self.iterations
            )
        return State(x, state.time + steps)

    def observe(self, state: State) -> dict[str, Shaped[Tensor, " ..."]]:
        """x (..., d), and the largest |g(x) - x| (...)."""
        x = state.values
        return {
            "fixed_point": x,
            "fixed_point_residual": (self.map(x) - x).detach().abs().amax(-1),
        }

    def converged(self, state: State) -> bool | None:
        return bool((self.observe(state)["fixed_point_residual"] <= self.tolerance).all())

    def warnings(self, state: State) -> tuple[str, ...]:
        if self.converged(state):
            return ()
        return (
            f"|g(x) - x| is above {self.tolerance:g}: raise iterations, or g does not contract",
        )

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """g(x) and x about the first component's solution.

        Raises:
            InputError: there is a closure of more than one component.
        """
        from sfm_dynamics.figures import plot_fixed_point

        x = trajectory.states[-1].values
        if self.closure is not None and x.shape[-1] > 1:
            raise InputError(f"{self.part}: draws fixed points of one component only")
        plot_fixed_point(lambda y: self.map(y.unsqueeze(-1)).squeeze(-1), x.reshape(-1)[0], path)


class EquilibriumLayer(nn.Module):
    """x* = cell(x*, u): inputs u (..., k) -> outputs (..., d), a deep equilibrium layer.

    Memory does not grow with iterations: gradients are those of the solution.

    Args:
        cell: (x (..., d), u (..., k)) -> (..., d).
        d: size of x, which starts at zero.
        tolerance: largest |cell(x, u) - x|. iterations: at most.

    Source: S. Bai, J. Z. Kolter, V. Koltun, NeurIPS (2019), arXiv:1909.01377.
    """

    def __init__(
        self, cell: nn.Module, d: int, *, tolerance: float = 1e-8, iterations: int = 50
    ) -> None:
        super().__init__()
        self.cell, self.d = cell, d
        self.tolerance, self.iterations = tolerance, iterations

    def forward(self, u: Float[Tensor, "*rows k"]) -> Float[Tensor, "*rows d"]:
        start = u.new_zeros(*u.shape[:-1], self.d)
        return fixed_point(
            lambda x: self.cell(x, u), start, tolerance=self.tolerance, iterations=self.iterations
        )


def fixed_point(
    g: Map,
    start: Float[Tensor, "*rows d"],
    *,
    tolerance: float = 1e-12,
    iterations: int = 50,
    memory: int = 5,
) -> Float[Tensor, "*rows d"]:
    """x = g(x) (..., d), by Anderson's acceleration; differentiable in what g holds.

    Every row is accelerated on its own. Where `iterations` are too few the best guess comes back.

    Args:
        g: (..., d) -> (..., d); rows do not depend on one another.
        start: first guess (..., d).
        tolerance: largest |g(x) - x| that counts as solved.
        iterations: evaluations of g, at most.
        memory: differences of iterates that are combined.

    Source: H. F. Walker, P. Ni, SIAM J. Numer. Anal. 49, 1715 (2011), doi:10.1137/10078356X.
    """
    with torch.no_grad():
        x = start.detach()
        images: list[Tensor] = []
        errors: list[Tensor] = []
        for _ in range(iterations):
            image = g(x)
            error = image - x
            if float(error.abs().max()) <= tolerance:
                break
            images, errors = [*images[-memory:], image], [*errors[-memory:], error]
            x = image if len(errors) == 1 else _mixed(images, errors)
    return implicit(x, lambda y: y - g(y), batch_axes=start.ndim - 1, where="fixed point")


def _mixed(images: list[Tensor], errors: list[Tensor]) -> Tensor:
    """g(x) less the combination of differences that takes most of the error away, by row."""
    change = torch.stack([b - a for a, b in pairwise(errors)], -1)
    moved = torch.stack([b - a for a, b in pairwise(images)], -1)
    square = change.transpose(-1, -2) @ change
    trace = square.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None].clamp_min(1e-300)
    eye = torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    right = change.transpose(-1, -2) @ errors[-1].unsqueeze(-1)
    weights = torch.linalg.solve(square + 1e-14 * trace * eye, right)
    mixed: Tensor = images[-1] - (moved @ weights).squeeze(-1)
    return mixed
