"""Spectra, reweighting and free energies against what is known of harmonic motion."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sfm_crystals.data.prototypes import fcc
from sfm_crystals.simulators.dynamics import MolecularDynamics as Periodic
from sfm_molecules.simulators.dynamics import MolecularDynamics

from sfm.constants import ACCELERATION, BOLTZMANN
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate.dynamics import free_energy
from sfm.simulate.dynamics.free_energy import Coupled, Springs, integrated, nodes
from sfm.simulate.dynamics.reweighting import Reweighting, effective_size, reduced_energy
from sfm.simulate.dynamics.spectra import (
    LIGHT,
    infrared_spectrum,
    power_spectrum,
    vibrational_density,
    wavenumbers,
)
from sfm.simulate.dynamics.structure import coordination

KELVIN = 300.0
HEAT = BOLTZMANN * KELVIN


def test_a_spectrum_has_the_frequencies_and_the_variance_of_its_signal():
    interval, times = 0.5, torch.arange(4000, dtype=torch.float64) * 0.5
    lines, heights = torch.tensor([500.0, 1700.0]), torch.tensor([1.0, 0.3])
    waves = torch.cos(2 * math.pi * LIGHT * lines[:, None] * times + torch.tensor([[0.3], [1.0]]))
    signal = (heights[:, None] * waves).sum(0) + 7.0
    power, place = power_spectrum(signal, interval), wavenumbers(4000, interval)
    step = (place[1] - place[0]) * LIGHT
    assert float(power.sum() * step) == pytest.approx(float(signal.var()), rel=0.01)
    for line, height in zip(lines, heights, strict=True):
        near = (place - line).abs() < 60
        assert float(power[near].sum() * step) == pytest.approx(float(height**2 / 2), rel=0.01)
        assert float(place[near][power[near].argmax()]) == pytest.approx(float(line), abs=17)
    # a dipole's lines have its amplitude squared times the frequency squared
    bright = infrared_spectrum(torch.stack([signal, 0 * signal, 0 * signal], 1), interval)
    sums = [float(bright[(place[1:] - line).abs() < 60].sum()) for line in lines]
    assert sums[1] / sums[0] == pytest.approx(0.09 * (1700 / 500) ** 2, rel=0.02)
    with pytest.raises(InputError, match="at least 8"):
        power_spectrum(signal[:5], interval)


def springs_in(state, stiffness: float):
    """A Langevin simulator of atoms on springs around their places."""
    closure = Springs(state.positions, stiffness)
    return MolecularDynamics(
        potential="none", closure=closure, ensemble="langevin", friction=0.03, dt=4.0
    )


def atoms(copies: int):
    points = np.random.default_rng(0).uniform(0, 20, (4, 3))
    sample = Sample(id="four", domain="molecules", positions=points, types=[18] * 4)
    return MolecularDynamics(potential="lennard-jones", temperature=KELVIN).state([sample] * copies)


def run(simulator, state, records: int, every: int):
    states = []
    with torch.no_grad():
        for _ in range(records):
            state = simulator(state, every)
            states.append(state)
    return states


def test_atoms_on_springs_vibrate_at_one_frequency():
    state = atoms(1)
    simulator = MolecularDynamics(potential="none", closure=Springs(state.positions, 2.0), dt=4.0)
    with torch.no_grad():
        states = simulator.run(state, 400, every=1).states
    velocities = torch.stack([s.velocities for s in states])
    density = vibrational_density(velocities, state.masses, 4.0)
    place = wavenumbers(len(states), 4.0)
    exact = (2.0 * ACCELERATION / 39.95) ** 0.5 / (2 * math.pi * LIGHT)
    assert float(place[density.argmax()]) == pytest.approx(exact, abs=float(place[1]))
    kinetic = torch.stack([(state.masses * v**2).sum() for v in velocities]).mean() / ACCELERATION
    assert float(density.sum() * place[1] * LIGHT) == pytest.approx(float(kinetic), rel=0.03)


def test_reweighted_averages_and_gradients_are_those_of_the_other_spring():
    state = atoms(40)
    simulator = springs_in(state, 1.0)
    states = run(simulator, state, 45, 25)[5:]

    def spread(state) -> torch.Tensor:
        moved = (state.positions - simulator.closure.sites).square().sum(1)
        return moved.reshape(-1, 4).sum(1)

    samples = Reweighting(simulator, states)
    mean = samples.average(spread)
    assert effective_size(samples.weights()).item() == pytest.approx(1600)
    (slope,) = torch.autograd.grad(mean, simulator.closure.stiffness)
    # <x^2> = k_B T / k in each of twelve directions
    assert mean.item() == pytest.approx(12 * HEAT, rel=0.05)
    assert float(slope) == pytest.approx(-12 * HEAT, rel=0.15)
    assert not samples.worn()
    with torch.no_grad():
        simulator.closure.stiffness.fill_(1.15)
    assert samples.average(spread).item() == pytest.approx(12 * HEAT / 1.15, rel=0.05)
    with torch.no_grad():
        simulator.closure.stiffness.fill_(2.0)
    assert samples.worn()
    isolated = MolecularDynamics(potential="none", closure=simulator.closure)
    with pytest.raises(InputError, match="no temperature"):
        reduced_energy(isolated, state)
    with pytest.raises(InputError, match="no states"):
        Reweighting(simulator, [])


@pytest.fixture(scope="module")
def argon():
    """Solid argon in a bath, and a few of its states."""
    simulator = Periodic(
        ensemble="langevin", temperature=60.0, dt=10.0, rdf_reach=5.0, rdf_points=10
    )
    return simulator, run(simulator, simulator.state([fcc(18, 5.4)] * 2), 4, 20)


def test_slopes_of_a_reweighted_average_are_the_gradients_of_its_numbers(argon):
    simulator, states = argon
    parameters = (simulator.epsilon, simulator.sigma)

    def seen(state):  # of which the pressure depends on the parameters itself
        values = simulator.observe(state)
        return torch.cat([values["radial_distribution"], values["pressure"][:, None]], 1)

    samples = Reweighting(simulator, states)
    mean, slopes = samples.slopes(seen, parameters)
    expected = samples.average(seen)
    torch.testing.assert_close(mean, expected.detach())
    for number in range(len(expected)):
        rows = torch.autograd.grad(expected[number], parameters, retain_graph=True)
        for slope, row in zip(slopes, rows, strict=True):
            torch.testing.assert_close(slope[number], row, rtol=1e-8, atol=1e-12)
    assert float(slopes[1].abs().max()) > 0.1
    with pytest.raises(InputError, match="does not depend on one"):
        samples.slopes(seen, (simulator.compressibility,))


def test_temperature_and_pressure_have_gradients_by_reweighting():
    simulator = Periodic(ensemble="npt", temperature=40.0)
    state = simulator.state(fcc(18, 5.3))
    u = reduced_energy(simulator, state).sum()
    by_pressure, by_temperature = torch.autograd.grad(
        u, (simulator.pressure, simulator.temperature)
    )
    heat = BOLTZMANN * 40.0
    assert float(by_pressure) == pytest.approx(5.3**3 / 160.21766208 / heat, rel=1e-6)
    assert float(by_temperature) == pytest.approx(-u.item() / 40.0, rel=1e-9)


@pytest.fixture(scope="module")
def path():
    """Samples at Gauss's nodes on the way from springs of 1 to springs of 3 eV/angstrom^2."""
    state, (shares, weight) = atoms(30), nodes(4)
    one, other = Springs(state.positions, 1.0), Springs(state.positions, 3.0)
    drawn = []
    for share in shares:
        coupled = Coupled(one, other, share)
        simulator = MolecularDynamics(
            potential="none", closure=coupled, ensemble="langevin", friction=0.03, dt=4.0
        )
        drawn.append(run(simulator, state, 30, 25)[5:])
    return one, other, shares, weight, drawn


EXACT = 6 * HEAT * math.log(3.0)  # 12 / 2 k_B T ln(k_1 / k_0)


def test_integration_between_two_springs_is_the_analytic_difference(path):
    one, other, shares, weight, drawn = path
    means = torch.stack(
        [
            torch.cat(
                [Coupled(one, other, share).slope(s.positions, s.types, s.system) for s in at]
            )
            .detach()
            .mean()
            for share, at in zip(shares, drawn, strict=True)
        ]
    )
    assert float(integrated(means, weight)) == pytest.approx(EXACT, rel=0.03)
    with pytest.raises(InputError, match="3 means for 4"):
        integrated(means[:3], weight)


def test_all_samples_at_once_give_it_too(path):
    pytest.importorskip("pymbar")
    one, other, shares, _, drawn = path
    everything = [s for at in drawn for s in at]
    rows = []
    for share in (0.0, *shares, 1.0):
        closure = Coupled(one, other, share)
        energies = [closure(s.positions, s.types, s.system).detach() for s in everything]
        rows.append(torch.cat(energies) / HEAT)
    counts = [0, *[len(at) * 30 for at in drawn], 0]
    differences, errors = free_energy.mbar(torch.stack(rows), counts)
    assert float(differences[-1]) * HEAT == pytest.approx(EXACT, abs=4 * float(errors[-1]) * HEAT)
    assert float(errors[-1]) < 0.1
    with pytest.raises(InputError, match="add up"):
        free_energy.mbar(torch.stack(rows), [1, 2])


def test_an_fcc_atom_has_twelve_neighbours():
    cell = 5.3 * torch.eye(3, dtype=torch.float64)[None]
    x = torch.from_numpy(fcc(18, 5.3).positions)
    system = torch.zeros(4, dtype=torch.long)
    count = coordination(x, cell, system, radius=4.5, width=0.4)
    torch.testing.assert_close(count, torch.full((4,), 12.0, dtype=torch.float64))
    near = {"radius": 3.8, "width": 0.3}
    moved = (x + 0.05 * torch.randn(4, 3, generator=torch.Generator().manual_seed(0))).double()
    inputs = (moved.requires_grad_(), cell.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda x, c: coordination(x, c, system, **near), inputs, fast_mode=True
    )
