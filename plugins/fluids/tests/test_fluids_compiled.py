"""The compiled pointwise work of `fluids/navier-stokes-2d` against torch's, and what it refuses."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from sfm_fluids.periodic.advection_kernels import kernels
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D

from sfm.errors import InputError

needs_compiler = pytest.mark.skipif(
    not shutil.which(os.environ.get("CC") or "cc"), reason="no C compiler"
)
CASE = {"height": 18, "width": 16, "dt": 0.05, "viscosity": 0.01, "forcing_wavenumber": 2}
# one flow; a wind, no force; three flows of their own viscosity, drag and force
CASES = {
    "forced": {},
    "wind": {"forcing_wavenumber": 0},
    "batch": {"viscosity": [0.01, 0.02, 0.03], "drag": [0.0, 0.1, 0.2]},
}


def simulator(kernel: str, case: str = "forced", **options) -> NavierStokes2D:
    values = {**CASE, **CASES[case], **options}
    values = {k: torch.tensor(v) if isinstance(v, list) else v for k, v in values.items()}
    return NavierStokes2D(kernel=kernel, **values)


def start(sim: NavierStokes2D, case: str):
    flows = 3 if case == "batch" else 1
    generator = torch.Generator().manual_seed(0)
    velocity = torch.randn(flows, 2, 18, 16, generator=generator, dtype=torch.float64)
    if case != "wind":
        velocity = velocity - velocity.mean((-2, -1), keepdim=True)
    return sim.from_velocity(velocity)


def run(sim: NavierStokes2D, case: str, steps: int = 4) -> list[torch.Tensor]:
    """The end without and with a graph, and the gradients of everything."""
    state = start(sim, case)
    with torch.no_grad():
        quiet = sim(state, steps).vorticity
    omega = state.vorticity.detach().requires_grad_()
    mean = state.mean_velocity.detach().requires_grad_(case == "wind")
    end = sim(state._replace(vorticity=omega, mean_velocity=mean), steps).vorticity
    wrt = [omega, *([mean] if case == "wind" else []), *sim.parameters(recurse=False)]
    weight = torch.linspace(-1, 1, end.numel(), dtype=end.dtype).view_as(end)
    slopes = torch.autograd.grad((weight * end).sum(), wrt, allow_unused=True)
    return [quiet, end.detach(), *(s for s in slopes if s is not None)]


@needs_compiler
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stepper", ["etdrk2", "etdrk4"])
@pytest.mark.parametrize("learned", [True, False])
def test_the_numbers_are_those_of_torch(case, stepper, learned):
    """To rounding in float64: flow, gradient in the start, wind, parameters, forces."""
    results = []
    for kernel in ("torch", "compiled"):
        sim = simulator(kernel, case, stepper=stepper)
        # with no gradient of the method's factors the way back is fused too
        results.append(run(sim, case) if learned else run_start_alone(sim, case))
    assert len(results[0]) == len(results[1])
    for exact, value in zip(*results, strict=True):
        assert torch.allclose(value, exact, rtol=1e-11, atol=1e-12 * float(exact.abs().max()))


def run_start_alone(sim: NavierStokes2D, case: str) -> list[torch.Tensor]:
    """As `run`, with no parameter that needs a gradient."""
    sim.requires_grad_(False)
    state = start(sim, case)
    omega = state.vorticity.detach().requires_grad_()
    end = sim(state._replace(vorticity=omega), 4).vorticity
    (slope,) = torch.autograd.grad(end.square().sum(), omega)
    return [end.detach(), slope]


@needs_compiler
def test_single_precision_and_both_memory_modes():
    for recompute in (True, False):
        exact, value = (
            run_start_alone(simulator(k, dtype=torch.float32, recompute=recompute), "forced")
            for k in ("torch", "compiled")
        )
        for a, b in zip(exact, value, strict=True):
            assert (a - b).norm() < 2e-6 * a.norm()


@needs_compiler
def test_the_same_bits_every_time():
    first, again = (run(simulator("compiled"), "forced") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    sim = simulator("compiled")
    with torch.no_grad():
        once = sim(start(sim, "forced"), 6)
        twice = sim(sim(start(sim, "forced"), 2), 4)
    assert torch.allclose(once.vorticity, twice.vorticity, rtol=1e-12)


@needs_compiler
def test_the_order_in_time_is_four():
    def end(steps: int) -> torch.Tensor:
        sim = simulator("compiled", dt=0.4 / steps, viscosity=0.02)
        with torch.no_grad():
            state = sim.state()
            return sim(state, steps).vorticity

    exact = end(128)
    errors = [float((end(n) - exact).norm()) for n in (8, 16)]
    assert 3.7 < torch.log2(torch.tensor(errors[0] / errors[1])) < 4.3


@needs_compiler
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"width": 96, "height": 96}, "a width of 96"),
        ({"scalars": 1}, "scalars"),
        ({"subgrid": "smagorinsky", "height": 16}, "a closure"),
        ({"random_wavenumber": 3.0}, "noise"),
        ({"stepper": "ifrk4"}, "stepper=ifrk4"),
    ],
)
def test_what_it_does_not_do_is_refused(options, reason):
    with pytest.raises(InputError, match=reason):
        simulator("compiled", **options)


def test_without_a_compiler_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", str(tmp_path / "no-such-compiler"))
    kernels.cache_clear()
    with pytest.raises(InputError, match="needs a C compiler"):
        simulator("compiled")
    kernels.cache_clear()
    with pytest.raises(InputError, match="not in torch"):
        kernels(torch.float16)


@needs_compiler
def test_a_compiler_that_fails_is_named(monkeypatch, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no room left' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("SFM_CACHE", str(tmp_path))
    kernels.cache_clear()
    with pytest.raises(InputError, match="no room left"):
        simulator("compiled")
    kernels.cache_clear()
    assert not list(tmp_path.rglob("*.so"))
