"""Kuramoto-Sivashinsky against published states, and Lyapunov exponents against known systems.

Published: P. Cvitanovic, R. L. Davidchack and E. Siminos, SIAM J. Appl. Dyn. Syst. 9, 1 (2010),
for length 22: energies and stability of the equilibria, leading Lyapunov exponent 0.048.
"""

from __future__ import annotations

import math

import pytest
import torch
from sfm_fluids.evaluation.lyapunov import lyapunov, propagate
from sfm_fluids.periodic.kuramoto_sivashinsky import KuramotoSivashinsky, trace

from sfm.errors import InputError, RunError
from sfm.simulate import Parameter, Setting, Simulator


def rate(sim: KuramotoSivashinsky, vector: torch.Tensor) -> torch.Tensor:
    """du/dt of one field in the coefficients of `pack`."""
    like = sim.from_field(torch.zeros(sim.points, dtype=torch.float64))
    hat = sim.grid.to_spectrum(sim.unpack(vector[None], like).velocity)
    term = sim.nonlinear()
    tendency = sim.linear_operator() * hat + term.function(hat, 0.0, *term.tensors)
    return sim.pack(like._replace(velocity=sim.grid.to_field(tendency)))[0]


@pytest.mark.parametrize(
    ("cells", "energy", "stability"),
    [(1, 0.2609, 0.1308 + 0.3341j), (2, 0.4382, 0.1390 + 0.2384j), (3, 1.5876, 0.0933)],
)
def test_published_equilibria_and_their_stability(cells, energy, stability):
    """Newton's method on du/dt = 0 by automatic differentiation; E = <u^2>/2."""
    sim = KuramotoSivashinsky(points=48).requires_grad_(False)
    x = 2 * math.pi / 22 * sim.grid.coordinates()
    v = sim.pack(sim.from_field(2 * torch.sin(cells * x)))[0]
    for _ in range(25):
        jacobian = torch.func.jacrev(lambda w: rate(sim, w))(v)
        step = torch.linalg.pinv(jacobian, rtol=1e-10) @ rate(sim, v)
        v = v - step * min(1.0, 0.5 / step.norm().item())
    assert rate(sim, v).norm() < 1e-11
    state = sim.unpack(v[None], sim.from_field(torch.zeros(48, dtype=torch.float64)))
    assert sim.observe(state)["mean_kinetic_energy"].item() == pytest.approx(energy, abs=5e-5)
    growth = torch.linalg.eigvals(torch.func.jacrev(lambda w: rate(sim, w))(v))
    assert (growth - stability).abs().min() < 1e-4
    assert growth.real.max() < stability.real + 1e-4
    with torch.no_grad():
        later = sim(state, 20).velocity
    assert (later - state.velocity).abs().max() < 1e-8


def test_small_waves_grow_at_their_linear_rate():
    """b q^2 - c q^4 - d, to the last digits, at any step."""
    values = {"instability": 0.8, "hyperviscosity": 1.3, "damping": 0.05}
    sim = KuramotoSivashinsky(points=32, length=20.0, dt=0.7, **values)
    for n in (1, 2, 4):
        q = 2 * math.pi * n / 20
        start = sim.from_field(1e-9 * torch.cos(q * sim.grid.coordinates()))
        with torch.no_grad():
            end = sim(start, 10)
        growth = math.exp((0.8 * q**2 - 1.3 * q**4 - 0.05) * 7.0)
        assert (end.velocity - growth * start.velocity).abs().max() < 1e-7 * 1e-9 * growth


def test_coefficients_only_rescale_the_equation():
    """v = (l / t0) / a u(x / l, t / t0) with l^2 = c / b, t0 = c / b^2."""
    a, b, c = 2.0, 0.7, 1.9
    length, time = math.sqrt(c / b), c / b**2
    plain = KuramotoSivashinsky(points=48, dt=0.1, seed=1)
    values = {"advection": a, "instability": b, "hyperviscosity": c}
    other = KuramotoSivashinsky(points=48, length=22 * length, dt=0.1 * time, **values)
    start, scale = plain.state(), length / time / a
    with torch.no_grad():
        u = plain(start, 100).velocity
        v = other(other.from_field(scale * start.velocity), 100).velocity
    assert (v - scale * u).abs().max() < 1e-12


def test_order_of_accuracy_is_four():
    """On few modes: q^4 dt must be below 1 for a method to show its classical order."""
    ends = []
    for steps in (120, 240, 480, 3840):
        sim = KuramotoSivashinsky(points=24, dt=4 / steps)
        with torch.no_grad():
            ends.append(sim(sim.from_field(2 * sim.initial_field()), steps).velocity)
    errors = [(e - ends[-1]).norm().item() for e in ends[:-1]]
    orders = [math.log2(errors[i] / errors[i + 1]) for i in range(2)]
    assert all(abs(order - 4) < 0.1 for order in orders), orders


def test_a_mean_flow_carries_the_pattern_along():
    sim = KuramotoSivashinsky(points=48, dt=0.02)
    speed = 4 * sim.grid.spacing / 10
    with torch.no_grad():
        still = sim(sim.state(), 500).velocity
        moving = sim(sim.from_field(sim.state().velocity + speed), 500).velocity
    assert (moving - speed - still.roll(4, -1)).abs().max() < 1e-6


def test_float32_follows_until_chaos_takes_over():
    ends = []
    for dtype in (torch.float64, torch.float32):
        sim = KuramotoSivashinsky(points=48, dtype=dtype, initial="wave")
        with torch.no_grad():
            ends.append(sim(sim.state(), 300).velocity.double())
    assert (ends[1] - ends[0]).abs().max() < 1e-4


def test_members_differ_and_do_not_meet():
    damping = torch.tensor([0.0, 0.1], dtype=torch.float64)
    sim = KuramotoSivashinsky(points=32, members=2, damping=damping)
    state = sim.state()
    with torch.no_grad():
        end = sim(state, 50).velocity
        for i in range(2):
            one = KuramotoSivashinsky(points=32, damping=float(damping[i]))
            alone = one(one.from_field(state.velocity[i]), 50).velocity[0]
            assert (end[i] - alone).abs().max() < 1e-13


@pytest.mark.parametrize("recompute", [True, False])
def test_gradients(recompute):
    sim = KuramotoSivashinsky(points=12, dt=0.2, initial="wave", recompute=recompute, segment=2)
    names = [name for name, _ in sim.named_parameters()]

    def run(u, *values):
        named = dict(zip(names, values, strict=True))
        state = sim.state()._replace(velocity=u)
        return torch.func.functional_call(sim, named, (state, 3)).velocity

    values = [p.detach().clone().requires_grad_() for p in sim.parameters()]
    u = sim.state().velocity.clone().requires_grad_()
    assert torch.autograd.gradcheck(run, (u, *values))


def test_warnings_and_bad_input():
    coarse = KuramotoSivashinsky(points=12, length=60.0, dt=0.1)
    with torch.no_grad():
        late = coarse(coarse.state(), 500)
    assert any("under-resolved" in w for w in coarse.warnings(late))
    with pytest.raises(RunError, match="blew up"):
        coarse.warnings(late._replace(velocity=late.velocity * math.inf))
    with pytest.raises(InputError, match="members"):
        KuramotoSivashinsky(members=0)
    with pytest.raises(InputError, match="positive length"):
        KuramotoSivashinsky(length=-1.0)
    with pytest.raises(InputError, match="dt=0"):
        KuramotoSivashinsky(dt=0.0)


def test_draws_a_picture(tmp_path):
    sim = KuramotoSivashinsky()
    with torch.no_grad():
        run = sim.run(sim.state(), 200, every=10)
    sim.plot(run, tmp_path / "chaos.png")
    assert (tmp_path / "chaos.png").stat().st_size > 1000


# --------------------------------------------------------------------- Lyapunov exponents


def on_the_attractor(members: int, time: float) -> tuple[KuramotoSivashinsky, object]:
    sim = KuramotoSivashinsky(points=32, dt=0.25, members=members)
    with torch.no_grad():
        return sim, sim(sim.state(), round(time / sim.dt))


def test_leading_exponent_and_mean_square_at_length_22():
    """0.048 (published) and <u^2> = 1.406 (our own long run at twice the resolution)."""
    sim, state = on_the_attractor(1500, 250.0)
    spectrum = lyapunov(sim, state, intervals=5, steps=40, skip=5)
    assert spectrum.standard_error[0] < 1.2e-3
    assert abs(spectrum.exponents[0] - 0.048) < 3e-3
    squares = []
    with torch.no_grad():
        for _ in range(20):
            state = sim(state, 40)
            squares.append(2 * sim.observe(state)["mean_kinetic_energy"].mean().item())
    assert sum(squares) / 20 == pytest.approx(1.406, abs=0.02)


def test_translations_in_time_and_space_are_the_two_zero_exponents():
    """du/dt and du/dx are carried into themselves: they neither grow nor decay."""
    sim, state = on_the_attractor(1, 100.0)
    sim.requires_grad_(False)
    fine = KuramotoSivashinsky(points=32, dt=0.1).requires_grad_(False)

    def advance(v):
        return fine.pack(fine(fine.unpack(v, state), 200))

    def directions(v):
        in_space = fine.pack(
            state._replace(velocity=fine.grid.derivative(fine.unpack(v, state).velocity))
        )
        return torch.stack((rate(fine, v[0])[None], in_space), dim=-1)

    with torch.no_grad():
        start = fine.pack(state)
        end, moved = propagate(advance, start, directions(start))
        exact = directions(end)
    size = exact.norm(dim=1)
    assert ((moved - exact).norm(dim=1) / size < 1e-3).all()


def test_all_exponents_sum_to_the_trace_of_the_linear_operator():
    sim = KuramotoSivashinsky(points=20, dt=0.02, members=8)
    with torch.no_grad():
        state = sim(sim.state(), 1000)
    spectrum = lyapunov(sim, state, count=2 * sim.grid.modes, intervals=20, steps=4, skip=0)
    total = trace(sim).item()
    assert spectrum.by_trajectory.sum(1).tolist() == pytest.approx([total] * 8, rel=1e-6)


@pytest.mark.slow
def test_spectrum_at_length_22():
    """The published leading exponents, of which two are zero: known to about 2 / time here."""
    sim, state = on_the_attractor(96, 200.0)
    spectrum = lyapunov(sim, state, count=12, intervals=400, steps=4, skip=100)
    published = [0.048, 0, 0, -0.003, -0.189, -0.256, -0.290, -0.310, -1.963, -1.967, -5.605]
    near = [4e-3, 7e-3, 7e-3, 7e-3, 6e-3, 6e-3, 5e-3, 5e-3, 4e-3, 4e-3, 5e-3]
    for value, exponent, tolerance in zip(spectrum.exponents[:11], published, near, strict=True):
        assert abs(value.item() - exponent) < tolerance


class Lorenz(Simulator):
    """x' = 10 (y - x), y' = x (28 - z) - y, z' = x y - 8/3 z; Runge-Kutta 4. State (B, 3)."""

    part = "tests/lorenz-63"
    parameters_spec = (Parameter("rho", "1", 28.0, summary="r"),)
    settings_spec = (Setting("dt", 0.01, summary="time step"),)
    dt: float
    rho: torch.Tensor

    def state(self, sample=None):
        generator = torch.Generator().manual_seed(0)
        return torch.randn(4000, 3, generator=generator, dtype=torch.float64) + 1

    def rate(self, s):
        x, y, z = s.unbind(-1)
        # torch.add with alpha: products with constants are slow in forward mode
        x_t = torch.zeros_like(x).add(y - x, alpha=10)
        return torch.stack((x_t, x * (self.rho - z) - y, torch.add(x * y, z, alpha=-8 / 3)), -1)

    def forward(self, state, steps=1):
        h = self.dt
        for _ in range(steps):
            a = self.rate(state)
            b = self.rate(state.add(a, alpha=h / 2))
            c = self.rate(state.add(b, alpha=h / 2))
            d = self.rate(state.add(c, alpha=h))
            state = state.add(a + d, alpha=h / 6).add(b + c, alpha=h / 3)
        return state

    def observe(self, state):
        return {}


def test_exponents_of_lorenz_63():
    """0.9056, 0, -14.572 (J. C. Sprott, Chaos and Time-Series Analysis, 2003); the sum is exact."""
    sim = Lorenz().requires_grad_(False)
    with torch.no_grad():
        state = sim(sim.state(), 1500)
    spectrum = lyapunov(sim, state, count=3, intervals=30, steps=20, skip=20)
    assert spectrum.exponents.sum().item() == pytest.approx(-(10 + 1 + 8 / 3), abs=5e-4)
    assert spectrum.standard_error[0] < 1e-2
    assert spectrum.exponents[0].item() == pytest.approx(0.9056, abs=0.02)
    assert spectrum.exponents[1].item() == pytest.approx(0.0, abs=0.02)


class Linear(Simulator):
    """x' = diag(rates) x in a skewed basis, advanced exactly. State (B, 4)."""

    part = "tests/linear"

    def __init__(self):
        super().__init__()
        rates = torch.tensor([0.5, 0.1, -0.3, -2.0], dtype=torch.float64)
        basis = torch.eye(4, dtype=torch.float64) + 0.4 * torch.ones(4, 4).triu(1).double()
        self.matrix = torch.linalg.solve(basis, rates.exp().diag() @ basis)

    def state(self, sample=None):
        return torch.zeros(2, 4, dtype=torch.float64)

    def forward(self, state, steps=1):
        for _ in range(steps):
            state = state @ self.matrix.T
        return state

    def observe(self, state):
        return {}


class Broken(Linear):
    def forward(self, state, steps=1):
        return state * math.inf


def test_exponents_of_a_linear_system_are_its_rates():
    sim = Linear()
    spectrum = lyapunov(sim, sim.state(), dt=1.0, count=4, intervals=40, steps=1, skip=80)
    assert spectrum.exponents.tolist() == pytest.approx([0.5, 0.1, -0.3, -2.0], abs=1e-9)
    assert spectrum.by_trajectory.shape == (2, 4)


def test_lyapunov_says_what_is_wrong():
    sim = Linear()
    with pytest.raises(InputError, match="give dt"):
        lyapunov(sim, sim.state())
    with pytest.raises(InputError, match="count=5"):
        lyapunov(sim, sim.state(), dt=1.0, count=5)
    with pytest.raises(InputError, match="not \\(B, n\\)"):
        lyapunov(sim, torch.zeros(4), dt=1.0)
    with pytest.raises(InputError, match="pack and unpack"):
        lyapunov(sim, (1, 2), dt=1.0)
    with pytest.raises(InputError, match="intervals=0"):
        lyapunov(sim, sim.state(), dt=1.0, intervals=0)
    with pytest.raises(RunError, match="blew up"):
        lyapunov(Broken(), sim.state(), dt=1.0, intervals=2)
