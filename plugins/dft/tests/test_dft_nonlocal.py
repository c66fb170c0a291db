"""The nonlocal functional: symmetries, exact conditions, derivatives, forces, storage, training."""

import importlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sfm_dft.gradients.forces import forces
from sfm_dft.neural.densities import PreparedDensity, located, prepare_all
from sfm_dft.neural.densities import load as load_density
from sfm_dft.neural.nonlocality import NonlocalGGA, NonlocalMetaGGA
from sfm_dft.neural.packed_atoms import SpeciesSpots, spots
from sfm_dft.neural.reaction_errors import reaction_errors
from sfm_dft.neural.reactions import Reaction
from sfm_dft.neural.saving import Ensemble, load, save
from sfm_dft.neural.training import Settings, errors_of, stack, train
from sfm_dft.scf.diis import iterate, start_state
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.preparation import prepare
from sfm_dft.scf.system import KohnShamSystem
from sfm_dft.simulators.kohn_sham import KohnSham
from sfm_dft.xc import functional as named
from sfm_dft.xc.conditions import check
from sfm_dft.xc.density import GridDensity, GridPoints
from sfm_dft.xc.models import DISTANCE, atoms, far_pair

import sfm
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.units import factor

BOHR = factor("bohr", "angstrom")
WATER = (
    np.array([8, 1, 1]),
    np.array([[0.0, 0.0, 0.12], [0.05, 0.76, -0.47], [0.0, -0.70, -0.52]]),
)
HYDROXYL = (np.array([8, 1]), np.array([[0.0, 0.0, 0.0], [0.1, 0.3, 0.93]]))
KINDS = pytest.mark.parametrize("kind", [NonlocalMetaGGA, NonlocalGGA])


def lively(kind=NonlocalMetaGGA, seed=1, scale=0.2, **options):
    """Random last layers: everything that is packed and sent has a say."""
    one = kind(seed=seed, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for gain in (one.exchange_gain, one.correlation_gain):
            gain.layers[-1].weight.normal_(0.0, scale, generator=generator)
    return one.requires_grad_(False)


def energy_of(closure, molecules, spins, **options):
    options = {"basis": "sto-3g", "grid_level": 0, **options}
    prepared = [prepare(*m, gradient=True, closure=False, **options) for m in molecules]
    one, field = torch.ones((), dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    return EnergyFunctional(
        KohnShamSystem(prepared, spins), named("none"), one, one, field, closure
    )


@pytest.fixture(scope="module")
def real():
    """Densities of water (closed shell) and of the hydroxyl radical, with their points."""
    water = energy_of(lively(), [WATER], 1)
    radical = energy_of(lively(), [HYDROXYL], 2, spin=1)
    return [e.density(e.system.guess) for e in (water, radical)]


def integral(functional, density):
    energies = functional(density)
    return torch.stack([density.grid.weights @ part for part in energies])


@KINDS
def test_new_functional_is_its_base(kind, real):
    one = kind()
    for density in real:
        for got, want in zip(one(density), named(one.options["base"])(density), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-13, atol=0)


@KINDS
@pytest.mark.parametrize("lone", [True, False])
def test_exact_conditions_that_hold_for_all_weights(kind, lone):
    one = kind(lone=lone).with_random_weights(1, 0.3).requires_grad_(False)
    broken = {c.name for c in check(one) if c.required and not c.holds}
    # the models are atoms: a length in bohr and coordinate scaling exclude each other where an
    # atom sees itself
    assert broken <= {"exchange, uniform scaling", "correlation, scaling inequality"}
    assert lone or not broken
    assert not lone or "exchange, uniform scaling" in broken


def test_coordinate_scaling_is_lost_where_atoms_are_near(real):
    water, factor_ = real[0], 1.5
    grid = replace(
        water.grid,
        points=water.grid.points / factor_,
        weights=water.grid.weights / factor_**3,
        positions=water.grid.positions / factor_,
    )
    scaled = replace(water.scaled(factor_), grid=grid)
    changes = []
    for one in (lively(), lively(blind=True)):
        changes.append(abs(float(integral(one, scaled)[0] - factor_ * integral(one, water)[0])))
    assert changes[0] > 1e-4
    assert changes[1] < 1e-10


def test_bounds_hold_at_every_point(real):
    one = lively(scale=3.0)
    for density in real:
        energies, base = one(density), named("r2SCAN")(density)
        assert bool((energies.correlation <= 0.0).all())
        assert bool((energies.correlation >= 2.0 * base.correlation - 1e-15).all())
        bound = 0.0
        for spin in range(len(density.rho)):  # F_x <= 1.804 of each spin's doubled density
            doubled = density.spin(spin)
            bound = bound + named("LDA")(doubled).exchange * 1.804 / len(density.rho)
        assert bool((energies.exchange >= bound * (1.0 + 1e-12)).all())
        assert bool((energies.exchange <= 0.0).all())


def test_uniform_gas_is_exact(real):
    grid = real[0].grid
    rho = torch.full((1, len(grid.weights)), 0.03, dtype=torch.float64)
    tau = 0.3 * (6.0 * np.pi**2) ** (2 / 3) * rho ** (5 / 3)
    gas = GridDensity(rho, torch.zeros(1, 3, rho.shape[1], dtype=torch.float64), tau, grid)
    for got, want in zip(lively(scale=3.0)(gas), named("r2SCAN")(gas), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=0)


def test_spins(real):
    one = lively()
    half, radical = real
    both = GridDensity(
        half.rho.expand(2, -1), half.gradient.expand(2, -1, -1), half.tau.expand(2, -1), half.grid
    )
    for a, b in zip(one(half), one(both), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-14)
    flipped = replace(
        radical,
        rho=radical.rho.flip(0),
        gradient=radical.gradient.flip(0),
        tau=radical.tau.flip(0),
    )
    torch.testing.assert_close(integral(one, radical), integral(one, flipped), rtol=1e-12, atol=0)
    halves = [integral(one, radical.spin(i))[0] for i in (0, 1)]
    torch.testing.assert_close(
        integral(one, radical)[0], 0.5 * (halves[0] + halves[1]), rtol=1e-12, atol=0
    )


def test_rotations_reflections_translations_and_order(real):
    one = lively()
    generator = torch.Generator().manual_seed(3)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    for turn in (q, -q):
        for density in real:
            grid = density.grid
            shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
            new = torch.randperm(len(grid.positions), generator=generator)
            points = torch.randperm(len(grid.weights), generator=generator)
            moved = GridPoints(
                points=(grid.points @ turn.T + shift)[points],
                weights=grid.weights[points],
                owners=new.argsort()[grid.owners][points],
                positions=(grid.positions @ turn.T + shift)[new],
                numbers=grid.numbers[new],
                molecule=grid.molecule,
            )
            other = GridDensity(
                density.rho[:, points],
                (turn @ density.gradient)[..., points],
                density.tau[:, points],
                moved,
            )
            torch.testing.assert_close(
                integral(one, density), integral(one, other), rtol=1e-12, atol=0
            )


def test_far_fragments_add_and_near_ones_speak():
    one, deaf = lively(), lively(cutoff=0.0)
    single, pair = far_pair(one)
    for f in (one, deaf):
        twice = 2.0 * integral(f, single.density)
        torch.testing.assert_close(integral(f, pair.density), twice, rtol=1e-10, atol=0)
    # moved to within reach with their densities and points as they are: only messages change
    near = pair.density.grid
    shift = torch.tensor([0.0, 0.0, 6.0 - DISTANCE], dtype=torch.float64)
    second = near.owners == 1
    near = replace(
        near,
        points=near.points + shift * second[:, None],
        positions=near.positions + shift * torch.tensor([[0.0], [1.0]]),
    )
    moved = replace(pair.density, grid=near)
    change = [(integral(f, moved) - integral(f, pair.density)).abs().max() for f in (one, deaf)]
    assert change[0] > 1e-6
    assert change[1] < 1e-10


def test_an_atom_alone_is_semilocal(real):
    one, blind = lively(), lively(blind=True)
    for model in atoms(one):
        for a, b in zip(one(model.density), blind(model.density), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
    change = integral(one, real[0]) - integral(blind, real[0])
    assert float(change.abs().max()) > 1e-6


def test_twice_differentiable_where_a_spin_or_everything_vanishes():
    one = lively()
    for model in atoms(one)[:3]:  # hydrogen has an empty spin
        density = model.density
        fields = [f.clone().requires_grad_() for f in (density.rho, density.gradient, density.tau)]
        with torch.no_grad():
            for field in fields:
                field[..., :5] = 0.0
        energy = torch.stack(one(GridDensity(*fields, density.grid))).sum(0)
        assert bool((energy[:5] == 0.0).all())
        first = torch.autograd.grad(model.weights @ energy, fields, create_graph=True)
        second = torch.autograd.grad(sum(g.sum() for g in first), fields)
        assert all(bool(g.isfinite().all()) for g in (*first, *second))


@pytest.mark.parametrize(("molecule", "spins"), [(WATER, 1), (HYDROXYL, 2)])
def test_potential_and_its_response_against_finite_differences(molecule, spins):
    energy = energy_of(lively(), [molecule], spins, spin=spins - 1)
    d = energy.system.guess
    generator = torch.Generator().manual_seed(0)
    step = torch.randn(d.shape, generator=generator, dtype=torch.float64) * 1e-2
    step = step + step.mT

    def value(t):
        with torch.no_grad():
            return energy.total(d + t * step)

    h = 2e-3
    numerical = (8.0 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12.0 * h)
    fock = energy.fock(d)
    exact = energy.system.share * (fock * step).sum()
    # rounding of energies of 75 hartree over the step, and the fifth derivative
    torch.testing.assert_close(numerical.sum(), exact, rtol=1e-8, atol=1e-9)
    variable = d.clone().requires_grad_()
    (response,) = torch.autograd.grad(
        energy.fock(variable, create_graph=True), variable, grad_outputs=step
    )
    difference = (energy.fock(d + h * step) - energy.fock(d - h * step)) / (2.0 * h)
    # self-adjoint: the response to a change is the derivative along it
    exact = 0.5 * (response + response.mT)
    assert float((difference - exact).abs().max()) < 1e-4 * float(difference.abs().max())


def test_forces_against_finite_differences():
    numbers, positions = WATER

    def solved(moved):
        energy = energy_of(lively(), [(numbers, moved)], 1)
        state = iterate(energy, start_state(energy.system), 80, tolerance=1e-10)
        assert state.converged.all()
        return energy, state.density_matrix

    energy, d = solved(positions)
    pull = forces(energy, d)
    generator = np.random.default_rng(0)
    direction = generator.normal(size=positions.shape)
    total, step = 0.0, 2e-3  # bohr
    for sign, weight in ((2, -1.0), (1, 8.0), (-1, -8.0), (-2, 1.0)):
        other, matrix = solved(positions + sign * step * BOHR * direction)
        with torch.no_grad():
            total += weight * float(other.total(matrix))
    numerical = -total / (12.0 * step)
    along = float((pull * torch.tensor(direction)).sum())
    assert abs(along - numerical) < 1e-7 * max(1.0, abs(numerical))
    # grid and partition move with the nuclei, so nothing pushes or turns the whole
    assert float(pull.sum(0).abs().max()) < 1e-8


def test_self_consistent_alone_and_together():
    simulator = KohnSham(
        functional="none", closure=lively(scale=0.05), basis="sto-3g", grid_level=0, tolerance=1e-8
    )
    samples = [
        Sample(id="water", domain="dft", types=WATER[0], positions=WATER[1]),
        Sample(
            id="hydroxyl",
            domain="dft",
            types=HYDROXYL[0],
            positions=HYDROXYL[1],
            conditions={"spin": 1},
        ),
    ]
    together = simulator.solve(samples)
    assert together.converged
    energies = simulator.observe(together)["energy"].detach()
    for index, sample in enumerate(samples):
        state = simulator.solve(sample)
        assert state.converged
        one = simulator.observe(state)["energy"].detach()
        assert abs(float(energies[index] - one)) < 1e-6  # eV; residuals to 1e-8 hartree


def test_saved_and_loaded_is_identical(tmp_path, real):
    functionals = [lively(seed=i, features=3) for i in (0, 1)]
    for one in functionals:
        one.messages.calibrate(torch.rand(5, 9, 20, dtype=torch.float64))
    save(functionals, tmp_path / "two")
    save(functionals[:1], tmp_path / "one")
    again = load(tmp_path / "two")
    assert isinstance(again, Ensemble)
    assert not again.pointwise
    for density in real:
        for a, b in zip(Ensemble(functionals)(density), again(density), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-14, atol=0)
        for a, b in zip(functionals[0](density), load(tmp_path / "one")(density), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-14, atol=0)


def test_without_places_only_the_blind_control_works(real):
    density = replace(real[0], grid=None)
    with pytest.raises(InputError, match="grid"):
        lively()(density)
    blind = lively(blind=True)
    for a, b in zip(blind(density), blind(real[0]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_trunk_of_a_joint_model(real):
    model = sfm.load("sfm-tiny")
    one = lively(trunk={"channels": 64, "layers": 2, "experts": 1, "radial": 8, "carried": 16})
    before = integral(one, real[0])
    one.messages.adopt(model, "dft/density", "PBE/def2-SVP")
    after = integral(one, real[0])
    assert bool(after.isfinite().all())
    assert float((after - before).abs().max()) > 1e-6
    index = model.context("dft/density", "PBE/def2-SVP")
    dense = model.trunk.collapsed(index)
    torch.testing.assert_close(
        one.messages.trunk.layers[0].inner.weight, dense.layers[0].inner.weight.double()
    )
    with pytest.raises(InputError, match="same sizes"):
        lively().messages.adopt(model, "dft/density", "PBE/def2-SVP")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Real densities of hydrogen, helium, H2 and water in a small basis."""
    pytest.importorskip("pyscf")
    folder = tmp_path_factory.mktemp("densities")
    assert prepare_all(["H", "He", "He+1", "H2", "H2O"], folder, basis="6-31g") == {}
    return folder


def test_places_of_a_stored_density(small):
    one = located(load_density(small / "H2O.npz"))
    grid = one.density.grid
    electrons = grid.weights * one.density.total
    dipole = grid.numbers.double() @ grid.positions - electrons @ grid.points
    assert float(dipole.norm()) == pytest.approx(0.97, abs=0.05)  # PBE/6-31G, e bohr
    assert float(dipole[:2].abs().max()) < 1e-6
    distance = (grid.points - grid.positions[grid.owners]).norm(dim=1)
    centre = distance.argmin()
    assert one.density.total[centre] > 0.9 * one.density.total.max()
    with pytest.raises(InputError, match="prepare it again"):
        located(replace(one, weights=one.weights * 1.001))


@KINDS
@pytest.mark.parametrize("share", [0.0, 0.25])
def test_spots_stand_for_the_grid(kind, share, small):
    one = lively(kind, exact_exchange=share)
    whole = {p.stem: located(load_density(p)) for p in sorted(small.glob("*.npz"))}
    by_species = {n: SpeciesSpots.of(spots(one, p).tensors()) for n, p in whole.items()}
    species = stack(by_species, list(by_species), torch.float64)
    changes = species.energies(one)
    for i, (name, prepared) in enumerate(whole.items()):
        assert isinstance(prepared, PreparedDensity)
        energy = prepared.rest + float(integral(one, prepared.density).sum())
        energy += share * prepared.exact_exchange
        change = energy - float(species.base[i])
        # a percent of what is learned, and 0.1 kcal/mol where energies are small, as in H2
        assert abs(float(changes[i]) - change) < 1e-2 * abs(change) + 1.6e-4, name


def test_training_lowers_the_error_on_real_densities(small):
    chosen = [
        Reaction("H2", "atomisation", "external", {"H2": -1, "H": 2}, 109.5),
        Reaction("H2O", "ionisation", "external", {"He": -1, "He+1": 1}, 567.0),
    ]
    one = NonlocalMetaGGA(hidden=8)
    names = ["H", "H2", "He", "He+1"]
    whole = {n: located(load_density(small / f"{n}.npz")) for n in names}
    prepared = {n: spots(one, p) for n, p in whole.items()}
    one.messages.calibrate(torch.cat([s.packed for s in prepared.values()]))
    before = errors_of([one], prepared, chosen)[0].abs()
    fit = train(one, prepared, chosen, Settings(steps=50, rate=1e-2))
    after = errors_of([one], prepared, chosen)[0].abs()
    assert fit.training[-1] < 0.2 * fit.training[0]
    assert after.sum() < 0.3 * before.sum()
    on_grid = reaction_errors(one, chosen, small)
    assert float((on_grid.abs() - after).abs().max()) < 0.1


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "recipes")
    return importlib.import_module("xc_nonlocal")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("", "too few densities"),
        ("--steps 0", "--steps 0"),
        ("--ionisation 2", "--ionisation 2.0"),
        ("--with-test", "--folds 5"),
        ("--folds 3 --on-grid blind", "no --folds"),
    ],
)
def test_mistakes_in_the_recipe_are_one_line(recipe, words, line, tmp_path, capsys):
    folder = str(tmp_path)
    code = recipe.main(["--densities", folder, "--out", folder, *words.split()])
    said = capsys.readouterr().err
    assert code == 2
    assert line in said
    assert said.count("\n") == 1


def test_the_recipe_does_not_take_a_fit_of_other_settings_for_its_own(recipe, small, tmp_path):
    chosen = [Reaction("H2", "atomisation", "external", {"H2": -1, "H": 2}, 109.5)]
    blank = NonlocalMetaGGA()
    prepared = {n: spots(blank, located(load_density(small / f"{n}.npz"))) for n in ("H", "H2")}
    settings = Settings(steps=2)
    first = recipe.fitted("messages", 0, "a", chosen, prepared, settings, tmp_path)
    again = recipe.fitted("messages", 0, "a", chosen, prepared, settings, tmp_path)
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    written = json.loads((tmp_path / "fits" / "messages-a-0.json").read_text())
    assert written["settings"] == asdict(settings)
    with pytest.raises(InputError, match="other settings"):
        recipe.fitted(
            "messages", 0, "a", chosen, prepared, replace(settings, locality=1.0), tmp_path
        )
