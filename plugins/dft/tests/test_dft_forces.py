"""Forces against finite differences of whole calculations, PySCF, and the symmetries of space."""

import numpy as np
import pytest
import torch
from sfm_dft.basis.library import AUXILIARY_BASIS, EXCHANGE_AUXILIARY_BASIS
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.data.labelling import kohn_sham
from sfm_dft.gradients.forces import forces
from sfm_dft.neural.saving import load
from sfm_dft.scf.diis import iterate, start_state
from sfm_dft.scf.energy import DensityFeatures, EnergyFunctional
from sfm_dft.scf.preparation import prepare
from sfm_dft.scf.system import KohnShamSystem
from sfm_dft.simulators.kohn_sham import KohnSham
from sfm_dft.xc import Functional, GridDensity, XcEnergy, functional
from torch import nn

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.testing.models import config_for
from sfm.units import factor

BOHR = 0.52917721092  # PySCF's bohr in angstrom
BENT = np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.11], [0.05, 0.77, -0.45], [0.0, -0.72, -0.5]])
LIH = np.array([3, 1]), np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.6]])
AMIDOGEN = np.array([7, 1, 1]), np.array([[0.0, 0.0, 0.1], [0.1, 0.8, -0.5], [0.0, -0.8, -0.6]])
OXYGEN = np.array([8, 8]), np.array([[0.0, 0.0, 0.0], [0.2, 0.3, 1.18]])
METHANE = (
    np.array([6, 1, 1, 1, 1]),
    0.64 * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
)


class SmallClosure(nn.Module):
    """A nonlinear functional of the projections, and of the distances between atoms."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Parameter(torch.linspace(-0.2, 0.2, 10, dtype=torch.float64))
        self.square = nn.Parameter(torch.tensor(0.05, dtype=torch.float64))

    def forward(self, density: DensityFeatures) -> torch.Tensor:
        p = density.projections
        invariant = torch.tanh(p[:, :10] @ self.linear)
        square = (density.positions[:, None] - density.positions).square().sum(-1)
        both = invariant @ torch.exp(-square) @ invariant
        return both + self.square * p[:, 10:].square().sum()


class NearestAtom(Functional):
    """Looks further than one point: the density times a function of the distance to its atom."""

    rung = "gga"
    pointwise = False

    def __init__(self):
        super().__init__()
        self.width = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, density: GridDensity) -> XcEnergy:
        grid = density.grid
        distance = (grid.points - grid.positions[grid.owners]).square().sum(1)
        nearby = torch.exp(-self.width * distance)
        share = grid.weights @ (nearby * density.total)  # of the electrons
        energy = nearby * density.total + 1e-4 * density.gradient.square().sum((0, 1))
        return XcEnergy(-0.02 * share * energy, torch.zeros_like(density.total))


def solve(numbers, positions, name, *, closure=None, field=(0.0, 0.0, 0.0), scale=1.0, **options):
    base = functional(name)
    on_grid = [f for f in (base, closure) if isinstance(f, Functional)]
    exchange = any(f.exact_exchange for f in on_grid)
    molecule = prepare(
        numbers,
        positions,
        gradient=any(f.rung != "lda" for f in on_grid),
        closure=closure is not None and not isinstance(closure, Functional),
        auxiliary=EXCHANGE_AUXILIARY_BASIS if exchange else AUXILIARY_BASIS,
        **options,
    )
    one = torch.ones((), dtype=torch.float64)
    strength = torch.tensor(field, dtype=torch.float64)
    system = KohnShamSystem((molecule,), spins=2 if molecule.spin else 1)
    energy = EnergyFunctional(system, base, scale * one, one, strength, closure)
    state = iterate(energy, start_state(system), 80, tolerance=1e-10)
    assert state.converged.all()
    return energy, state.density_matrix


def difference(numbers, positions, direction, step=2e-3, **options):
    """-dE/dt of positions + t direction (bohr), hartree; fourth order, a calculation at each."""
    total = 0.0
    for sign, weight in ((2, -1.0), (1, 8.0), (-1, -8.0), (-2, 1.0)):
        energy, d = solve(numbers, positions + sign * step * BOHR * direction, **options)
        with torch.no_grad():
            total += weight * float(energy.total(d))
    return -total / (12.0 * step)


@pytest.mark.parametrize(
    ("molecule", "options"),
    [
        (BENT, {"name": "LDA", "basis": "sto-3g", "coulomb": "exact"}),
        (BENT, {"name": "PBE", "basis": "def2-svp"}),
        (BENT, {"name": "LDA", "basis": "6-31g", "field": (0.01, 0.02, -0.01)}),
        (BENT, {"name": "PBE", "basis": "sto-3g", "integrals": "torch", "prune": False}),
        (BENT, {"name": "r2SCAN", "basis": "6-31g"}),
        (BENT, {"name": "PBE0", "basis": "6-31g", "scale": 0.9}),
        (LIH, {"name": "B3LYP", "basis": "sto-3g", "coulomb": "exact"}),
        (LIH, {"name": "HF", "basis": "def2-svp"}),
        pytest.param(
            AMIDOGEN, {"name": "PBE", "basis": "6-31g", "spin": 1}, marks=pytest.mark.slow
        ),
        (AMIDOGEN, {"name": "r2SCAN", "basis": "sto-3g", "spin": 1}),
        pytest.param(
            AMIDOGEN,
            {"name": "PBE0", "basis": "sto-3g", "spin": 1, "coulomb": "exact"},
            marks=pytest.mark.slow,
        ),
        (OXYGEN, {"name": "B3LYP", "basis": "6-31g", "spin": 2}),
        (BENT, {"name": "LDA", "basis": "sto-3g", "closure": NearestAtom()}),
    ],
    ids=lambda value: (
        " ".join(str(x) for x in value.values()) if isinstance(value, dict) else str(len(value[0]))
    ),
)
def test_every_atom_equals_finite_differences_with_the_grid_moving(molecule, options):
    options = {"grid_level": 0, **options}
    pull = forces(*solve(*molecule, **options)).detach().numpy()
    direction = np.random.default_rng(7).normal(size=pull.shape)  # of every atom, at random
    slope = difference(*molecule, direction, **options)
    assert abs((pull * direction).sum() - slope) < 2e-9
    np.testing.assert_allclose(pull.sum(0), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("molecule", "spin", "name"),
    [
        pytest.param(BENT, 0, "r2SCAN", marks=pytest.mark.slow),
        pytest.param(BENT, 0, "PBE0", marks=pytest.mark.slow),
        (AMIDOGEN, 1, "B3LYP"),
        (OXYGEN, 2, "PBE"),
    ],
)
def test_forces_equal_pyscf_of_spins_and_hybrids(molecule, spin, name):
    """With exact integrals, as PySCF's gradient of fitted exchange takes another fit."""
    from pyscf import dft

    built = build_molecule(*molecule, "6-31g", spin=spin)
    mean_field = dft.UKS(built) if spin else dft.RKS(built)
    mean_field.xc = {"r2SCAN": "MGGA_X_R2SCAN,MGGA_C_R2SCAN"}.get(name, name)
    mean_field.grids.level = 1
    mean_field.conv_tol, mean_field.conv_tol_grad = 1e-12, 1e-9
    mean_field.kernel()
    gradient = mean_field.nuc_grad_method()
    gradient.grid_response = True
    reference = -gradient.kernel()
    options = {"basis": "6-31g", "grid_level": 1, "coulomb": "exact", "spin": spin}
    pull = forces(*solve(*molecule, name, **options)).detach().numpy()
    np.testing.assert_allclose(pull, reference, rtol=0, atol=2e-7)


def test_forces_of_a_batch_are_those_of_its_molecules():
    options = {"basis": "sto-3g", "grid_level": 0, "functional": "PBE", "forces": True}
    simulator = KohnSham(tolerance=1e-11, **options)
    samples = [
        Sample(id="one", domain="dft", types=numbers, positions=positions)
        for numbers, positions in (BENT, LIH, AMIDOGEN)
    ]
    together = simulator.observe(simulator.solve(samples))["forces"]
    apart = [KohnSham(tolerance=1e-11, spin="unrestricted", **options) for _ in samples]
    single = [
        s.observe(s.solve(sample))["forces"] for s, sample in zip(apart, samples, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(single), rtol=0, atol=1e-9)


def test_fractional_occupation_gives_forces_of_the_free_energy():
    options = {"basis": "sto-3g", "grid_level": 0, "smearing": 0.05, "tolerance": 1e-11}
    simulator = KohnSham(forces=True, **options).requires_grad_(False)

    def at(shift):
        positions = LIH[1].copy()
        positions[1, 2] += shift
        sample = Sample(id="LiH", domain="dft", types=LIH[0], positions=positions)
        return simulator.observe(simulator.solve(sample))

    step = 1e-3
    values = [float(at(k * step)["energy"].detach()) for k in (2, 1, -1, -2)]
    slope = -(-values[0] + 8 * values[1] - 8 * values[2] + values[3]) / (12 * step)
    assert abs(float(at(0.0)["forces"][1, 2].detach()) - slope) < 1e-6  # eV/angstrom


def test_forces_equal_pyscf_with_grid_response():
    molecule = build_molecule(*BENT)
    with kohn_sham(molecule, "PBE", 1) as reference:
        reference.conv_tol = 1e-12
        reference.kernel()
        gradient = reference.nuc_grad_method()
        gradient.grid_response = True
        expected = -gradient.kernel()
    energy, d = solve(*BENT, name="PBE", grid_level=1)
    np.testing.assert_allclose(forces(energy, d).numpy(), expected, rtol=0, atol=2e-8)


def test_forces_equal_published_table_with_exact_integrals():
    """H2O PBE/def2-SVP, PySCF without density fitting, grid level 5 (reference/dft.json)."""
    numbers = np.array([8, 1, 1])
    positions = BOHR * np.array([[0, 0, 0.2217], [0, 1.4309, -0.8867], [0, -1.4309, -0.8867]])
    energy, d = solve(numbers, positions, "PBE", coulomb="exact", grid_level=5, prune=False)
    pull = forces(energy, d).numpy()
    published = [
        [0.0, 0.0, 0.02289864437125],
        [0.0, 0.01063212333858, -0.01144932218563],
        [0.0, -0.01063212333858, -0.01144932218563],
    ]
    np.testing.assert_allclose(pull, published, rtol=0, atol=1e-8)


def test_sum_is_zero_and_torque_as_small_as_the_grid_allows():
    torques = []
    for level in (0, 3):
        energy, d = solve(*BENT, name="PBE", basis="6-31g", grid_level=level, prune=False)
        pull = forces(energy, d)
        assert pull.sum(0).abs().max() < 1e-12
        torques.append(
            torch.linalg.cross(energy.system.molecules[0].positions, pull).sum(0).abs().max()
        )
    assert torques[1] < 2e-5 < torques[0]  # a Lebedev grid does not turn with the molecule


def test_symmetric_molecule_with_degenerate_levels():
    energy, d = solve(*METHANE, name="PBE", basis="sto-3g", grid_level=1)
    pull = forces(energy, d).numpy()
    assert np.isfinite(pull).all()
    np.testing.assert_allclose(pull[0], 0.0, atol=1e-9)
    outward = METHANE[1][1:] / np.linalg.norm(METHANE[1][1:], axis=1, keepdims=True)
    radial = (pull[1:] * outward).sum(1)
    np.testing.assert_allclose(pull[1:], radial[0] * outward, atol=1e-9)


def test_an_atom_alone_feels_nothing():
    energy, d = solve(np.array([10]), np.zeros((1, 3)), "PBE", basis="def2-svp", grid_level=0)
    np.testing.assert_allclose(forces(energy, d).numpy(), 0.0, atol=1e-13)


def test_closure_that_reads_density_and_positions():
    closure = SmallClosure()
    options = {"name": "LDA", "basis": "sto-3g", "grid_level": 0}
    plain = forces(*solve(*LIH, **options)).numpy()
    options["closure"] = closure
    energy, d = solve(*LIH, **options)
    with torch.no_grad():
        pull = forces(energy, d).numpy()
    assert np.abs(pull - plain).max() > 1e-4
    assert np.abs(pull.sum(0)).max() < 1e-12
    for direction in np.eye(6).reshape(-1, 2, 3)[[1, 5]]:
        slope = difference(*LIH, direction, **options)
        assert abs((pull * direction).sum() - slope) < 2e-9


def test_closure_of_a_trunk_model():
    """An untrained model of the hub's architecture; its messages depend on distances."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FoundationModel(config_for({"dft/density": ("xc_correction",)}))
    closure = model.double().closure("dft")
    options = {"name": "LDA", "basis": "sto-3g", "grid_level": 0, "closure": closure}
    energy, d = solve(*LIH, **options)
    with torch.no_grad():
        pull = forces(energy, d).numpy()
    direction = np.random.default_rng(0).normal(size=(2, 3))
    slope = difference(*LIH, direction, **options)
    assert abs((pull * direction).sum() - slope) < 1e-7


def test_closure_that_was_trained_is_the_whole_functional():
    options = {"name": "none", "basis": "sto-3g", "grid_level": 0, "closure": load("sfm-xc-gga")}
    with torch.no_grad():
        pull = forces(*solve(*LIH, **options)).numpy()
    direction = np.random.default_rng(0).normal(size=(2, 3))
    assert abs((pull * direction).sum() - difference(*LIH, direction, **options)) < 2e-9


def test_forces_are_differentiable_in_parameters():
    """One linear-response solve, against forces of whole calculations."""
    sample = Sample(id="LiH", domain="dft", types=LIH[0], positions=LIH[1])
    closure = SmallClosure()
    simulator = KohnSham(
        functional="PBE",
        basis="sto-3g",
        grid_level=0,
        tolerance=1e-12,
        forces=True,
        field_z=0.3,
        closure=closure,
    )
    direction = torch.tensor(np.random.default_rng(0).normal(size=(2, 3)))

    def value():
        return (simulator.observe(simulator.solve(sample))["forces"] * direction).sum()

    found_at = value()
    chosen = [simulator.exchange_scale, simulator.correlation_scale, simulator.field_z]
    chosen.append(closure.square)
    slopes = torch.autograd.grad(found_at, chosen)
    for parameter, slope in zip(chosen, slopes, strict=True):
        original, values = parameter.detach().clone(), []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                parameter.copy_(original + sign * 3e-4)
                values.append(float(value()))
                parameter.copy_(original)
        expected = (values[0] - values[1]) / 6e-4
        assert abs(expected) > 1e-3
        assert slope.item() == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_simulator_observes_forces_in_electronvolt_per_angstrom():
    options = {"basis": "sto-3g", "grid_level": 0, "tolerance": 1e-10}
    sample = Sample(id="water", domain="dft", types=BENT[0], positions=BENT[1])
    simulator = KohnSham(forces=True, **options).requires_grad_(False)
    trajectory = simulator.run(simulator.state(sample), 60)
    pull = trajectory.observables["forces"]
    assert trajectory.units["forces"] == "eV/angstrom"
    assert pull.shape == (len(trajectory.times), 3, 3)
    assert torch.isnan(pull[:-1]).all()  # no derivative before self-consistency
    energies = []
    for sign in (1.0, -1.0):
        positions = BENT[1].copy()
        positions[1, 1] += sign * 1e-3
        moved = sample.replace(positions=positions)
        energies.append(simulator.observe(simulator.solve(moved))["energy"])
    slope = -(energies[0] - energies[1]) / 2e-3
    assert pull[-1, 1, 1].item() == pytest.approx(slope.item(), abs=2e-5)
    plain = KohnSham(**options)
    assert "forces" not in plain.observe(plain.solve(sample))


def test_integrals_in_torch_give_the_same_calculation():
    options = {"grid_level": 0, "functional": "PBE", "closure": SmallClosure()}
    runs = []
    for kind in ("libcint", "torch"):
        simulator = KohnSham(integrals=kind, **options)
        system = simulator.state().system
        runs.append((system, simulator.observe(simulator.solve())["energy"]))
    for name in ("overlap", "kinetic", "core", "dipole", "coulomb", "density_functions"):
        one, other = (getattr(system.molecules[0], name) for system, _ in runs)
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    assert abs(runs[0][1] - runs[1][1]) * factor("eV", "hartree") < 1e-11
    with pytest.raises(InputError, match="set coulomb='fitted'"):
        KohnSham(integrals="torch", coulomb="exact").state()
