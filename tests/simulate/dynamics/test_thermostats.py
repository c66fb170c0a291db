"""Thermostats and the barostat against the distributions that they are made for."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats

from sfm.constants import ACCELERATION, BOLTZMANN
from sfm.simulate.dynamics.ensembles import ISOBARIC, Bath, Ensemble
from sfm.simulate.dynamics.motion import CHAIN, Motion, kinetic_energy, thermal_velocities
from sfm.simulate.dynamics.noise import chi_squares
from sfm.simulate.dynamics.rigid import Rigid

KELVIN, MASS = 200.0, 20.0
HEAT = BOLTZMANN * KELVIN
PRESSURE = 1e-3  # eV/angstrom^3


def bath() -> Bath:
    values = (KELVIN, 0.02, 25.0, PRESSURE, 1 / PRESSURE / 60)
    return Bath(*(torch.tensor(x, dtype=torch.float64) for x in values))


def quartic(positions, cell):
    """Forces of x^4/4 in each coordinate of each particle, eV/angstrom: no harmonic motion."""
    return -(positions**3), torch.zeros_like(cell)


def nothing(positions, cell):
    return torch.zeros_like(positions), torch.zeros_like(cell)


def start(
    systems: int,
    particles: int,
    *,
    side: float = 0.0,
    at_rest: bool,
    name: str,
    dt: float,
    bond: float | None = None,
):
    system = torch.arange(systems).repeat_interleave(particles)
    free = torch.ones(len(system), 3, dtype=torch.bool)
    rigid = None if bond is None else dimers(system, free, bond)
    ensemble = Ensemble.of(name, dt, 3, system, free, at_rest=at_rest, rigid=rigid)
    masses = torch.full((len(system), 1), MASS, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    velocities = thermal_velocities(masses, system, KELVIN, generator, free, at_rest=at_rest)
    positions = 0.3 * torch.randn(len(system), 3, generator=generator, dtype=torch.float64)
    none = torch.zeros(systems, dtype=torch.float64)
    cell = side * torch.eye(3, dtype=torch.float64).repeat(systems, 1, 1)
    chain = torch.zeros(systems, 2, CHAIN, dtype=torch.float64)
    zero = torch.zeros_like(positions)
    virial = torch.zeros_like(cell)
    return ensemble, masses, Motion(positions, velocities, zero, virial, cell, chain, none)


def dimers(system, free, length: float) -> Rigid:
    """Particles 0 and 1, 2 and 3, ... at a distance of `length`, angstrom."""
    pairs = torch.arange(len(system)).reshape(-1, 2)
    sizes = torch.full((len(pairs),), length, dtype=torch.float64)
    return Rigid.of(pairs, torch.zeros(len(pairs), 3), sizes, system, free)


@pytest.mark.parametrize("name", ["langevin", "nose-hoover", "velocity-rescaling"])
def test_kinetic_energies_have_the_canonical_distribution(name):
    ensemble, masses, m = start(100, 2, at_rest=False, name=name, dt=2.0)
    m = m._replace(forces=quartic(m.positions, m.cell)[0])
    seen = []
    for number in range(1400):
        m = ensemble.step(m, number, masses, bath(), quartic)
        if number >= 300 and number % 100 == 0:
            seen.append(ensemble.kinetic(m.velocities, masses))
    kinetic = torch.cat(seen)
    # chi-square of six degrees of freedom; a wrong degree of freedom or a mean 10 % off fails
    assert stats.kstest(kinetic, stats.gamma(3, scale=HEAT).cdf).pvalue > 0.01
    # the virial theorem: x dU/dx is k_B T for each coordinate
    assert float(m.positions.pow(4).mean()) == pytest.approx(HEAT, rel=0.25)


def test_rigid_dimers_have_the_distribution_of_five_degrees_of_freedom():
    length = 0.5
    ensemble, masses, m = start(100, 2, at_rest=False, name="langevin", dt=2.0, bond=length)
    apart = torch.tensor([0.0, length, 0.0], dtype=torch.float64)
    x = m.positions.reshape(-1, 2, 3)[:, :1] + torch.stack([0 * apart, apart])
    m = m._replace(positions=x.reshape(-1, 3))
    m = ensemble._held(m._replace(forces=quartic(m.positions, m.cell)[0]), masses)
    seen, turned = [], []
    for number in range(1400):
        m = ensemble.step(m, number, masses, bath(), quartic)
        if number >= 300 and number % 100 == 0:
            seen.append(ensemble.kinetic(m.velocities, masses))
            turned.append(m.positions.reshape(-1, 2, 3).diff(dim=1).squeeze(1))
    kinetic, bonds = torch.cat(seen), torch.cat(turned)
    assert ensemble.degrees.tolist() == [5.0] * 100
    assert stats.kstest(kinetic, stats.gamma(2.5, scale=HEAT).cdf).pvalue > 0.01
    torch.testing.assert_close(bonds.norm(dim=1), torch.full_like(bonds[:, 0], length))


@pytest.mark.parametrize("name", ISOBARIC)
def test_volumes_of_an_ideal_gas_have_the_isobaric_distribution(name):
    particles = 5
    side = (particles * HEAT / PRESSURE) ** (1 / 3)
    for at_rest in (True, False):
        ensemble, masses, m = start(150, particles, side=side, at_rest=at_rest, name=name, dt=1.0)
        if not at_rest:  # their momentum is not zero
            size = (HEAT * ACCELERATION / MASS) ** 0.5
            drawn = torch.randn(m.velocities.shape, generator=torch.Generator().manual_seed(1))
            m = m._replace(velocities=size * drawn.double())
        seen = []
        for number in range(2000):
            m = ensemble.step(m, number, masses, bath(), nothing)
            if number >= 400 and number % 200 == 0:
                seen.append(torch.linalg.det(m.cell))
        volumes = torch.cat(seen)
        # p(V) ~ V^N exp(-P V / k_B T)
        exact = stats.gamma(particles + 1, scale=HEAT / PRESSURE)
        assert stats.kstest(volumes, exact.cdf).pvalue > 0.01


def test_the_chain_conserves_its_energy_to_second_order():
    changes = []
    for dt in (4.0, 2.0, 1.0):
        ensemble, masses, m = start(3, 2, at_rest=False, name="nose-hoover", dt=dt)
        m = m._replace(forces=quartic(m.positions, m.cell)[0])
        energies = []
        for number in range(int(400 / dt)):
            m = ensemble.step(m, number, masses, bath(), quartic)
            potential = (m.positions**4 / 4).sum(1).reshape(3, 2).sum(1)
            kinetic = ensemble.kinetic(m.velocities, masses)
            energies.append(potential + kinetic + ensemble.stored(m, bath()))
        energy = torch.stack(energies)
        changes.append(float((energy - energy[0]).abs().max()))
    orders = [math.log2(a / b) for a, b in itertools.pairwise(changes)]
    assert orders == pytest.approx([2.0, 2.0], abs=0.5)


def test_langevin_moves_a_free_particle_by_einsteins_relation():
    ensemble, masses, m = start(400, 1, at_rest=False, name="langevin", dt=5.0)
    size = (HEAT * ACCELERATION / MASS) ** 0.5
    drawn = torch.randn(m.velocities.shape, generator=torch.Generator().manual_seed(1)).double()
    m = m._replace(velocities=size * drawn)
    first = m.positions
    for number in range(800):
        m = ensemble.step(m, number, masses, bath(), nothing)
    time, friction = 800 * 5.0, 0.02
    # D = k_B T / m g; <x^2> = 2 D (t - (1 - exp(-g t)) / g)
    exact = 2 * size**2 / friction * (time - (1 - math.exp(-friction * time)) / friction)
    assert float((m.positions - first).square().mean()) == pytest.approx(exact, rel=0.1)


def test_thermal_velocities_have_their_degrees_of_freedom():
    ensemble, masses, m = start(4, 3, at_rest=True, name="nve", dt=1.0)
    assert ensemble.degrees.tolist() == [6.0] * 4
    kinetic = ensemble.kinetic(m.velocities, masses)
    torch.testing.assert_close(kinetic, torch.full((4,), 3 * HEAT, dtype=torch.float64))
    assert kinetic_energy(m.velocities, masses).shape == (12,)
    momentum = (masses * m.velocities).reshape(4, 3, 3).sum(1)
    assert momentum.abs().max() < 1e-15


def test_chi_squares_depend_on_seed_and_number_alone():
    degrees = torch.tensor([3.0, 0.0, 1e4])
    drawn = chi_squares(degrees, degrees, 0, 5)
    assert torch.equal(drawn, chi_squares(degrees, degrees, 0, 5))
    assert not torch.equal(drawn, chi_squares(degrees, degrees, 0, 6))
    assert float(drawn[1]) == 0.0
    assert float(drawn[2]) == pytest.approx(1e4, rel=0.1)
