"""Liquid argon against published figures, and volumes at two pressures: minutes, so slow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sfm_crystals.constants import GPA
from sfm_crystals.data.prototypes import fcc, repeated
from sfm_crystals.simulators.dynamics import MolecularDynamics

from sfm.constants import BOLTZMANN
from sfm.simulate.dynamics.structure import distances, first_peak
from sfm.simulate.dynamics.transport import diffusion, mean_square_displacement


@pytest.mark.slow
def test_liquid_argon_has_rahmans_structure_and_diffusion():
    """A. Rahman, Phys. Rev. 136, A405 (1964): 94.4 K, 1.374 g/cm^3, 864 atoms; here 256.

    g(r) has its first maximum at 3.7 angstrom; D = 2.43e-5 cm^2/s. A box of 256 atoms diffuses some
    10 % slower (Yeh and Hummer 2004), and one run of 12 ps is good to about as much.
    """
    start = repeated(fcc(18, 5.797), 4)
    with torch.no_grad():
        warm = MolecularDynamics(ensemble="velocity-rescaling", temperature=94.4)
        liquid = warm(warm.state(start), 1000)
        simulator = MolecularDynamics(temperature=94.4)
        run = simulator.run(liquid._replace(start=liquid.positions), 1200, every=10)
    g = run.observables["radial_distribution"][:, 0].mean(0)
    place, height = first_peak(distances(10.0, 100), g)
    assert float(place) == pytest.approx(3.7, abs=0.05)
    assert 2.6 < float(height) < 3.1
    kelvin = float(run.observables["kinetic_temperature"].mean())
    assert kelvin == pytest.approx(94.4, rel=0.06)
    positions = torch.stack([state.positions for state in run.states])
    moved = mean_square_displacement(positions, origins=5)[:40]
    coefficient = float(diffusion(run.times[:40] - run.times[0], moved)) * 0.1  # cm^2/s
    assert coefficient == pytest.approx(2.43e-5, rel=0.25)


@pytest.mark.slow
def test_volumes_at_two_pressures_differ_as_they_must():
    """ln p2(V) / p1(V) = const - (P2 - P1) V / k_B T, fitted by maximum likelihood.

    M. R. Shirts, J. Chem. Theory Comput. 9, 909 (2013).
    """
    kelvin, pressures, volumes = 94.4, (0.05, 0.13), []
    sample = repeated(fcc(18, 5.6), 2)
    for pressure in pressures:
        simulator = MolecularDynamics(
            ensemble="npt",
            temperature=kelvin,
            pressure=pressure,
            barostat_time=300.0,
            thermostat_time=50.0,
        )
        with torch.no_grad():
            state, seen = simulator.state([sample] * 12), []
            state = simulator(state, 500)
            for _ in range(30):
                state = simulator(state, 60)
                seen.append(torch.linalg.det(state.cell))
        volumes.append(torch.stack(seen).flatten().numpy())
    mean = np.concatenate(volumes).mean()

    def loss(x: np.ndarray) -> float:
        low, high = (x[0] - x[1] * (v - mean) for v in volumes)
        return float(np.logaddexp(0, low).sum() + np.logaddexp(0, -high).sum())

    slope = minimize(loss, [0.0, 0.1]).x[1]
    exact = (pressures[1] - pressures[0]) / GPA / (BOLTZMANN * kelvin)
    assert volumes[0].mean() - volumes[1].mean() > volumes[0].std()
    assert slope == pytest.approx(exact, rel=0.15)
