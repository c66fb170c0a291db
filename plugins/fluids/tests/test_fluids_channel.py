"""Channel flow against exact solutions, the momentum budget and finite differences. float64."""

from __future__ import annotations

import math

import pytest
import torch
from sfm_fluids.staggered import operators as ops
from sfm_fluids.staggered.axis import Axis
from sfm_fluids.staggered.channel import Channel
from sfm_fluids.staggered.flow import Flow, StaggeredState
from sfm_fluids.staggered.grid import Sides, StaggeredGrid
from sfm_fluids.staggered.steady import steady

from sfm.errors import InputError, RunError

BLOCK = {"obstacle_shape": "square", "obstacle_x": 0.8, "obstacle_size": 0.3}
OPEN = {"streamwise": "open", "height": 12, "width": 16, "length_x": 2.0, "viscosity": 0.1}


def parabola(sim: Channel) -> torch.Tensor:
    """y (1 - y) + h^2 / 4: Poiseuille's profile as uniform finite volumes have it, exactly."""
    y, h = sim.grid.y.metrics().centres, 1 / sim.height
    return y * (1 - y) + h**2 / 4


def test_poiseuille():
    """u = G y (1 - y) / (2 nu); the scheme's own solution is that plus G h^2 / (8 nu)."""
    sim = Channel(height=12, width=8, viscosity=0.05, pressure_gradient=0.4, dt=0.5)
    exact = 0.4 / (2 * 0.05) * parabola(sim)
    with torch.no_grad():
        steady_state = sim.steady()
        assert (steady_state.u[0] - exact[:, None]).abs().max() < 1e-13
        stepped = sim(sim.state(), 120)
    assert (stepped.u[0] - exact[:, None]).abs().max() < 1e-9
    assert steady_state.v.abs().max() < 1e-13
    assert sim.observe(steady_state)["flow_rate"].item() == pytest.approx(2 / 3, rel=2e-2)


def test_couette_is_exact():
    sim = Channel(
        height=10, width=8, stretching=1.5, pressure_gradient=0.0, bottom_velocity=-0.5,
        top_velocity=1.0, viscosity=0.2, dt=0.5,
    )  # fmt: skip
    exact = -0.5 + 1.5 * sim.grid.y.metrics().centres
    with torch.no_grad():
        assert (sim.steady().u[0] - exact[:, None]).abs().max() < 1e-12
        assert (sim(sim.state(), 60).u[0] - exact[:, None]).abs().max() < 1e-8


def test_developing_flow_tends_to_poiseuille():
    sim = Channel(
        streamwise="open",
        inflow="uniform",
        height=12,
        width=36,
        length_x=6.0,
        viscosity=0.1,
        dt=0.1,
    )
    with torch.no_grad():
        state = sim.steady()
        stepped = sim.state()
        for _ in range(3):
            stepped = sim(stepped, 50)
            assert ops.divergence(stepped.u, stepped.v, sim.grid).abs().max() < 1e-12
    profile = parabola(sim) / parabola(sim).mean()
    assert (state.u[0, :, -1] - profile).abs().max() < 1e-4
    assert (stepped.u - state.u).abs().max() < 1e-6
    rates = (state.u[0] * sim.grid.y.metrics().widths[:, None]).sum(0)
    assert (rates - 1).abs().max() < 1e-12  # the same mass through every section
    slope = (state.pressure[0, :, -4] - state.pressure[0, :, -8]) / (4 * 6 / 36)
    assert slope.mean().item() == pytest.approx(-12 * 0.1 / (1 + 2 / 12**2), rel=1e-3)
    # -12 nu U / H^2, and what the scheme makes of it


def kovasznay(n: int) -> float:
    """Root mean square error on n x n cells, Re = 40, all sides with the exact velocity.

    L. I. G. Kovasznay, Proc. Camb. Phil. Soc. 44, 58 (1948).
    """
    rate = -0.963740544

    def exact(x, y):
        e = torch.exp(rate * x)
        return 1 - e * torch.cos(2 * math.pi * y), rate / (2 * math.pi) * e * torch.sin(
            2 * math.pi * y
        )

    def stream(x, y):
        return y - torch.exp(rate * x) * torch.sin(2 * math.pi * y) / (2 * math.pi)

    grid = StaggeredGrid(Axis(n, 1.5, origin=-0.5), Axis(n, 2.0, origin=-0.5))
    x, y = grid.x.metrics().faces, grid.y.metrics().faces
    sides = Sides(
        exact(x, y[:1])[0][None],
        exact(x, y[-1:])[0][None],
        exact(x[:1], y)[1][:, None],
        exact(x[-1:], y)[1][:, None],
    )
    flow = Flow(grid, torch.tensor(1 / 40, dtype=torch.float64), sides)
    # normal velocities: exact means over the faces, through which no net mass flows
    u, v = ops.curl_of_stream_function(stream(*grid.corners()), grid)
    free_u, free_v = grid.free(u)
    end = steady(flow, (u * (1 - free_u))[None], (v * (1 - free_v))[None], name="kovasznay")
    errors = (end.u - exact(*grid.u_points())[0], end.v - exact(*grid.v_points())[1])
    return float(sum(e.square().mean() for e in errors).sqrt())  # type: ignore[union-attr]


def test_kovasznay_converges_with_second_order():
    errors = [kovasznay(n) for n in (16, 24, 48)]
    assert abs(math.log2(errors[1] / errors[2]) - 2) < 0.1, errors
    assert abs(math.log(errors[0] / errors[1]) / math.log(1.5) - 2) < 0.1, errors
    assert errors[2] < 4e-3


def test_order_in_time_is_two_without_an_obstacle():
    _, start = Channel.conformance_case()
    ends = []
    with torch.no_grad():
        for n in (10, 20, 40):
            sim, _ = Channel.conformance_case(dt=0.4 / n)
            ends.append(sim.observe(sim(start, n)))
    for name in ("velocity", "kinematic_pressure"):
        a, b, c = (end[name] for end in ends)
        order = math.log2(float((a - b).norm() / (b - c).norm()))
        assert abs(order - 2) < 0.1, (name, order)


def wall_friction(sim: Channel, u: torch.Tensor) -> float:
    """Force of the flow on both walls per depth, from the slope in the cells next to them."""
    m = sim.grid.y.metrics()
    slope = (u[0, 0] / (m.widths[0] / 2) + u[0, -1] / (m.widths[-1] / 2)).double()
    return float(sim.viscosity.detach() * (slope * sim.grid.x.metrics().distances).sum())


def test_drag_closes_the_momentum_budget_of_a_periodic_channel():
    sim = Channel(height=16, width=24, length_x=2.0, stretching=1.0, dt=0.05, **BLOCK)
    with torch.no_grad():
        state = sim.steady()
        drag = sim.observe(state)["obstacle_drag"].item()
    assert drag + wall_friction(sim, state.u) == pytest.approx(0.4 * 2.0, rel=1e-10)
    assert drag > 0.2


def test_drag_closes_the_momentum_budget_of_an_open_channel():
    """Drag = inflow - outflow of momentum + pressure and viscous force on the inflow - friction."""
    sim = Channel(**OPEN, **BLOCK)
    with torch.no_grad():
        state = sim.steady()
        drag = sim.observe(state)["obstacle_drag"].item()
    u, p, h, dx = state.u[0], state.pressure[0], 1 / sim.height, 2.0 / sim.width
    centre = 0.5 * (u[:, 0] + u[:, 1])  # the budget is of all unknown u: from half a cell on
    entering = (
        h * (centre.square() + p[:, 0] - sim.viscosity.detach() * (u[:, 1] - u[:, 0]) / dx).sum()
    )
    leaving = h * u[:, -1].square().sum()
    friction = wall_friction(sim, state.u)
    m = sim.grid.y.metrics()
    first = (
        sim.viscosity.detach() * (u[0, 0] + u[-1, 0]) / (m.widths[0] / 2) * dx / 2
    )  # not unknown
    assert drag == pytest.approx(float(entering - leaving - friction + first), rel=1e-9)
    assert drag > 0.5


def test_steps_with_an_obstacle_tend_to_the_same_drag():
    sim = Channel(**OPEN, **BLOCK, dt=0.05)
    with torch.no_grad():
        steady_flow = sim.observe(sim.steady())
        late = sim.observe(sim(sim.state(), 150))
        for name in ("obstacle_drag", "flow_rate", "mean_kinetic_energy"):
            assert late[name].item() == pytest.approx(steady_flow[name].item(), rel=1e-4)
        assert abs(late["obstacle_lift"].item()) < 1e-9


@pytest.mark.parametrize("shape", ["cylinder", "square"])
def test_an_obstacle_across_the_ends_of_a_periodic_channel_is_whole(shape):
    options = {"height": 12, "width": 16, "length_x": 4.0, "obstacle_shape": shape}
    middle = Channel(**options, obstacle_x=2.0, obstacle_size=0.6)
    ends = Channel(**options, obstacle_x=0.0, obstacle_size=0.6)
    assert middle.mask_u.sum() > 8
    assert torch.equal(ends.mask_u, middle.mask_u.roll(8, -1))
    assert torch.equal(ends.mask_v, middle.mask_v.roll(8, -1))


class Run(torch.nn.Module):
    def __init__(self, sim: Channel, way: str, state: StaggeredState) -> None:
        super().__init__()
        self.sim, self.way, self.start = sim, way, state

    def forward(self):
        state = self.sim.steady() if self.way == "steady" else self.sim(self.start, 2)
        observed = self.sim.observe(state)
        names = ("velocity", "flow_rate", "obstacle_drag", "kinematic_pressure")
        flat = torch.cat([observed[n].flatten() for n in names])
        generator = torch.Generator().manual_seed(0)  # gradcheck takes a backward pass per output
        return torch.randn(2, len(flat), generator=generator, dtype=torch.float64) @ flat


@pytest.mark.parametrize("streamwise", ["periodic", "open"])
@pytest.mark.parametrize("way", ["steps", "recompute", "steady"])
def test_gradcheck(streamwise, way):
    """Every boundary condition with a porous obstacle, whose solid fraction is differentiated."""
    generator = torch.Generator().manual_seed(3)
    solid = 0.2 + 0.5 * torch.rand(5, 6, generator=generator, dtype=torch.float64)
    options = {"streamwise": streamwise, "height": 5, "width": 6, "length_x": 1.5, "dt": 0.05}
    options |= {"recompute": way == "recompute", "obstacle_time": 0.1}
    drive = "inflow_velocity" if streamwise == "open" else "pressure_gradient"
    names = ["viscosity", "top_velocity", drive]
    with torch.no_grad():
        start = Channel(**options)
        state = start(start.state(), 5)

    def run(solid, profile, *values):
        more = {"inflow_profile": profile} if streamwise == "open" else {}
        module = Run(Channel(obstacle=solid, **more, **options), way, state)
        given = {f"sim.{n}": p for n, p in zip(names, values, strict=True)}
        return torch.func.functional_call(module, given, ())

    y = (torch.arange(5, dtype=torch.float64) + 0.5) / 5
    inputs = [solid, 6 * y * (1 - y), torch.tensor(0.2), torch.tensor(0.3), torch.tensor(0.8)]
    inputs = [i.double().clone().requires_grad_() for i in inputs]
    inputs[1].requires_grad_(streamwise == "open")
    assert torch.autograd.gradcheck(run, inputs)


def test_float32_and_batches_of_obstacles():
    solid = torch.zeros(2, 12, 16, dtype=torch.float64)
    solid[0, 4:8, 4:7] = 1
    solid[1, 2:5, 6:9] = 1
    with torch.no_grad():
        both = Channel(**OPEN, obstacle=solid)
        end = both(both.state(), 5)
        for k in range(2):
            one = Channel(**OPEN, obstacle=solid[k])
            assert (one(one.state(), 5).u[0] - end.u[k]).abs().max() < 1e-12
        low = Channel(**OPEN, obstacle=solid, dtype=torch.float32)
        single = low(low.state(), 5)
        assert single.u.dtype == torch.float32
        assert (single.u - end.u).abs().max() < 1e-4


def test_bad_input_is_one_clear_line():
    fractions = torch.zeros(12, 16)
    for options, message in (
        ({"streamwise": "open", "pressure_gradient": 1.0}, "streamwise=periodic"),
        ({"inflow_velocity": 1.0}, "streamwise=open"),
        ({"inflow": "uniform"}, "streamwise=open"),
        ({"inflow_profile": torch.ones(32)}, "streamwise=open"),
        ({"streamwise": "open", "inflow_profile": torch.ones(3)}, r"need \(32,\)"),
        ({"obstacle": fractions}, "obstacle has shape"),
        ({"obstacle": torch.full((32, 64), 2.0)}, "between 0 and 1"),
        ({"obstacle": fractions, **BLOCK}, "not both"),
        ({**BLOCK, "obstacle_x": 90.0}, "outside"),
        ({"obstacle_time": 0.0}, "positive"),
        ({"top_velocity": [0.0, 1.0]}, "one value"),
        ({"length_x": math.inf}, "positive length"),
        ({"closure": torch.nn.Identity()}, "closure"),
    ):
        with pytest.raises(InputError, match=message):
            Channel(**options)
    grid = StaggeredGrid(Axis(8, kind="periodic"), Axis(8, kind="periodic"))
    zeros = torch.zeros(1, 8, 8, dtype=torch.float64)
    with pytest.raises(InputError, match="step in time"):
        steady(Flow(grid, torch.tensor(0.1), Sides()), zeros, zeros, name="box")
    unstable = Channel(**{**OPEN, "viscosity": 1e-7}, inflow="uniform")
    with pytest.raises(RunError, match="refine"):
        steady(unstable.flow(), *unstable.rest(), name="channel", max_iterations=3)
