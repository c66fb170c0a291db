"""Derivatives through self-consistency against finite differences of whole calculations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sfm_dft.gradients.response import attach
from sfm_dft.scf.diis import finish
from sfm_dft.scf.energy import DensityFeatures
from sfm_dft.simulators.kohn_sham import KohnSham
from torch import nn

from sfm.data.sample import Sample
from sfm.errors import RunError
from sfm.simulate import Observations

QUANTITIES = ("energy", "kinetic_energy", "hartree_energy", "xc_energy", "homo", "lumo", "dipole")
LIH = Sample(id="LiH", domain="dft", types=[3, 1], positions=[[0, 0, 0], [0.1, 0.2, 1.6]])
BEH = Sample(
    id="BeH",
    domain="dft",
    types=[4, 1],
    positions=[[0, 0, 0], [0.1, 0.2, 1.3]],
    conditions={"spin": 1},
)
METHANE = Sample(
    id="CH4",
    domain="dft",
    types=[6, 1, 1, 1, 1],
    positions=0.629 * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
)
# the x component of a dipole that is no symmetry zero; elsewhere the number itself
PICK = {"dipole": lambda value: value @ torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64)}


class SmallClosure(nn.Module):
    """A nonlinear, rotation-invariant functional of the projections."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Parameter(torch.linspace(-0.2, 0.2, 10, dtype=torch.float64))
        self.square = nn.Parameter(torch.tensor(0.05, dtype=torch.float64))

    def forward(self, density: DensityFeatures) -> torch.Tensor:
        p = density.projections
        invariant = torch.tanh(p[:, :10] @ self.linear)
        return invariant.sum() + self.square * p[:, 10:].square().sum()


def simulator(**options):
    options = {"grid_level": 0, "tolerance": 1e-12, "field_z": 0.3, "basis": "sto-3g", **options}
    return KohnSham(**options)


def value(sim, sample, name):
    observed = sim.observe(sim.solve(sample))[name]
    return PICK.get(name, lambda x: x)(observed)


def finite_difference(sim, parameter, sample, name, step=3e-4):
    original = parameter.detach().clone()
    results = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            parameter.copy_(original + sign * step)
        results.append(value(sim, sample, name).item())
    with torch.no_grad():
        parameter.copy_(original)
    return (results[0] - results[1]) / (2 * step)


@pytest.mark.parametrize("functional", ["LDA", "PBE"])
@pytest.mark.parametrize("name", QUANTITIES)
def test_physical_parameters(functional, name):
    check(simulator(functional=functional), LIH, name)


@pytest.mark.parametrize("functional", ["r2SCAN", "PBE0", "B3LYP"])
@pytest.mark.parametrize("name", ["energy", "kinetic_energy", "homo", "dipole"])
def test_meta_and_hybrid_functionals(functional, name):
    check(simulator(functional=functional), LIH, name)


@pytest.mark.parametrize(
    "options", [{}, {"functional": "PBE0"}, {"smearing": 0.02, "functional": "PBE"}], ids=str
)
@pytest.mark.parametrize("name", ["energy", "kinetic_energy", "homo", "dipole", "spin_squared"])
def test_open_shells_and_fractional_occupation(options, name):
    check(simulator(**options), BEH, name)


def check(sim, sample, name):
    for parameter in (sim.exchange_scale, sim.correlation_scale, sim.field_z):
        (slope,) = torch.autograd.grad(value(sim, sample, name), parameter)
        difference = finite_difference(sim, parameter, sample, name)
        assert slope.item() == pytest.approx(difference, rel=1e-6, abs=2e-7)


@pytest.mark.parametrize("name", QUANTITIES)
def test_closure_parameters(name):
    closure = SmallClosure()
    sim = simulator(closure=closure)
    (slope,) = torch.autograd.grad(value(sim, LIH, name), closure.square)
    difference = finite_difference(sim, closure.square, LIH, name)
    assert abs(difference) > 1e-4  # the closure acts back on the density
    assert slope.item() == pytest.approx(difference, rel=1e-6, abs=2e-7)


def test_gradcheck_of_the_whole_calculation():
    sim = simulator()
    start = sim.state(LIH)

    def run(exchange, field):
        parameters = {"exchange_scale": exchange, "field_x": field}
        state = torch.func.functional_call(sim, parameters, (start, 60))
        original = dict(sim.named_parameters())
        try:
            for name, tensor in parameters.items():
                del sim._parameters[name]
                setattr(sim, name, tensor)
            observed = sim.observe(state)
        finally:
            for name in parameters:
                delattr(sim, name)
                sim._parameters[name] = original[name]
        return observed["energy"], observed["dipole"], observed["xc_energy"]

    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.95, 0.2)]
    assert torch.autograd.gradcheck(run, inputs, eps=1e-4, atol=1e-6, rtol=1e-5)


def test_degenerate_orbitals_give_no_nan():
    """Methane's highest level is threefold degenerate; eigenvector derivatives would be NaN."""
    sim = simulator(field_z=0.0, functional="PBE", coulomb="exact")
    observed = sim.observe(sim.solve(METHANE))
    (polarisability,) = torch.autograd.grad(observed["dipole"][2], sim.field_z)
    slope = polarisability.item()
    sim2 = simulator(field_z=1e-3, functional="PBE", coulomb="exact")
    response = sim2.observe(sim2.solve(METHANE))["dipole"][2].item() / 1e-3
    assert np.isfinite(slope)
    assert slope == pytest.approx(response, rel=1e-4)


def test_closure_potential_is_part_of_the_fock_matrix():
    """An SCF with a closure is stationary: its energy is lowest among nearby densities."""
    sim = simulator(closure=SmallClosure())
    state = sim.solve(LIH)
    functional = sim.energy_functional(state)
    fock = functional.fock(state.scf.density_matrix)
    d, s = state.scf.density_matrix, state.system.overlap[:, None]
    assert (fock @ d @ s - s @ d @ fock).abs().max() < 1e-8
    without = simulator().solve(LIH).scf.density_matrix
    assert functional.total(without) > functional.total(d)


def test_fit_recovers_the_exchange_scale():
    hidden = simulator(exchange_scale=0.9)
    truth = hidden.observe(hidden.solve(LIH))
    sim = simulator()
    observations = Observations(
        state=[sim.state(LIH)],
        values={name: truth[name].detach()[None] for name in ("energy", "dipole")},
    )
    for _ in range(6):  # Gauss-Newton in one parameter
        predicted = sim.predict_observations(observations)["energy"]
        (slope,) = torch.autograd.grad(predicted.sum(), sim.exchange_scale)
        with torch.no_grad():
            residual = (observations.values["energy"] - predicted).sum()
            sim.exchange_scale += residual / slope
    assert sim.exchange_scale.item() == pytest.approx(0.9, abs=1e-6)


def test_observations_file(tmp_path):
    from sfm.errors import InputError

    path = tmp_path / "measured.json"
    path.write_text(
        '{"units": {"energy": "hartree"}, "molecules": [{"numbers": [3, 1], '
        '"positions": [[0, 0, 0], [0, 0, 1.6]], "energy": -7.9, "dipole": [0, 0, -1.1]}]}'
    )
    observations = simulator().read_observations(path)
    assert observations.values["energy"].item() == pytest.approx(-7.9 * 27.211386245988)
    assert observations.values["dipole"].shape == (1, 3)
    path.write_text('{"molecules": [{"numbers": [3, 1]}]}')
    with pytest.raises(InputError, match="molecule 1 has none of energy"):
        simulator().read_observations(path)
    with pytest.raises(InputError, match="No such file"):
        simulator().read_observations(tmp_path / "absent.json")


def test_no_response_where_the_lowest_levels_are_not_filled():
    """Second order may end there (LiF at 4.5 angstrom): its energy is good, a response is not."""
    simulator = KohnSham(basis="sto-3g", grid_level=0)
    state = simulator.solve(LIH)
    functional = simulator.energy_functional(state)
    solution = finish(functional, state.scf)
    attach(functional, solution).sum().backward()
    order = [0, 2, 1, 3, 4, 5]
    crossed = replace(solution, coefficients=solution.coefficients[..., order])
    with pytest.raises(RunError, match="coincide"):
        attach(functional, crossed).sum().backward()


def test_a_derivative_that_is_not_finite_is_refused():
    simulator = KohnSham(basis="sto-3g", grid_level=0)
    observed = simulator.observe(simulator.solve())
    with pytest.raises(RunError, match="not finite"):
        (observed["dipole"].sum() * torch.nan).backward()
