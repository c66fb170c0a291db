"""Cells at constant pressure against statistical mechanics, on solid argon."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sfm_crystals.constants import GPA
from sfm_crystals.data.prototypes import fcc
from sfm_crystals.simulators.dynamics import MolecularDynamics
from sfm_crystals.simulators.elastic import Elastic

from sfm.constants import BOLTZMANN

SETTINGS = {
    "compressibility": 0.3,
    "barostat_time": 300.0,
    "thermostat_time": 50.0,
    "rdf_points": 2,
}


def sampled(copies: int, steps: int, *, every: int, skip: int, **values: object):
    """Cells (T, S, 3, 3) angstrom and pressures (T, S) GPa of crystals of four atoms."""
    simulator = MolecularDynamics(**{**SETTINGS, **values})
    cells, pressures = [], []
    with torch.no_grad():
        state = simulator.state([fcc(18, 5.27)] * copies)
        for done in range(0, steps, every):
            state = simulator(state, every)
            if done >= skip:
                cells.append(state.cell)
                pressures.append(simulator.observe(state)["pressure"])
    return torch.stack(cells), torch.stack(pressures)


@pytest.mark.parametrize("ensemble", ["npt", "npt-anisotropic"])
def test_volumes_at_two_pressures_have_boltzmanns_ratio(ensemble):
    """p2(V) / p1(V) ~ exp(-(P2 - P1) V / k_B T), as the package physical-validation tests it."""
    kelvin, pressures = 30.0, (0.0, 0.16)  # apart by about two deviations
    volumes = []
    for number, target in enumerate(pressures):
        run = {"ensemble": ensemble, "temperature": kelvin, "pressure": target, "seed": number}
        cells, seen = sampled(40, 320, every=20, skip=80, **run)
        volumes.append(torch.linalg.det(cells).numpy())
        means = seen.mean(0)
        error = float(means.std()) / len(means) ** 0.5
        assert float(means.mean()) == pytest.approx(target, abs=4 * error)
    slope, error = boltzmann_slope(*volumes)
    exact = (pressures[1] - pressures[0]) / GPA / (BOLTZMANN * kelvin)
    assert error < 0.2 * exact
    assert slope == pytest.approx(exact, abs=3.5 * error)


def boltzmann_slope(one: np.ndarray, two: np.ndarray) -> tuple[float, float]:
    """The most likely b of p2/p1 ~ exp(-b V) for samples (T, S) each, with its error over replicas.

    Bennett's equations for equally many samples: M. R. Shirts, J. Chem. Theory Comput. 9, 909
    (2013).
    """

    def fit(first: np.ndarray, second: np.ndarray) -> float:
        v, middle = np.concatenate([first.ravel(), second.ravel()]), first.mean() / 2
        middle += second.mean() / 2
        label = np.repeat([0.0, 1.0], first.size)
        x = np.stack([np.ones_like(v), middle - v], 1)
        w = np.zeros(2)
        for _ in range(30):  # Newton's method for the logistic likelihood
            p = 1 / (1 + np.exp(-x @ w))
            w += np.linalg.solve((x.T * (p * (1 - p))) @ x, x.T @ (label - p))
        return float(w[1])

    parts = [fit(one[:, k::8], two[:, k::8]) for k in range(8)]
    return fit(one, two), float(np.std(parts, ddof=1) / 8**0.5)


def test_strains_of_a_cold_crystal_fluctuate_by_its_elastic_compliance():
    """<e e> = k_B T / V times the compliance (Parrinello, Rahman 1982): every mode of the cell."""
    kelvin = 2.0
    cells, _ = sampled(
        60, 500, every=20, skip=100, ensemble="npt-anisotropic", temperature=kelvin, dt=8.0
    )
    elastic = Elastic()
    constants = elastic.observe(elastic(elastic.state(fcc(18, 5.27))))["elastic_constants"]
    c = constants.detach().squeeze(0) / GPA
    mean = cells.mean((0, 1)).diagonal().mean() * torch.eye(3, dtype=torch.float64)
    deform = torch.linalg.solve(mean, cells)
    strain = 0.5 * (deform @ deform.mT - torch.eye(3, dtype=torch.float64))
    heat = BOLTZMANN * kelvin / float(torch.linalg.det(cells).mean())
    e = strain.diagonal(dim1=-2, dim2=-1)
    shear = torch.stack([strain[..., 0, 1], strain[..., 1, 2], strain[..., 0, 2]], -1)
    bulk = heat / float(e.sum(-1).var())
    tetragonal = heat / float((e - e.roll(1, -1)).square().mean())
    assert bulk == pytest.approx(float(c[0, 0] + 2 * c[0, 1]) / 3, rel=0.15)
    assert tetragonal == pytest.approx(float(c[0, 0] - c[0, 1]) / 2, rel=0.15)
    assert heat / float(4 * shear.square().mean()) == pytest.approx(float(c[3, 3]), rel=0.15)
    twisted = (cells[-1] - cells[-1].mT).abs().max()
    assert float(twisted) < 0.05  # symmetric stretches hardly turn the cell
