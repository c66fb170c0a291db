"""Gradients through rollouts on every path: adjoints by hand, segments, all kept, plain graphs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
import torch
from sfm_fluids.closures.classical import Smagorinsky
from sfm_fluids.periodic import advection_2d, flow_state
from sfm_fluids.periodic.flow_state import modes_of
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.stepping.stacked import Stacks, Work
from sfm_fluids.stepping.stepper import STEPPERS
from torch import nn
from torch.utils.checkpoint import checkpoint

from sfm.simulate import budget as budgets
from sfm.simulate import rollout as rollouts
from sfm.simulate.budget import BUDGET, Budget
from sfm.simulate.rollout import rollout
from sfm.simulate.step import AutogradStep
from sfm.simulate.undeclared import undeclared

PATHS = {
    "recomputed": {"recompute": True},
    "segments": {"recompute": True, "segment": 2},
    "kept": {"recompute": False},
}


class Parametric(nn.Module):
    """A stress with a learned parameter, not symmetric under anything."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.3, -0.2], dtype=torch.float64))

    def forward(self, velocity: torch.Tensor, spacing: float) -> torch.Tensor:
        u, v = velocity.unbind(-3)
        a, b = self.weight
        rows = (torch.stack((a * u * v, b * u.sin()), -3), torch.stack((u * u, a * b * v), -3))
        return torch.stack(rows, -4)


class Swirl(nn.Module):
    """A force that depends on the flow and on time."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.4, dtype=torch.float64))

    def forward(self, velocity: torch.Tensor, time: float) -> torch.Tensor:
        return self.gain * (1 + time) * velocity.flip(-3) ** 2


CLOSURES = {
    "none": {},
    "smagorinsky": {"subgrid": "smagorinsky"},
    "parametric": {"closure": Parametric},
    "held": {"closure": Parametric, "closure_every": "step"},
    "forced": {"forcing": Swirl},
    "scalars": {"scalars": 2, "scalar_gradient_x": 0.7, "scalar_gradient_y": -0.4},
    "noise": {"random_wavenumber": 1.5},
}


def case(kind: str = "none", **options):
    """A small simulator and a state with a mean flow."""
    arguments = {k: v() if isinstance(v, type) else v for k, v in CLOSURES[kind].items()}
    settings = {"grid": 6, "dt": 0.04, "viscosity": 0.03, "forcing_wavenumber": 1, "seed": 1}
    sim = NavierStokes2D(**{**settings, **arguments, **options})
    state = sim.state()
    mean = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    return sim, state._replace(mean_velocity=mean)


def run(sim, state, steps: int = 3, only: tuple[str, ...] = ()):
    """(function of state and all parameters or `only` some, its inputs), for gradcheck."""
    named = {k: v for k, v in sim.named_parameters() if not only or k in only}
    tensors = {k: v for k, v in state._asdict().items() if v is not None and k != "time"}

    def end(*inputs: torch.Tensor) -> torch.Tensor:
        values = dict(zip(tensors, inputs, strict=False))
        params = dict(zip(named, inputs[len(tensors) :], strict=True))
        out = torch.func.functional_call(sim, params, (state._replace(**values), steps))
        parts = (out.vorticity, out.mean_velocity, out.scalars)
        return torch.cat([p.flatten() for p in parts if p is not None])

    start = [v.detach().clone().requires_grad_() for v in (*tensors.values(), *named.values())]
    return end, start


def gradients(sim, state, steps: int = 3) -> list[torch.Tensor]:
    end, start = run(sim, state, steps)
    value = end(*start)
    weights = torch.linspace(-1, 1, value.numel(), dtype=torch.float64)
    slopes = torch.autograd.grad((weights * value).sum(), start, allow_unused=True)
    return [torch.zeros_like(s) if g is None else g for g, s in zip(slopes, start, strict=True)]


@pytest.mark.parametrize("kind", ["none", "smagorinsky", "parametric"])
@pytest.mark.parametrize("name", STEPPERS)
def test_gradcheck_of_every_stepper_and_closure(name, kind):
    sim, state = case(kind, stepper=name)
    end, start = run(sim, state, 2)
    assert torch.autograd.gradcheck(end, start, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("kind", ["held", "forced", "scalars", "noise"])
def test_gradcheck_of_the_other_terms(kind):
    sim, state = case(kind)
    end, start = run(sim, state, 2)
    assert torch.autograd.gradcheck(end, start, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("kind", CLOSURES)
@pytest.mark.parametrize("name", ["etdrk4", "cnrk3"])
def test_all_paths_agree_with_a_plain_graph(name, kind, monkeypatch):
    """The paths of a rollout give equal bits; a graph made by autograd alone, equal numbers."""
    with monkeypatch.context() as without:
        without.setattr(BUDGET, "limit", 0)
        by_path = {
            k: gradients(*case(kind, stepper=name, **options)) for k, options in PATHS.items()
        }
    by_path["budget"] = gradients(*case(kind, stepper=name))
    for path in ("segments", "kept", "budget"):
        for a, b in zip(by_path[path], by_path["recomputed"], strict=True):
            assert torch.equal(a, b)
    monkeypatch.setattr(rollouts, "traced", lambda: True)
    for a, b in zip(gradients(*case(kind, stepper=name)), by_path["recomputed"], strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


# torch's own first use of forward mode compiles with a deprecated torch.jit
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", ["parametric", "scalars"])
def test_forward_mode_and_second_derivatives(kind):
    sim, state = case(kind, grid=4)
    end, start = run(sim, state, 1, only=("viscosity", "closure.weight", "scalar_gradient_y"))
    assert torch.autograd.gradcheck(
        end,
        start,
        atol=1e-6,
        check_forward_ad=True,
        check_backward_ad=False,
        fast_mode=True,
    )
    assert torch.autograd.gradgradcheck(
        lambda *x: end(*x).square(), start, atol=1e-5, fast_mode=True
    )


def test_function_transforms_pass_through():
    sim, state = case()

    def end(viscosity: torch.Tensor) -> torch.Tensor:
        out = torch.func.functional_call(sim, {"viscosity": viscosity}, (state, 2))
        return out.vorticity.square().sum()

    viscosity = torch.tensor(0.03, dtype=torch.float64)
    slope = torch.func.grad(end)(viscosity)
    eps = 1e-6
    with torch.no_grad():
        difference = (end(viscosity + eps) - end(viscosity - eps)) / (2 * eps)
    assert slope.item() == pytest.approx(difference.item(), rel=1e-6)
    many = torch.func.vmap(end)(torch.stack((viscosity, 2 * viscosity)))
    assert torch.allclose(many[0], end(viscosity), rtol=1e-12)


def test_gradients_in_a_batch_with_parameters_of_its_own_are_those_of_singles():
    rates = torch.tensor([0.02, 0.05], dtype=torch.float64)
    sim, state = case("scalars", viscosity=rates)
    both = state._replace(
        vorticity=torch.cat((state.vorticity, -2 * state.vorticity)),
        mean_velocity=state.mean_velocity.repeat(2, 1),
        scalars=torch.cat((state.scalars, state.scalars.flip(1))),
    )
    sim(both, 3).vorticity.square().sum().backward()
    for i in range(2):
        one, _ = case("scalars", viscosity=float(rates[i]))
        single = both._replace(
            vorticity=both.vorticity[i : i + 1],
            mean_velocity=both.mean_velocity[:1],
            scalars=both.scalars[i : i + 1],
        )
        one(single, 3).vorticity.square().sum().backward()
        assert torch.allclose(sim.viscosity.grad[i], one.viscosity.grad, rtol=1e-10)


def test_the_fast_kernels_give_the_readable_terms_numbers():
    """Without gradients other code runs than inside a graph; float64 small, float32 wide."""
    for grid, dtype, bound in ((6, torch.float64, 1e-13), (72, torch.float32, 1e-5)):
        for kind in ("none", "scalars", "held"):
            sim, state = case(kind, grid=grid, dtype=dtype)
            if sim.closure is not None:
                sim.closure.to(dtype)
            state = state._replace(mean_velocity=state.mean_velocity.to(dtype))
            flow = sim.nonlinear_term(state.mean_velocity, 0.0)
            term, modes = flow.term(), modes_of(state, sim.grid)
            plain = term.function(modes, 0.3, *term.tensors)
            with torch.no_grad():
                pairs = torch.view_as_real(modes)
                fast = torch.view_as_complex(term.fast(pairs, 0.3, *term.tensors))
            assert (fast - plain).abs().max() / plain.abs().max() < bound


# --- rollouts of any function -----------------------------------------------------------------


def growth(u: torch.Tensor, n: int, rate: torch.Tensor) -> torch.Tensor:
    return u + 0.1 * rate * u * (1 - u) * (1 + 0.1 * n)


@pytest.mark.parametrize("options", PATHS.values(), ids=PATHS)
def test_a_declared_function_has_the_bits_of_plain_autograd(options):
    u = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    grads = []
    for how in (options, None):
        start, rate = u.clone().requires_grad_(), torch.tensor(0.7).double().requires_grad_()
        if how is None:
            end = start
            for n in range(7):
                end = growth(end, n, rate)
        else:
            end = rollout(growth, start, (rate,), 7, **how)
        grads.append(torch.autograd.grad(end.square().sum(), (start, rate)))
    assert torch.equal(grads[0][0], grads[1][0])
    assert torch.allclose(grads[0][1], grads[1][1], rtol=1e-15)


def test_undeclared_tensors_are_noticed_and_still_get_their_gradients():
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    u = torch.tensor([0.2], dtype=torch.float64, requires_grad=True)
    hidden = 2 * rate

    def step(u: torch.Tensor, n: int) -> torch.Tensor:
        return growth(u, n, hidden)

    assert [t is hidden for t in undeclared(step, (u,), (u, 0))] == [True]
    assert undeclared(growth, (u, rate), (u, 0, rate)) == []
    slopes = torch.autograd.grad(
        rollout(step, u, (), 5, segment=2).sum(), (u, rate), retain_graph=True
    )
    plain_slopes = torch.autograd.grad(rollout(growth, u, (hidden,), 5).sum(), (u, rate))
    assert all(torch.equal(a, b) for a, b in zip(slopes, plain_slopes, strict=True))


def _note(seen: list[int], n: int, u: torch.Tensor) -> None:
    seen.append(n)


def test_the_monitor_sees_every_step_once():
    for learning in (True, False):
        seen: list[int] = []
        rate = torch.tensor(0.7, requires_grad=learning)
        monitor = partial(_note, seen)
        rollout(growth, torch.ones(2), (rate,), 5, monitor=monitor)
        assert seen == [1, 2, 3, 4, 5]


def kept_by(node) -> tuple[int, int]:
    """(steps that need not be redone, states to redo the others from) of a rollout's node."""
    inputs = len(node.needs_input_grad) - 1
    adjoints = node.saved_tensors[inputs].adjoints
    (block,) = node.saved_tensors[inputs + 1 :]
    assert len(node.firsts) == len(node.places) == len(block)
    return len(adjoints), len(node.firsts) - bool(adjoints)


def nodes(value: torch.Tensor) -> list:
    """The rollouts in a graph."""
    redone, todo = [], [value.grad_fn]
    while todo:
        node = todo.pop()
        redone += [node] if hasattr(node, "redone") else []
        todo += [after for after, _ in node.next_functions if after is not None]
    return redone


def test_backward_stores_one_state_a_segment():
    """Memory of the graph: the states between segments, counted, and nothing for inner values."""
    rate = torch.tensor(0.7, requires_grad=True)
    for segment, states in ((1, 12), (4, 3)):
        end = rollout(AutogradStep(growth), torch.ones(2), (rate,), 12, segment=segment)
        assert kept_by(end.grad_fn) == (0, states)


def test_the_last_steps_are_kept_while_the_budget_lasts(monkeypatch):
    """Whatever fits into the limit is not redone; all living graphs share it; equal bits."""
    sim, state = case("none")
    omega = state.vorticity.clone().requires_grad_()
    state = state._replace(vorticity=omega)
    sim.requires_grad_(False)

    def end(steps: int = 7) -> torch.Tensor:
        return sim.watched(state, steps).vorticity

    slopes, kept = [], []
    before = BUDGET.used
    # of a step: two fields at each of four stages and a state, in float64
    size = 4 * 2 * 6 * 6 * 8 + 6 * 4 * 16
    for limit in (0, 3 * size, 100 * size):
        monkeypatch.setattr(BUDGET, "limit", before + limit)
        value = end()
        (node,) = nodes(value)
        kept.append(kept_by(node))
        assert BUDGET.used - before == size * kept[-1][0]
        if limit == 3 * size:
            assert [kept_by(n)[0] for n in nodes(end(2))] == [0]
        slopes.append(torch.autograd.grad(value.square().sum(), omega)[0])
        del value, node
        assert BUDGET.used == before
    assert kept == [(0, 7), (3, 4), (7, 0)]
    assert all(torch.equal(slopes[0], other) for other in slopes[1:])


def test_a_budget_grants_what_is_left():
    class Owner:
        pass

    budget, first, second = Budget(100), Owner(), Owner()
    assert budget.take(30, 2, first) == 2
    assert budget.take(30, 2, second) == 1
    assert budget.take(0, 5, second) == 0
    assert budget.used == 90
    del first
    assert budget.used == 30
    assert budget.take(30, 9, second) == 2


def slopes_of(sim, state, steps: int = 4, factor: float = 1.0):
    """(vorticity at the end, the leaf it comes from)."""
    omega = (factor * state.vorticity).requires_grad_()
    return sim(state._replace(vorticity=omega), steps).vorticity, omega


def test_a_step_may_make_a_batch_of_the_state():
    rate = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64, requires_grad=True)
    u = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    end = u
    for n in range(5):
        end = growth(end, n, rate)
    plain = torch.autograd.grad(end.square().sum(), (u, rate))
    for options in PATHS.values():
        end = rollout(growth, u, (rate,), 5, **options)
        transformed = torch.autograd.grad(end.square().sum(), (u, rate))
        assert all(
            torch.allclose(a, b, rtol=1e-14) for a, b in zip(transformed, plain, strict=True)
        )


def test_what_a_backward_pass_has_used_is_free_while_the_loss_lives():
    """Else the loss of one iteration would take the budget, and the states, from the next."""
    sim, state = case("none")
    before = BUDGET.used
    end, omega = slopes_of(sim.requires_grad_(False), state)
    loss = end.square().sum()
    assert BUDGET.used > before
    first = torch.autograd.grad(loss, omega, retain_graph=True)[0]
    assert BUDGET.used > before
    assert torch.equal(torch.autograd.grad(loss, omega)[0], first)
    assert BUDGET.used == before
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_a_backward_pass_that_was_stopped_can_be_done_again(monkeypatch):
    """With the gradients of forces, which adjoints that are kept add to totals."""
    sim, state = case("none")
    end, omega = slopes_of(sim, state)
    inputs = (omega, sim.forcing_amplitude, sim.viscosity, sim.drag)

    def slopes() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(end.square().sum(), inputs, retain_graph=True)

    reference, calls, modes = slopes(), [], advection_2d.to_modes

    def stops(*given: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return modes(*given)

    with monkeypatch.context() as patched:
        patched.setattr(advection_2d, "to_modes", stops)
        with pytest.raises(KeyboardInterrupt):
            slopes()
    assert all(torch.equal(a, b) for a, b in zip(slopes(), reference, strict=True))


def test_threads_share_a_graph_and_a_simulator():
    sim, state = case("none", grid=72, dt=1e-3)
    sim.requires_grad_(False)
    end, omega = slopes_of(sim, state)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(6, *end.shape, generator=generator, dtype=end.dtype)

    def same_graph(i: int) -> torch.Tensor:
        return torch.autograd.grad(end, omega, weights[i], retain_graph=True)[0]

    def own_graph(i: int) -> torch.Tensor:
        other, start = slopes_of(sim, state, factor=1 + i)
        return torch.autograd.grad(other, start, weights[i])[0]

    with ThreadPoolExecutor(3) as pool:
        for work in (same_graph, own_graph):
            serial = [work(i) for i in range(6)]
            for a, b in zip(pool.map(work, range(6)), serial, strict=True):
                assert torch.equal(a, b)


def test_many_gradients_at_once():
    """`is_grads_batched`, as `torch.autograd.functional.jacobian(vectorize=True)` takes them."""
    sim, state = case("none")
    end, omega = slopes_of(sim, state, 2)
    weights = torch.eye(end.numel(), dtype=end.dtype).reshape(-1, *end.shape)[:5]
    inputs = (omega, sim.viscosity)
    many = torch.autograd.grad(end, inputs, weights, is_grads_batched=True, retain_graph=True)
    for i, weight in enumerate(weights):
        one = torch.autograd.grad(end, inputs, weight, retain_graph=True)
        assert torch.allclose(many[0][i], one[0], atol=1e-13)
        assert torch.allclose(many[1][i], one[1], rtol=1e-10)


@pytest.mark.parametrize("options", PATHS.values(), ids=PATHS)
def test_checkpoints_and_saved_tensor_hooks_reach_what_is_kept(options):
    sim, state = case("none", **options)
    sim.requires_grad_(False)
    end, omega = slopes_of(sim, state)
    (slope,) = torch.autograd.grad(end.square().sum(), omega)
    before = BUDGET.used
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda packed: packed):
        end, omega = slopes_of(sim, state)
    assert BUDGET.used == before
    assert torch.equal(torch.autograd.grad(end.square().sum(), omega)[0], slope)
    end = checkpoint(
        lambda w: sim(state._replace(vorticity=w), 4).vorticity, omega, use_reentrant=False
    )
    assert BUDGET.used == before
    assert torch.equal(torch.autograd.grad(end.square().sum(), omega)[0], slope)


def test_a_complex_linear_part_takes_the_terms_kernels():
    """A beta plane, say: the state then is complex, the term's kernels take its real view."""
    sim, state = case("none")
    linear = sim.linear_operator().detach() + 0.3j
    ends, slopes = [], []
    for plain in (False, True):
        modes = modes_of(state, sim.grid).detach().requires_grad_()
        term = sim.nonlinear()
        given = (lambda w, t, term=term: term.function(w, t, *term.tensors)) if plain else term
        end = sim.integrate(modes, 3, linear=linear, term=given)
        ends.append(end.detach())
        slopes.append(torch.autograd.grad(end.abs().square().sum(), modes)[0])
        with torch.no_grad():
            assert torch.allclose(sim.integrate(modes, 3, linear=linear, term=given), ends[0])
    assert torch.allclose(*ends, atol=1e-12)
    assert torch.allclose(*slopes, atol=1e-11)


def test_factors_follow_a_linear_part_that_is_changed_in_place():
    sim, state = case("none")
    with torch.no_grad():
        linear, modes = sim.linear_operator(), modes_of(state, sim.grid)
        before = sim.integrate(modes, 2, linear=linear)
        linear.mul_(5)
        after = sim.integrate(modes, 2, linear=linear)
        assert torch.equal(after, sim.integrate(modes, 2, linear=linear.clone()))
        assert not torch.equal(after, before)


def test_a_term_that_ran_in_inference_mode_serves_training():
    sim, state = case("none", grid=72, dt=1e-3)
    term, modes = sim.nonlinear(), modes_of(state, sim.grid).detach()
    with torch.inference_mode():
        sim.integrate(modes, 1, term=term)
    modes.requires_grad_()
    end = sim.integrate(modes, 1, term=term)
    assert torch.autograd.grad(end.abs().sum(), modes)[0].isfinite().all()


def test_a_budget_of_a_forked_process_is_its_own(monkeypatch):
    class Owner:
        pass

    budget, parents, childs = Budget(100), Owner(), Owner()
    assert budget.take(30, 3, parents) == 3
    monkeypatch.setattr(budgets.os, "getpid", lambda: -1)
    assert budget.take(30, 9, childs) == 3
    del parents
    assert budget.used == 90
    del childs
    assert budget.used == 0


@pytest.mark.parametrize("name", STEPPERS)
def test_stacked_factors_give_the_bits_of_the_plain_step(name):
    """With one factor for all flows and one for each, for modes of either memory layout."""
    method = STEPPERS[name]
    generator = torch.Generator().manual_seed(5)
    for lead in ((), (3,)):
        u = torch.randn(3, 1, 4, 6, 2, generator=generator).transpose(-2, -3)
        linear = -torch.rand(*lead, 1, 6, 4, 1, generator=generator).double()
        factors = [
            f.expand(*f.shape[:-1], 2).contiguous()
            for f in method.coefficients(linear, 0.1, u.dtype)
        ]
        stacks = Stacks.of(method.tableau, factors)
        if name == "ifrk4":  # its last row cannot lie beside all others
            assert stacks is None
            continue
        assert stacks is not None
        assert stacks.suit(u)
        assert stacks.suit(u[:1]) == (not lead)
        work = Work(stacks, u)

        def bend(w: torch.Tensor, c: float) -> torch.Tensor:
            return (1 + c) * w.sin()

        for _ in range(2):
            with torch.no_grad():
                plain = method.tableau.step(u, bend, factors)
                stacked = work.step(u, bend)
            assert torch.equal(stacked, plain)
            assert stacked.stride() == u.stride()
            u = stacked
    assert Stacks.of(method.tableau, [f.to(torch.complex64) for f in factors]) is None


def test_the_value_of_the_last_stage_is_left_out_where_nobody_asks_for_it(monkeypatch):
    """Redoing a step for the initial state's gradient takes N three times, not four."""
    sim, state = case("none", grid=8)
    monkeypatch.setattr(BUDGET, "limit", 0)
    flow = sim.nonlinear_term(state.mean_velocity, 0.0)
    counts = {"value": 0, "pull": 0}

    def counted(name: str, function):
        def call(*given):
            counts[name] += 1
            return function(*given)

        return call

    term = flow.term()
    term = replace(
        term, linearise=counted("value", term.linearise), pull=counted("pull", term.pull)
    )
    for learned, evaluations in ((False, (3, 1)), (True, (4, 0))):
        sim.requires_grad_(learned)
        modes = modes_of(state, sim.grid).requires_grad_()
        end = sim.integrate(modes, 2, term=term)
        torch.autograd.grad(torch.view_as_real(end).square().sum(), modes)
        assert (counts["value"], counts["pull"]) == tuple(2 * n for n in evaluations)
        counts.update(value=0, pull=0)


def test_smagorinsky_as_a_closure_module_equals_the_built_in_one():
    sim, state = case("smagorinsky", smagorinsky_constant=0.2)
    other, _ = case("none", closure=Smagorinsky(0.2))
    assert torch.equal(sim(state, 3).vorticity, other(state, 3).vorticity)


def test_a_batch_in_chunks_is_the_batch(monkeypatch):
    """Noise of its own for every flow, scalars, gradients: chunks of two against all at once."""
    sim, state = case("scalars", random_wavenumber=1.5, grid=8)
    batch = state._replace(
        vorticity=state.vorticity * torch.arange(1.0, 6.0).double()[:, None, None],
        mean_velocity=state.mean_velocity.repeat(5, 1),
        scalars=state.scalars.repeat(5, 1, 1, 1),
    )
    ends, slopes = [], []
    for points in (2**17, 2 * 64 * 3):
        monkeypatch.setattr(flow_state, "CACHE", points)
        assert sim._chunk(batch) == (0 if points > 1000 else 2)
        end = sim(batch, 3)
        ends.append(torch.cat((end.vorticity.flatten(), end.scalars.flatten())))
        slopes.append(torch.autograd.grad(ends[-1].square().sum(), sim.viscosity)[0])
    assert torch.allclose(*ends, rtol=0, atol=1e-13)
    assert torch.allclose(*slopes, rtol=1e-12)
