"""Self-consistent energies, components and dipoles against PySCF; failures that must be loud."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from sfm_dft.basis.density_basis import electrons_per_function, evaluate
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.data.labelling import kohn_sham
from sfm_dft.neural.saving import load
from sfm_dft.scf.diis import iterate, start_state
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.preparation import prepare
from sfm_dft.scf.system import KohnShamSystem
from sfm_dft.simulators.kohn_sham import WATER, KohnSham
from sfm_dft.xc import FUNCTIONALS, functional

from sfm.cli import main
from sfm.data.sample import Sample
from sfm.errors import HubError, InputError, RunError
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


def solve(molecule, name, **options):
    one, none = torch.ones((), dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    energy = EnergyFunctional(KohnShamSystem((molecule,)), functional(name), one, one, none)
    state = iterate(energy, start_state(energy.system), 60, **options)
    assert state.done()
    return energy, state


@pytest.mark.parametrize("level", ["LDA", "PBE"])
@pytest.mark.parametrize("basis_name", ["sto-3g", "6-31g", "def2-svp"])
@pytest.mark.parametrize("name", ["H2", "He", "LiH", "H2O", "CH4"])
def test_energy_equals_stored_reference(name, basis_name, level):
    numbers, positions = geometry(name)
    reference = REFERENCE["values"][f"{name}/{basis_name}/{level}"]
    for coulomb in ("exact", "fitted"):
        molecule = prepare(
            numbers,
            positions,
            basis=basis(basis_name, numbers),
            coulomb=coulomb,
            gradient=level == "PBE",
            closure=False,
        )
        energy, state = solve(molecule, level)
        total = float(energy.total(state.density_matrix))
        assert abs(total - reference[coulomb]) <= 1e-7
        dipole = energy.dipole(state.density_matrix)[0].numpy()
        # stored dipoles: exact integrals, a finer grid
        np.testing.assert_allclose(
            dipole, reference["dipole"], atol=3e-5 if coulomb == "exact" else 2e-3
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
    observed = simulator.observe(
        simulator.solve(Sample(id="w", domain="dft", types=numbers, positions=positions))
    )
    expected = {
        "energy": reference.e_tot,
        "kinetic_energy": np.trace(molecule.intor("int1e_kin") @ matrix),
        "external_energy": np.trace(molecule.intor("int1e_nuc") @ matrix),
        "hartree_energy": reference.scf_summary["coul"],
        "xc_energy": reference.scf_summary["exc"],
        "nuclear_energy": molecule.energy_nuc(),
        "homo": reference.mo_energy[4],
        "lumo": reference.mo_energy[5],
    }
    for name, value in expected.items():
        ours = observed[name].item() * factor("eV", "hartree")
        assert ours == pytest.approx(float(value), abs=1e-7), name
    np.testing.assert_allclose(observed["dipole"].detach().numpy(), dipole, atol=1e-6)


def test_components_against_stored_reference_on_a_fine_grid():
    reference = REFERENCE["values"]["H2O/def2-svp/PBE"]
    numbers, positions = geometry("H2O")
    molecule = prepare(
        numbers,
        positions,
        basis=basis("def2-svp", numbers),
        coulomb="exact",
        grid_level=5,
        prune=False,
        closure=False,
    )
    energy, state = solve(molecule, "PBE")
    parts = {k: float(v) for k, v in energy.components(state.density_matrix).items()}
    assert sum(parts.values()) == pytest.approx(reference["exact_l5"], abs=1e-9)
    finer = reference["components"]  # level 7
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
        expected = reference.kernel()
    expected -= strength * (molecule.atom_charges() @ molecule.atom_coords())[2]
    simulator = KohnSham(grid_level=1, field_z=0.5, tolerance=1e-9)
    observed = simulator.observe(simulator.solve())
    assert observed["energy"].item() * factor("eV", "hartree") == pytest.approx(expected, abs=1e-8)


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
    for guess in ("atoms", "core"):
        other = KohnSham(grid_level=0, guess=guess)
        again = other.solve(ion)
        torch.testing.assert_close(
            other.observe(again)["energy"], simulator.observe(state)["energy"], rtol=0, atol=1e-7
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
        ({"conditions": {"spin": 1}}, "10 electrons cannot have 1 unpaired"),
        ({"conditions": {"spin": 12}}, "10 electrons cannot have 12 unpaired"),
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
    with pytest.raises(InputError, match="guess=3 is neither minao, atoms, core nor a model"):
        KohnSham(guess=3)
    with pytest.raises(InputError, match=r"'atom' is not known. Did you mean 'atoms'"):
        prepare(*WATER, guess="atom", grid_level=0)
    with pytest.raises(
        InputError, match=r"functional 'BLYP' is none of LDA, .*Did you mean 'B3LYP'"
    ):
        KohnSham(functional="BLYP")
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
    grid = state.molecule.grid
    density = simulator.energy_functional(state).density(state.scf.density_matrix)
    rho = density.total
    assert float(grid.weights @ rho) == pytest.approx(10.0, abs=1e-4)
    points = grid.points[::997].numpy()
    again = state.molecule.density_at(state.density_matrix(), points)
    np.testing.assert_allclose(again, rho[::997].numpy(), rtol=1e-9, atol=1e-14)
    outside = state.density_at(points * factor("bohr", "angstrom"))
    np.testing.assert_allclose(outside * factor("bohr", "angstrom") ** 3, again, rtol=1e-6)
    fitted = state.density_coefficients()
    assert (fitted * electrons_per_function()).sum() == pytest.approx(10.0, abs=1e-9)
    written = evaluate(state.molecule.positions.numpy(), fitted, grid.points.numpy())
    off = float(grid.weights.numpy() @ np.abs(written - rho.detach().numpy())) / 10.0
    assert off < 0.03  # the floor of these 45 functions


@contextmanager
def closing(mean_field):
    """A PySCF calculation whose scratch files are closed behind it."""
    try:
        yield mean_field
    finally:
        for owner, name in ((mean_field, "_chkfile"), (mean_field.with_df, "_cderi_to_save")):
            if hasattr(getattr(owner, name, None), "close"):
                getattr(owner, name).close()


OPEN = {"O2": ([8, 8], [[0, 0, 0], [0, 0, 1.21]], 2), "N": ([7], [[0, 0, 0]], 3)}
CLOSED = {"water": (*WATER, 0)}
CASES = {**OPEN, **CLOSED}


def species(name):
    numbers, positions, spin = CASES[name]
    return Sample(
        id=name, domain="dft", types=numbers, positions=positions, conditions={"spin": spin}
    )


@pytest.mark.parametrize("level", [name for name in FUNCTIONALS if name != "none"])
@pytest.mark.parametrize("name", list(CASES))
def test_every_functional_in_closed_and_open_shells_equals_pyscf(name, level):
    """Same grid, same auxiliary basis: what is left is how tightly each side converged."""
    from pyscf import dft

    sample = species(name)
    spin = int(sample.conditions["spin"])
    molecule = build_molecule(sample.types, sample.positions, "6-31g", spin=spin)
    fitted = functional(level).exact_exchange > 0
    auxiliary = "def2-universal-jkfit" if fitted else "def2-universal-jfit"
    kind = dft.UKS if spin else dft.RKS
    with closing(kind(molecule).density_fit(auxbasis=auxiliary)) as reference:
        reference.xc = {"HF": "HF"}.get(level, FUNCTIONALS[level].libxc)
        reference.grids.level, reference.conv_tol, reference.conv_tol_grad = 0, 1e-12, 1e-8
        expected = reference.kernel()
    simulator = KohnSham(functional=level, basis="6-31g", grid_level=0, tolerance=1e-9)
    observed = simulator.observe(simulator.solve(sample))
    assert observed["energy"].item() * factor("eV", "hartree") == pytest.approx(expected, abs=1e-9)
    assert observed["spin_squared"].item() == pytest.approx(reference.spin_square()[0], abs=1e-6)
    count = int(molecule.nelec[0])
    highest = reference.mo_energy[0][count - 1] if spin else reference.mo_energy[count - 1]
    assert observed["homo"].item() * factor("eV", "hartree") == pytest.approx(highest, abs=1e-6)


def test_unrestricted_closed_shell_equals_restricted():
    one, two = (
        KohnSham(functional="PBE", grid_level=0, spin=s, tolerance=1e-11)
        for s in ("auto", "unrestricted")
    )
    restricted, unrestricted = (s.observe(s.solve()) for s in (one, two))
    for name in ("energy", "kinetic_energy", "homo", "lumo", "dipole", "spin_squared"):
        torch.testing.assert_close(restricted[name], unrestricted[name], rtol=1e-9, atol=1e-9)


def test_a_batch_equals_its_molecules_one_by_one():
    """Padding must not be felt: different sizes, elements and spins, to the SCF's own tolerance."""
    simulator = KohnSham(functional="PBE", basis="6-31g", grid_level=0, tolerance=1e-9, field_z=0.2)
    samples = [species("N"), species("water"), species("O2")]
    state = simulator.solve(samples)
    together = simulator.observe(state)
    alone = KohnSham(
        functional="PBE",
        basis="6-31g",
        grid_level=0,
        tolerance=1e-9,
        field_z=0.2,
        spin="unrestricted",
    )
    for index, sample in enumerate(samples):
        single = alone.observe(alone.solve(sample))
        for name in ("energy", "dipole", "homo", "lumo", "spin_squared"):
            torch.testing.assert_close(together[name][index], single[name], rtol=1e-9, atol=1e-7)
    (slope,) = torch.autograd.grad(together["dipole"][:, 2].sum(), simulator.field_z)
    assert slope > 0
    assert state.scf.cycles.unique().numel() > 1  # those that are done rest


@pytest.mark.parametrize("name", ["water", "O2"])
def test_second_order_finds_the_same_minimum(name):
    diis, newton = (
        KohnSham(functional="PBE", grid_level=0, basis="6-31g", solver=s)
        for s in ("diis", "second-order")
    )
    first, second = diis.solve(species(name)), newton.solve(species(name))
    assert second.time < first.time
    torch.testing.assert_close(
        newton.observe(second)["energy"], diis.observe(first)["energy"], rtol=0, atol=1e-7
    )


@pytest.mark.parametrize(
    ("numbers", "length", "spin"),
    [([9], 0.0, 1), ([9, 9], 3.0, 0), ([3, 9], 4.5, 0)],
    ids=["F atom", "F2 at 3 angstrom", "LiF at 4.5 angstrom"],
)
def test_second_order_rescues_what_diis_does_not_solve(numbers, length, spin):
    """Open p shells whose orientations only the grid tells apart, and stretched bonds."""
    positions = np.array([[0.0, 0.0, length * i] for i in range(len(numbers))])
    sample = Sample(
        id="hard", domain="dft", types=numbers, positions=positions, conditions={"spin": spin}
    )
    options = {"functional": "LDA", "basis": "6-31g", "grid_level": 0}
    with pytest.raises(RunError, match="not self-consistent"):
        KohnSham(solver="diis", **options).solve(sample)
    second = KohnSham(solver="second-order", **options)
    state = second.solve(sample)
    assert state.time < 20
    # a minimum: turning the orbitals any way costs energy
    functional, d = second.energy_functional(state), state.scf.density_matrix
    system = functional.system
    lowest = float(functional.total(d).detach())
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        turn = torch.randn(d.shape[-1], d.shape[-1], generator=generator, dtype=torch.float64)
        x = torch.linalg.inv(system.orthonormaliser[0])
        rotation = system.orthonormaliser[0] @ torch.linalg.matrix_exp(0.01 * (turn - turn.mT)) @ x
        assert float(functional.total(rotation @ d @ rotation.mT).detach()) > lowest


def test_smearing_shares_electrons_among_degenerate_levels():
    """Carbon's two p electrons spread over three orbitals: a spherical atom, as PySCF finds it."""
    from pyscf import dft
    from pyscf.scf import addons

    atom = Sample(
        id="C", domain="dft", types=[6], positions=np.zeros((1, 3)), conditions={"spin": 2}
    )
    width = 0.01
    simulator = KohnSham(basis="6-31g", grid_level=1, smearing=width, tolerance=1e-9)
    observed = simulator.observe(simulator.solve(atom))
    molecule = build_molecule(atom.types, atom.positions, "6-31g", spin=2)
    with closing(dft.UKS(molecule).density_fit(auxbasis="def2-universal-jfit")) as plain:
        plain.xc, plain.grids.level = "LDA_X,LDA_C_PW", 1
        reference = addons.smearing(plain, sigma=width, method="fermi", fix_spin=True)
        reference.conv_tol, reference.conv_tol_grad = 1e-12, 1e-8
        reference.kernel()
    free = observed["energy"].item() * factor("eV", "hartree")
    assert free == pytest.approx(float(reference.e_free), abs=1e-8)


def test_a_models_density_starts_the_field_nearer_to_its_end():
    """`guess` takes a model's name; the end is the same, the way shorter."""
    options = {"functional": "PBE", "grid_level": 1}
    plain, guided = KohnSham(**options), KohnSham(guess="sfm-density", **options)
    sample = Sample(
        id="methanol",
        domain="dft",
        types=[6, 8, 1, 1, 1, 1],
        positions=[
            [-0.047, 0.664, 0.0],
            [-0.047, -0.758, 0.0],
            [-1.093, 0.970, 0.0],
            [0.878, -1.046, 0.0],
            [0.438, 1.072, 0.889],
            [0.438, 1.072, -0.889],
        ],
    )
    first, second = plain.state(sample), guided.state(sample)
    ends = plain(first, 60), guided(second, 60)
    energies = [s.observe(e)["energy"].item() for s, e in zip((plain, guided), ends, strict=True)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)
    assert ends[1].time < ends[0].time
    with pytest.raises(InputError, match="minoa"):
        KohnSham(guess="minoa", **options).state(sample)


def test_dispersion_belongs_to_energy_and_forces():
    """What D3 adds is the package's own energy, and forces are its derivative."""
    from sfm_dft.xc.dispersion import d3

    positions = np.array([[0, 0, 0], [0, 0, 0.74], [0, 0, 3.2], [0, 0.3, 3.9]])
    pair = Sample(id="2 H2", domain="dft", types=[1, 1, 1, 1], positions=positions)
    options = {"functional": "PBE", "basis": "sto-3g", "grid_level": 0, "forces": True}
    plain, with_d3 = (
        s.observe(s.solve(pair))
        for s in (KohnSham(**options), KohnSham(dispersion="d3", **options))
    )
    bohr = torch.tensor(positions / BOHR).requires_grad_()
    added = d3(torch.tensor([1, 1, 1, 1]), bohr, "PBE")
    (slope,) = torch.autograd.grad(added, bohr)
    shift = (with_d3["energy"] - plain["energy"]).item() * factor("eV", "hartree")
    assert shift == pytest.approx(added.item(), rel=1e-6)
    assert with_d3["dispersion_energy"].item() < -1e-3  # eV
    difference = (with_d3["forces"] - plain["forces"]) * factor("eV/angstrom", "hartree/bohr")
    torch.testing.assert_close(difference, -slope, rtol=1e-6, atol=1e-9)
    with pytest.raises(InputError, match="no parameters for LDA"):
        KohnSham(dispersion="d3")


def test_a_basis_without_core_orbitals_is_refused():
    """def2-svp of iodine stands on an ECP; without it 28 electrons had nowhere to go."""
    pair = Sample(id="HI", domain="dft", types=[53, 1], positions=[[0, 0, 0], [0, 0, 1.6]])
    for given in ("def2-svp", {"H": "sto-3g", "default": "def2-svp"}):
        with pytest.raises(InputError, match=r"'def2-svp' of I .* pseudopotential for 28 core"):
            KohnSham(grid_level=0, basis=given).state(pair)
    state = KohnSham(grid_level=0, basis={"I": "3-21g", "H": "def2-svp"}).state(pair)
    assert state.molecule.electrons == (27, 27)


@pytest.mark.parametrize(
    "table",
    [
        3,
        [1],
        [[0, [1.0]]],  # an exponent and nothing else: no function at all
        [[0, [1.0, 1.0], [2.0, 1.0, 3.0]]],
        [[0, [-1.0, 1.0]]],
        [[-1, [1.0, 1.0]]],
        [["s", [1.0, 1.0]]],
    ],
)
def test_a_basis_that_is_no_table_is_refused(table):
    with pytest.raises(InputError, match=r"basis of H: .* neither a name nor a list of shells"):
        KohnSham(grid_level=0, basis={"H": table, "O": "sto-3g"}).state()


def test_elements_without_a_fitting_basis_are_named():
    table = [[0, [k + 1.0, 1.0]] for k in range(80)]
    atom = Sample(id="Ds", domain="dft", types=[110], positions=[[0, 0, 0]])
    with pytest.raises(InputError, match=r"density fitting: no basis .* for Ds.*coulomb='exact'"):
        KohnSham(grid_level=0, basis={"Ds": table}).state(atom)


def test_torch_integrals_say_where_they_end():
    iron = Sample(id="Fe", domain="dft", types=[26], positions=[[0, 0, 0]], conditions={"spin": 4})
    engine = KohnSham(functional="PBE0", basis="sto-3g", grid_level=0, integrals="torch")
    with pytest.raises(InputError, match=r"jkfit has a shell with l=6.*use 'libcint'"):
        engine.state(iron)


def test_inference_mode_is_refused():
    atom = Sample(id="He", domain="dft", types=[2], positions=[[0, 0, 0]])
    engine = KohnSham(basis="sto-3g", grid_level=0)
    with torch.inference_mode(), pytest.raises(InputError, match=r"use torch\.no_grad"):
        engine.solve(atom)
    with torch.no_grad():
        assert engine.solve(atom).converged


def test_coinciding_atoms_are_refused():
    pair = Sample(id="H2", domain="dft", types=[1, 1], positions=np.zeros((2, 3)))
    with pytest.raises(InputError, match="atoms 1 and 2 are at one place"):
        KohnSham(grid_level=0).state(pair)


@pytest.mark.parametrize("name", ["smearing", "level_shift", "tolerance", "max_cycles"])
def test_settings_out_of_range_are_refused(name):
    with pytest.raises(InputError, match=f"{name}=-1.*: need >= "):
        KohnSham(**{name: -1})


class Poisoned(torch.nn.Module):
    """A closure on atoms that knows no helium."""

    def forward(self, features):
        lost = torch.nan if (features.numbers == 2).any() else 0.0
        return lost * features.projections.sum()


def test_one_lost_molecule_does_not_harm_its_batch():
    options = {"basis": "sto-3g", "grid_level": 0}
    simulator = KohnSham(closure=Poisoned(), **options)
    atoms = [
        Sample(id=str(z), domain="dft", types=[z], positions=np.zeros((1, 3))) for z in (3, 2, 1)
    ]
    trajectory = simulator.run(simulator.state(atoms), 50)
    end = trajectory.states[-1]
    assert end.scf.converged.tolist() == [True, False, True]
    assert "the energy of molecule 2 is not finite (1 of 3" in trajectory.warnings[0]
    energy = trajectory.observables["energy"][-1]
    assert energy.isfinite().tolist() == [True, False, True]
    plain = KohnSham(spin="unrestricted", **options)
    alone = plain.observe(plain.solve(atoms[0]))["energy"]
    torch.testing.assert_close(energy[0], alone.detach(), rtol=0, atol=1e-7)
    with pytest.raises(RunError, match="not finite"):
        simulator.solve(atoms)


class Lost(torch.nn.Module):
    """A closure whose energy is NaN, or soon is, and whose derivative is not."""

    energy = torch.nan

    def forward(self, features):
        return self.energy + features.projections.sum() * 0.01


@pytest.mark.parametrize("solver", ["diis", "second-order"])
def test_an_energy_that_is_not_finite_is_no_solution(solver):
    options = {"basis": "sto-3g", "grid_level": 0, "solver": solver}
    simulator = KohnSham(closure=Lost(), **options)
    with pytest.raises(RunError, match="the energy of molecule 1 is not finite"):
        simulator.solve()
    simulator.closure.energy = 0.0
    state = simulator.solve()
    simulator.closure.energy = torch.nan
    with pytest.raises(RunError, match=r"other parameters or another closure \(residual inf"):
        simulator.observe(state)


def test_observe_builds_each_fock_matrix_once(monkeypatch):
    plain, graphs = EnergyFunctional.energy_and_fock, []

    def counted(self, density_matrix, *, create_graph=False):
        graphs.append(create_graph)
        return plain(self, density_matrix, create_graph=create_graph)

    simulator = KohnSham(basis="sto-3g", grid_level=0, forces=True)
    state = simulator.solve()
    monkeypatch.setattr(EnergyFunctional, "energy_and_fock", counted)
    simulator.observe(state)  # of the parameters; of the density matrix, for levels and forces
    assert graphs == [True, True]
    graphs.clear()
    with torch.no_grad():
        simulator.observe(state)
    assert graphs == [False]


def test_second_order_ends_where_energies_are_not_finite():
    """A functional that breaks down away from its start: no step is taken, none for ever."""
    from sfm_dft.scf.newton import newton

    simulator = KohnSham(basis="6-31g", grid_level=0)
    start = simulator(simulator.state(), 1)
    functional = simulator.energy_functional(start)
    plain, calls = EnergyFunctional.total, []

    class Broken(EnergyFunctional):
        def total(self, density_matrix):
            calls.append(1)
            energy = plain(self, density_matrix)
            return energy if len(calls) < 4 else energy * torch.nan

    values = {name: getattr(functional, name) for name in EnergyFunctional.__dataclass_fields__}
    state = newton(Broken(**values), start.scf, 5)
    assert not state.done()
    assert state.density_matrix.isfinite().all()
    assert len(calls) < 30


def test_a_frozen_simulator_gives_plain_values_and_pictures_of_one_molecule(tmp_path):
    simulator = KohnSham(basis="sto-3g", grid_level=0, guess="core").requires_grad_(False)
    observed = simulator.observe(simulator.solve())
    assert not any(value.requires_grad for value in observed.values())
    with pytest.raises(InputError, match="one molecule, and the state holds 2"):
        _ = simulator.state([species("water"), species("N")]).molecule


def test_observations_hold_charge_and_spin(tmp_path):
    def written(**changes):
        molecule = {"numbers": [7], "positions": [[0, 0, 0]], "energy": -1400.0, **changes}
        path = tmp_path / "seen.json"
        path.write_text(json.dumps({"molecules": [molecule]}))
        return path

    simulator = KohnSham(basis="sto-3g", grid_level=0)
    (state,) = simulator.read_observations(written(spin=3)).state
    assert state.molecule.electrons == (5, 2)
    (state,) = simulator.read_observations(written(charge=1)).state
    assert state.molecule.electrons == (3, 3)
    with pytest.raises(InputError, match="molecule 1: spin=triplet is not a whole number"):
        simulator.read_observations(written(spin="triplet"))
    with pytest.raises(InputError, match="'energy' is 'low'"):
        simulator.read_observations(written(energy="low"))
    (tmp_path / "odd.json").write_text('{"molecules": {"a": 1}}')
    with pytest.raises(InputError, match="not a list of objects"):
        simulator.read_observations(tmp_path / "odd.json")


def test_a_published_functional_by_name():
    """The same as the module used as the whole functional; exchange and correlation apart."""
    options = {"basis": "sto-3g", "grid_level": 0}
    named = KohnSham(functional="sfm-xc-mgga", **options)
    whole = KohnSham(functional="none", closure=load("sfm-xc-mgga"), **options)
    energy, expected = (float(s.observe(s.solve())["energy"].detach()) for s in (named, whole))
    assert energy == pytest.approx(expected, abs=1e-7)
    half = KohnSham(functional="sfm-xc-mgga", exchange_scale=0.5, **options)
    assert abs(float(half.observe(half.solve())["energy"].detach()) - energy) > 1.0
    with pytest.raises(InputError, match="no parameters for sfm-xc-mgga"):
        KohnSham(functional="sfm-xc-mgga", dispersion="d3")
    with pytest.raises(HubError, match="holds no density functional"):
        KohnSham(functional="sfm-tiny")


def test_the_command_line_gives_the_converged_value_first(capsys):
    words = ["simulate", "dft/kohn-sham", "--json", "--set", "basis=sto-3g", "grid_level=0"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    energy, history = said["quantities"]["energy"], said["history"]
    assert said["converged"] is True
    assert (energy["unit"], energy["shape"]) == ("eV", [])
    simulator = KohnSham(basis="sto-3g", grid_level=0)
    expected = simulator.observe(simulator.solve())["energy"].item()
    assert abs(energy["value"] - expected) < 1e-6
    assert history["energy"]["value"][-1] == energy["value"]
    assert history["iteration"]["value"] == list(range(history["energy"]["shape"][0]))
    # where there is no converged value there is no number, and left to itself it is a failure
    assert main([*words, "--steps", "2"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["converged"] is False
    assert said["quantities"]["energy"]["value"] is None
    assert said["quantities"]["scf_residual"]["value"] > 1e-3
    assert "not self-consistent after 2 cycles" in said["warnings"][0]
    assert main([*words, "max_cycles=2"]) == 1
    assert "not self-consistent" in capsys.readouterr().err
