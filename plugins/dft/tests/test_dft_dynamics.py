"""Trajectories on Kohn-Sham energy surfaces, and their gradients against whole trajectories."""

import math

import numpy as np
import pytest
import torch
from sfm_dft.simulators.dynamics import Path, Surface, frequency, move, peak, spectrum
from sfm_dft.simulators.kohn_sham import KohnSham
from sfm_dft.xc import Functional, GridDensity, XcEnergy
from torch import nn

from sfm.constants import LIGHT
from sfm.data.sample import Sample
from sfm.errors import InputError, RunError

H2 = np.array([1, 1]), np.array([[0.0, 0.0, 0.0], [0.02, 0.0, 0.78]])
WATER = np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.11], [0.05, 0.77, -0.45], [0.0, -0.72, -0.5]])
TIGHT = {"basis": "sto-3g", "grid_level": 0, "tolerance": 1e-11}


class Learned(Functional):
    """A gradient correction with a weight."""

    rung = "gga"

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(-0.02, dtype=torch.float64))

    def forward(self, density: GridDensity) -> XcEnergy:
        square = density.gradient.square().sum(1)
        energy = self.weight * (torch.tanh(square) * density.rho).sum(0)
        return XcEnergy(energy, torch.zeros_like(energy))


def surface(molecule, **options) -> Surface:
    sample = Sample(id="molecule", domain="dft", types=molecule[0], positions=molecule[1])
    return Surface(KohnSham(**{**TIGHT, **options}), sample)


def centred(function, parameter, step) -> torch.Tensor:
    """Fourth-order difference of a function of nothing by a parameter in place."""
    original, total = parameter.detach().clone(), torch.zeros((), dtype=torch.float64)
    for k, weight in ((2, -1.0), (1, 8.0), (-1, -8.0), (-2, 1.0)):
        with torch.no_grad():
            parameter.copy_(original + k * step)
            total = total + weight * function()
            parameter.copy_(original)
    return total / (12.0 * step)


def test_gradient_of_bond_length_and_frequency_equals_differences_of_whole_trajectories():
    """Trained functional -> self-consistent field -> forces -> dynamics -> observable, and back."""
    closure = Learned()
    one = surface(H2, functional="PBE", closure=closure)
    start = torch.tensor(H2[1])

    def observables():
        path = move(one, start, dt=0.4, steps=10)
        bond = path.bond(0, 1)
        return torch.stack([bond.mean(), frequency(bond, 0.4)])

    chosen = [one.simulator.exchange_scale, closure.weight]
    values = observables()
    gradients = [torch.autograd.grad(value, chosen, retain_graph=True) for value in values]
    for index, parameter in enumerate(chosen):
        differences = centred(observables, parameter, 2e-3)
        assert differences.abs().min() > 1e-3
        for row, value in zip(gradients, differences, strict=True):
            assert row[index].item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.slow
def test_gradient_by_the_initial_state_and_the_energy_of_a_bent_molecule():
    one = surface(WATER, functional="LDA")
    velocity = torch.tensor(np.random.default_rng(0).normal(scale=5e-3, size=(3, 3)))
    weights = torch.tensor(np.random.default_rng(1).normal(size=(3, 3)))
    start = torch.tensor(WATER[1], requires_grad=True)
    velocity.requires_grad_()

    def value():
        path = move(one, start, velocity, dt=0.5, steps=2)
        return (path.positions[-1] * weights).sum() + path.potential[-1] + path.kinetic[1]

    scale = one.simulator.exchange_scale
    by_start, by_velocity, by_scale = torch.autograd.grad(value(), [start, velocity, scale])
    for tensor, slope in ((start, by_start), (velocity, by_velocity)):
        t = torch.zeros((), dtype=torch.float64)
        original = tensor.detach().clone()
        way = torch.tensor(np.random.default_rng(2).normal(size=(3, 3)))

        def along(t=t, tensor=tensor, original=original, way=way):
            tensor.detach().copy_(original + t * way)
            energy = value()
            tensor.detach().copy_(original)
            return energy

        difference = centred(along, t, 1e-3)
        assert float((slope * way).sum()) == pytest.approx(difference.item(), rel=1e-6)
    assert by_scale.item() == pytest.approx(centred(value, scale, 1e-3).item(), rel=1e-6)


def test_energy_is_conserved_to_second_order_and_the_path_runs_backwards():
    one = surface(H2)
    start = torch.tensor(H2[1])
    with torch.no_grad():
        drifts = [move(one, start, dt=dt, steps=int(6 / dt)).drift for dt in (0.5, 0.25)]
        path = move(one, start, dt=0.5, steps=5)
        back = move(one, path.positions[-1], -path.velocities[-1], dt=0.5, steps=5)
    assert drifts[0] / drifts[1] == pytest.approx(4.0, abs=0.4)
    torch.testing.assert_close(back.positions[-1], start, rtol=0, atol=1e-9)
    momentum = (path.velocities * path.masses[:, None]).sum(1)
    assert momentum.abs().max() < 1e-12


def test_small_oscillations_have_the_frequency_of_the_hessian():
    numbers, positions = H2[0], np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.7345]])
    one = surface((numbers, positions))
    vibrating = KohnSham(vibrations=True, **TIGHT).requires_grad_(False)
    dt = 0.25
    with torch.no_grad():
        # first to the minimum, where the Hessian's frequency is that of small oscillations
        for _ in range(4):
            observed = vibrating.observe(vibrating.solve(one.sample.replace(positions=positions)))
            stiffness = float(observed["hessian"][5, 5])
            positions = positions.copy()
            positions[1, 2] += float(one(torch.tensor(positions))[1][1, 2]) / stiffness
        stretched = torch.tensor(positions) + torch.tensor([[0.0] * 3, [0.0, 0.0, 2e-3]])
        path = move(one, stretched, dt=dt, steps=30)
        found_frequency = float(frequency(path.bond(0, 1), dt))
    # velocity Verlet: sin(w' dt / 2) = w dt / 2; the rest is anharmonicity
    omega = 2 * math.pi * LIGHT * float(observed["frequencies"][0])
    discrete = 2 * math.asin(omega * dt / 2) / dt / (2 * math.pi * LIGHT)
    assert found_frequency == pytest.approx(discrete, rel=3e-4)


def test_frequency_and_spectrum_of_known_signals():
    t = 0.5 * torch.arange(400, dtype=torch.float64)
    waves = 2 * math.pi * LIGHT * torch.tensor([1600.0, 3700.0], dtype=torch.float64)
    one = 0.7 + 0.1 * torch.cos(waves[0] * t[:15] + 0.3)
    assert float(frequency(one, 0.5)) == pytest.approx(1600.0, rel=2e-3)
    velocity = torch.cos(waves[0] * t) + 0.5 * torch.cos(waves[1] * t)
    velocities = torch.stack([velocity, -velocity], 1)[..., None].expand(-1, -1, 3)
    zeros = torch.zeros_like(t)
    path = Path(t, velocities, velocities, zeros, zeros, torch.ones(2, dtype=torch.float64))
    where, power = spectrum(path)
    assert float(peak(where, power, 1300.0, 1900.0)) == pytest.approx(1600.0, abs=3.0)
    assert float(peak(where, power, 3400.0, 4000.0)) == pytest.approx(3700.0, abs=3.0)
    with pytest.raises(InputError, match="run longer"):
        peak(where, power, 1.0, 2.0)


def test_bad_input_and_failure_are_one_line():
    one = surface(H2)
    with pytest.raises(InputError, match=r"must be \(2, 3\)"):
        move(one, torch.zeros(3, 3, dtype=torch.float64))
    with pytest.raises(InputError, match=r"dt=0\.0 fs must be positive"):
        move(one, torch.tensor(H2[1]), dt=0.0)
    with pytest.raises(RunError, match="not self-consistent at a step"):
        surface(WATER, max_cycles=2)(torch.tensor(WATER[1]))


def test_isotopes_fixed_atoms_and_velocities_of_a_sample_are_kept():
    """With one atom fixed a diatomic vibrates with the other's mass; a heavier one is slower."""
    base = surface(H2, functional="LDA").sample
    paths = {}
    for mass in (1.008, 2.016):
        held = base.replace(masses=[1.008, mass], fixed=[True, False])
        path = move(Surface(KohnSham(**TIGHT), held), torch.tensor(H2[1]), dt=0.5, steps=40)
        assert (path.positions[:, 0] == path.positions[0, 0]).all()
        assert path.drift < 2e-2
        paths[mass] = frequency(path.bond(0, 1).detach(), 0.5)
    ratio = float(paths[2.016] / paths[1.008])
    assert ratio == pytest.approx(2**-0.5, rel=0.01)
    moving = base.replace(velocities=[[0, 0, -0.01], [0, 0, 0.01]])
    path = move(Surface(KohnSham(**TIGHT), moving), torch.tensor(H2[1]), dt=0.1, steps=1)
    np.testing.assert_allclose(path.velocities[0].detach(), moving.velocities)
