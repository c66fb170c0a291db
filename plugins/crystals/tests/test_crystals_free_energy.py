"""Free energies of crystals against closed forms, each other and published ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sfm_crystals.constants import GPA
from sfm_crystals.data.prototypes import diamond, fcc, rock_salt
from sfm_crystals.simulators.free_energy import FreeEnergy
from sfm_crystals.simulators.phonons import Phonons
from sfm_crystals.simulators.reference import Phonons as Constants

from sfm.constants import BOLTZMANN
from sfm.errors import InputError, RunError
from sfm.simulate.dynamics.free_energy import standard_error
from sfm.simulate.dynamics.particles import masses_of
from sfm.simulate.dynamics.wells import Wells, of_modes, of_momenta, of_springs
from sfm.simulate.statics.harmonic import PLANCK, mesh

EPSILON, SIGMA = 0.0104, 3.4


def last(trajectory, name: str) -> float:
    return float(trajectory.observables[name][-1])


def sampled(simulator, state, steps: int, every: int = 10):
    with torch.no_grad():
        return simulator.run(state, steps, every=every)


def test_closed_forms_of_wells():
    """Springs against Gaussian integrals, momenta against the thermal wavelength from SI units."""
    heat = BOLTZMANN * 300.0
    modes = torch.full((6,), 2.0, dtype=torch.float64)
    assert float(of_modes(modes, 300.0)) == pytest.approx(of_springs(3, 2.0, 300.0), rel=1e-12)
    edge = 6 * math.sqrt(heat / 2.0)
    grid = torch.linspace(-edge, edge, 4001, dtype=torch.float64)
    integral = torch.trapezoid(torch.exp(-grid.square() / heat), grid)  # k / 2 = 1
    assert float(of_modes(modes[:1], 300.0)) == pytest.approx(
        -heat * math.log(float(integral)), rel=1e-6
    )
    wavelength = 6.62607015e-34 / math.sqrt(
        2 * math.pi * 39.948 * 1.66053907e-27 * 1.380649e-23 * 300
    )
    expected = 3 * heat * math.log(wavelength * 1e10)
    assert float(of_momenta(torch.tensor([39.948]).double(), 300.0)) == pytest.approx(
        expected, rel=1e-6
    )


def test_wells_are_where_the_sites_are_and_drift_freely():
    generator = torch.Generator().manual_seed(0)
    sites = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    root = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    free = torch.eye(12).double() - torch.kron(
        torch.full((4, 4), 0.25).double(), torch.eye(3).double()
    )
    held = Wells(sites, free @ root @ root.T @ free, -3.0)
    positions = (torch.cat([sites, sites + 0.7]) + 0).requires_grad_()
    energy, forces = held(positions)
    torch.testing.assert_close(energy, torch.full((2,), -3.0).double())
    moved = positions + 0.1 * torch.randn(8, 3, generator=generator, dtype=torch.float64)
    energy, forces = held(moved)
    (slope,) = torch.autograd.grad(energy.sum(), moved)
    torch.testing.assert_close(forces, -slope)
    springs = Wells(sites, torch.tensor(2.0).double(), 0.0)
    (slope,) = torch.autograd.grad(springs(moved)[0].sum(), moved)
    torch.testing.assert_close(springs(moved)[1], -slope)


def test_force_constants_of_a_supercell_are_its_hessian():
    simulator = FreeEnergy(temperature=20.0, repeat=2, potential="stillinger-weber")
    statics = simulator.statics()
    cell = statics.state(diamond(14, 5.431, primitive=True))
    constants = Constants.of(statics.energy, cell, torch.full((2,), 28.0).double(), 2)
    large = constants.lattice.cells

    def energy(x: torch.Tensor) -> torch.Tensor:
        still = torch.zeros_like(large.cell)
        return statics.energy(large.deformed(x.reshape(-1, 3), still)).sum()

    whole = torch.autograd.functional.hessian(energy, torch.zeros(48).double())
    torch.testing.assert_close(constants.matrix(), whole, atol=1e-9, rtol=0)
    modes = torch.linalg.eigvalsh(whole)
    torch.testing.assert_close(modes[:3], torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(constants.modes().sort().values, modes[3:], atol=1e-8, rtol=0)


def test_the_harmonic_part_is_that_of_phonons_when_it_is_hot_or_quantum():
    cell = fcc(18, 5.26, primitive=True)
    vibrating = Phonons(relax_cell="fixed", mesh=4, repeat=3, hottest=400.0, temperatures=2)
    vibrating.requires_grad_(False)
    state = vibrating(vibrating.state(cell))
    seen = vibrating.observe(state)
    bottom, harmonic = float(seen["energy"]), {}
    for nuclei in ("classical", "quantum"):
        simulator = FreeEnergy(temperature=400.0, repeat=3, mesh=4, nuclei=nuclei)
        simulator.state(cell)
        harmonic[nuclei] = simulator.start.energy - bottom
    assert harmonic["quantum"] == pytest.approx(float(seen["helmholtz_energy"][-1]), abs=1e-9)
    quanta = PLANCK * vibrating.frequencies(state, mesh(4))  # Wigner's first correction
    first = float(quanta.square().sum(1).mean()) / (24 * BOLTZMANN * 400.0)
    apart = harmonic["quantum"] - harmonic["classical"]
    assert apart == pytest.approx(first, rel=2e-3)


def test_springs_and_harmonic_crystal_lead_to_one_free_energy():
    """Argon at 30 kelvin, 32 atoms; what is added to either reference differs by far more."""
    answers = []
    for options in ({"nodes": 3}, {"reference": "einstein", "nodes": 6}):
        simulator = FreeEnergy(temperature=30.0, repeat=2, **options)
        run = sampled(simulator, simulator.state(fcc(18, 5.35)), 500)
        answers.append([last(run, n) for n in ("free_energy", "free_energy_error")])
        answers[-1].append(last(run, "reference_free_energy"))
    (one, first, start), (two, second, other) = answers
    assert max(first, second) < 3e-4
    assert abs(one - two) < 4 * math.hypot(first, second)
    assert abs(start - other) > 8 * math.hypot(first, second)


def test_a_crystal_at_nearly_no_temperature_is_its_own_harmonic_crystal():
    simulator = FreeEnergy(temperature=1e-3, repeat=2, nodes=2)
    run = sampled(simulator, simulator.state(), 50)
    heat = BOLTZMANN * 1e-3
    assert abs(last(run, "free_energy_difference")) < 1e-3 * 4 * heat


@pytest.fixture
def melting(monkeypatch):
    """The recipe of the melting point, which has the published equations."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "recipes")
    import lennard_jones_melting

    return lennard_jones_melting


def on_the_line(melting, temperature: float, **run: int) -> tuple[float, float]:
    """(G_solid - G_liquid) / kT per atom where the published melting line is, and its error."""
    solid, liquid = melting.melting(temperature)
    outside = melting.pressure(temperature, liquid)
    gap, error = melting.apart(temperature, solid, outside, **run)
    return gap / temperature, error / temperature


def test_solid_and_liquid_of_lennard_jones_have_one_gibbs_energy_on_the_melting_line(melting):
    """T* = 1: Mastny and de Pablo's melting line, Thol's liquid, 108 atoms of the solid."""
    apart, error = on_the_line(melting, 1.0, repeat=3, steps=500)
    assert error < 0.02
    assert abs(apart) < 4 * error


@pytest.mark.slow
def test_lennard_jones_melts_where_it_is_published_to_melt(melting, tmp_path):
    path = tmp_path / "melting.json"
    assert melting.main(["--output", str(path)]) == 0
    said = json.loads(path.read_text(encoding="utf-8"))
    assert said["error"] < 0.002
    assert said["melting_temperature"] == pytest.approx(0.694, abs=0.006)


def test_the_liquid_is_the_published_one(melting):
    """The ideal gas, the critical point, and the liquid at the triple point."""
    assert melting.pressure(1.3, 1e-4) == pytest.approx(1.3e-4, rel=1e-3)
    assert melting.pressure(1.32, 0.31) == pytest.approx(0.13, abs=0.003)
    assert melting.liquid_density(0.694, 0.0) == pytest.approx(0.8456, abs=0.003)


def test_a_line_through_gaps_crosses_zero_where_it_does(melting):
    rows = [(0.6, -0.16, 0.01), (0.7, 0.0, 0.01), (0.8, 0.16, 0.01)]
    at, error = melting.crossing(rows)
    assert at == pytest.approx(0.7)
    assert error == pytest.approx(0.01 / 3**0.5 / 1.6)


def test_two_potentials_differ_by_their_free_energies():
    """Silicon: Stillinger-Weber from Tersoff, and each from its own harmonic crystal."""
    cell, options = diamond(14, 5.431), {"temperature": 600.0, "nodes": 3, "dt": 2.0}
    way = FreeEnergy(potential="stillinger-weber", reference="tersoff", **options)
    straight = sampled(way, way.state(cell), 200)
    assert "free_energy" not in straight.observables
    apart, squares = 0.0, last(straight, "free_energy_error") ** 2
    for sign, name in ((1, "stillinger-weber"), (-1, "tersoff")):
        simulator = FreeEnergy(potential=name, **options)
        run = sampled(simulator, simulator.state(cell), 150)
        # both crystals of eight atoms, not of infinitely many
        modes = _modes(simulator, cell)
        bulk = float(of_modes(modes[0], 600.0)) - float(of_modes(modes[1], 600.0))
        apart += sign * (last(run, "free_energy") + bulk)
        squares += last(run, "free_energy_error") ** 2
    assert math.sqrt(squares) < 0.1
    assert last(straight, "free_energy_difference") == pytest.approx(
        apart, abs=4 * math.sqrt(squares)
    )


def _modes(simulator, cell):
    statics = simulator.statics()
    masses = masses_of([cell])[:, 0]
    constants = Constants.of(statics.energy, statics.state(cell), masses, 1)
    return constants.modes(), constants.infinite(simulator.mesh)


def test_all_samples_at_once_agree_with_the_integral():
    pytest.importorskip("pymbar")
    energies = {}
    for estimator in ("integration", "mbar"):
        simulator = FreeEnergy(temperature=60.0, repeat=2, nodes=4, estimator=estimator)
        run = sampled(simulator, simulator.state(fcc(18, 5.4)), 600)
        energies[estimator] = [last(run, n) for n in ("free_energy", "free_energy_error")]
    error = math.hypot(energies["mbar"][1], energies["integration"][1])
    assert 0 < error < 2e-3
    assert energies["mbar"][0] == pytest.approx(energies["integration"][0], abs=4 * error)


def test_the_gradient_is_the_mean_slope_of_the_energy():
    """At constant volume E = epsilon f(x / sigma): epsilon dA/depsilon is <E>, and
    sigma dA/dsigma = 3 (P V - kT n) by the virial."""
    simulator = FreeEnergy(temperature=40.0, repeat=2, nodes=2)
    run = sampled(simulator, simulator.state(fcc(18, 5.4)), 200)
    value = simulator.following(run)
    assert value.item() == pytest.approx(last(run, "free_energy"), rel=1e-12)
    by_epsilon, by_sigma = torch.autograd.grad(value, (simulator.epsilon, simulator.sigma))
    kept = slice(simulator._kept(len(run.times) - 1), None)
    mean = float(run.observables["energy"][kept].mean())
    assert float(by_epsilon) * EPSILON == pytest.approx(mean, rel=1e-9)
    work = last(run, "mean_pressure") * 5.4**3 / GPA - 4 * BOLTZMANN * 40.0
    assert float(by_sigma) * SIGMA == pytest.approx(3 * work, rel=1e-9)


def test_errors_of_correlated_series():
    generator = np.random.default_rng(0)
    noise, series = generator.standard_normal(40000), np.zeros(40000)
    for i in range(1, 40000):
        series[i] = 0.9 * series[i - 1] + noise[i]
    exact = 1 / (1 - 0.9) / 40000**0.5  # of the mean: sigma_noise / (1 - phi) / sqrt(T)
    assert float(standard_error(torch.from_numpy(series), 100)) == pytest.approx(exact, rel=0.25)
    assert math.isnan(float(standard_error(torch.zeros(3))))


def test_what_has_no_answer_is_refused():
    for values, text in (
        ({"spring": 1.0}, "does not use spring"),
        ({"reference": "tersoff", "mesh": 4}, "does not use mesh"),
        ({"reference": "lennard-jones"}, "are both lennard-jones"),
        ({"nodes": 0}, "nodes=0"),
        ({"discard": 1.0}, "discard=1.0"),
        ({"temperature": 0.0}, "above 0 kelvin"),
    ):
        with pytest.raises(InputError, match=text):
            FreeEnergy(**values)
    simulator = FreeEnergy(temperature=20.0)
    fixed = fcc(18, 5.3).replace(fixed=np.ones((4, 3), bool))
    with pytest.raises(InputError, match="no fixed atoms"):
        simulator.state(fixed)
    with pytest.raises(RunError, match="not stable"):
        simulator.state(fcc(18, 7.0))
    state = simulator.state(fcc(18, 5.3))
    simulator.state(fcc(18, 5.5))
    with pytest.raises(InputError, match="last `state`"):
        simulator(state, 1)
    with pytest.raises(InputError, match="one kind of atom"):
        simulator.state(rock_salt(11, 17, 5.6))


def test_atoms_that_leave_their_sites_are_said():
    simulator = FreeEnergy(temperature=20.0, nodes=1)
    state = simulator.state(fcc(18, 5.3))
    assert simulator.run(state, 0).warnings == ()
    drifted = state._replace(positions=state.positions + 3.0)
    assert simulator.run(drifted, 0).warnings == ()
    away = torch.zeros_like(state.positions)
    away[4] = 3.0
    (line,) = simulator.run(state._replace(positions=state.positions + away), 0).warnings
    assert "left their sites at s = 1:" in line
