"""Whether a solution is a minimum, and that calculations which ask for one end in one."""

import numpy as np
import pytest
import torch
from pyscf import dft, gto, scf
from sfm_dft.scf.stability import LOWEST, curvature, lowest
from sfm_dft.simulators.kohn_sham import KohnSham

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.units import factor

STRETCHED = Sample(id="H2", domain="dft", types=[1, 1], positions=[[0, 0, 0], [0, 0, 2.5]])
PAIR = Sample(id="H2", domain="dft", types=[1, 1], positions=[[0, 0, 0], [0, 0, 0.75]])
BORON = Sample(id="B", domain="dft", types=[5], positions=[[0, 0, 0]], conditions={"spin": 1})
OPTIONS = {"basis": "6-31g", "grid_level": 1, "spin": "unrestricted"}


def energy(simulator, state):
    return simulator.observe(state)["energy"].item() * factor("eV", "hartree")


def lowest_curvature(simulator, state):
    return curvature(simulator.energy_functional(state), state.scf.density_matrix)


def test_the_lowest_eigenvalue_of_the_hessian_is_that_of_the_whole_matrix():
    simulator = KohnSham(basis="sto-3g", grid_level=0, functional="PBE", spin="unrestricted")
    state = simulator.solve()
    value, rotation, direction = lowest_curvature(simulator, state)
    product, columns = rotation.hessian(), []
    sizes = [gap.numel() for gap in rotation.gaps]
    for unit in torch.eye(sum(sizes), dtype=torch.float64):
        parts = [x.view_as(g) for x, g in zip(unit.split(sizes), rotation.gaps, strict=True)]
        columns.append(torch.cat([x.flatten() for x in product(parts)]))
    assert value == pytest.approx(torch.linalg.eigvalsh(torch.stack(columns))[0].item(), abs=1e-6)
    functional, t = simulator.energy_functional(state), 1e-2
    energies = [
        functional.total(rotation.turned([x * u for u in direction]).density()).item()
        for x in (-t, 0.0, t)
    ]
    assert (energies[0] - 2.0 * energies[1] + energies[2]) / t**2 == pytest.approx(value, rel=1e-3)


def test_davidson_finds_negative_eigenvalues_and_nothing_below():
    rng = np.random.default_rng(0)
    for shift in (3.0, -0.5):
        diagonal = torch.tensor(rng.uniform(0.5, 4.0, 120))
        noise = torch.tensor(rng.standard_normal((120, 120))) * 0.03
        matrix = torch.diag(diagonal) + noise + noise.mT
        matrix[7, 7] += shift - diagonal[7]
        lowest_value = torch.linalg.eigvalsh(matrix)[0].item()
        value, vector = lowest(lambda x, m=matrix: m @ x, matrix.diagonal())
        assert (value < LOWEST) == (lowest_value < LOWEST)
        assert value >= lowest_value - 1e-12
        assert (vector @ matrix @ vector).item() == pytest.approx(value, abs=1e-10)


@pytest.mark.parametrize("functional", ["HF", "PBE"])
def test_a_stretched_bond_breaks_its_symmetry(functional):
    plain = KohnSham(functional=functional, **OPTIONS)
    saddle = plain.solve(STRETCHED)
    assert lowest_curvature(plain, saddle)[0] < -0.1
    simulator = KohnSham(functional=functional, stability=True, **OPTIONS)
    state = simulator.solve(STRETCHED)
    assert lowest_curvature(simulator, state)[0] > 0.1
    observed = simulator.observe(state)
    assert observed["spin_squared"].item() > 0.8  # up on one atom, down on the other
    atom = Sample(id="H", domain="dft", types=[1], positions=[[0, 0, 0]])
    apart = 2.0 * energy(plain, plain.solve(atom))
    assert apart - 0.01 < energy(simulator, state) < energy(plain, saddle) - 0.04
    observed["energy"].backward()  # by the envelope theorem, as anywhere
    assert simulator.exchange_scale.grad.isfinite()


def test_the_broken_symmetry_solution_is_pyscfs():
    molecule = gto.M(atom="H 0 0 0; H 0 0 2.5", basis="6-31g", verbose=0)
    reference = scf.UHF(molecule).density_fit(auxbasis="def2-universal-jkfit")
    reference.conv_tol = 1e-12
    reference.kernel()
    orbitals, _, stable, _ = reference.stability(return_status=True)
    assert not stable
    expected = reference.kernel(reference.make_rdm1(orbitals, reference.mo_occ))
    simulator = KohnSham(functional="HF", stability=True, **OPTIONS)
    assert energy(simulator, simulator.solve(STRETCHED)) == pytest.approx(expected, abs=1e-8)


def test_an_atom_leaves_the_saddle_point_that_diis_ends_in():
    options = {"functional": "PBE", "basis": "sto-3g", "grid_level": 2, "solver": "diis"}
    plain = KohnSham(**options)
    saddle = plain.solve(BORON)
    assert lowest_curvature(plain, saddle)[0] < LOWEST
    simulator = KohnSham(stability=True, **options)
    state = simulator.solve(BORON)
    assert lowest_curvature(simulator, state)[0] > LOWEST
    below = energy(plain, saddle) - energy(simulator, state)
    assert 5e-7 < below < 1e-5  # hartree: the p orbital turns in the grid
    molecule = gto.M(atom="B 0 0 0", basis="sto-3g", spin=1, verbose=0)
    reference = dft.UKS(molecule, xc="PBE").density_fit(auxbasis="def2-universal-jfit")
    reference.grids.level = 2
    assert energy(simulator, state) < reference.kernel() + 1e-8


def test_minima_and_closed_shells_stay_as_they_are():
    for sample, spin in ((PAIR, "unrestricted"), (STRETCHED, "auto")):
        settings = {**OPTIONS, "functional": "PBE", "spin": spin}
        plain, simulator = KohnSham(**settings), KohnSham(stability=True, **settings)
        plain_state, state = plain.solve(sample), simulator.solve(sample)
        assert torch.equal(state.scf.cycles, plain_state.scf.cycles)
        assert torch.equal(state.scf.density_matrix, plain_state.scf.density_matrix)


def test_a_batch_and_single_steps_get_there_too():
    simulator = KohnSham(functional="HF", stability=True, **OPTIONS)
    both = simulator.observe(simulator.solve([PAIR, STRETCHED]))["energy"].detach()
    trajectory = simulator.run(simulator.state(STRETCHED), 60)
    alone = trajectory.observables["energy"][-1].detach()
    torch.testing.assert_close(both[1], alone, rtol=0, atol=1e-6)
    single = simulator.observe(simulator.solve(PAIR))["energy"].detach()
    torch.testing.assert_close(both[0], single, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("distance", [6.0, 10.0, 15.0])
def test_a_bond_that_is_pulled_apart_ends_in_two_atoms(distance):
    """PySCF's UKS with the same fitting: two hydrogen atoms are -27.13681 eV (PBE/def2-SVP)."""
    apart = Sample(id="H2", domain="dft", types=[1, 1], positions=[[0, 0, 0], [0, 0, distance]])
    options = {"functional": "PBE", "spin": "unrestricted", "stability": True}
    simulator = KohnSham(**options).requires_grad_(False)
    observed = simulator.observe(simulator.solve(apart))
    assert observed["energy"].item() == pytest.approx(-27.13681, abs=5e-4)  # atoms' grids overlap
    assert observed["spin_squared"].item() == pytest.approx(1.0, abs=1e-4)


def test_spins_that_never_were_let_apart_are_named():
    settings = {"functional": "PBE", **OPTIONS}
    plain = KohnSham(**settings)
    (said,) = plain.warnings(plain.solve(STRETCHED))
    assert "stability=True" in said
    better = KohnSham(stability=True, **settings)
    state = better.solve(STRETCHED)
    assert better.warnings(state) == ()
    assert energy(better, state) < energy(plain, plain.solve(STRETCHED)) - 1e-3


def test_stability_of_fractional_electrons_is_refused():
    with pytest.raises(InputError, match="stability is that of whole electrons"):
        KohnSham(stability=True, smearing=0.01)
