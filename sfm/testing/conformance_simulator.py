"""Checks of simulators, on the small case that each of them supplies."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError

from sfm.errors import InputError
from sfm.plugin import Plugin
from sfm.registry import find
from sfm.simulate.base import Simulator
from sfm.testing import tolerances as tol
from sfm.testing.checks import Check, CheckFailed, Skipped, ensure
from sfm.units import check_unit


def checks(plugin: Plugin) -> list[Check]:
    """Checks of all the plugin's simulators."""
    checklist = []
    for short in plugin.simulators:
        part = f"{plugin.name}/{short}"
        for what, function in (
            ("documented", documented),
            ("bounds", bounds),
            ("observables", observables),
            ("shapes", shapes),
            ("deterministic", deterministic),
            ("gradcheck-parameters", gradcheck_parameters),
            ("gradcheck-state", gradcheck_state),
            ("order", order),
            ("conserved", conserved),
            ("batch-equals-loop", batch_equals_loop),
        ):
            checklist.append(Check(part, what, partial(function, part)))
    return checklist


def _class(part: str) -> type[Simulator]:
    simulator: type[Simulator] = find("simulators", part).load()
    return simulator


def _case(part: str, **values: Any) -> tuple[Simulator, Any]:
    """The conformance case; random numbers in it are the same every time."""
    missing = [name for name in _class(part).needs if find_spec(name) is None]
    if missing:
        raise Skipped(f"{missing[0]} is not installed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _class(part).conformance_case(**values)


# ------------------------------------------------------------------ states are trees of tensors


def leaves(state: Any) -> list[Shaped[Tensor, " ..."]]:
    """All tensors of a state (tensor, tuple, list, mapping, dataclass), of any shape and unit."""
    if isinstance(state, Tensor):
        return [state]
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return leaves([getattr(state, f.name) for f in dataclasses.fields(state)])
    if isinstance(state, Mapping):
        return leaves(list(state.values()))
    if isinstance(state, (tuple, list)):
        return [leaf for part in state for leaf in leaves(part)]
    return []


def rebuilt(state: Any, function: Callable[..., Shaped[Tensor, " ..."]], *others: Any) -> Any:
    """The same structure with `function` applied to each tensor (and the others' tensors).

    Tensors of any shape and unit.
    """
    if isinstance(state, Tensor):
        return function(state, *others)
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        changes = {
            f.name: rebuilt(getattr(state, f.name), function, *(getattr(o, f.name) for o in others))
            for f in dataclasses.fields(state)
            if f.init
        }
        return dataclasses.replace(state, **changes)
    if isinstance(state, Mapping):
        return {k: rebuilt(v, function, *(o[k] for o in others)) for k, v in state.items()}
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        rows = zip(state, *others, strict=True)
        return type(state)(*(rebuilt(v, function, *o) for v, *o in rows))
    if isinstance(state, (tuple, list)):
        rows = zip(state, *others, strict=True)
        return type(state)(rebuilt(v, function, *o) for v, *o in rows)
    return state


def floats(state: Any) -> list[Float[Tensor, " ..."]]:
    """Floating-point leaves, complex ones as real pairs (..., 2), in their own units."""
    tensors = [torch.view_as_real(x) if x.is_complex() else x for x in leaves(state)]
    return [x for x in tensors if x.is_floating_point()]


def flat(state: Any) -> Float[Tensor, " n"]:
    """All floating-point numbers of a state, (n,) float64."""
    return torch.cat([x.detach().double().reshape(-1) for x in floats(state)])


def difference(a: Any, b: Any) -> float:
    """Relative root mean square difference of two states."""
    x, y = flat(a), flat(b)
    ensure(x.shape == y.shape, f"states have {len(x)} and {len(y)} numbers")
    return float((x - y).norm() / max(float(y.norm()), 1e-300))


# ------------------------------------------------------------------ the checks


def documented(part: str) -> str:
    """Summary, equation, source; parameters and observables with units."""
    cls = _class(part)
    ensure(bool(cls.summary), "has no summary")
    ensure(len(cls.describe()) > 100, "its docstring should give the equation, units, good values")
    ensure(bool(cls.citations), "has no citations")
    ensure(bool(cls.observables), "declares no observables")
    check_unit(cls.time_unit)
    for parameter in cls.parameters_spec:
        check_unit(parameter.unit)
        ensure(bool(parameter.summary), f"parameter '{parameter.name}' has no summary")
        inside = parameter.low <= parameter.default <= parameter.high
        ensure(inside, f"default of '{parameter.name}' is outside its bounds")
    for setting in cls.settings_spec:
        check_unit(setting.unit)
        ensure(bool(setting.summary), f"setting '{setting.name}' has no summary")
    return f"{len(cls.parameters_spec)} parameters, {len(cls.settings_spec)} settings"


def bounds(part: str) -> str:
    """Unknown names and values out of bounds are refused."""
    cls, count = _class(part), 0
    _refused(cls, "no_such_name", 1.0)
    for parameter in cls.parameters_spec:
        for bound, side in ((parameter.low, -1), (parameter.high, 1)):
            if math.isfinite(bound):
                _refused(cls, parameter.name, bound + side * (abs(bound) + 1.0))
                count += 1
    return f"{count} bounds"


def _refused(cls: type[Simulator], name: str, value: float) -> None:
    try:
        cls(**{name: value})  # type: ignore[arg-type]
    except InputError:
        return
    raise CheckFailed(f"accepts {name}={value}")


def observables(part: str) -> str:
    """`observe` returns what is declared, finite, before and after a run."""
    simulator, state = _case(part)
    declared = {q.name for q in simulator.observables}
    for now in (state, simulator(state, 2)):
        values = simulator.observe(now)
        ensure(set(values) <= declared, f"returns undeclared {sorted(set(values) - declared)}")
        for name, value in values.items():
            ensure(bool(torch.isfinite(value).all()), f"'{name}' is not finite")
    trajectory = simulator.run(state, 2, every=1)
    ensure(len(trajectory.times) == 3, f"run(2, every=1) records {len(trajectory.times)} states")
    return f"{len(values)} observables"


def shapes(part: str) -> None:
    """A step keeps the structure, shapes and dtypes of the state."""
    simulator, state = _case(part)
    before, after = leaves(state), leaves(simulator(state, 1))
    ensure(len(before) == len(after), f"{len(before)} tensors become {len(after)}")
    for a, b in zip(before, after, strict=True):
        ensure(
            a.shape == b.shape and a.dtype == b.dtype,
            f"{tuple(a.shape)} {a.dtype} becomes {tuple(b.shape)} {b.dtype}",
        )


def deterministic(part: str) -> None:
    """The same run twice, to the last bit; and the state that went in is unchanged."""
    runs = []
    for _ in range(2):
        simulator, state = _case(part)
        before = flat(state).clone()
        runs.append(flat(simulator(state, 3)))
        ensure(torch.equal(before, flat(state)), "changes the state that it was given")
    ensure(torch.equal(*runs), "two equal runs differ")


class _Observed(nn.Module):
    """A short run and a fixed random projection of its observables, for gradcheck."""

    def __init__(self, simulator: Simulator, steps: int) -> None:
        super().__init__()
        self.simulator, self.steps = simulator, steps

    def forward(self, state: Any) -> Tensor:
        values = self.simulator.observe(self.simulator(state, self.steps))
        generator = torch.Generator().manual_seed(0)
        out = []
        for value in values.values():
            if not value.is_floating_point():
                continue
            weights = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            out.append((weights * value).sum() / math.sqrt(max(value.numel(), 1)))
        return torch.stack(out)


def _gradcheck(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    try:
        torch.autograd.gradcheck(
            function,
            inputs,
            eps=tol.GRADCHECK_EPS,
            atol=tol.GRADCHECK_ATOL,
            rtol=tol.GRADCHECK_RTOL,
            check_undefined_grad=False,
        )
    except GradcheckError as wrong:
        raise CheckFailed(f"gradient is wrong: {str(wrong).splitlines()[0]}") from None


def gradcheck_parameters(part: str) -> str:
    """Derivatives of observables with respect to every physical parameter."""
    simulator, state = _case(part)
    if not simulator.parameters_spec:
        raise Skipped("has no parameters")
    module = _Observed(simulator, 2)
    names = [p.name for p in simulator.parameters_spec]
    values = tuple(getattr(simulator, n).detach().clone().requires_grad_() for n in names)

    def run(*given: Tensor) -> Tensor:
        named = {f"simulator.{n}": v for n, v in zip(names, given, strict=True)}
        after: Tensor = torch.func.functional_call(module, named, (state,))
        return after

    _gradcheck(run, values)
    return f"{len(names)} parameters"


def gradcheck_state(part: str) -> str:
    """Derivatives of observables with respect to the initial state, along two directions."""
    simulator, state = _case(part)
    module = _Observed(simulator, 2)
    generator = torch.Generator().manual_seed(0)
    directions = [rebuilt(state, lambda x: _direction(x, generator)) for _ in range(2)]
    amount = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def run(t: Tensor) -> Tensor:
        def moved(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
            return x + t[0] * a + t[1] * b if x.is_floating_point() or x.is_complex() else x

        after: Tensor = module(rebuilt(state, moved, *directions))
        return after

    if not run(amount).requires_grad:
        raise Skipped("its observables do not depend on the state")
    _gradcheck(run, (amount,))
    return "2 directions"


def _direction(x: Tensor, generator: torch.Generator) -> Tensor:
    """A smooth-enough direction of the size of x itself."""
    if not (x.is_floating_point() or x.is_complex()):
        return x
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return (0.1 * noise * x.abs()).to(x.dtype)


def order(part: str) -> str:
    """Halving the step divides the error by 2**order."""
    cls = _class(part)
    if cls.order is None:
        raise Skipped("declares no order of accuracy")
    name, declared = cls.order
    simulator, _ = _case(part)
    step = float(getattr(simulator, name))
    ends = []
    for halvings in range(3):
        run, state = _case(part, **{name: step / 2**halvings})
        ends.append(run.observe(run(state, 8 * 2**halvings)))
    coarse, fine = difference(ends[0], ends[1]), difference(ends[1], ends[2])
    ensure(fine > tol.ROUNDING, f"errors are rounding ({fine:.1e}): choose a larger {name}")
    measured = math.log2(coarse / fine)
    ensure(measured > declared - tol.ORDER, f"declares order {declared}, measured {measured:.2f}")
    return f"order {measured:.2f}"


def conserved(part: str) -> str:
    """Declared invariants stay constant."""
    cls = _class(part)
    if not cls.conserved:
        raise Skipped("declares nothing conserved")
    simulator, state = _case(part)
    first, last, drifts = simulator.observe(state), simulator.observe(simulator(state, 50)), []
    for name, allowed in cls.conserved.items():
        ensure(name in first, f"'{name}' is no observable")
        scale = max(float(first[name].detach().abs().max()), 1e-12)
        drift = float((last[name] - first[name]).detach().abs().max()) / scale
        ensure(
            drift <= allowed, f"'{name}' changes by {drift:.1e} of itself, allowed {allowed:.1e}"
        )
        drifts.append(f"{name} {drift:.1e}")
    return ", ".join(drifts)


def batch_equals_loop(part: str) -> str:
    """Where states may carry a batch axis, a batch gives what a loop gives."""
    if not _class(part).batched:
        raise Skipped("does not declare batched states")
    simulator, state = _case(part)
    other = simulator(state, 1)
    both = rebuilt(state, lambda a, b: torch.stack([a, b]), other)
    together = simulator(both, 2)
    for number, single in enumerate((state, other)):
        alone = simulator(single, 2)
        deviation = difference(rebuilt(together, lambda x, n=number: x[n]), alone)
        ensure(deviation < tol.SIMULATOR_BATCH, f"batch differs from loop by {deviation:.1e}")
    return "2 states"
