"""`Ode`: the base of all systems of ordinary differential equations.

States, rates and times in the system's own units.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.quantity import Quantity
from sfm.simulate import Observations, Setting, Trajectory
from sfm.simulate.rollout import rollout
from sfm.simulate.step import AutogradStep
from sfm_dynamics.quantities import STATE
from sfm_dynamics.simulators import adaptive, implicit, runge_kutta
from sfm_dynamics.simulators.system import State, System, Values

Field = Callable[[Float[Tensor, "*states d"]], Float[Tensor, "*states d"]]

EXPLICIT = tuple(runge_kutta.TABLEAUS)
ADAPTIVE = adaptive.METHODS
IMPLICIT = tuple(implicit.METHODS)
METHODS = (*EXPLICIT, *ADAPTIVE, *IMPLICIT, "radau")
DT = "dt"


def settings(
    dt: float, unit: str = "1", *, method: str = "rk4", methods: tuple[str, ...] = METHODS
) -> tuple[Setting, ...]:
    """The settings that every `Ode` has."""
    return (
        Setting("dt", dt, unit=unit, summary="time step; output interval of adaptive methods"),
        Setting(
            "method",
            method,
            methods,
            summary="rk4, rk5, ...: fixed steps; dopri5, dopri8: adaptive; radau5: implicit, "
            "fixed; radau: implicit, adaptive; implicit-midpoint, gauss4: symplectic",
        ),
        Setting("rtol", 1e-8, summary="relative tolerance of adaptive methods"),
        Setting("atol", 1e-10, summary="absolute tolerance of adaptive methods"),
        Setting(
            "gradients",
            "recompute",
            ("recompute", "direct", "adjoint"),
            summary="of a run: steps redone in the backward pass, kept in memory, or the adjoint "
            "equation (adaptive explicit methods)",
        ),
    )


class Ode(System):
    """dx/dt = f(x) + closure(x) by definition, with the method as a setting.

    A new system states its parameters and `variables`, and implements `rates` and `start`. The
    closure, if there is one, is a module from states (..., d) to rates (..., d), added to f.

    Class attributes:
        variables: names of the state's components, as columns of files are called.
    """

    closure_quantity: ClassVar[str | None] = "rate"
    observables: ClassVar[tuple[Quantity, ...]] = (STATE,)
    settings_spec: ClassVar[tuple[Setting, ...]] = settings(0.01)
    order: ClassVar[tuple[str, int] | None] = (DT, 4)
    batched: ClassVar[bool] = True
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg")
    variables: ClassVar[tuple[str, ...]] = ()

    dt: float
    method: str
    rtol: float
    atol: float
    gradients: str

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.positive("dt", "rtol", "atol")
        if self.gradients == "adjoint" and self.method not in ADAPTIVE:
            raise InputError(
                f"{self.part}: gradients=adjoint goes with method={' or '.join(ADAPTIVE)}; "
                f"with method={self.method} use recompute"
            )

    # ------------------------------------------------------------------ the equation

    @abstractmethod
    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        """f(x) (..., d) at states (..., d), with parameters by name."""

    @abstractmethod
    def start(self) -> tuple[float, ...]:
        """A well-known initial state."""

    @property
    def dim(self) -> int:
        """Number of variables."""
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables; override it where a setting decides their number."""
        return self.variables

    def weights(self) -> dict[str, Shaped[Tensor, " ..."]]:
        """The closure's weights and buffers as they are now, by name."""
        if self.closure is None:
            return {}
        return {**dict(self.closure.named_parameters()), **dict(self.closure.named_buffers())}

    def field(self, p: Values | None = None, weights: Values | None = None) -> Field:
        """The right-hand side x (..., d) -> dx/dt (..., d), closure included.

        Args:
            p: parameters by name; as they are now if None.
            weights: the closure's weights by name; as they are now if None.
        """
        p = self.values() if p is None else p
        correction = self.bound_closure(weights)
        if correction is None:
            return partial(self.rates, p=p)
        return lambda x: self.rates(x, p) + correction(x)

    def bound_closure(self, weights: Values | None = None) -> Field | None:
        """The closure as a function of the state alone, with the weights given."""
        if self.closure is None:
            return None
        closure: nn.Module = self.closure
        if weights is None:
            return closure
        bound = dict(weights)
        return lambda x: torch.func.functional_call(closure, bound, (x,))

    # ------------------------------------------------------------------ states

    def state(self, sample: Sample | None = None) -> State:
        """The sample's field `state` (d,), or a well-known case.

        Raises:
            InputError: the sample has no such field, or one of another size.
        """
        if sample is None:
            return self.at(torch.tensor(self.start(), dtype=self.dtype))
        values = sample.fields.get("state")
        if values is None:
            raise InputError(f"{sample.id}: no field 'state', which {self.part} starts from")
        return self.at(torch.from_numpy(np.array(values, dtype=np.float64)))

    def at(self, values: Shaped[Tensor, "*states d"], time: float = 0.0) -> State:
        """A state with `values` (..., d), every row at `time`.

        Raises:
            InputError: another number of variables.
        """
        values = torch.as_tensor(values).to(self.dtype)
        if values.shape[-1:] != (self.dim,):
            raise InputError(
                f"{self.part}: a state of shape {tuple(values.shape)}, not (..., {self.dim}): "
                f"{', '.join(self.names[:6])}"
            )
        like = next(self.parameters(), values)
        values = values.to(like.device)
        return State(values, values.new_full(values.shape[:-1], time))

    def observe(self, state: State) -> dict[str, Shaped[Tensor, " ..."]]:
        """The state itself, (..., d)."""
        return {"state": state.values}

    # ------------------------------------------------------------------ time

    def forward(self, state: State, steps: int = 1) -> State:
        """The state after `steps` intervals `dt`.

        Raises:
            RunError: it is no longer finite, or an implicit step does not converge.
        """
        p, weights = self.values(), self.weights()
        tensors = (*p.values(), *weights.values())

        def advance(x: Tensor, number: int, *given: Tensor) -> Tensor:
            parameters = dict(zip(p, given, strict=False))
            learned = dict(zip(weights, given[len(p) :], strict=True))
            return self.stepper(self.field(parameters, learned), self.dt)(x)

        if self.gradients == "adjoint":
            x, one = state.values, self.stepper(self.field(), self.dt)
            for _ in range(steps):
                x = one(x)
        else:
            again = self.gradients == "recompute"
            x = rollout(AutogradStep(advance), state.values, tensors, steps, recompute=again)
        if not bool(torch.isfinite(x).all()):
            raise RunError(
                f"{self.part}: the state is not finite after {steps} steps of {self.dt:g}; use a "
                "smaller dt, or an implicit method if the system is stiff"
            )
        return State(x, state.time + steps * self.dt)

    def stepper(self, field: Field, span: float) -> Field:
        """x (..., d) -> x after `span` of the system's time, by the method of the setting."""
        tolerances = {"rtol": self.rtol, "atol": self.atol}
        if self.method in runge_kutta.TABLEAUS:
            table = runge_kutta.TABLEAUS[self.method]
            return lambda x: runge_kutta.step(table, field, x, span)
        if self.method in ADAPTIVE:
            learned = tuple(self.parameters()) if self.gradients == "adjoint" else None
            return lambda x: adaptive.advance(
                field, x, span, method=self.method, adjoint=learned, **tolerances
            )
        if self.method == "radau":
            return lambda x: implicit.radau_until(field, x, span, **tolerances)
        return lambda x: implicit.step(implicit.METHODS[self.method], field, x, span)

    def until(
        self, state: State, event: Callable[[Float[Tensor, " d"]], Float[Tensor, ""]]
    ) -> State:
        """The state where `event(values)` crosses zero for the first time, differentiably.

        Args:
            state: one state, no batch.
            event: (d,) -> a number that changes sign at the event.

        Raises:
            InputError: a batch, or an event that is zero at the start.
        """
        if state.values.ndim != 1:
            raise InputError(f"{self.part}: an event is looked for from one state, not a batch")
        if float(event(state.values).detach()) == 0.0:
            raise InputError(f"{self.part}: the event is zero at the start already")
        time, values = adaptive.until(
            self.field(), state.values, event, rtol=self.rtol, atol=self.atol
        )
        return State(values, state.time + time)

    # ------------------------------------------------------------------ pictures and fitting

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Variables against time, and against each other."""
        from sfm_dynamics.figures import plot_states

        plot_states(trajectory, self.names, path)

    def read_observations(self, path: Path) -> Observations:
        """A table of times and variables; see `sfm_dynamics.series.read_table`.

        The first row is the initial state; where the file does not say that it is exact, it is
        estimated with the parameters.

        Raises:
            InputError: the file is unusable.
        """
        from sfm_dynamics.series import read_table

        table = read_table(path, self.names)
        first = torch.from_numpy(table.values[0]).to(self.dtype)
        unknown = {} if table.exact_start else {"start": first}
        measured = table.values[1:] if table.exact_start else table.values
        return Observations(
            state=self.at(first, float(table.times[0])),
            values={
                name: torch.from_numpy(measured[:, i]).to(self.dtype)
                for i, name in enumerate(self.names)
            },
            units=dict.fromkeys(self.names, "1"),
            options={"times": torch.from_numpy(table.times), "path": str(path)},
            unknowns=unknown,
        )

    def predict_observations(self, observations: Observations) -> dict[str, Float[Tensor, " T"]]:
        """The variables at the times of the observations, by name, (T,) each.

        Between two times as many equal steps as `dt` asks for are made.
        """
        from sfm_dynamics.series import intervals

        start = observations.unknowns.get("start")
        state = observations.state if start is None else self.at(start)
        x, path = state.values, [] if start is None else [state.values]
        field = self.field()
        for count, size in intervals(observations.options["times"], self.dt):
            advance = self.stepper(field, size)
            for _ in range(count):
                x = advance(x)
            path.append(x)
        stacked = torch.stack(path)
        return {name: stacked[:, i] for i, name in enumerate(self.names)}
