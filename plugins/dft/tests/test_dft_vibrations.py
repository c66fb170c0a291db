"""Second derivatives of the energy against differences of forces, PySCF, and symmetries."""

import numpy as np
import pytest
import torch
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.hessian.curvature import Curvature
from sfm_dft.hessian.vibrations import INTENSITY, atomic_masses, hessian, vibrations
from sfm_dft.scf.diis import Orbitals, finish
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.simulators.kohn_sham import KohnSham
from torch import nn

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning
from sfm.units import factor

BENT = np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.11], [0.05, 0.77, -0.45], [0.0, -0.72, -0.5]])
LIH = np.array([3, 1]), np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.6]])
AMIDOGEN = np.array([7, 1, 1]), np.array([[0.0, 0.0, 0.1], [0.1, 0.8, -0.5], [0.0, -0.8, -0.6]])


class Projected(nn.Module):
    """A small closure of projections and distances."""

    def forward(self, density):
        scalars = torch.tanh(density.projections[:, :10].sum(1))
        distance = (density.positions[:, None] - density.positions).square().sum(-1)
        return 0.1 * scalars @ torch.exp(-distance) @ scalars


def sample(molecule, **conditions):
    numbers, positions = molecule
    return Sample(
        id="molecule", domain="dft", types=numbers, positions=positions, conditions=conditions
    )


def solved(simulator: KohnSham, molecule: Sample) -> tuple[EnergyFunctional, Orbitals]:
    state = simulator.solve(molecule)
    functional = simulator.energy_functional(state)
    return functional, finish(functional, state.scf, smearing=simulator.smearing)


@pytest.mark.parametrize(
    ("molecule", "options"),
    [
        (LIH, {"functional": "LDA", "field_z": 0.3}),
        (LIH, {"functional": "PBE0", "coulomb": "exact"}),
        (LIH, {"functional": "PBE", "closure": Projected()}),
        (LIH, {"functional": "B3LYP"}),
        (LIH, {"functional": "PBE", "smearing": 0.03}),
        (LIH, {"functional": "r2SCAN", "spin": "unrestricted"}),
        pytest.param(AMIDOGEN, {"functional": "r2SCAN"}, marks=pytest.mark.slow),
    ],
    ids=lambda value: (
        " ".join(map(str, value.values())) if isinstance(value, dict) else str(len(value[0]))
    ),
)
def test_a_hessian_vector_product_equals_differences_of_forces(molecule, options):
    options = {"basis": "sto-3g", "grid_level": 0, "tolerance": 1e-11, **options}
    numbers, positions = molecule
    spin = float(int(numbers.sum()) % 2)
    direction = np.random.default_rng(1).normal(size=positions.shape)
    functional, solution = solved(KohnSham(**options), sample(molecule, spin=spin))
    smearing = options.get("smearing", 0.0)
    curvature = Curvature(functional, solution, smearing=smearing)
    (product,) = curvature.along(curvature.move(torch.tensor(direction)))
    product = product * factor("hartree/bohr**2", "eV/angstrom**2")
    plain = KohnSham(forces=True, **options).requires_grad_(False)
    differences, step = 0.0, 1e-3
    for k, weight in ((2, 1.0), (1, -8.0), (-1, 8.0), (-2, -1.0)):
        moved = sample((numbers, positions + k * step * direction), spin=spin)
        differences = differences + weight * plain.observe(plain.solve(moved))["forces"].detach()
    # eV/angstrom^2; entries are about 50, and the differences' own error is 1e-8 of that
    torch.testing.assert_close(product, differences / (12 * step), rtol=0, atol=5e-6)


def test_hartree_fock_equals_pyscf():
    """Without a grid both Hessians are the same number."""
    from pyscf import scf

    molecule = build_molecule(*BENT, "sto-3g")
    reference = scf.RHF(molecule)
    reference.conv_tol, reference.conv_tol_grad = 1e-13, 1e-9
    reference.kernel()
    reference_matrix = reference.Hessian().kernel().transpose(0, 2, 1, 3).reshape(9, 9)
    simulator = KohnSham(
        functional="HF", basis="sto-3g", coulomb="exact", grid_level=0, tolerance=1e-10
    )
    functional, solution = solved(simulator, sample(BENT))
    matrix, _ = hessian(functional, solution)
    np.testing.assert_allclose(matrix.numpy(), reference_matrix, rtol=0, atol=1e-7)


def test_dipole_derivatives_and_intensities_of_water():
    options = {"basis": "sto-3g", "grid_level": 0, "tolerance": 1e-11}
    functional, solution = solved(KohnSham(**options), sample(BENT))
    motion = vibrations(functional, solution)
    plain = KohnSham(**options).requires_grad_(False)
    for mode, intensity, frequency in zip(
        motion.modes, motion.intensities, motion.frequencies, strict=True
    ):
        masses = atomic_masses(functional.system.molecules[0].numbers)
        reduced = (masses[:, None] * mode.square()).sum()
        ends = []
        for sign in (1.0, -1.0):
            moved = BENT[0], BENT[1] + sign * 1e-3 * mode.numpy()
            ends.append(plain.observe(plain.solve(sample(moved)))["dipole"].detach())
        slope = (ends[0] - ends[1]) / 2e-3  # e per unit of a normalised displacement
        expected = INTENSITY * slope.square().sum() / reduced
        assert float(intensity) == pytest.approx(float(expected), rel=1e-4)
        assert frequency > 1000.0
    # moving the whole molecule moves no dipole of a neutral molecule, and costs no energy
    derivatives = motion.dipole_derivatives.view(3, 3, 3)
    torch.testing.assert_close(
        derivatives.sum(0), torch.zeros(3, 3, dtype=torch.float64), rtol=0, atol=1e-7
    )
    assert motion.hessian.view(3, 3, 9).sum(0).abs().max() < 1e-7


def test_polarizability_equals_a_finite_field_and_a_response_of_the_dipole():
    options = {"basis": "6-31g", "grid_level": 0, "functional": "PBE", "tolerance": 1e-11}
    simulator = KohnSham(polarizability=True, **options)
    observed = simulator.observe(simulator.solve(sample(BENT)))
    tensor = observed["polarizability_tensor"]
    dipoles = []
    for field in (0.02, -0.02):
        plain = KohnSham(field_z=field, **options).requires_grad_(False)
        dipoles.append(plain.observe(plain.solve(sample(BENT)))["dipole"].detach())
    slope = (
        (dipoles[0] - dipoles[1]) / 0.04 * factor("e*angstrom/(V/angstrom)", "e**2*bohr**2/hartree")
    )
    torch.testing.assert_close(tensor[2], slope, rtol=0, atol=1e-5)
    assert observed["polarizability"].item() == pytest.approx(tensor.trace().item() / 3)


def test_observables_of_the_simulator():
    simulator = KohnSham(vibrations=True, basis="sto-3g", grid_level=0)
    trajectory = simulator.run(simulator.state(sample(LIH)), 60)
    recorded = trajectory.observables
    assert recorded["frequencies"].shape == (len(trajectory.times), 1)  # a linear molecule: 3 A - 5
    assert torch.isnan(recorded["frequencies"][:-1]).all()
    assert trajectory.units["frequencies"] == "1/cm"
    assert 1000.0 < float(recorded["frequencies"][-1, 0]) < 2500.0
    with pytest.raises(InputError, match="one molecule at a time"):
        simulator.observe(simulator.solve([sample(LIH), sample(LIH)]))


def test_isotopes_vibrate_with_their_masses():
    """A diatomic's wavenumber goes with the inverse root of the reduced mass, exactly."""
    light = sample(LIH)
    masses = np.array([7.016, 2.014])
    heavy = light.replace(masses=masses)
    simulator = KohnSham(basis="sto-3g", grid_level=0, tolerance=1e-10, vibrations=True)
    frequencies = [
        float(simulator.observe(simulator.solve(one))["frequencies"][0]) for one in (light, heavy)
    ]
    usual = atomic_masses(torch.tensor(LIH[0])).numpy()
    reduced = [m.prod() / m.sum() for m in (usual, masses)]
    assert frequencies[1] / frequencies[0] == pytest.approx(
        np.sqrt(reduced[0] / reduced[1]), rel=1e-6
    )
    assert frequencies[1] < 0.8 * frequencies[0]


def test_atoms_that_vibrations_do_not_keep_fixed_are_said():
    simulator = KohnSham(basis="sto-3g", grid_level=0, vibrations=True)
    with pytest.warns(InputWarning, match="its fixed atoms move in dft/kohn-sham's vibrations"):
        simulator.state(sample(LIH).replace(fixed=[True, False]))
