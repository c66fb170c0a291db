"""The lid-driven cavity against published extrema, finite differences and itself. float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sfm_fluids.staggered import operators as ops
from sfm_fluids.staggered.cavity import Cavity
from sfm_fluids.staggered.grid import kinetic_energy

from sfm.errors import InputError, RunError
from sfm.simulate.fit import fit

SMALL = {"height": 8, "width": 8, "viscosity": 0.05}


def relative_errors(sim: Cavity, published: dict[str, float]) -> dict[str, float]:
    with torch.no_grad():
        observed = sim.observe(sim.steady())
    observed["psi_min"] = observed["stream_function"].min()
    return {k: abs(float(observed[k]) / v - 1) for k, v in published.items()}


def test_reynolds_100_matches_marchi():
    """Marchi, Suero and Araki, J. Braz. Soc. Mech. Sci. Eng. 31, 186 (2009): 1024^2 cells with
    Richardson extrapolation. No extrapolation here."""
    published = {
        "centreline_u_min": -0.2140417,
        "centreline_v_max": 0.1795728,
        "centreline_v_min": -0.2538030,
    }
    errors = relative_errors(Cavity(height=64, width=64, stretching=1.0), published)
    assert max(errors.values()) < 0.005, errors


def test_reynolds_1000_matches_botella_and_peyret():
    """Botella and Peyret, Comput. Fluids 27, 421 (1998): Chebyshev collocation of the flow without
    its corner singularities. No extrapolation here."""
    published = {
        "centreline_u_min": -0.3885698,
        "centreline_v_max": 0.3769447,
        "centreline_v_min": -0.5270771,
        "psi_min": -0.1189366,
    }
    sim = Cavity(height=112, width=112, stretching=2.2, viscosity=1e-3)
    errors = relative_errors(sim, published)
    assert max(errors.values()) < 0.005, errors


def test_extrema_converge_with_second_order():
    extrema = []
    with torch.no_grad():
        for n in (12, 24, 48):
            sim = Cavity(height=n, width=n, stretching=0.0, viscosity=0.1)
            extrema.append(sim.observe(sim.steady())["centreline_u_min"].item())
    order = math.log2((extrema[0] - extrema[1]) / (extrema[1] - extrema[2]))
    assert abs(order - 2) < 0.25, extrema  # the lid's corners are singular


def test_time_steps_tend_to_newtons_steady_flow():
    sim = Cavity(height=12, width=14, stretching=1.5, viscosity=0.05, dt=0.05)
    with torch.no_grad():
        steady, state = sim.steady(), sim.state()
        for _ in range(3):
            state = sim(state, 80)
            assert ops.divergence(state.u, state.v, sim.grid).abs().max() < 1e-12
        assert (state.u - steady.u).abs().max() < 1e-8
        assert (state.v - steady.v).abs().max() < 1e-8
        again = sim(steady, 3)  # a steady state does not depend on dt
        assert (again.u - steady.u).abs().max() < 1e-10
    for rate in sim.flow().tendency(steady.u, steady.v, steady.pressure):
        assert rate.abs().max() < 1e-9


def test_order_in_time_is_two():
    _, start = Cavity.conformance_case()
    ends = []
    with torch.no_grad():
        for n in (10, 20, 40):
            sim, _ = Cavity.conformance_case(dt=0.4 / n)
            end = sim(start, n)
            ends.append(torch.cat((end.u.flatten(), end.v.flatten())))
    order = math.log2(float((ends[0] - ends[1]).norm() / (ends[1] - ends[2]).norm()))
    assert abs(order - 2) < 0.1


def test_energy_of_a_cavity_at_rest_falls_by_dissipation_alone():
    """dE/dt = nu <u . lap u> with fixed walls, by Simpson's rule over one step."""
    x = torch.linspace(0, math.pi, 17, dtype=torch.float64)
    sim = Cavity(height=16, width=16, lid_velocity=0.0, dt=1e-3, viscosity=0.02)
    psi = (x.sin().square()[:, None] * x.sin().square() * (1 + x.cos())).unsqueeze(0)
    state = sim.from_faces(*ops.curl_of_stream_function(psi, sim.grid))
    _, vol_u, vol_v = sim.grid.volumes(state.u)
    rates, energies = [], []
    with torch.no_grad():
        for _ in range(3):
            du, dv = ops.diffusion(state.u, state.v, sim.grid, sim.flow().sides)
            work = (vol_u * state.u * du).sum() + (vol_v * state.v * dv).sum()
            rates.append(float(sim.viscosity * work))
            energies.append(float(kinetic_energy(state.u, state.v, sim.grid)))
            state = sim(state, 1)
    expected = sim.dt / 3 * (rates[0] + 4 * rates[1] + rates[2])
    assert expected < 0
    assert energies[2] - energies[0] == pytest.approx(expected, rel=1e-5)


def projected(*fields: torch.Tensor) -> torch.Tensor:
    """Two numbers that depend on everything: gradcheck takes a backward pass for each output."""
    flat = torch.cat([f.flatten() for f in fields])
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, len(flat), generator=generator, dtype=torch.float64) @ flat


@pytest.mark.parametrize("way", ["steps", "recompute", "segments", "steady"])
def test_gradcheck(way):
    x = torch.linspace(0, math.pi, 7, dtype=torch.float64)
    options = {"height": 5, "width": 6, "dt": 0.05, "recompute": way in ("recompute", "segments")}
    options["segment"] = 2 if way == "segments" else 1

    def run(viscosity, lid, profile):
        sim = Cavity(lid_profile=profile, **options)
        parameters = {"viscosity": viscosity, "lid_velocity": lid}
        module = Steady(sim) if way == "steady" else Steps(sim)
        state = torch.func.functional_call(
            module, {f"sim.{k}": p for k, p in parameters.items()}, ()
        )
        return projected(state.u, state.v, state.pressure)

    inputs = (torch.tensor(0.05), torch.tensor(0.8), x.sin())
    assert torch.autograd.gradcheck(run, [i.double().requires_grad_() for i in inputs])


class Steps(torch.nn.Module):
    def __init__(self, sim: torch.nn.Module) -> None:
        super().__init__()
        self.sim = sim

    def forward(self):
        return self.sim(self.sim.state(), 3)


class Steady(Steps):
    def forward(self):
        return self.sim.steady()


def test_a_still_lid_has_a_steady_flow_at_rest():
    rest = Cavity(**SMALL, lid_velocity=0.0).steady()
    assert not rest.u.any()
    assert not rest.v.any()


def test_without_viscosity_the_steady_flow_is_not_unique():
    with pytest.raises(RunError, match="not unique"):
        Cavity(**{**SMALL, "viscosity": 0.0}).steady()


def test_lid_speed_is_found_by_gradient_descent():
    target = 0.35
    sim = Cavity(**SMALL, lid_velocity=1.0)
    with torch.no_grad():
        velocity = sim.observe(Cavity(**SMALL, lid_velocity=target).steady())["velocity"]
    for _ in range(5):  # Gauss-Newton with one unknown
        gap = (sim.observe(sim.steady())["velocity"] - velocity).flatten()
        (slope,) = torch.autograd.grad((gap.detach() * gap).sum(), sim.lid_velocity)
        change = 1e-4
        with torch.no_grad():
            moved = Cavity(**SMALL, lid_velocity=float(sim.lid_velocity) + change)
            tangent = (moved.observe(moved.steady())["velocity"] - velocity).flatten() - gap
            sim.lid_velocity -= slope / (tangent / change).square().sum()
    assert sim.lid_velocity.item() == pytest.approx(target, abs=1e-6)


def test_fit_recovers_viscosity_from_a_noisy_steady_flow(tmp_path):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        truth = Cavity(**SMALL)
        velocity = truth.velocity(truth.steady())[0]
    noise = 0.002 * torch.randn(velocity.shape, generator=generator, dtype=torch.float64)
    path = tmp_path / "measured.npz"
    measured = (velocity + noise).numpy()
    np.savez(path, velocity=measured, sigma=0.002)
    sim = Cavity(**{**SMALL, "viscosity": 0.1})
    written = tmp_path / "simulated.npz"  # times and a batch of one, as `sfm simulate` writes
    np.savez(written, velocity=np.stack([0 * measured, measured])[:, None])
    values = [sim.read_observations(p).values["velocity"] for p in (path, written)]
    assert torch.equal(*values)
    result = fit(sim, sim.read_observations(path), ["viscosity"])
    estimate = result.estimates["viscosity"]
    assert abs(estimate.value - 0.05) < 3 * estimate.standard_error
    assert estimate.standard_error < 0.005


def test_batch_of_lids_and_float32():
    x = torch.linspace(0, math.pi, 9, dtype=torch.float64)
    lids = torch.stack((x.sin(), 0.5 * x.sin().square()))
    with torch.no_grad():
        both = Cavity(**SMALL, lid_profile=lids)
        end = both(both.state(), 10)
        for k in range(2):
            one = Cavity(**SMALL, lid_profile=lids[k])
            assert (one(one.state(), 10).u[0] - end.u[k]).abs().max() < 1e-13
        single = Cavity(**SMALL, lid_profile=lids, dtype=torch.float32)
        low = single(single.state(), 10)
        assert low.u.dtype == low.pressure.dtype == torch.float32
        assert (low.u - end.u).abs().max() < 1e-5
        steady = Cavity(**SMALL, dtype=torch.float32).steady()
        assert steady.u.dtype == torch.float32
        assert (steady.u - Cavity(**SMALL).steady().u).abs().max() < 1e-6


def test_module_as_lid():
    class Lid(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.peak = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

        def forward(self, x):
            return self.peak * 4 * x * (1 - x)

    sim = Cavity(**SMALL, lid_profile=Lid())
    sim.observe(sim.steady())["mean_kinetic_energy"].sum().backward()
    assert sim.lid_profile.peak.grad > 0


def test_bad_input_is_one_clear_line(tmp_path):
    for options, message in (
        ({"dt": -1.0}, "positive"),
        ({"lid_profile": torch.ones(8)}, r"need \(9,\)"),
        ({"stretching": 9.0}, "between 0"),
        ({"initial": "steady", "viscosity": 0.0}, "positive viscosity"),
        ({"closure": torch.nn.Identity()}, "closure"),
        ({"initial": "random"}, "rest"),
        ({"viscosity": [0.1, 0.2]}, "one value"),
    ):
        with pytest.raises(InputError, match=message):
            Cavity(**{**SMALL, **options})
    sim = Cavity(**SMALL)
    with pytest.raises(InputError, match="do not live"):
        sim.from_faces(torch.zeros(1, 8, 8), torch.zeros(1, 9, 8))
    lids = Cavity(**SMALL, lid_profile=torch.ones(2, 9))
    with pytest.raises(InputError, match="one steady flow"):
        lids.steady(lids.state())
    np.savez(tmp_path / "wrong.npz", velocity=np.zeros((2, 4, 4)))
    with pytest.raises(InputError, match="set height"):
        sim.read_observations(tmp_path / "wrong.npz")
    state = sim.state()
    with pytest.raises(RunError, match="blew up"):
        sim.warnings(state._replace(u=state.u * math.nan))
    fast = Cavity(**SMALL, dt=1.0)
    assert "Courant" in fast.warnings(fast.steady())[0]
