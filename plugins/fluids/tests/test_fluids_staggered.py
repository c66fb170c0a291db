"""The staggered operators, their direct solves, and the periodic finite volumes. float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.staggered import operators as ops
from sfm_fluids.staggered.axis import Axis
from sfm_fluids.staggered.fast_solver import helmholtz, poisson
from sfm_fluids.staggered.finite_volume_2d import FaceState, FiniteVolume2D
from sfm_fluids.staggered.flow import Flow
from sfm_fluids.staggered.grid import Sides, StaggeredGrid
from sfm_fluids.staggered.interpolation import FaceValues, Linear, VanLeer, advection
from sfm_fluids.staggered.transfer import (
    centres_from_faces,
    faces_from_centres,
    faces_from_points,
    points_from_faces,
)

from sfm.errors import InputError, RunError

KINDS = list(itertools.product(("walls", "open", "periodic"), ("walls", "periodic")))
QUIET = {"drag": 0.0, "forcing_wavenumber": 0}


def box(x: str, y: str) -> tuple[StaggeredGrid, Flow, torch.Tensor, torch.Tensor]:
    """A small stretched box at rest on its sides, and a random velocity that respects them."""
    generator = torch.Generator().manual_seed(0)
    grid = StaggeredGrid(
        Axis(9, 1.3, x, 0.0 if x == "periodic" else 1.5),
        Axis(8, 1.0, y, 0.0 if y == "periodic" else 1.0),
    )
    zero = torch.zeros(1, 1, dtype=torch.float64)
    sides = Sides(
        None if y == "periodic" else zero,
        zero if y == "walls" else None,
        None if x == "periodic" else zero,
        zero if x == "walls" else None,
    )
    free_u, free_v = grid.free(zero)
    u = torch.randn(2, *grid.u_shape, generator=generator, dtype=torch.float64) * free_u
    v = torch.randn(2, *grid.v_shape, generator=generator, dtype=torch.float64) * free_v
    return grid, Flow(grid, torch.tensor(0.1, dtype=torch.float64), sides), u, v


@pytest.mark.parametrize(("x", "y"), KINDS)
def test_projection_leaves_no_divergence_and_advection_no_energy(x, y):
    grid, flow, u, v = box(x, y)
    u, v, _ = flow.project(u, v)
    assert ops.divergence(u, v, grid).abs().max() < 1e-12
    au, av = ops.advection(u, v, grid, flow.sides)
    _, vol_u, vol_v = grid.volumes(u)
    gain = (vol_u * au * u).sum((-2, -1)) + (vol_v * av * v).sum((-2, -1))
    if x == "open":  # what is left is the flux of energy through the outflow, of both components
        out = (0.5 * grid.y.metrics().widths * u[..., -1] ** 3).sum(-1)
        if y == "walls":
            out = out + 0.5 * (
                v[..., -1].square()
                * ops.along.face_flux_mean(grid.y, u[..., -1:], -2)[..., 0]
                * grid.y.metrics().distances
            ).sum(-1)
            assert (gain - out).abs().max() < 1e-13
    else:
        assert gain.abs().max() < 1e-13


@pytest.mark.parametrize(("x", "y"), KINDS)
def test_direct_solves_invert_the_operators(x, y):
    grid, flow, u, v = box(x, y)
    a, b = helmholtz(u, 0.07, grid, "u"), helmholtz(v, 0.07, grid, "v")
    da, db = ops.diffusion(a, b, grid, flow.sides)
    assert (a - 0.07 * da - u).abs().max() < 1e-12
    assert (b - 0.07 * db - v).abs().max() < 1e-12
    source = ops.divergence(u, v, grid)
    p = poisson(source, grid)
    assert (ops.divergence(*ops.gradient(p, grid), grid) - source).abs().max() < 1e-11


@pytest.mark.parametrize(("x", "y"), KINDS)
def test_circulation_is_the_transpose_of_the_stream_function(x, y):
    grid, _, u, v = box(x, y)
    generator = torch.Generator().manual_seed(1)
    shape = (grid.y.n_faces, grid.x.n_faces)
    psi = torch.randn(shape, generator=generator, dtype=torch.float64)
    cu, cv = ops.curl_of_stream_function(psi, grid)
    assert ops.divergence(cu, cv, grid).abs().max() < 1e-12
    _, vol_u, vol_v = grid.volumes(u)
    left = (psi * ops.circulation(u, v, grid)).sum()
    right = (vol_u * u * cu).sum() + (vol_v * v * cv).sum()
    assert torch.allclose(left, right, atol=1e-12)


def test_bad_axes_are_refused():
    for options in (
        {"cells": 3},
        {"cells": 8, "length": 0.0},
        {"cells": 8, "kind": "slip"},
        {"cells": 8, "stretching": -1.0},
        {"cells": 8, "kind": "periodic", "stretching": 1.0},
    ):
        with pytest.raises(InputError):
            Axis(**options)


# --- the periodic box -----------------------------------------------------------------------


def test_transfer_between_points_and_faces_is_exact():
    sim = FiniteVolume2D(height=12, width=16, initial="rest", **QUIET)

    def flow(x, y):
        return 0.3 + torch.sin(2 * x + y), torch.cos(3 * x - 2 * y)

    points = torch.stack(flow(*sim.points.coordinates()))
    u, v = faces_from_points(points)
    assert (u - flow(*sim.grid.u_points())[0]).abs().max() < 1e-13
    assert (v - flow(*sim.grid.v_points())[1]).abs().max() < 1e-13
    assert (points_from_faces(u, v) - points).abs().max() < 1e-13
    centres = centres_from_faces(u, v)
    assert (centres - torch.stack(flow(*sim.grid.centres()))).abs().max() < 1e-13
    again = faces_from_centres(centres)
    assert (again[0] - u).abs().max() < 1e-13
    assert (again[1] - v).abs().max() < 1e-13


def test_linear_interpolation_is_central_advection():
    sim = FiniteVolume2D(height=10, width=12, length_x=5.0, **QUIET)
    u, v, _ = sim.state()
    for a, b in zip(
        advection(u, v, sim.spacing, Linear()), ops.advection(u, v, sim.grid, Sides()), strict=True
    ):
        assert (a - b).abs().max() < 1e-13


@pytest.mark.parametrize("scheme", ["central", "van-leer"])
def test_taylor_green_second_order_in_space(scheme):
    """u = cos x sin y, v = -sin x cos y, decaying with exp(-2 nu t), carried by a wind."""
    errors, nu, time, wind = [], 0.05, 0.5, 0.6
    for n in (16, 32, 64):
        sim = FiniteVolume2D(
            height=n, width=n, viscosity=nu, dt=time / (n // 2), advection=scheme, **QUIET
        )
        x, y = sim.points.coordinates()

        def exact(t, x=x, y=y):
            x, decay = x - wind * t, math.exp(-2 * nu * t)
            return torch.stack((wind + x.cos() * y.sin() * decay, -x.sin() * y.cos() * decay))

        with torch.no_grad():
            state = sim(sim.from_velocity(exact(0.0)), n // 2)
        u, v = faces_from_points(exact(time))
        errors.append(float(((state.u - u).square() + (state.v - v).square()).mean().sqrt()))
    order = math.log2(errors[1] / errors[2])
    if scheme == "central":
        assert abs(order - 2) < 0.1, errors
    else:  # the limiter flattens extrema: between first and second order
        assert order > 1.4, errors


def test_laminar_kolmogorov_flow_is_kept():
    nu, alpha, amplitude, n = 0.3, 0.2, 0.8, 2
    sim = FiniteVolume2D(
        height=16, width=16, dt=0.25, initial="rest", viscosity=nu, drag=alpha,
        forcing_amplitude=amplitude, forcing_wavenumber=n,
    )  # fmt: skip
    h = 2 * math.pi / 16
    k2 = (2 * math.sin(n * h / 2) / h) ** 2  # of the discrete Laplacian
    exact = amplitude / (nu * k2 + alpha) * torch.sin(n * sim.grid.u_points()[1])
    with torch.no_grad():
        state = sim(sim.state(), 80)
    assert (state.u[0] - exact).abs().max() < 1e-10
    assert state.v.abs().max() < 1e-12
    assert abs(k2 / n**2 - 1) < n**2 * h**2 / 12  # second order


def test_inviscid_central_flow_conserves_energy_van_leer_loses_it():
    drift = {}
    for scheme, steps in (("central", 20), ("central", 40), ("van-leer", 20)):
        sim = FiniteVolume2D(
            height=16, width=16, viscosity=0.0, dt=1 / steps, advection=scheme, seed=2, **QUIET
        )
        with torch.no_grad():
            first = sim.state()
            last = sim(first, steps)
        before, after = (sim.observe(s)["mean_kinetic_energy"].item() for s in (first, last))
        drift[scheme, steps] = after / before - 1
        for a, b in zip(first[:2], last[:2], strict=True):  # momentum, whatever the scheme
            assert abs(float(a.mean() - b.mean())) < 1e-15
    assert abs(drift["central", 40]) < 1e-4
    assert math.log2(drift["central", 20] / drift["central", 40]) > 2.7
    assert drift["van-leer", 20] < -1e-3


@pytest.mark.parametrize(("stepper", "order"), [("euler", 1), ("rk3", 3)])
def test_order_in_time(stepper, order):
    ends = []
    for n in (20, 40, 80):
        sim = FiniteVolume2D(
            height=16, width=16, viscosity=0.02, dt=1.0 / n, advection="central", stepper=stepper,
            forcing_wavenumber=2,
        )  # fmt: skip
        with torch.no_grad():
            ends.append(sim(sim.state(), n).u)
    measured = math.log2(float((ends[0] - ends[1]).norm() / (ends[1] - ends[2]).norm()))
    assert abs(measured - order) < 0.1


def test_tends_to_the_spectral_solution_with_second_order():
    options = {"viscosity": 0.05, "forcing_wavenumber": 2, "seed": 4}
    reference = NavierStokes2D(height=64, width=64, dt=0.05, **options)
    differences = []
    with torch.no_grad():
        start = reference.state()
        velocity = reference.velocity(reference(start, 20))[0]
        first = reference.velocity(start)[0]
        for n in (32, 64):
            sim = FiniteVolume2D(
                height=n, width=n, dt=0.05 * 32 / n, advection="central", **options
            )
            s = 64 // n
            end = sim(sim.from_velocity(first[:, ::s, ::s]), 20 * n // 32)
            got = points_from_faces(end.u, end.v)[0]
            differences.append(float((got - velocity[:, ::s, ::s]).square().mean().sqrt()))
    assert abs(math.log2(differences[0] / differences[1]) - 2) < 0.15, differences


class Network(torch.nn.Module):
    """A tiny learned interpolation: linear values and a correction."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.1, -0.2, 0.05], dtype=torch.float64))

    def forward(self, u, v, spacing):
        base = Linear()(u, v, spacing)
        w = self.weight
        return FaceValues(
            base.u_centre + w[0] * (u.roll(-1, -1) - u),
            base.u_corner + w[1] * torch.tanh(v),
            base.v_corner,
            base.v_centre + w[2] * (v.roll(-1, -2) - v),
        )


@pytest.mark.parametrize("kind", ["van-leer", "euler", "network"])
@pytest.mark.parametrize("recompute", [True, False])
def test_gradcheck_of_the_periodic_box(kind, recompute):
    options = {"height": 5, "width": 6, "dt": 0.1, "forcing_wavenumber": 1, "recompute": recompute}
    if kind == "euler":
        options["stepper"] = "euler"
    network = Network() if kind == "network" else None
    sim = FiniteVolume2D(interpolation=network, **options)
    state = sim.state()
    names = ["viscosity", "drag", "forcing_amplitude"]
    names += ["interpolation.weight"] if network else []
    parameters = dict(sim.named_parameters())

    def run(u, v, *values):
        given = dict(zip(names, values, strict=True))
        out = torch.func.functional_call(sim, given, (FaceState(u, v, state.time), 2))
        flat = torch.cat((out.u.flatten(), out.v.flatten()))
        generator = torch.Generator().manual_seed(0)  # gradcheck takes a backward pass per output
        return torch.randn(2, len(flat), generator=generator, dtype=torch.float64) @ flat

    inputs = [t.detach().clone().requires_grad_() for t in (state.u, state.v)]
    inputs += [parameters[n].detach().clone().requires_grad_() for n in names]
    assert torch.autograd.gradcheck(run, inputs)


def test_float32_follows_float64():
    ends = []
    for dtype in (torch.float32, torch.float64):
        sim = FiniteVolume2D(height=16, width=16, dt=0.05, dtype=dtype)
        with torch.no_grad():
            state = sim(sim.state(), 20)
        assert state.u.dtype == dtype
        assert ops.divergence(state.u, state.v, sim.grid).abs().max() < (
            1e-5 if dtype == torch.float32 else 1e-13
        )
        ends.append(state.u.double())
    assert (ends[0] - ends[1]).abs().max() < 1e-5


def test_warnings_and_errors_of_the_periodic_box():
    sim = FiniteVolume2D(height=8, width=8, dt=2.0, viscosity=0.5, stepper="euler",
                         advection="central", forcing_wavenumber=2)  # fmt: skip
    warnings = " ".join(sim.warnings(sim.state()))
    for word in ("Courant", "diffusion number", "rk3"):
        assert word in warnings
    nan = torch.full((1, 8, 8), math.nan, dtype=torch.float64)
    with pytest.raises(RunError, match="blew up"):
        sim.warnings(FaceState(nan, nan, torch.zeros(())))
    for options, message in (
        ({"dt": 0.0}, "positive"),
        ({"segment": 0}, "at least 1"),
        ({"height": 8}, "not resolved"),
        ({"interpolation": VanLeer(), "advection": "central"}, "not both"),
        ({"closure": torch.nn.Identity()}, "closure"),
        ({"advection": "weno"}, "van-leer"),
    ):
        options = options if "height" in options else {"forcing_wavenumber": 2, **options}
        options = {**options, **({"forcing_wavenumber": 4} if "height" in options else {})}
        with pytest.raises(InputError, match=message):
            FiniteVolume2D(**options)
    with pytest.raises(InputError, match="set height"):
        sim.from_velocity(torch.zeros(2, 4, 4))
