"""The base of all simulators: a classical theory as a differentiable program with named parameters.

A new simulator states its parameters, settings and observables as data and implements three
methods: `state` (make an initial state), `forward` (advance it) and `observe` (read quantities).
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.errors import InputError, OutsideError, RunError, did_you_mean
from sfm.progress import report
from sfm.quantity import Quantity
from sfm.simulate.through import Through
from sfm.simulate.volume import Volume


@dataclass(frozen=True)
class Parameter:
    """A named physical parameter of a simulator.

    Attributes:
        name: keyword of the constructor and of `--set`.
        unit: its unit, `"1"` for none.
        default: its value if none is given.
        low: smallest allowed value.
        high: largest allowed value.
        summary: one line, with symbol and good values.
    """

    name: str
    unit: str
    default: float
    low: float = -math.inf
    high: float = math.inf
    summary: str = ""


@dataclass(frozen=True)
class Setting:
    """A setting that is no physical parameter: grid size, time step, method.

    Attributes:
        name: keyword of the constructor and of `--set`.
        default: its value if none is given; its type is the setting's type.
        choices: allowed values, if they are few.
        others: what else is allowed, in words; the simulator itself checks such a value.
        unit: unit of a number, `"1"` for none.
        summary: one line.
    """

    name: str
    default: Any
    choices: tuple[Any, ...] = ()
    unit: str = "1"
    summary: str = ""
    others: str = ""


@dataclass(frozen=True)
class Trajectory:
    """A recorded run: in time, or of a search for one answer.

    Attributes:
        times: (T,) in `time_unit`; iteration numbers of a search.
        time_unit: unit of `times`.
        states: T states.
        observables: by quantity name, stacked over time: (T, ...).
        units: unit of each observable.
        warnings: what the user should know: not converged, under-resolved, ...
        converged: of a search, whether its last record is the answer; None for a run in time.
    """

    times: Float[Tensor, " T"]
    time_unit: str
    states: Sequence[Any]
    observables: Mapping[str, Shaped[Tensor, "T ..."]]
    units: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    converged: bool | None = None


@dataclass(frozen=True)
class Observations:
    """What was measured, for `sfm fit`.

    Attributes:
        state: initial state or input that the simulator starts from.
        values: measured quantities by name.
        units: their units.
        sigma: standard error of each quantity's values if known; else estimated from residuals.
        options: whatever `predict_observations` needs besides.
        unknowns: what the predictions depend on and nobody measured exactly, such as an initial
            state seen through noise: first guesses by name. `predict_observations` takes them from
            here, and `fit` estimates them with the parameters.
    """

    state: Any
    values: Mapping[str, Tensor]
    units: Mapping[str, str] = field(default_factory=dict)
    sigma: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    unknowns: Mapping[str, Tensor] = field(default_factory=dict)


class Simulator(nn.Module, ABC):
    """Base of all simulators.

    Class attributes:
        part: full name, `fluids/navier-stokes-2d`.
        summary: one line.
        parameters_spec: physical parameters; each becomes an `nn.Parameter` of the same name.
        settings_spec: other constructor keywords; each becomes a plain attribute.
        observables: quantities that `observe` returns.
        time_unit: unit of the simulator's time.
        closure_quantity: name of the quantity that the closure supplies, None if it takes none.
        citations: where the equations come from.
        default_steps: steps of `sfm simulate` if the user gives none.
        order: (name of the setting that is the step, order of accuracy in it), for the conformance
            kit: halving the step divides the error by 2**order.
        conserved: observables that stay constant in `conformance_case`, and the largest relative
            change that is allowed.
        needs: packages without which it does not run and that its plugin does not bring along.
        batched: whether states may carry a leading batch axis.
        plots_to: suffixes that `plot` takes, in lower case; `sfm simulate` refuses others before
            the run.
        writes_to: likewise of `write`; None if it does not say.

    Args:
        closure: module that supplies the missing term, or None for the classical theory.
        dtype: of parameters and states; float64 unless said otherwise.
        values: parameters and settings by name.

    Raises:
        InputError: an unknown keyword, a value out of bounds or of the wrong type.
    """

    part: ClassVar[str]
    summary: ClassVar[str] = ""
    parameters_spec: ClassVar[tuple[Parameter, ...]] = ()
    settings_spec: ClassVar[tuple[Setting, ...]] = ()
    observables: ClassVar[tuple[Quantity, ...]] = ()
    time_unit: ClassVar[str] = "1"
    closure_quantity: ClassVar[str | None] = None
    citations: ClassVar[tuple[str, ...]] = ()
    default_steps: ClassVar[int] = 100
    order: ClassVar[tuple[str, int] | None] = None
    conserved: ClassVar[Mapping[str, float]] = {}
    needs: ClassVar[tuple[str, ...]] = ()
    batched: ClassVar[bool] = False
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg", ".jpg", ".gif", ".mp4")
    writes_to: ClassVar[tuple[str, ...] | None] = None

    def __init__(
        self,
        *,
        closure: nn.Module | None = None,
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        super().__init__()
        if not isinstance(dtype, torch.dtype):
            raise InputError(f"{self.part}: dtype={dtype!r} is no torch.dtype")
        names = [p.name for p in self.parameters_spec] + [s.name for s in self.settings_spec]
        for name in values:
            if name not in names:
                raise InputError(
                    f"{self.part}: no parameter or setting '{name}'"
                    f" (known: {', '.join(names)}).{did_you_mean(name, names)}"
                )
        for parameter in self.parameters_spec:
            value = values.get(parameter.name, parameter.default)
            self.register_parameter(
                parameter.name, nn.Parameter(self._checked(parameter, value, dtype))
            )
        for setting in self.settings_spec:
            setattr(self, setting.name, self._setting(setting, values))
        if closure is not None and self.closure_quantity is None:
            raise InputError(f"{self.part}: takes no closure")
        if not (closure is None or callable(closure)):
            raise InputError(
                f"{self.part}: closure={closure!r} is no torch.nn.Module; on the command line "
                "--closure MODEL gives one"
            )
        self.closure = closure
        self.dtype = dtype

    @classmethod
    def refuse_idle(
        cls, values: Mapping[str, Any], idle: Iterable[str], choice: str, hint: str = ""
    ) -> None:
        """Refuse parameters and settings that are given and that a choice makes idle.

        Args:
            values: what was given, by name.
            idle: names that it does not use.
            choice: which, `method=dimer`.
            hint: what there is instead, for the end of the line.

        Raises:
            InputError: one of them is given.
        """
        if given := [name for name in idle if name in values]:
            raise InputError(f"{cls.part}: {choice} does not use {', '.join(given)}{hint}")

    def _checked(self, parameter: Parameter, value: Any, dtype: torch.dtype) -> Tensor:
        if isinstance(value, bool):  # true is no 1
            raise InputError(f"{self.part}: {parameter.name}={value!r} is not a number")
        try:
            tensor = torch.as_tensor(value, dtype=dtype).detach().clone()
        except (TypeError, ValueError):
            raise InputError(f"{self.part}: {parameter.name}={value!r} is not a number") from None
        low, high = parameter.low, parameter.high
        if not bool(((tensor >= low) & (tensor <= high)).all()):
            unit = "" if parameter.unit == "1" else f" {parameter.unit}"
            raise InputError(
                f"{self.part}: {parameter.name}={value}{unit} is outside [{low}, {high}]{unit}"
            )
        return tensor

    def _setting(self, setting: Setting, values: Mapping[str, Any]) -> Any:
        value = values.get(setting.name, setting.default)
        if isinstance(value, str) and value not in setting.choices:
            alike = [c for c in setting.choices if str(c).lower() == value.lower()]
            value = alike[0] if len(alike) == 1 else value  # `pbe` is as good as `PBE`
        if setting.choices and not setting.others and value not in setting.choices:
            allowed = ", ".join(map(str, setting.choices))
            raise InputError(
                f"{self.part}: {setting.name}={value!r} is not one of {allowed}."
                f"{did_you_mean(str(value), map(str, setting.choices))}"
            )
        kind = type(setting.default)
        if kind in (int, float):
            if isinstance(value, bool):
                raise InputError(f"{self.part}: {setting.name}={value!r} is not a number")
            if kind is int and isinstance(value, float) and not value.is_integer():
                raise InputError(f"{self.part}: {setting.name}={value!r} is not a whole number")
            try:
                return kind(value)
            except (TypeError, ValueError):
                raise InputError(
                    f"{self.part}: {setting.name}={value!r} is not of type {kind.__name__}"
                ) from None
        return value

    @classmethod
    def describe(cls) -> str:
        """The docstring: equation, units, good values, limits, source."""
        return inspect.getdoc(cls) or cls.summary

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Simulator, Any]:
        """A small float64 simulator and a smooth state, on which the conformance kit runs.

        Override it with a case that takes milliseconds a step; `values` are settings to change.
        """
        simulator = cls(**values)
        return simulator, simulator.state()

    @classmethod
    def stated(cls, sample: Sample, **values: Any) -> dict[str, Any]:
        """Parameters and settings that a sample states and `values` do not: its grid, its box.

        Here none. `state` refuses a sample that contradicts the simulator.
        """
        return {}

    @classmethod
    def from_sample(cls, sample: Sample, **values: Any) -> Self:
        """The simulator of a sample: `values`, and whatever else the sample states.

        Raises:
            InputError: as the constructor.
        """
        return cls(**values, **cls.stated(sample, **values))

    @abstractmethod
    def state(self, sample: Sample | None = None) -> Any:
        """An initial state: from a sample, or a well-known case of this theory if there is none."""

    @abstractmethod
    def forward(self, state: Any, steps: int = 1) -> Any:
        """The state after `steps` steps. Pure, batched, differentiable."""

    @abstractmethod
    def observe(self, state: Any) -> dict[str, Shaped[Tensor, " ..."]]:
        """Quantities of `observables` at `state`, each (..., *axes) in its unit.

        Axes of a batch come first where `batched`, then those of the quantity.
        """

    @classmethod
    def through(cls, **options: Any) -> Through:
        """How to train a closure through this simulator; `options` are those of a recipe.

        Raises:
            InputError: this simulator cannot be trained through.
        """
        raise InputError(f"{cls.part}: cannot be trained through yet")

    def baseline(self, systems: Systems) -> Float[Tensor, " S"]:
        """(S,) eV: this theory's energy, beneath what a model learns (`baseline:` of a recipe).

        Override it where the theory has an energy of atoms; differentiable in positions and cells.

        Raises:
            InputError: it has none, or none of such systems.
        """
        raise InputError(f"{self.part}: gives no energy that could be a baseline")

    def time(self, state: Any) -> float:
        """Time of the state in `time_unit`; override where the state knows it."""
        value = getattr(state, "time", 0.0)
        return float(value.max()) if isinstance(value, Tensor) else float(value)

    def warnings(self, state: Any) -> tuple[str, ...]:
        """What the user should know about the last state."""
        return ()

    def converged(self, state: Any) -> bool | None:
        """Whether `state` is the one answer that `forward` searches for by iteration.

        None, unless overridden: a step is a step in time and every record a result. Otherwise the
        last record of a run is its result (`result`), and those before are its history.
        """
        return None

    def result(self, trajectory: Trajectory) -> dict[str, Shaped[Tensor, " ..."]]:
        """The answer of a search: the last record of each observable.

        Override it to drop a batch axis of one system: an energy is then one number.
        """
        return {name: values[-1] for name, values in trajectory.observables.items()}

    def refuse_broken(self, state: Any, start: Any) -> None:
        """Called at each record of a run that began at `start`; override it to end the run.

        Raises:
            RunError: what came out of `start` is no longer what was to be simulated.
        """

    def run(self, state: Any, steps: int, *, every: int | None = None) -> Trajectory:
        """Advance `steps` steps and record each `every`-th state, the first and the last included.

        Raises:
            InputError: `steps` is negative or `every` is not positive.
            RunError: the run diverged, or came to what is refused.
        """
        every = max(1, steps // 100) if every is None else every
        self._check_run(steps, every)
        states, observed = [state], [self.observe(state)]
        done = 0
        while done < steps:
            stride = min(every, steps - done)
            try:
                state = self(state, stride)
            except OutsideError as error:  # the input was fine: the run went there
                raise RunError(f"{self.part}: after step {done}: {error}") from None
            done += stride
            self.refuse_broken(state, states[0])
            states.append(state)
            observed.append(self.observe(state))
            report(f"{self.part}: step", done, steps)
        return self._recorded(states, observed)

    def _recorded(
        self, states: Sequence[Any], observed: Sequence[Mapping[str, Tensor]]
    ) -> Trajectory:
        """The run of these states with what `observe` said of each."""
        return Trajectory(
            times=torch.tensor([self.time(s) for s in states], dtype=torch.float64),
            time_unit=self.time_unit,
            states=states,
            observables={k: torch.stack([o[k] for o in observed]) for k in observed[0]},
            units={q.name: q.unit for q in self.observables},
            warnings=self.warnings(states[-1]),
            converged=self.converged(states[-1]),
        )

    def _check_run(self, steps: int, every: int) -> None:
        if steps < 0 or every < 1:
            raise InputError(f"{self.part}: steps={steps}, every={every}: need >= 0 and >= 1")

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Draw the run to `path` (.png, .pdf, and .gif where it makes sense).

        Raises:
            InputError: this simulator draws nothing.
        """
        raise InputError(f"{self.part}: draws no picture")

    def volumes(self, state: Any) -> dict[str, Volume]:
        """Fields in three dimensions besides the observables, by name, for isosurfaces."""
        return {}

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """Write the trajectory in the domain's own format (`.extxyz`, `.cif`, `.h5`).

        The command line writes `.npz` of the observables itself.

        Raises:
            InputError: the suffix is not supported.
        """
        raise InputError(f"{path}: {self.part} writes no '{path.suffix}' files; use .npz")

    def stating(self) -> Mapping[str, Any]:
        """What a file of arrays has to state besides the observables to be read again: a box.

        The command line writes it into `.npz`.
        """
        return {}

    def read_observations(self, path: Path) -> Observations:
        """Measurements for `sfm fit`.

        Raises:
            InputError: this simulator cannot be fitted, or the file is unusable.
        """
        raise InputError(f"{self.part}: reads no observations, so it cannot be fitted yet")

    def predict_observations(self, observations: Observations) -> dict[str, Shaped[Tensor, " ..."]]:
        """What the simulator says in place of `observations.values`; differentiable.

        Of the same shapes and in the same units as the values.

        Raises:
            InputError: this simulator cannot be fitted.
        """
        raise InputError(f"{self.part}: predicts no observations, so it cannot be fitted yet")
