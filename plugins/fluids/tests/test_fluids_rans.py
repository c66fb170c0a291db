"""The averaged turbulent channel against closed forms, quadrature, and direct simulation. float64.

The profiles PROFILES and BULK are of Moser, Kim and Mansour (1999), Phys. Fluids 11, 943,
doi:10.1063/1.869966 (files chan180, chan395, chan590 `.means`; method of Kim, Moin and Moser 1987):
U+ at y+, a few points each, and the mean of U+ over the half channel (trapezoidal, all points).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from sfm_fluids.rans import k_epsilon
from sfm_fluids.rans.channel import RansChannel
from sfm_fluids.rans.eddy_viscosity import EddyViscosityNetwork, LocalFlow
from sfm_fluids.rans.newton import jacobian
from sfm_fluids.rans.training import profile_error, train_on_profiles
from torch import nn

from sfm.errors import InputError, RunError
from sfm.simulate.fit import fit

# fmt: off
PROFILES = {
    178.12: (
        (2.6224, 3.4226, 4.328, 5.3381, 7.67, 10.412, 13.559, 19.019, 25.342, 32.492, 43.247,
         58.503, 75.559, 101.97, 134.84, 178.12),
        (2.5939, 3.3632, 4.2095, 5.1133, 6.9892, 8.7741, 10.311, 12.066, 13.276, 14.121, 14.931,
         15.714, 16.389, 17.2, 17.911, 18.301),
    ),
    392.24: (
        (2.39, 3.5684, 4.981, 6.6268, 9.5307, 12.953, 18.315, 26.283, 37.66, 50.958, 71.551,
         101.61, 143.41, 198.91, 278.38, 392.24),
        (2.3729, 3.5093, 4.8032, 6.1754, 8.1754, 9.8937, 11.624, 13.06, 14.148, 14.902, 15.707,
         16.576, 17.517, 18.535, 19.548, 20.133),
    ),
    587.19: (
        (2.8275, 3.5778, 5.3419, 7.4565, 11.283, 15.89, 21.27, 31.939, 44.698, 65.977, 94.994,
         137.89, 198.23, 285.32, 409.86, 587.19),
        (2.8061, 3.5272, 5.1307, 6.8174, 9.1455, 10.968, 12.287, 13.722, 14.64, 15.56, 16.418,
         17.358, 18.362, 19.473, 20.561, 21.263),
    ),
}
# fmt: on
BULK = {178.12: 15.679, 392.24: 17.545, 587.19: 18.654}
# k+ at its peak and -u'v'+ at its peak (chan395.reystress)
PEAKS_395 = {"turbulent_kinetic_energy": 4.568, "reynolds_shear_stress": 0.837}


def solved(**options) -> tuple[RansChannel, dict[str, torch.Tensor]]:
    simulator = RansChannel(**options)
    with torch.no_grad():
        return simulator, simulator.observe(simulator(simulator.state()))


def profiles(*reynolds: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Re_tau (B,), y+ (B, P) and U+ (B, P) of direct simulation."""
    rows = torch.tensor([PROFILES[r] for r in reynolds], dtype=torch.float64)
    return torch.tensor(reynolds, dtype=torch.float64), rows[:, 0], rows[:, 1]


def network(seed: int = 0, hidden: int = 12, active: float = 0.0) -> EddyViscosityNetwork:
    generator = torch.Generator().manual_seed(seed)
    net = EddyViscosityNetwork(hidden, generator).double()
    with torch.no_grad():
        net.last.weight.normal_(0, max(active, 1e-30), generator=generator)
    return net


# --- the equations --------------------------------------------------------------------------------


def test_laminar_flow_is_the_parabola():
    _, observed = solved(model="laminar", friction_reynolds=[1.0, 30.0, 400.0], cells=24)
    height = torch.tensor([[1.0], [30.0], [400.0]], dtype=torch.float64)
    y = observed["wall_distance"]
    exact = y - y.square() / (2 * height)
    assert ((observed["velocity_profile"] - exact).abs() / height).max() < 1e-14
    assert torch.allclose(observed["bulk_velocity"], height[:, 0] / 3, rtol=1e-13)
    # Cf = 12 / Re with Re = 2 h U_bulk / nu (plane Poiseuille flow)
    reynolds = 2 * height[:, 0] * observed["bulk_velocity"]
    assert torch.allclose(observed["friction_coefficient"], 12 / reynolds, rtol=1e-13)
    assert observed["turbulent_viscosity"].abs().max() == 0


@pytest.mark.parametrize("model", ["laminar", "mixing-length", "k-epsilon", "learned"])
def test_the_total_stress_is_linear(model):
    closure = network(active=0.5) if model == "learned" else None
    simulator, observed = solved(model=model, closure=closure, friction_reynolds=[180.0, 1000.0])
    total = observed["viscous_shear_stress"] + observed["reynolds_shear_stress"]
    exact = 1 - observed["wall_distance"] / simulator.friction_reynolds.detach().unsqueeze(-1)
    assert (total - exact).abs().max() < 1e-11
    assert (observed["turbulent_viscosity"] >= 0).all()
    assert observed["turbulent_viscosity"][:, 0].abs().max() == 0


def test_the_mixing_length_profile_is_its_quadrature():
    kappa, a_plus, height = 0.4, 25.0, 590.0

    def shear(y: float) -> float:  # the root of S + l^2 S^2 = 1 - y/h
        length = kappa * y * (1 - math.exp(-y / a_plus))
        stress = 1 - y / height
        return 2 * stress / (1 + math.sqrt(1 + 4 * length**2 * stress))

    errors = []
    for cells in (64, 128, 256):
        simulator, _ = solved(
            friction_reynolds=height,
            von_karman=kappa,
            damping_length=a_plus,
            core="linear",
            cells=cells,
        )
        with torch.no_grad():
            state = simulator(simulator.state())
            heights = torch.tensor([5.0, 30.0, 200.0, 590.0], dtype=torch.float64)
            exact = [quad(shear, 0, float(y), epsabs=1e-10, limit=200)[0] for y in heights]
            profile = simulator.velocity_at(state, heights)
        errors.append(float((profile - torch.tensor(exact)).abs().max()))
    assert errors[-1] < 2e-3
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.1)


def test_the_law_of_the_wall():
    """U+ = y+ for y+ < 3 within 1%; ln(y+)/kappa + B, B 5.0 to 5.5, for y+ 40 to 0.1 Re_tau."""
    kappa = 0.41
    simulator, observed = solved(
        friction_reynolds=1e4, von_karman=kappa, core="linear", cells=256, stretching=4.0
    )
    assert simulator.warnings(simulator.state()) == ()
    y, u = observed["wall_distance"], observed["velocity_profile"]
    viscous = (y > 0) & (y < 3)
    assert (u / y - 1)[viscous].abs().max() < 0.01
    log = (y > 40) & (y < 1000)
    intercept = u[log] - y[log].log() / kappa
    assert intercept.min() > 5.0
    assert intercept.max() < 5.5
    far = (y > 100) & (y < 1000)
    slope = y[far] * observed["viscous_shear_stress"][far] * kappa
    assert (slope - 1).abs().max() < 0.06  # sqrt(1 - y/h) is 5% below 1 at y = 0.1 h


@pytest.mark.parametrize("model", ["mixing-length", "k-epsilon"])
def test_second_order_in_the_grid(model):
    bulk = [
        float(solved(model=model, friction_reynolds=180.0, cells=n)[1]["bulk_velocity"])
        for n in (24, 48, 96)
    ]
    order = math.log2((bulk[1] - bulk[0]) / (bulk[2] - bulk[1]))
    assert order == pytest.approx(2, abs=0.1)


def test_k_epsilon_conserves_turbulent_energy():
    """Production over the channel is dissipation: nothing flows through wall and centreline."""
    _, observed = solved(model="k-epsilon", friction_reynolds=395.0, cells=192)
    y = observed["wall_distance"]
    production = observed["reynolds_shear_stress"] * observed["viscous_shear_stress"]
    gained, lost = (torch.trapezoid(x, y) for x in (production, observed["turbulent_dissipation"]))
    assert gained == pytest.approx(float(lost), rel=2e-3)


def test_the_coloured_jacobian_is_the_dense_one():
    simulator = RansChannel(model="k-epsilon", cells=9, stretching=1.5)
    x = simulator._unknowns(simulator.state())

    def rates(y):
        return simulator._in_float64("_rates", y, live=False)

    dense = torch.autograd.functional.jacobian(rates, x)
    assert torch.allclose(jacobian(rates, x)[1], dense.reshape(27, 27), rtol=1e-12, atol=1e-12)


# --- against direct simulation --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "worst", "bulk"), [("mixing-length", 0.70, 0.015), ("k-epsilon", 1.10, 0.045)]
)
def test_mean_profiles_of_direct_simulation(model, worst, bulk):
    """Largest deviation of U+ (in u_tau) and relative deviation of the bulk velocity."""
    reynolds, y, u = profiles(*PROFILES)
    simulator = RansChannel(model=model, friction_reynolds=reynolds)
    with torch.no_grad():
        state = simulator(simulator.state())
        assert (simulator.velocity_at(state, y) - u).abs().max() < worst
        bulk_velocity = simulator.observe(state)["bulk_velocity"]
    measured = torch.tensor(list(BULK.values()), dtype=torch.float64)
    assert (bulk_velocity / measured - 1).abs().max() < bulk


def test_k_epsilon_peaks_of_direct_simulation():
    _, observed = solved(model="k-epsilon", friction_reynolds=392.24)
    for name, peak in PEAKS_395.items():
        assert float(observed[name].max()) == pytest.approx(peak, rel=0.05)


# --- gradients ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, on first use
def test_gradcheck_of_the_mixing_length_over_a_batch():
    simulator = RansChannel(cells=12, stretching=2.0, friction_reynolds=[150.0, 400.0])
    state = simulator.state()

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.simulator = simulator

        def forward(self):
            observed = simulator.observe(simulator(state))
            return observed["velocity_profile"], observed["friction_coefficient"]

    def run(reynolds, kappa, a_plus):
        named = {"friction_reynolds": reynolds, "von_karman": kappa, "damping_length": a_plus}
        named = {f"simulator.{k}": v for k, v in named.items()}
        return torch.func.functional_call(Module(), named, ())

    inputs = (
        simulator.friction_reynolds.detach().clone().requires_grad_(),
        torch.tensor(0.4, dtype=torch.float64, requires_grad=True),
        torch.tensor([25.0, 27.0], dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(run, inputs, check_forward_ad=True)


@pytest.mark.parametrize("model", ["learned", "k-epsilon"])
def test_gradients_in_every_weight_of_a_closure(model):
    net = TransportNetwork() if model == "k-epsilon" else network(hidden=3, active=0.5)
    simulator = RansChannel(model=model, closure=net, cells=16, stretching=2.0)
    guess = simulator.state()

    def bulk() -> torch.Tensor:
        return simulator.observe(simulator(guess))["bulk_velocity"]

    bulk().backward()
    step = 1e-5
    for weight in net.parameters():
        flat, gradient = weight.data.view(-1), weight.grad.reshape(-1)
        for i in range(len(flat)):
            with torch.no_grad():
                flat[i] += step
                above = bulk()
                flat[i] -= 2 * step
                below = bulk()
                flat[i] += step
            finite = float(above - below) / (2 * step)
            assert float(gradient[i]) == pytest.approx(finite, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("model", ["mixing-length", "k-epsilon"])
def test_second_derivatives(model):
    name = "von_karman" if model == "mixing-length" else "c_epsilon_1"
    simulator = RansChannel(model=model, cells=16, stretching=2.0, friction_reynolds=180.0)
    parameter, guess = getattr(simulator, name), simulator.state()

    def slope(create_graph: bool) -> torch.Tensor:
        centre = simulator(guess).velocity[-1]
        return torch.autograd.grad(centre, parameter, create_graph=create_graph)[0]

    (second,) = torch.autograd.grad(slope(True), parameter)
    step = 1e-5
    ends = []
    for sign in (1, -1):
        parameter.data += sign * step
        ends.append(slope(False))
        parameter.data -= sign * step
    assert float(second) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_float32_gives_the_same_and_inference_mode_works():
    single, double = (
        RansChannel(model="k-epsilon", cells=48, friction_reynolds=180.0, dtype=t)
        for t in (torch.float32, torch.float64)
    )
    with torch.inference_mode():
        a, b = single(single.state()).velocity, double(double.state()).velocity
    assert a.dtype == torch.float32
    assert torch.allclose(a.double(), b, rtol=1e-6)


# --- closures -------------------------------------------------------------------------------------


class TransportNetwork(nn.Module):
    """Chien's formula times a learned factor of ln Re_t."""

    def __init__(self, slope: float = 0.02):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope, dtype=torch.float64))
        self.shift = nn.Parameter(torch.tensor(0.01, dtype=torch.float64))

    def forward(self, flow: LocalFlow) -> torch.Tensor:
        constants = {"c_mu": torch.tensor(0.09), "viscosity_damping": torch.tensor(0.0115)}
        turbulence = flow.kinetic_energy.square() / flow.dissipation
        factor = torch.exp(self.slope * torch.log1p(turbulence) + self.shift)
        return factor * k_epsilon.viscosity(flow, constants)


def test_chiens_formula_as_a_closure_changes_nothing():
    closure = TransportNetwork(0.0)
    closure.shift.data.zero_()
    _, plain = solved(model="k-epsilon", cells=48)
    _, closed = solved(model="k-epsilon", cells=48, closure=closure)
    assert torch.allclose(plain["velocity_profile"], closed["velocity_profile"], rtol=1e-6)


def test_a_learned_eddy_viscosity_trained_through_the_solver():
    """Trained on Re_tau 178 and 587; the held-out 392 is then nearer than both classical models."""
    closure = network()

    def error(*reynolds: float, **options) -> float:
        friction, y, u = profiles(*reynolds)
        simulator = RansChannel(friction_reynolds=friction, **options)
        with torch.no_grad():
            return float(profile_error(simulator, simulator(simulator.state()), y, u))

    learned = {"model": "learned", "closure": closure, "cells": 48}
    before = error(392.24, **learned)
    friction, y, u = profiles(178.12, 587.19)
    simulator = RansChannel(friction_reynolds=friction, **learned)
    history = train_on_profiles(simulator, y, u, iterations=60)
    assert history[0] > 1.0
    assert error(178.12, 587.19, **learned) < 0.12
    held_out = error(392.24, **learned)
    assert before > 1.0
    assert held_out < 0.18
    for model in ("mixing-length", "k-epsilon"):
        assert held_out < 0.9 * error(392.24, model=model)


def test_a_network_is_positive_and_vanishes_at_the_wall_as_the_cube():
    net = network(active=3.0)
    y = torch.tensor([1e-4, 1e-3, 1.0, 100.0, 1e4], dtype=torch.float64)
    with torch.no_grad():
        nu = net(LocalFlow(y, y / 1e4, torch.randn(5, generator=torch.Generator().manual_seed(1))))
    assert torch.isfinite(nu).all()
    assert (nu > 0).all()
    assert float(nu[1] / nu[0]) == pytest.approx(1000, rel=0.05)


class Wrong(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, flow):
        return self.function(flow)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda f: f.shear.sum(-1), "gives shape"),
        (lambda f: -f.wall_distance, "negative"),
        (lambda f: 1 + f.wall_distance, "vanishes at the wall"),
        (lambda f: f.wall_distance * f.shear.mean(-1, keepdim=True), "mixes points"),
    ],
)
def test_a_closure_that_breaks_its_contract_is_refused(function, message):
    with pytest.raises(InputError, match=message):
        RansChannel(model="learned", closure=Wrong(function))


# --- use ------------------------------------------------------------------------------------------


def test_fit_recovers_the_mixing_length_constants(tmp_path):
    truth = {"von_karman": 0.385, "damping_length": 28.0}
    simulator = RansChannel(friction_reynolds=1000.0, **truth)
    y = torch.tensor(np.geomspace(3, 900, 50))
    with torch.no_grad():
        exact = simulator.velocity_at(simulator(simulator.state()), y).numpy()
    for seed in range(3):
        noise = 0.1 * np.random.default_rng(seed).standard_normal(len(exact))
        path = tmp_path / f"profile-{seed}.npz"
        np.savez(
            path, wall_distance=y, velocity_profile=exact + noise, friction_reynolds=1000, sigma=0.1
        )
        start = RansChannel(friction_reynolds=1000.0)
        result = fit(start, start.read_observations(path), list(truth))
        assert result.converged
        assert result.warnings == ()
        for name, value in truth.items():
            estimate = result.estimates[name]
            assert abs(estimate.value - value) < 3.5 * estimate.standard_error
            assert estimate.standard_error < 0.02 * value


def test_observations_that_do_not_fit_are_refused(tmp_path):
    simulator, path = RansChannel(), tmp_path / "profile.npz"
    cases = [
        ({"velocity_profile": [1.0]}, "no array 'wall_distance'"),
        ({"wall_distance": [1.0, 2.0], "velocity_profile": [1.0]}, "differ"),
        ({"wall_distance": [2.0, 1.0], "velocity_profile": [1.0, 2.0]}, "must increase"),
        ({"wall_distance": [1.0, 500.0], "velocity_profile": [1.0, 2.0]}, "fold"),
        ({"wall_distance": [1.0], "velocity_profile": [np.nan]}, "not finite"),
        (
            {"wall_distance": [1.0], "velocity_profile": [1.0], "friction_reynolds": 180},
            "set friction_reynolds=180",
        ),
    ]
    for arrays, message in cases:
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=message):
            simulator.read_observations(path)


def test_bad_settings_are_one_line():
    cases = [
        ({"cells": 4}, "at least 8"),
        ({"stretching": 9.0}, "outside"),
        ({"model": "learned"}, "needs closure"),
        ({"closure": network()}, "goes with model"),
        ({"friction_reynolds": [1.0, 2.0], "c_mu": [0.1, 0.1, 0.1]}, "batch axes"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            RansChannel(**options)
    with pytest.raises(InputError, match="nodes"):
        RansChannel(cells=20)(RansChannel(cells=30).state())
    with pytest.raises(InputError, match="no k and epsilon"):
        RansChannel(model="k-epsilon")(RansChannel().state())


def test_no_turbulent_solution_is_said():
    simulator = RansChannel(model="k-epsilon", friction_reynolds=15.0, cells=12)
    with pytest.raises(RunError, match="Re_tau too low"):
        simulator(simulator.state())
    coarse = RansChannel(friction_reynolds=1e4)
    assert "first node" in coarse.warnings(coarse.state())[0]


def test_plots(tmp_path):
    for model in ("mixing-length", "k-epsilon"):
        simulator = RansChannel(model=model, cells=24, friction_reynolds=150.0)
        with torch.no_grad():
            simulator.plot(simulator.run(simulator.state(), 1), tmp_path / f"{model}.png")
        assert (tmp_path / f"{model}.png").stat().st_size > 10_000
