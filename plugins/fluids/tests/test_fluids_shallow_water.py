"""Shallow water against exact linear and nonlinear solutions, and conservation laws. float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sfm_fluids.periodic.shallow_water import LayerState, ShallowWater
from sfm_fluids.spectral import grid_2d as spectral
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.stepping import matrix_etdrk4
from sfm_fluids.stepping.matrix_etdrk4 import coefficients, matrix_phi

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.simulate import Simulator


def square(points: int, **values) -> ShallowWater:
    """Without friction unless said otherwise."""
    return ShallowWater(height=points, width=points, **{"hyperviscosity": 0.0, **values})


def run(sim: Simulator, state: LayerState, steps: int) -> LayerState:
    with torch.no_grad():
        return sim(state, steps)


def test_matrix_functions_match_their_definition():
    """exp(z) = 1 + z phi_1 = ... against torch's own exponential; a zero and a nilpotent matrix."""
    generator = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(40, 3, 3, generator=generator, dtype=torch.float64)
    z = z - z.mT - torch.diag(torch.tensor([9.0, 0.5, 0.0], dtype=torch.float64))
    z[0] = 0.0
    z[1] = torch.tensor([[0.0, 5.0, 7.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    one = torch.eye(3, dtype=torch.float64)
    p1, p2, p3 = matrix_phi(z)
    assert (one + z @ p1 - torch.matrix_exp(z)).abs().max() < 2e-13
    assert (one + z @ p2 - p1).abs().max() < 2e-13
    assert (0.5 * one + z @ p3 - p2).abs().max() < 2e-13


def test_linear_waves_have_the_exact_frequencies_at_any_step():
    """exp(L dt) has eigenvalues 1 and exp(+-i omega dt), omega^2 = f^2 + g H k^2."""
    g, depth, f, dt = 9.8, 0.7, 1.3, 2.5
    sim = square(16, gravity=g, rest_depth=depth, coriolis=f, length_x=3.0, dt=dt)
    k = sim.modes.magnitude(torch.device("cpu"))
    with torch.no_grad():
        step = coefficients(sim.linear_operator(), dt, torch.float64).decay
    values = torch.linalg.eigvals(step.movedim((0, 1), (-2, -1)) + torch.eye(3))
    phase = torch.sqrt(f**2 + g * depth * k**2) * dt
    for sign in (-1, 0, 1):
        turned = torch.polar(torch.ones_like(phase), sign * phase)[..., None]
        assert (values - turned).abs().amin(-1).max() < 1e-12


@pytest.mark.parametrize("f", [0.0, 1.5])
def test_a_small_bump_adjusts_as_the_linear_theory_says(f):
    """eta(t) = eta(0) [f^2 + g H k^2 cos(omega t)] / omega^2 from rest, in steps of omega dt = 10.

    The steady part is the geostrophic mode; f = 0 is a standing wave.
    """
    g, depth, size = 2.0, 0.5, 1e-8
    waves = {"gravity": g, "rest_depth": depth, "coriolis": f, "hyperviscosity": 0.0}
    sim = ShallowWater(height=8, width=24, dt=3.0, **waves)
    x, y = sim.grid.coordinates()
    pattern = torch.cos(3 * x - 2 * y)
    state = sim.from_fields(depth + size * pattern, torch.zeros(2, 8, 24, dtype=torch.float64))
    omega2 = f**2 + g * depth * 13
    for steps in (1, 4):
        elevation = run(sim, state, steps).depth[0] - depth
        theory = (f**2 + g * depth * 13 * math.cos(math.sqrt(omega2) * 3 * steps)) / omega2
        assert ((elevation - size * theory * pattern).abs().max() / size) < 1e-6


def test_geostrophic_jet_is_steady():
    """Any zonal jet u(y) with f u = -g d eta/dy solves the nonlinear equations."""
    sim = square(32, gravity=3.0, coriolis=1.2, dt=0.2)
    _, y = sim.grid.coordinates()
    eta = 0.2 * torch.sin(y) + 0.05 * torch.cos(3 * y)
    u = -3.0 / 1.2 * (0.2 * torch.cos(y) - 0.15 * torch.sin(3 * y))
    state = sim.from_fields(1 + eta, torch.stack((u, torch.zeros_like(u))))
    end = run(sim, state, 100)
    assert (end.depth - state.depth).abs().max() < 1e-12
    assert (end.velocity - state.velocity).abs().max() < 1e-12


def carried_vortex(sim: ShallowWater, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A nonlinear vortex in gradient-wind balance, v^2/r + f v = g d eta/dr, on an inertial circle.

    v = a r exp(-r^2 / 2 R^2). On an f-plane a uniform flow turns with the frequency f and carries
    any solution along: u(x - X(t)) + X'(t) with X'' = -f k x X' is a solution if u(x) is.
    """
    f, g, a, radius, wind = sim.coriolis.item(), sim.gravity.item(), 0.6, 0.5, 0.4
    along, across = math.sin(f * t), math.cos(f * t) - 1
    x, y = sim.grid.coordinates()
    x, y = x - 4 - wind / f * along, y - 4 - wind / f * across
    r2 = x**2 + y**2
    spin = a * torch.exp(-r2 / (2 * radius**2))
    eta = -((a * radius) ** 2) / 2 * torch.exp(-r2 / radius**2) - f * radius**2 * spin
    flow = torch.stack((wind * math.cos(f * t) - spin * y, -wind * math.sin(f * t) + spin * x))
    return sim.rest_depth.item() + eta / g, flow


def test_nonlinear_vortex_on_an_inertial_circle():
    sim = square(80, length_x=8.0, length_y=8.0, gravity=2.0, coriolis=1.0, dt=0.02)
    end = run(sim, sim.from_fields(*carried_vortex(sim, 0.0)), 75)
    depth, velocity = carried_vortex(sim, 1.5)
    assert (end.depth[0] - depth).abs().max() < 1e-8
    assert (end.velocity[0] - velocity).abs().max() < 1e-8


def simple_wave(sim: ShallowWater, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A nonlinear gravity wave that steepens along (1, 1): Riemann's simple wave (Stoker 1957).

    With c = sqrt(g h) = c0 + w/2 for the speed w along the wave, w(s, t) = w0(s - (c0 + 3 w/2) t).
    """
    g, c0, size = sim.gravity.item(), math.sqrt(sim.gravity.item() * sim.rest_depth.item()), 0.1
    x, y = sim.grid.coordinates()
    foot = s = (x + y) / math.sqrt(2)
    for _ in range(60):
        foot = s - (c0 + 1.5 * size * torch.sin(math.sqrt(2) * foot)) * t
    w = size * torch.sin(math.sqrt(2) * foot)
    return (c0 + w / 2) ** 2 / g, torch.stack((w, w)) / math.sqrt(2)


def test_nonlinear_gravity_wave_steepens_as_its_characteristics_say():
    sim = square(72, gravity=2.0, rest_depth=0.8, coriolis=0.0, dt=0.02)
    end = run(sim, sim.from_fields(*simple_wave(sim, 0.0)), 50)
    depth, velocity = simple_wave(sim, 1.0)
    start = simple_wave(sim, 0.0)[0]
    assert (depth - start).abs().max() > 0.05  # it has moved
    assert (end.depth[0] - depth).abs().max() < 1e-9
    assert (end.velocity[0] - velocity).abs().max() < 1e-9


def test_tendency_is_that_of_the_conservative_form():
    """(h u)_t = -div(h u u) - g h grad eta - f k x h u, made by other means on smooth fields."""
    sim = square(48, gravity=1.7, coriolis=0.9, bottom="seamount", speed=0.3)
    x, y = sim.grid.coordinates()
    u = torch.stack((0.3 * torch.sin(y) + 0.1 * torch.cos(x), 0.2 * torch.cos(x + y)))
    eta = 0.1 * torch.sin(x) * torch.cos(2 * y)
    state = sim.from_fields(1 + eta - sim.elevation_of_bottom(), u)
    h, (u, v) = state.depth[0], state.velocity[0]
    eta = h + sim.elevation_of_bottom() - 1

    def slope(field):
        gradient = spectral.velocity_gradient(torch.stack((field, field)), sim.grid)
        return gradient[0, 0], gradient[0, 1]

    wanted_u = -slope(h * u * u)[0] - slope(h * u * v)[1] - 1.7 * h * slope(eta)[0] + 0.9 * h * v
    wanted_v = -slope(h * u * v)[0] - slope(h * v * v)[1] - 1.7 * h * slope(eta)[1] - 0.9 * h * u
    with torch.no_grad():
        modes = sim._coefficients(state)
        linear = (sim.linear_operator() * modes.unsqueeze(-4)).sum(-3)
        term = sim.nonlinear()
        rate = linear + term.function(modes, 0.0, *term.tensors)
        (u_t, v_t), h_t = (r[0] for r in sim.modes.to_fields(rate))
    assert (h_t + slope(h * u)[0] + slope(h * v)[1]).abs().max() < 1e-6
    assert (h * u_t + u * h_t - wanted_u).abs().max() < 1e-6
    assert (h * v_t + v * h_t - wanted_v).abs().max() < 1e-6


def test_lake_at_rest_stays_at_rest():
    generator = torch.Generator().manual_seed(1)
    rough = torch.rand(24, 24, generator=generator, dtype=torch.float64)
    sim = square(24, bottom_shape=rough, bottom_height=0.8, initial="rest", hyperviscosity=1e-4)
    state = sim.state()
    assert state.depth.std() > 0.05
    end = run(sim, state, 100)
    assert end.velocity.abs().max() < 1e-14
    assert (end.depth - state.depth).abs().max() < 1e-14


def test_energy_is_conserved_to_the_order_of_the_step_and_mass_to_rounding():
    """Over topography, without friction, on a grid that does not resolve the flow."""
    drifts = []
    for steps in (10, 20):
        sim = square(24, dt=1.0 / steps, bottom="seamount", speed=0.3, seed=2)
        state = sim.state()
        before, after = sim.observe(state), sim.observe(run(sim, state, steps))
        drifts.append(abs(after["layer_energy"] / before["layer_energy"] - 1).item())
        mass = after["mean_layer_depth"] - before["mean_layer_depth"]
        assert mass.abs().max() < 1e-14
    assert drifts[1] < 1e-6
    assert math.log2(drifts[0] / drifts[1]) > 3.7


def test_potential_enstrophy_of_a_resolved_flow_drifts_with_the_order_of_the_step():
    drifts = []
    for steps in (8, 16):
        sim = square(64, dt=1.0 / steps)
        x, y = sim.grid.coordinates()
        u = 0.3 * torch.stack((torch.sin(y) + torch.cos(x + 2 * y), -0.5 * torch.cos(x + 2 * y)))
        state = sim.from_fields(1 + 0.1 * torch.cos(x) * torch.sin(y), u)
        before, after = sim.observe(state), sim.observe(run(sim, state, steps))
        drifts.append(abs(after["potential_enstrophy"] / before["potential_enstrophy"] - 1).item())
    assert drifts[1] < 1e-8
    assert math.log2(drifts[0] / drifts[1]) > 3.7


def test_order_of_accuracy_is_four():
    ends = []
    for steps in (10, 20, 40, 320):
        sim = square(24, dt=1.0 / steps, bottom="ridge", speed=0.2, viscosity=1e-3, drag=0.1)
        ends.append(sim.pack(run(sim, sim.state(), steps)))
    errors = [(e - ends[-1]).norm().item() for e in ends[:-1]]
    orders = [math.log2(errors[i] / errors[i + 1]) for i in range(2)]
    assert all(abs(order - 4) < 0.1 for order in orders), orders


def test_energy_decays_as_friction_says():
    """dE/dt = -2 r K for a bottom drag alone, with K = <h |u|^2> / 2; Simpson's rule."""
    sim = square(24, drag=0.3, dt=0.01, speed=0.2)
    state, losses, energies = sim.state(), [], []
    for _ in range(41):
        losses.append(-0.3 * (state.depth * state.velocity.square().sum(-3)).mean().item())
        energies.append(sim.observe(state)["layer_energy"].item())
        state = run(sim, state, 1)
    weights = np.array([1] + [4, 2] * 19 + [4, 1]) * sim.dt / 3
    # the drag acts on u and the grid carries the 2/3-rule part of h u: equal where resolved
    assert energies[-1] - energies[0] == pytest.approx(float(weights @ losses), rel=1e-4)


def test_a_steady_wind_turns_inertially():
    """The mean flow alone: u + i v turns with exp(-i f t)."""
    sim = square(8, coriolis=0.7, dt=0.5)
    wind = torch.zeros(2, 8, 8, dtype=torch.float64)
    wind[0] = 0.3
    end = run(sim, sim.from_fields(torch.ones(8, 8, dtype=torch.float64), wind), 6)
    exact = torch.tensor([0.3 * math.cos(2.1), -0.3 * math.sin(2.1)], dtype=torch.float64)
    assert (end.velocity[0] - exact[:, None, None]).abs().max() < 1e-14


def test_shifts_and_quarter_turns_commute_with_the_dynamics():
    sim = square(20, speed=0.3, dt=0.1)
    state = sim.state()

    def turned(s):  # x' = -y, y' = x about a grid point: (u, v) -> (-v, u)
        def move(field):
            return field.mT.roll(-1, -1).flip(-1)

        u, v = s.velocity.unbind(-3)
        return LayerState(move(s.depth), torch.stack((-move(v), move(u)), -3), s.time)

    def shifted(s):
        return LayerState(s.depth.roll((3, 5), (-2, -1)), s.velocity.roll((3, 5), (-2, -1)), s.time)

    for move in (turned, shifted):
        a, b = run(sim, move(state), 5), move(run(sim, state, 5))
        assert (a.depth - b.depth).abs().max() < 1e-13
        assert (a.velocity - b.velocity).abs().max() < 1e-13


def test_float32_is_as_good_as_its_rounding():
    ends = []
    for dtype in (torch.float64, torch.float32):
        sim = square(32, dtype=dtype, bottom="seamount", hyperviscosity=1e-5)
        ends.append(run(sim, sim.state(), 200).velocity.double())
    assert (ends[1] - ends[0]).abs().max() < 2e-5


def test_flows_of_a_batch_may_differ_in_parameters():
    values = {"gravity": [1.0, 2.0], "rest_depth": [1.0, 0.8], "coriolis": [0.5, 2.0]}
    flows = {name: torch.tensor(v, dtype=torch.float64) for name, v in values.items()}
    both = square(16, bottom="ridge", bottom_height=flows["gravity"] / 8, **flows)
    one = both.state()
    end = run(both, one, 10)
    for i in range(2):
        alone = {name: v[i] for name, v in values.items()}
        sim = square(16, bottom="ridge", bottom_height=values["gravity"][i] / 8, **alone)
        got = run(sim, sim.from_fields(one.depth[i], one.velocity[i]), 10)
        assert (got.depth[0] - end.depth[i]).abs().max() < 1e-14
        assert (got.velocity[0] - end.velocity[i]).abs().max() < 1e-14
        # each flow starts in its own balance
        assert (sim.state().depth[0] - one.depth[i]).abs().max() < 1e-14


def test_one_flow_under_several_parameters_becomes_several():
    with torch.no_grad():
        one = square(16).state()
    several = square(16, coriolis=[0.5, 2.0])
    assert several.state().velocity.shape == (2, 2, 16, 16)
    several(one, 3).velocity.square().sum().backward()
    for i, value in enumerate((0.5, 2.0)):
        alone = square(16, coriolis=value)
        alone(one, 3).velocity.square().sum().backward()
        single = alone.coriolis.grad
        torch.testing.assert_close(several.coriolis.grad[i], single, rtol=1e-10, atol=0)


@pytest.mark.parametrize("recompute", [True, False])
@pytest.mark.parametrize("coriolis", [0.0, 1.1])
def test_gradients(recompute, coriolis):
    """Of all parameters and the state, also where the frequencies of the mean flow coincide."""
    friction = {"viscosity": 0.02, "hyperviscosity": 1e-3, "drag": 0.1}
    sim = square(
        6, dt=0.3, recompute=recompute, segment=2, bottom="ridge", coriolis=coriolis, **friction
    )
    x, y = sim.grid.coordinates()
    u = 0.2 * torch.stack((torch.sin(y), torch.cos(x + y)))[None].clone().requires_grad_()
    h = (1 + 0.1 * torch.cos(x + y))[None].clone().requires_grad_()
    names = [name for name, _ in sim.named_parameters()]

    def end(h, u, *values):
        state = LayerState(h, u, torch.zeros((), dtype=torch.float64))
        named = dict(zip(names, values, strict=True))
        return torch.func.functional_call(sim, named, (state, 3))[:2]

    values = [p.detach().clone().requires_grad_() for p in sim.parameters()]
    assert torch.autograd.gradcheck(end, (h, u, *values), fast_mode=True)


def test_memory_modes_give_the_same_gradient():
    gradients = []
    for options in ({"recompute": False}, {"recompute": True}, {"segment": 4}):
        sim = square(16, **options)
        sim(sim.state(), 9).depth.square().sum().backward()
        gradients.append(torch.stack((sim.gravity.grad, sim.coriolis.grad)))
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-13)
    assert torch.allclose(gradients[0], gradients[2], rtol=1e-13)


def test_starts_from_samples_and_says_what_is_wrong():
    sim = square(8)
    fields = {"layer_depth": np.ones((8, 8)), "velocity": np.zeros((2, 8, 8))}
    state = sim.state(Sample(id="a", domain="fluids", fields=fields))
    assert torch.equal(state.depth, torch.ones(1, 8, 8, dtype=torch.float64))
    with pytest.raises(InputError, match="no field 'layer_depth'"):
        sim.state(Sample(id="a", domain="fluids", fields={"velocity": fields["velocity"]}))
    with pytest.raises(InputError, match="are not"):
        sim.from_fields(torch.ones(4, 4), torch.zeros(2, 4, 4))
    with pytest.raises(InputError, match="positive everywhere"):
        sim.from_fields(torch.zeros(8, 8), torch.zeros(2, 8, 8))
    with pytest.raises(InputError, match="not both"):
        square(8, bottom="ridge", bottom_shape=torch.zeros(8, 8))
    with pytest.raises(InputError, match="bottom_shape has shape"):
        square(8, bottom_shape=torch.zeros(4, 4))
    with pytest.raises(InputError, match="stepper"):
        square(8, stepper="ifrk4")


def test_the_default_run_is_resolved():
    sim = ShallowWater()
    assert sim.warnings(run(sim, sim.state(), sim.default_steps)) == ()


def test_warnings_name_the_cause():
    sim = square(16, dt=1.0)
    state = sim.state()
    rough = torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    warnings = " ".join(sim.warnings(state._replace(velocity=4 * rough)))
    assert "dt / dx" in warnings
    assert "wave speed" in warnings
    assert "smallest scales" in warnings
    with pytest.raises(RunError, match="dried up"):
        sim.warnings(state._replace(depth=-state.depth))
    with pytest.raises(RunError, match="blew up"):
        sim.warnings(state._replace(depth=math.nan * state.depth))


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_draws_figures(tmp_path, suffix):
    sim = square(16, initial="drop")
    with torch.no_grad():
        trajectory = sim.run(sim.state(), 8, every=2)
    path = tmp_path / f"layer{suffix}"
    sim.plot(trajectory, path)
    assert path.stat().st_size > 1000
    with pytest.raises(InputError, match="draw to"):
        sim.plot(trajectory, tmp_path / "layer.txt")


def test_bottom_is_what_the_two_thirds_rule_keeps():
    grid = Grid(12, 12)
    x, _ = grid.coordinates()
    sim = square(12, bottom_shape=torch.cos(x) + torch.cos(5 * x), bottom_height=0.3)
    assert (sim.elevation_of_bottom() - 0.3 * torch.cos(x)).abs().max() < 1e-15


def test_the_factors_are_made_once_while_nothing_changes(monkeypatch):
    """And anew for other values, another dt, and wherever a gradient goes through them."""
    calls: list[int] = []

    def counted(*given):
        calls.append(1)
        return coefficients(*given)

    monkeypatch.setattr(matrix_etdrk4, "coefficients", counted)
    sim = square(6)
    with torch.no_grad():
        state = sim.state()
        first = sim(state, 2)
        torch.testing.assert_close(sim(sim(state, 1), 1).depth, first.depth, rtol=1e-13, atol=0)
        assert len(calls) == 1
        sim.gravity.mul_(1.5)
        other = sim(state, 2)
        assert len(calls) == 2
        assert torch.equal(other.depth, square(6, gravity=float(sim.gravity))(state, 2).depth)
        sim.dt = 0.02
        sim(state)
    assert len(calls) == 4
    for _ in range(2):
        sim.zero_grad()
        sim(state, 2).depth.square().sum().backward()
        assert sim.gravity.grad.abs() > 0
    assert len(calls) == 6
