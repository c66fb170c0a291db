"""Self-consistent energies, components and dipoles against PySCF; failures that must be loud."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sfm_dft.energy import EnergyFunctional
from sfm_dft.kohn_sham import WATER, KohnSham
from sfm_dft.labelling import build_molecule, kohn_sham
from sfm_dft.scf import iterate, start_state
from sfm_dft.system import prepare

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.units import factor

REFERENCE = json.loads(Path(__file__).with_name("reference_energies.json").read_text())
NUMBERS = {"H": 1, "He": 2, "Li": 3, "C": 6, "O": 8}
BOHR = 0.52917721092  # PySCF's bohr in angstrom


def geometry(name):
    atoms = REFERENCE["molecules"][name]["atoms"]
    return (
        np.array([NUMBERS[symbol] for symbol, _ in atoms]),
        np.array([position for _, position in atoms]) * BOHR,
    )


def basis(name, numbers):
    table = REFERENCE["basis"][name]
    return {symbol: table[symbol] for symbol, z in NUMBERS.items() if z in numbers}


def solve(system, functional, **options):
    one, none = torch.ones((), dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    energy = EnergyFunctional(system, functional, one, one, none)
    state = iterate(energy, start_state(system), 60, **options)
    assert state.converged
    return energy, state


@pytest.mark.parametrize("functional", ["LDA", "PBE"])
@pytest.mark.parametrize("basis_name", ["sto-3g", "6-31g", "def2-svp"])
@pytest.mark.parametrize("name", ["H2", "He", "LiH", "H2O", "CH4"])
def test_energy_equals_stored_reference(name, basis_name, functional):
    numbers, positions = geometry(name)
    wanted = REFERENCE["values"][f"{name}/{basis_name}/{functional}"]
    for coulomb in ("exact", "fitted"):
        if name == "He" and basis_name == "sto-3g":
            with pytest.raises(InputError, match="empty orbital"):
                prepare(numbers, positions, basis=basis(basis_name, numbers))
            return
        system = prepare(
            numbers,
            positions,
            basis=basis(basis_name, numbers),
            coulomb=coulomb,
            gradient=functional == "PBE",
            closure=False,
        )
        energy, state = solve(system, functional)
        found = float(energy.energy(state.density_matrix))
        assert abs(found - wanted[coulomb]) <= 1e-7
        dipole = energy.dipole(state.density_matrix).numpy()
        # stored dipoles: exact integrals, a finer grid
        np.testing.assert_allclose(
            dipole, wanted["dipole"], atol=3e-5 if coulomb == "exact" else 2e-3
        )


@pytest.mark.parametrize("functional", ["LDA", "PBE"])
def test_components_equal_pyscf_run_here(functional):
    numbers = np.array([8, 1, 1])
    positions = np.array([[0.0, 0.1, 0.2], [0.9, 0.1, 0.0], [-0.3, 0.9, 0.3]])
    molecule = build_molecule(numbers, positions)
    with kohn_sham(molecule, functional, grid_level=2) as reference:
        reference.conv_tol, reference.conv_tol_grad = 1e-12, 1e-8
        reference.kernel()
        matrix = reference.make_rdm1()
        dipole = reference.dip_moment(unit="AU", verbose=0) * factor("e*bohr", "e*angstrom")
    simulator = KohnSham(functional=functional, grid_level=2, tolerance=1e-9)
    found = simulator.observe(
        simulator.solve(Sample(id="w", domain="dft", types=numbers, positions=positions))
    )
    wanted = {
        "energy": reference.e_tot,
        "kinetic_energy": np.trace(molecule.intor("int1e_kin") @ matrix),
        "external_energy": np.trace(molecule.intor("int1e_nuc") @ matrix),
        "hartree_energy": reference.scf_summary["coul"],
        "xc_energy": reference.scf_summary["exc"],
        "nuclear_energy": molecule.energy_nuc(),
        "homo": reference.mo_energy[4],
        "lumo": reference.mo_energy[5],
    }
    for name, value in wanted.items():
        ours = found[name].item() * factor("eV", "hartree")
        assert ours == pytest.approx(float(value), abs=1e-7), name
    np.testing.assert_allclose(found["dipole"].detach().numpy(), dipole, atol=1e-6)


def test_components_against_stored_reference_on_a_fine_grid():
    wanted = REFERENCE["values"]["H2O/def2-svp/PBE"]
    numbers, positions = geometry("H2O")
    system = prepare(
        numbers,
        positions,
        basis=basis("def2-svp", numbers),
        coulomb="exact",
        grid_level=5,
        prune=False,
        closure=False,
    )
    energy, state = solve(system, "PBE")
    parts = {k: float(v) for k, v in energy.components(state.density_matrix).items()}
    assert sum(parts.values()) == pytest.approx(wanted["exact_l5"], abs=1e-9)
    finer = wanted["components"]  # level 7
    assert parts["kinetic"] == pytest.approx(finer["e_kin"], abs=2e-6)
    assert parts["external"] == pytest.approx(finer["e_ext"], abs=2e-6)
    assert parts["hartree"] == pytest.approx(finer["e_coul_and_exact_x"], abs=2e-6)
    assert parts["exchange"] + parts["correlation"] == pytest.approx(finer["e_xc"], abs=2e-6)


def test_field_energy_and_dipole_equal_pyscf():
    molecule = build_molecule(*WATER)
    strength = 0.5 * factor("V/angstrom", "hartree/(e*bohr)")
    with kohn_sham(molecule, "LDA") as reference:
        core = reference.get_hcore() + strength * molecule.intor("int1e_r")[2]
        reference.get_hcore, reference.conv_tol = lambda *_: core, 1e-12
        wanted = reference.kernel()
    wanted -= strength * (molecule.atom_charges() @ molecule.atom_coords())[2]
    simulator = KohnSham(grid_level=1, field_z=0.5, tolerance=1e-9)
    found = simulator.observe(simulator.solve())
    assert found["energy"].item() * factor("eV", "hartree") == pytest.approx(wanted, abs=1e-8)


def test_charge_and_starting_density_do_not_matter_to_the_result():
    ion = Sample(
        id="OH-",
        domain="dft",
        types=[8, 1],
        positions=[[0, 0, 0], [0, 0, 0.97]],
        conditions={"charge": -1},
    )
    simulator = KohnSham(grid_level=0)
    state = simulator.solve(ion)
    core_guess = torch.zeros_like(state.system.guess)
    again = type(state)(state.system, start_state(state.system, core_guess))
    again = simulator(again, 60)
    assert again.converged
    torch.testing.assert_close(
        simulator.observe(again)["energy"], simulator.observe(state)["energy"], rtol=0, atol=1e-7
    )


def test_not_converged_is_never_a_silent_energy():
    simulator = KohnSham(max_cycles=3, grid_level=0)
    start = simulator.state()
    with pytest.raises(RunError, match="not self-consistent after 3 cycles"):
        simulator.run(start, 100)
    with pytest.raises(RunError, match="level_shift"):
        simulator.solve()
    half = KohnSham(grid_level=0)
    trajectory = half.run(start, 2)
    assert "not self-consistent after 2 cycles" in trajectory.warnings[0]
    assert not half.observe(trajectory.states[-1])["energy"].requires_grad


@pytest.mark.parametrize(("steps", "every"), [(5, -1), (5, 0), (-1, 1)])
def test_a_run_of_impossible_length_is_refused(steps, every):
    simulator = KohnSham(basis="sto-3g", grid_level=0)
    with pytest.raises(InputError, match=f"steps={steps}, every={every}: need >= 0 and >= 1"):
        simulator.run(simulator.state(), steps, every=every)


def test_run_records_convergence():
    simulator = KohnSham(grid_level=0)
    trajectory = simulator.run(simulator.state(), simulator.default_steps)
    residual = trajectory.observables["scf_residual"]
    assert trajectory.warnings == ()
    assert residual[-1] < 1e-8 * factor("hartree", "eV")
    assert trajectory.times[-1] == len(trajectory.times) - 1 <= 20
    assert trajectory.observables["dipole"].shape == (len(trajectory.times), 3)
    done = trajectory.states[-1]
    assert simulator(done, 5) == done


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"types": [1, 8, 8]}, "17 electrons"),
        ({"positions": np.zeros((0, 3)), "types": []}, "needs atoms"),
        ({"cell": np.eye(3) * 9, "pbc": [True] * 3}, "open molecules"),
        ({"conditions": {"charge": 0.5}}, "not a whole number"),
        ({"types": [8, 1, 0]}, "atomic numbers"),
    ],
)
def test_bad_molecules_are_refused(change, message):
    sample = Sample(id="bad", domain="dft", types=WATER[0], positions=WATER[1]).replace(**change)
    with pytest.raises(InputError, match=message):
        KohnSham(grid_level=0).state(sample)


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="no basis 'def3-svp'"):
        KohnSham(basis="def3-svp").state()
    with pytest.raises(InputError, match="float64"):
        KohnSham(dtype=torch.float32)
    with pytest.raises(InputError, match="functional='B3LYP' is not one of LDA, PBE"):
        KohnSham(functional="B3LYP")
    with pytest.raises(InputError, match="set coulomb='fitted'"):
        prepare(np.array([6] * 6), np.arange(18.0).reshape(6, 3), coulomb="exact")


def test_picture_of_the_density(tmp_path):
    simulator = KohnSham(grid_level=0)
    trajectory = simulator.run(simulator.state(), 60)
    simulator.plot(trajectory, tmp_path / "density.png")
    assert (tmp_path / "density.png").stat().st_size > 20_000


def test_grid_density_integrates_to_the_electrons():
    simulator = KohnSham(grid_level=3)
    state = simulator.solve()
    rho, _ = state.system.density(state.scf.density_matrix)
    assert float(state.system.weights @ rho) == pytest.approx(10.0, abs=1e-4)
    points = state.system.points[::997].numpy()
    again = state.system.density_at(state.scf.density_matrix, points)
    np.testing.assert_allclose(again, rho[::997].numpy(), rtol=1e-9, atol=1e-14)
