"""The Kohn-Sham simulator on a line: energies, exact conditions, derivatives, failures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import torch
from sfm_dft.ladder import grid
from sfm_dft.ladder.exact import two_electrons
from sfm_dft.ladder.kohn_sham_1d import KohnSham1D
from sfm_dft.ladder.lda import ExponentialLDA, HartreeSelfInteraction
from sfm_dft.ladder.molecules import Molecules, batch, build
from sfm_dft.ladder.neural import GlobalXC, LocalXC, convolve
from sfm_dft.ladder.orbitals import lowest
from torch import nn

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError

# nuclei, electrons, electronic LDA energy: an independent program, same grid and 5-point operator
LDA_ENERGIES = (
    ((-0.16, 0.16), 2, -2.183198113246802),
    ((-1.44, 1.44), 2, -1.6761039809172906),
    ((-2.96, 3.04), 2, -1.3165951730022152),
    ((-0.48, 0.56, 1.6, -1.52), 4, -5.834690916763531),
)
COMPONENTS = ("energy", "kinetic_energy", "external_energy", "hartree_energy", "xc_energy", "gap")


def protons(at: tuple[float, ...], electrons: int) -> Molecules:
    x = torch.tensor(at, dtype=torch.float64)
    return Molecules(x, torch.ones_like(x), torch.tensor(electrons))


def test_lda_energies_are_those_of_another_program():
    simulator = KohnSham1D()
    molecules = batch([protons(at, electrons) for at, electrons, _ in LDA_ENERGIES])
    with torch.no_grad():
        observed = simulator.observe(simulator.solve(molecules))
    electronic = observed["energy_1d"] - observed["nuclear_energy_1d"]
    published = torch.tensor([e for *_, e in LDA_ENERGIES], dtype=torch.float64)
    torch.testing.assert_close(electronic, published, rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("order", [2, 4, 6])
def test_harmonic_oscillator_converges_in_the_order_of_the_differences(order):
    """Levels 1/2, 3/2, 5/2 of v = x^2 / 2."""
    exact, errors = torch.tensor([0.5, 1.5, 2.5], dtype=torch.float64), []
    for size in (61, 121):
        dx = 18.0 / (size - 1)
        potential = 0.5 * grid.points(size, dx)[None] ** 2
        levels, _ = lowest(grid.kinetic_bands(size, dx, order), potential, 3)
        errors.append(float((levels[0] - exact).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


def test_exchange_of_the_uniform_gas_is_its_integral():
    """e_x = -1/4 int |gamma(x)|^2 w(x) dx with gamma = 2 sin(kF x) / (pi x), kF = pi n / 2."""
    for n in (0.05, 0.3, 1.2):
        kf = 0.5 * math.pi * n

        def integrand(x: float, kf: float = kf) -> float:
            gamma = 2.0 * kf / math.pi * np.sinc(kf * x / math.pi)
            return -0.5 * gamma**2 * grid.AMPLITUDE * math.exp(-x / grid.RANGE)

        integral, _ = scipy.integrate.quad(integrand, 0.0, 200.0, limit=400)
        exchange = ExponentialLDA().exchange(torch.tensor(n, dtype=torch.float64))
        assert float(exchange) == pytest.approx(integral, rel=1e-8)


def test_lda_obeys_exact_conditions():
    """No positive correlation, none without density; exchange falls faster than n."""
    n = torch.cat([torch.zeros(1), torch.logspace(-12, 2, 200)]).double().requires_grad_()
    lda = ExponentialLDA()
    correlation, total = lda.correlation(n), lda(n[None], 0.1).sum()
    assert (correlation <= 0).all()
    assert float(correlation[0].detach()) == 0.0
    assert torch.isfinite(torch.autograd.grad(total, n)[0]).all()


def test_lda_error_of_one_electron_is_reported_not_hidden():
    """H2+ at 2 bohr: LDA's self-interaction error, against the exact eigenvalue."""
    molecule = build("H2+", 2.0)
    lda = KohnSham1D()
    with torch.no_grad():
        problem = lda.problem(Molecules(*(v[None] for v in vars(molecule).values())))
        exact = problem.orbitals(problem.external).levels[0, 0] + problem.nuclear[0]
        error = float(lda.energy(lda.solve(molecule)) - exact)
    assert 0.03 < error < 0.1
    without = KohnSham1D(closure=HartreeSelfInteraction(problem.repulsion(), electrons=1))
    with torch.no_grad():
        assert float(without.energy(without.solve(molecule)) - exact) == pytest.approx(0, abs=1e-9)


def test_size_consistency_of_lda():
    """Two H2 far apart have twice the energy of one."""
    simulator = KohnSham1D(points=701, dx=0.1)
    far = Molecules(
        torch.tensor([-25.0, -23.5, 23.5, 25.0], dtype=torch.float64),
        torch.ones(4, dtype=torch.float64),
        torch.tensor(4),
    )
    near = protons((0.0, 1.5), 2)
    with torch.no_grad():
        pair = simulator.energy(simulator.solve(far))
        one = simulator.energy(simulator.solve(near))
    assert float(pair - 2 * one) == pytest.approx(0.0, abs=1e-6)


# ------------------------------------------------------------------ derivatives


def small(closure: nn.Module | None, **values: object) -> KohnSham1D:
    options = {"points": 81, "dx": 0.3, "tolerance": 1e-12, **values}
    return KohnSham1D(closure=closure, **options)


def stencil(function, step: float) -> dict[str, float]:
    """Fourth-order finite difference of a dictionary of numbers."""
    up, down, up2, down2 = (function(k * step) for k in (1, -1, 2, -2))
    return {k: (8 * (up[k] - down[k]) - (up2[k] - down2[k])) / (12 * step) for k in up}


def numbers(simulator: KohnSham1D, molecules: Molecules, weights: torch.Tensor):
    """Components and a random projection of the density, after a whole calculation."""
    observed = simulator.observe(simulator.solve(molecules))
    out = {f"{name}_1d": observed[f"{name}_1d"].sum() for name in COMPONENTS}
    return {**out, "density": (observed["density_1d"] * weights).sum()}


def mixture() -> tuple[Molecules, torch.Tensor]:
    molecules = batch([build("H2", 1.28), build("H4", 2.1), build("H2", 4.0), build("H2+", 2.0)])
    generator = torch.Generator().manual_seed(0)
    return molecules, torch.randn(4, 81, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", [LocalXC, GlobalXC])
def test_gradients_of_weights_match_differences_through_the_field(kind):
    functional = kind(seed=3)
    simulator, (molecules, weights) = small(functional), mixture()
    parameters = list(functional.parameters())
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(p.shape, generator=generator).double() for p in parameters]

    def moved(amount: float) -> dict[str, float]:
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p += amount * d
            values = numbers(simulator, molecules, weights)
            for p, d in zip(parameters, directions, strict=True):
                p -= amount * d
        return {k: float(v) for k, v in values.items()}

    differences = stencil(moved, 1e-4)
    for name, value in numbers(simulator, molecules, weights).items():
        slopes = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(slopes, directions, strict=True)
        slope = sum(float((s * d).sum()) for s, d in pairs if s is not None)
        assert slope == pytest.approx(differences[name], rel=1e-6), name


def test_gradients_of_positions_and_interaction_match_differences():
    molecules, weights = mixture()
    generator = torch.Generator().manual_seed(2)
    direction = torch.randn(molecules.positions.shape, generator=generator).double()
    for what in ("positions", "amplitude", "length"):
        simulator = small(None)

        def values(t: torch.Tensor, what: str = what, simulator: KohnSham1D = simulator):
            if what == "positions":
                at = molecules.positions + t * direction
                return numbers(
                    simulator, Molecules(at, molecules.charges, molecules.electrons), weights
                )
            fixed = getattr(simulator, what).detach()
            del simulator._parameters[what]
            setattr(simulator, what, fixed + t)
            sums = numbers(simulator, molecules, weights)
            delattr(simulator, what)
            simulator.register_parameter(what, nn.Parameter(fixed))
            return sums

        def plain(amount: float, values=values) -> dict[str, float]:
            t = torch.tensor(amount, dtype=torch.float64)
            with torch.no_grad():
                return {k: float(v) for k, v in values(t).items()}

        differences = stencil(plain, 2e-4)
        t = torch.zeros((), dtype=torch.float64, requires_grad=True)
        for name, value in values(t).items():
            (slope,) = torch.autograd.grad(value, t, retain_graph=True)
            assert float(slope) == pytest.approx(differences[name], rel=1e-6), (what, name)


class ScaledLDA(ExponentialLDA):
    """One weight, the factor of the whole functional."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, density: torch.Tensor, dx: float) -> torch.Tensor:
        return self.scale * super().forward(density, dx)


def test_degenerate_levels_give_no_nan():
    """Two H2 far apart: both occupied levels are equal, to 1e-6 hartree."""
    functional = ScaledLDA()
    simulator = small(functional, points=201)
    far = protons((-15.0, -13.5, 13.5, 15.0), 4)
    state = simulator.solve(far)
    problem = simulator.problem(Molecules(*(v[None] for v in vars(far).values())))
    levels = problem.orbitals(simulator.potential(state)[None]).levels[0]
    assert float(levels[1] - levels[0]) < 1e-8
    weights = torch.linspace(0.0, 1.0, 201, dtype=torch.float64) ** 2

    def moved(amount: float) -> dict[str, float]:
        with torch.no_grad():
            functional.scale.add_(amount)
            density = simulator.density(simulator.solve(far))
            functional.scale.sub_(amount)
        return {"density": float((density * weights).sum())}

    projected = (simulator.density(state) * weights).sum()
    (slope,) = torch.autograd.grad(projected, functional.scale)
    assert float(slope) == pytest.approx(stencil(moved, 1e-3)["density"], rel=1e-6)


# ------------------------------------------------------------------ batches, failures, input


def test_a_batch_gives_what_each_molecule_gives():
    molecules = [build("H2", 1.28), build("H4", 2.0), build("H2+", 3.0)]
    simulator = small(GlobalXC(seed=1))
    together = simulator.observe(simulator.solve(batch(molecules)))
    for number, molecule in enumerate(molecules):
        alone = simulator.observe(simulator.solve(molecule))
        for name in ("energy_1d", "gap_1d", "density_1d"):
            torch.testing.assert_close(together[name][number], alone[name], rtol=0.0, atol=1e-9)


def test_what_does_not_converge_is_an_error_value():
    simulator = small(None, max_cycles=3)
    molecules = batch([build("H2", 1.28), build("H2", 6.0)])
    state = simulator(simulator.start(molecules), 10)
    observed = simulator.observe(state)
    assert observed["scf_converged"].tolist() == [0, 0]
    assert observed["scf_cycles"].tolist() == [3, 3]
    assert torch.isnan(observed["energy_1d"]).all()
    assert torch.isnan(simulator.energy(state)).all()
    assert "not self-consistent after 3 cycles" in simulator.warnings(state)[0]
    with pytest.raises(RunError, match="not self-consistent"):
        simulator.solve(molecules)
    # one that converges beside one that does not keeps its energy
    mixed = small(LocalXC(seed=0), max_cycles=10)
    mixed.tolerance = 1e-6
    state = mixed(mixed.start(batch([build("H", 0.0), build("H2", 6.0)])), 10)
    energy = mixed.energy(state)
    assert torch.isnan(energy).tolist() == (~state.converged).tolist()


def test_samples_and_wrong_input():
    simulator = KohnSham1D()
    sample = Sample(
        id="H2",
        domain="dft",
        positions=np.array([[-0.4, 0.0, 0.0], [0.4, 0.0, 0.0]]),
        types=np.array([1, 1]),
    )
    state = simulator.state(sample)
    assert state.positions.tolist() == pytest.approx([-0.755890, 0.755890], abs=1e-6)
    with pytest.raises(InputError, match="on the x axis"):
        simulator.state(
            Sample(id="a", domain="dft", positions=np.eye(3)[:2], types=np.array([1, 1]))
        )
    with pytest.raises(InputError, match="there is no LDA for soft-coulomb"):
        KohnSham1D(interaction="soft-coulomb")
    with pytest.raises(InputError, match="for the exponential interaction"):
        KohnSham1D(interaction="soft-coulomb", closure=LocalXC())
    with pytest.raises(InputError, match="too close to the end"):
        simulator.start(build("H2", 39.0))


def test_soft_coulomb_with_exact_exchange_of_two_electrons():
    """Helium with 1/sqrt(x^2 + 1): Hartree-Fock -2.224, exact -2.238 hartree (Wagner et al.,
    Phys. Chem. Chem. Phys. 14, 8581 (2012))."""
    x = grid.points(401, 0.05)
    repulsion = grid.soft_coulomb(x[:, None] - x[None, :], 1.0, 1.0)
    simulator = KohnSham1D(
        closure=HartreeSelfInteraction(repulsion),
        interaction="soft-coulomb",
        amplitude=1.0,
        length=1.0,
        points=401,
        dx=0.05,
    )
    helium = Molecules(torch.zeros(1).double(), 2 * torch.ones(1).double(), torch.tensor(2))
    with torch.no_grad():
        energy = float(simulator.energy(simulator.solve(helium)))
    assert energy == pytest.approx(-2.224, abs=6e-4)
    flat = Molecules(*(v[None] for v in vars(helium).values()))
    exact = two_electrons(simulator.problem(flat), tolerance=1e-5)
    assert exact.energy == pytest.approx(-2.238, abs=6e-4)


def test_convolution_is_the_sum():
    generator = torch.Generator().manual_seed(0)
    density = torch.rand(2, 17, generator=generator).double()
    kernel = torch.rand(3, 17, generator=generator).double()
    offset = (torch.arange(17)[:, None] - torch.arange(17)[None, :]).abs()
    total = torch.einsum("cxy,by->bcx", kernel[:, offset], density)
    torch.testing.assert_close(convolve(density, kernel), total, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("kind", [LocalXC, GlobalXC])
def test_learned_functionals_do_not_know_the_grid_or_left_from_right(kind):
    functional = kind(seed=2)
    energies = []
    for size, dx in ((201, 0.1), (401, 0.05)):
        x = grid.points(size, dx)
        n = torch.exp(-((x - 0.7) ** 2)) + 0.3 * torch.exp(-((x + 1.5) ** 2))
        energies.append((functional(torch.stack([n, n.flip(0)]), dx).sum(-1) * dx).detach())
    (coarse, _), (fine, mirrored) = (e.tolist() for e in energies)
    assert fine == pytest.approx(mirrored, abs=1e-12)
    assert coarse == pytest.approx(fine, rel=2e-3)


def test_the_gate_makes_one_electron_exact():
    molecule = build("H2+", 2.4)
    simulator = small(GlobalXC(seed=5))
    with torch.no_grad():
        problem = simulator.problem(Molecules(*(v[None] for v in vars(molecule).values())))
        exact = problem.orbitals(problem.external).levels[0, 0] + problem.nuclear[0]
        energy = simulator.energy(simulator.solve(molecule))
    assert float(energy - exact) == pytest.approx(0.0, abs=1e-9)
