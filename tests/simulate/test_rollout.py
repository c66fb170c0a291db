"""Rollouts: equal gradients on every path, and the memory that each path promises, counted."""

from __future__ import annotations

import gc
import weakref
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from sfm.errors import InputError
from sfm.simulate import schedule
from sfm.simulate.rollout import recorded, rollout
from sfm.simulate.step import AutogradStep

PATHS = {
    "every state": {},
    "segments": {"segment": 3},
    "square root": {"segment": None},
    "three states": {"states": 3},
    "one state": {"states": 1},
    "kept": {"recompute": False},
}


class Pendulum(NamedTuple):
    """A kicked rotor (the standard map, chaotic for large kicks), and how often it was kicked."""

    angle: Tensor
    momentum: Tensor
    kicks: Tensor


def kick(state: Pendulum, n: int, strength: Tensor) -> Pendulum:
    momentum = state.momentum + strength * torch.sin(state.angle) * (1 + 0.01 * n)
    return Pendulum(state.angle + momentum, momentum, state.kicks + 1)


def start() -> tuple[Pendulum, Tensor]:
    angle = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    momentum = torch.tensor([0.1, 0.0, -0.2], dtype=torch.float64, requires_grad=True)
    strength = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    return Pendulum(angle, momentum, torch.zeros((), dtype=torch.long)), strength


def plain(state, tensors, steps: int):
    for n in range(steps):
        state = kick(state, n, *tensors)
    return state


@pytest.mark.parametrize("options", PATHS.values(), ids=PATHS)
def test_a_chaotic_map_has_the_gradients_of_the_plain_graph(options):
    """States to the bit; the parameter's sum over 20 steps is added in another order."""
    runs = []
    for way in (None, options):
        state, strength = start()
        inputs = (state.angle, state.momentum, strength)
        if way is None:
            end = plain(state, (strength,), 20)
        else:
            end = rollout(kick, state, (strength,), 20, **way)
        assert isinstance(end, Pendulum)
        assert int(end.kicks) == 20
        loss = end.angle.sin().sum() + end.momentum.square().sum()
        runs.append((end.angle.detach(), *torch.autograd.grad(loss, inputs)))
    for a, b in zip(runs[0][:3], runs[1][:3], strict=True):
        assert torch.equal(a, b)
    assert torch.allclose(runs[0][3], runs[1][3], rtol=1e-12)
    assert runs[0][1].abs().max() > 1e3  # chaos: a small error would show


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("options", PATHS.values(), ids=PATHS)
def test_gradcheck_gradgradcheck_and_forward_mode(options):
    def end(angle: Tensor, momentum: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
        state = Pendulum(angle, momentum, torch.zeros((), dtype=torch.long))
        return rollout(kick, state, (strength,), 5, **options)[:2]

    state, strength = start()
    inputs = (state.angle, state.momentum, strength)
    assert gradcheck(end, inputs, check_forward_ad=True)
    assert gradgradcheck(end, inputs, fast_mode=True)
    rows = torch.autograd.functional.jacobian(end, inputs, vectorize=True)
    singles = torch.autograd.functional.jacobian(end, inputs)
    torch.testing.assert_close(rows, singles)
    by_transform = torch.func.jacrev(lambda s: end(*inputs[:2], s))(strength)
    torch.testing.assert_close(by_transform[0], singles[0][2])


def test_a_step_that_differentiates_has_the_gradients_of_the_plain_graph():
    """Velocity Verlet on an energy surface: forces are gradients within the step."""

    def step(state, n, stiffness):
        x, v = state
        recording = torch.is_grad_enabled()
        with torch.enable_grad():
            y = x if x.requires_grad else x.detach().requires_grad_()
            energy = (stiffness * y**4).sum()
            (slope,) = torch.autograd.grad(energy, y, create_graph=recording)
        v = v - 0.01 * slope
        return x + 0.01 * v, v

    def end(x, stiffness, **options):
        return rollout(AutogradStep(step), (x, torch.zeros_like(x)), (stiffness,), 8, **options)[0]

    inputs = tuple(
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([0.5, -1.0], 2.0)
    )
    for options in ({}, {"states": 2}, {"recompute": False}):
        assert gradcheck(lambda *x, o=options: end(*x, **o), inputs)


def test_modules_in_the_step_are_noticed():
    module = nn.Linear(3, 3, dtype=torch.float64)
    x = torch.ones(3, dtype=torch.float64)

    def step(x: Tensor, n: int) -> Tensor:
        return x + 0.1 * module(x).tanh()

    slopes = []
    for options in ({"states": 2}, {"segment": 2}, {"recompute": False}):
        end = rollout(step, x, (), 5, **options)
        slopes.append(torch.autograd.grad(end.sum(), tuple(module.parameters())))
    for other in slopes[1:]:
        assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(other, slopes[0], strict=True))


@pytest.mark.parametrize("options", PATHS.values(), ids=PATHS)
def test_records_on_the_way_have_one_backward_pass(options):
    state, strength = start()
    inputs = (state.angle, strength)
    at = [0, 2, 7, 7, 12]
    states = recorded(kick, state, (strength,), at, **options)
    assert [int(s.kicks) for s in states] == at
    slopes = torch.autograd.grad(sum(s.angle.square().sum() for s in states), inputs)
    ends = [plain(state, (strength,), n) for n in at]
    expected = torch.autograd.grad(sum(s.angle.square().sum() for s in ends), inputs)
    for a, b in zip(slopes, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-12)
    with pytest.raises(InputError, match="ascending"):
        recorded(kick, state, (strength,), [3, 1])


def test_what_cannot_be_is_refused():
    state, strength = start()
    with pytest.raises(InputError, match="one of the two"):
        rollout(kick, state, (strength,), 3, segment=2, states=2)
    for options in ({"segment": 0}, {"states": 0}):
        with pytest.raises(InputError, match="1 or more"):
            rollout(kick, state, (strength,), 3, **options)


# --- memory -------------------------------------------------------------------------------------


class Held:
    """A tensor that a graph keeps."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Counted:
    """A step that keeps much inside, and counts the states that are alive, and its calls."""

    def __init__(self) -> None:
        self.alive: weakref.WeakSet = weakref.WeakSet()
        self.most, self.calls = 0, 0

    def __call__(self, x: Tensor, n: int, a: Tensor) -> Tensor:
        self.calls += 1
        y = x
        for _ in range(10):
            y = y + 0.01 * (a * y).sin()
        if not torch.is_grad_enabled():
            self.alive.add(y)
            self.most = max(self.most, len(self.alive))
        return y


def memory(steps: int, **options) -> tuple[float, int, int]:
    """(states that the graph keeps, most states alive in the backward pass, calls of the step)."""
    alive: weakref.WeakSet[Held] = weakref.WeakSet()

    def pack(tensor: Tensor) -> Held:
        held = Held(tensor)
        alive.add(held)
        return held

    step = Counted()
    x, a = torch.ones(100, requires_grad=True), torch.ones(1, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        end = rollout(AutogradStep(step), x, (a,), steps, **options)
        kept = sum(held.tensor.numel() for held in alive) / x.numel()
    gc.collect()
    step.most = 0
    end.sum().backward()
    return kept, step.most, step.calls


def test_the_graph_keeps_what_each_path_promises():
    """Beside the initial state; the parameter is one number in a hundred."""
    for steps in (16, 100):
        kept, most, calls = memory(steps)
        assert kept < steps + 1.1
        assert calls == 2 * steps  # each step is redone once
        root = round(steps**0.5)
        kept, most, calls = memory(steps, segment=None)
        assert kept < root + 1.1
        assert most <= root
        assert calls < 3 * steps
    inside = memory(16, recompute=False)[0]
    assert inside > 16 * 20


@pytest.mark.parametrize("states", [1, 4, 8])
def test_with_a_fixed_number_of_states_memory_is_constant_in_the_length(states):
    counts = {}
    for steps in (20, 40, 80):
        kept, most, calls = memory(steps, states=states)
        assert kept < states + 1.1
        # those kept by the graph are copies; on the way no more than the slots, a state and the
        # next one in passing, and the result
        assert most <= (states - 1) + 3
        repeats = next(r for r in range(1000) if schedule.longest(states - 1, r) >= steps)
        assert calls <= (repeats + 1) * steps
        counts[steps] = most
    assert counts[80] == counts[40]


def test_the_schedule_is_optimal():
    """Against dynamic programming, the definition of the fewest steps done again."""
    best: dict[tuple[int, int], int] = {}

    def cost(steps: int, slots: int) -> int:
        if steps <= 1:
            return 0
        if slots == 0:
            return steps * (steps - 1) // 2
        if (steps, slots) not in best:
            best[steps, slots] = min(
                m + cost(m, slots) + cost(steps - m, slots - 1) for m in range(1, steps)
            )
        return best[steps, slots]

    def ours(steps: int, slots: int) -> int:
        if steps <= 1 or slots == 0:
            return cost(steps, slots)
        m = schedule.split(steps, slots)
        return m + ours(m, slots) + ours(steps - m, slots - 1)

    for slots in range(5):
        for steps in range(1, 40):
            assert ours(steps, slots) == cost(steps, slots)
    assert schedule.longest(55, 3) >= 30_000 > schedule.longest(53, 3)
    assert len(schedule.kept(1000, 10)) == 10
    assert schedule.kept(3, 10) == [0, 1, 2]
