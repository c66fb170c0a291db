"""Every stepper: its order on a stiff scalar and on a flow, float32 drift, adaptive control."""

from __future__ import annotations

import math

import pytest
import torch
from sfm_fluids.periodic.flow_state import modes_of
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.stepping import cnrk3
from sfm_fluids.stepping.adaptive import Controller, search
from sfm_fluids.stepping.stepper import STEPPERS, stepper

from sfm.errors import InputError, RunError

NAMES = tuple(STEPPERS)
QUIET = {"drag": 0.0, "forcing_wavenumber": 0}


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def riccati(name: str, rate: float, steps: int, time: float = 1.0) -> torch.Tensor:
    """Error on u' = -a u + u^2, u(0) = 1/2: u = a / (1 + (2a - 1) e^{at})."""
    method, dt = stepper(name), time / steps
    factors = method.coefficients(tensor(-rate), dt, torch.float64)
    u = tensor(0.5)
    for _ in range(steps):
        u = method.step(u, lambda w, c: w * w, factors)
    return (u - rate / (1 + (2 * rate - 1) * math.exp(rate * time))).abs()


def forced(name: str, rate: float, steps: int) -> float:
    """Error on u' = -a (u - cos t) - sin t, u = cos t: a stiff forced mode with N(u, t)."""
    method, dt = stepper(name), 2.0 / steps
    factors = method.coefficients(tensor(-rate), dt, torch.float64)
    u = tensor(1.0)
    for n in range(steps):

        def source(w: torch.Tensor, c: float, n: int = n) -> torch.Tensor:
            t = (n + c) * dt
            return torch.full_like(w, rate * math.cos(t) - math.sin(t))

        u = method.step(u, source, factors)
    return abs(float(u) - math.cos(2.0))


@pytest.mark.parametrize("name", NAMES)
def test_order_on_a_damped_nonlinear_scalar(name):
    errors = [float(riccati(name, 4.0, n)) for n in (64, 128)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(stepper(name).order, abs=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_order_on_a_stiff_forced_scalar(name):
    rate, counts = 50.0, (1600, 3200) if name in ("ifrk4", "cnrk3") else (800, 1600)
    errors = [forced(name, rate, n) for n in counts]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(stepper(name).order, abs=0.1)


def test_without_a_linear_part_cnrk3_is_of_third_order():
    """u' = u^2, u(0) = 1/2: u = 1 / (2 - t)."""
    errors = []
    for n in (32, 64):
        factors = cnrk3.coefficients(tensor(0.0), 1 / n, torch.float64)
        u = tensor(0.5)
        for _ in range(n):
            u = cnrk3.step(u, lambda w, c: w * w, factors)
        errors.append(float((u - 1.0).abs()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_order_on_navier_stokes(name):
    """Against ETDRK4 with steps eight times shorter."""
    # the second-order share of cnrk3 shows where viscosity matters
    case = {"grid": 16, "viscosity": 0.5 if name == "cnrk3" else 0.02, "seed": 1}
    time, counts = 0.4, (20, 40)
    exact = NavierStokes2D(dt=time / 160, **case)
    with torch.no_grad():
        end, errors = exact(exact.state(), 160).vorticity, []
        for n in counts:
            sim = NavierStokes2D(dt=time / n, stepper=name, **case)
            errors.append((sim(sim.state(), n).vorticity - end).norm().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(stepper(name).order, abs=0.1)


@pytest.mark.parametrize("name", ["etdrk2", "ifrk4"])
def test_float32_taylor_green_drifts_at_rounding_level(name):
    """1,000 steps; the form exp(L dt) u with float32 coefficients drifts by 1e-4."""
    nu = 0.1
    sim = NavierStokes2D(
        grid=16,
        viscosity=nu,
        dt=0.01,
        initial="taylor-green",
        stepper=name,
        dtype=torch.float32,
        **QUIET,
    )
    with torch.no_grad():
        start = sim.state()
        end = sim(start, 1000).vorticity
    exact = start.vorticity.double() * math.exp(-2 * nu * 10.0)
    assert ((end - exact).abs().max() / exact.abs().max()).item() < 5e-6


def test_a_purely_linear_decay_is_exact_but_for_crank_nicolson():
    for name in NAMES:
        factors = stepper(name).coefficients(tensor(-3.0, -300.0), 0.1, torch.float64)
        end = stepper(name).step(tensor(1.0, 1.0), lambda w, c: 0 * w, factors)
        exact = torch.exp(tensor(-0.3, -30.0))
        if name == "cnrk3":
            assert (end - exact).abs()[0] < 1e-3
            assert end.abs().max() < 1
        else:
            assert torch.allclose(end, exact, rtol=1e-14, atol=1e-16)


def test_complex_linear_operators_work():
    """u' = (i - 1) u + 0 rotates and decays; the steppers take L of complex numbers."""
    rate = torch.tensor([-1.0 + 1.0j], dtype=torch.complex128)
    for name in NAMES:
        factors = stepper(name).coefficients(rate, 0.01, torch.float64)
        end = stepper(name).step(torch.ones_like(rate), lambda w, c: 0 * w, factors)
        assert (end - torch.exp(0.01 * rate)).abs() < 1e-6


# --- adaptive ---------------------------------------------------------------------------------


def test_the_adaptive_pair_keeps_its_tolerance_and_takes_longer_steps_for_a_looser_one():
    """u' = -2 u + u^2 to t = 3; a tolerance of 1/256 makes steps 256^(1/3) times shorter."""
    rate, counts = 2.0, []
    exact = rate / (1 + (2 * rate - 1) * math.exp(rate * 3.0))
    for tolerance in (1e-6, 1e-6 / 256):
        accepted = search(
            tensor(0.5)[None],
            lambda w, t: w * w,
            tensor(-rate),
            3.0,
            Controller(tolerance, longest=1.0),
        )
        assert abs(float(accepted.end) - exact) < 20 * tolerance * exact
        assert sum(accepted.lengths) == pytest.approx(3.0, rel=1e-12)
        counts.append(len(accepted.lengths))
    assert counts[1] / counts[0] == pytest.approx(256 ** (1 / 3), rel=0.35)


def test_adaptive_steps_agree_with_fixed_ones_and_obey_the_courant_limit():
    fixed = NavierStokes2D(grid=16, viscosity=5e-3, dt=0.01, seed=2)
    free = NavierStokes2D(
        grid=16, viscosity=5e-3, dt=0.5, seed=2, stepper="adaptive", tolerance=1e-6, courant=0.5
    )
    with torch.no_grad():
        fixed_end, free_end = fixed(fixed.state(), 50), free(free.state(), 1)
        error = (
            free_end.vorticity - fixed_end.vorticity
        ).abs().max() / fixed_end.vorticity.abs().max()
        assert error.item() < 1e-5
        modes = modes_of(free.state(), free.grid)
        rate = free.courant_rate(modes)
        speed = free.velocity(free.state()).abs().amax((0, 2, 3))
    assert rate == pytest.approx(float(speed.sum()) * 16 / (2 * math.pi), rel=1e-12)
    lengths = []
    loose = Controller(1.0, 10.0, 0.5, lambda u: lengths.append(1) or 20.0)
    assert max(search(tensor(0.5)[None], lambda w, t: 0 * w, tensor(-1.0), 1.0, loose).lengths) <= (
        0.5 / 20
    ) * (1 + 1e-12)


@pytest.mark.parametrize("recompute", [True, False])
def test_gradients_along_adaptive_steps(recompute):
    """Against finite differences of the same accepted steps: a tolerance that takes one step."""
    sim = NavierStokes2D(
        grid=8,
        dt=0.02,
        forcing_wavenumber=1,
        stepper="adaptive",
        tolerance=1.0,
        recompute=recompute,
    )
    omega = sim.state().vorticity.detach()

    def end(omega: torch.Tensor, viscosity: torch.Tensor, force: torch.Tensor) -> torch.Tensor:
        start = sim.state()._replace(vorticity=omega)
        named = {"viscosity": viscosity, "forcing_amplitude": force}
        return torch.func.functional_call(sim, named, (start, 2)).vorticity

    inputs = (omega.requires_grad_(), *tensor(0.05, 1.0).requires_grad_().unbind())
    assert torch.autograd.gradcheck(end, inputs, atol=1e-6, fast_mode=True)


def test_mistakes_of_stepping_are_named():
    with pytest.raises(InputError, match="etdrk4"):
        stepper("etdrk")
    with pytest.raises(InputError, match="stepper='rk4' is not one of etdrk2"):
        NavierStokes2D(stepper="rk4")
    with pytest.raises(InputError, match=r"tolerance=0\.0 must be positive"):
        NavierStokes2D(stepper="adaptive", tolerance=0.0)
    with pytest.raises(InputError, match="steps of equal length"):
        NavierStokes2D(stepper="adaptive", random_wavenumber=4)
    blowing = Controller(1e-6, longest=1.0)
    with pytest.raises(RunError, match="blew up"):
        search(tensor(2.0)[None], lambda w, t: w * w, tensor(0.0), 1.0, blowing)
    with pytest.raises(InputError, match="4 x 4 points"):
        Grid(2, 8)
