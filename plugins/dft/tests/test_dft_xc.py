"""Functionals pointwise against libxc 7 through PySCF, down to vanishing density and spins.

libxc is the reference for values and first derivatives. Where it loses digits itself, or its
thresholds set in, the tests stay away or say so:

- 1 - zeta is a difference in libxc, a quotient here; near full polarisation libxc's derivatives
  keep eps / (1 - zeta) of their digits, so the minority spin here holds at least 5e-4.
- libxc raises an empty spin to its density threshold (1e-15 electrons per bohr^3; 1e-12 in
  GGA_C_PBE and 1e-11 in MGGA_X_R2SCAN); here an empty spin is empty. Of correlation, where
  (1 - zeta)^(2/3) makes the difference, fully polarised densities are compared at 1e-6.
- At low density libxc rounds: ln(1 + 1/x) and exp(x) - 1 of small numbers lose the digits that
  log1p and expm1 keep. Below 1e-6 electrons per bohr^3 the tolerance is 1e-9, and below the
  functional's threshold in libxc there is nothing to compare.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from sfm_dft.xc import FUNCTIONALS, GridDensity, functional
from torch.utils._python_dispatch import TorchDispatchMode

from sfm.errors import InputError

# what each name is for libxc: its exchange and its correlation
LIBXC = {
    "LDA": ("LDA_X,", ",LDA_C_PW"),
    "LDA-VWN5": ("LDA_X,", ",LDA_C_VWN"),
    "PBE": ("GGA_X_PBE,", ",GGA_C_PBE"),
    "r2SCAN": ("MGGA_X_R2SCAN,", ",MGGA_C_R2SCAN"),
    "PBE0": ("0.75*GGA_X_PBE,", ",GGA_C_PBE"),
    "B3LYP": ("0.08*LDA_X + 0.72*GGA_X_B88,", ",0.19*LDA_C_VWN_RPA + 0.81*GGA_C_LYP"),
}
POINTS = 2000


def random_density(spins, seed, lowest=-6.0, highest=3.0, count=POINTS, spread=2.0):
    """Densities over nine decades, |grad n| / n^(4/3) from 3e-3 to 30, tau above its bound."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape, low=0.0, high=1.0):
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    total = 10.0 ** uniform(count, low=lowest, high=highest)
    share = 10.0 ** uniform(count, low=-3.0, high=0.0) / 2.0  # of the minority spin
    share = torch.where(uniform(count) < 0.5, share, 1.0 - share)
    rho = 0.5 * total[None] if spins == 1 else torch.stack([share * total, (1.0 - share) * total])
    direction = torch.nn.functional.normalize(uniform(spins, 3, count, low=-1.0, high=1.0), dim=1)
    slope = 10.0 ** uniform(spins, count, low=-0.5 - spread, high=-0.5 + spread) * rho ** (4 / 3)
    gradient = direction * slope[:, None]
    thomas_fermi = 0.3 * (6.0 * math.pi**2) ** (2 / 3) * rho ** (5 / 3)
    excess = thomas_fermi * 10.0 ** uniform(spins, count, low=-0.5 - spread, high=-0.5 + spread)
    return GridDensity(rho, gradient, gradient.square().sum(1) / (8.0 * rho) + excess)


def fields(density):
    return density.rho, density.gradient, density.tau


def derivatives(energy, density, **options):
    return torch.autograd.grad(energy.sum(), fields(density), materialize_grads=True, **options)


def tracked(density):
    return GridDensity(*(t.detach().clone().requires_grad_() for t in fields(density)))


def libxc_energy(code, density):
    """Energy per volume (G,) and its derivatives by rho, gradient and tau, as ours are given."""
    from pyscf.dft import libxc

    spins, double = len(density.rho), 2.0 if density.closed_shell else 1.0
    rows = torch.cat([density.rho[:, None], density.gradient, density.tau[:, None]], 1).numpy()
    kind = libxc.xc_type(code)
    rows = double * rows[:, : {"LDA": 1, "GGA": 4, "MGGA": 5}[kind]]
    rows = rows[:, 0] if kind == "LDA" else rows
    per_electron, potential = libxc.eval_xc(
        code, rows[0] if spins == 1 else tuple(rows), spin=spins - 1, deriv=1
    )[:2]
    gradient = density.gradient.numpy()
    zero = np.zeros_like(density.rho.numpy())
    v_rho = potential[0].T.reshape(spins, -1) * double
    v_gradient, v_tau = np.zeros_like(gradient), zero
    if kind != "LDA" and spins == 1:
        v_gradient = 8.0 * potential[1] * gradient
    elif kind != "LDA":
        same, mixed, other = potential[1].T
        up, down = gradient
        v_gradient = np.stack([2.0 * same * up + mixed * down, 2.0 * other * down + mixed * up])
    if kind == "MGGA":
        v_tau = potential[3].T.reshape(spins, -1) * double
    energy = torch.from_numpy(per_electron * density.total.numpy())
    return energy, [torch.from_numpy(np.ascontiguousarray(v)) for v in (v_rho, v_gradient, v_tau)]


@pytest.mark.parametrize("part", [0, 1], ids=["exchange", "correlation"])
@pytest.mark.parametrize("spins", [1, 2])
@pytest.mark.parametrize("name", LIBXC)
def test_value_and_potential_equal_libxc(name, spins, part):
    density = tracked(random_density(spins, seed=7))
    energy = functional(name)(density)[part]
    ours = derivatives(energy, density, allow_unused=True)
    with torch.no_grad():
        expected, theirs = libxc_energy(LIBXC[name][part], density)
    torch.testing.assert_close(energy, expected, rtol=1e-12, atol=0.0)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spins", [1, 2])
@pytest.mark.parametrize("name", LIBXC)
def test_low_densities_equal_libxc(name, spins):
    lowest = {"PBE": -8.0, "PBE0": -8.0, "r2SCAN": -7.0}.get(name, -10.0)
    density = random_density(spins, seed=11, lowest=lowest, highest=-6.0)
    for energy, code in zip(functional(name)(density), LIBXC[name], strict=True):
        expected, _ = libxc_energy(code, density)
        torch.testing.assert_close(energy, expected, rtol=1e-8, atol=1e-20)


@pytest.mark.parametrize("name", LIBXC)
def test_fully_polarised_equals_libxc(name):
    up = random_density(1, seed=5, lowest=-1.0)
    density = tracked(
        GridDensity(*(torch.cat([field, torch.zeros_like(field)]) for field in fields(up)))
    )
    exchange, correlation = functional(name)(density)
    ours = derivatives(exchange, density, retain_graph=True, allow_unused=True)
    with torch.no_grad():
        expected, theirs = libxc_energy(LIBXC[name][0], density)
        correlated, _ = libxc_energy(LIBXC[name][1], density)
    # libxc's total density is larger by its threshold
    rtol = 2e-10 if name == "r2SCAN" else 1e-12
    torch.testing.assert_close(exchange, expected, rtol=rtol, atol=0.0)
    # B3LYP's correlation: only VWN_RPA is left, LYP is zero
    torch.testing.assert_close(correlation, correlated, rtol=1e-6, atol=1e-14)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine[0], reference[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spins", [1, 2])
def test_tau_below_its_bound_lowers_the_gradient_as_in_libxc(spins):
    """Values and derivatives at sigma = 8 rho tau, for tau from nothing to the bound."""
    density = random_density(spins, seed=3, lowest=-4.0)
    bound = density.gradient.square().sum(1) / (8.0 * density.rho)
    share = torch.linspace(0.01, 1.0, POINTS, dtype=torch.float64)
    density = tracked(GridDensity(density.rho, density.gradient, bound * share))
    for energy, code in zip(functional("r2SCAN")(density), LIBXC["r2SCAN"], strict=True):
        ours = derivatives(energy, density, retain_graph=True)
        with torch.no_grad():
            expected, theirs = libxc_energy(code, density)
        torch.testing.assert_close(energy, expected, rtol=1e-12, atol=1e-15)
        for mine, reference in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", LIBXC)
def test_closed_shell_equals_two_equal_spins(name):
    """1e-14 of the larger of a point's energy and a percent of its exchange, where LYP passes
    through zero."""
    closed = tracked(random_density(1, seed=9))
    double = tracked(GridDensity(*(torch.cat([f, f]) for f in fields(closed))))
    exchange, correlation = functional(name)(closed)
    exchange2, correlation2 = functional(name)(double)
    torch.testing.assert_close(exchange, exchange2, rtol=1e-14, atol=0.0)
    scale = torch.maximum(correlation.abs(), 0.01 * exchange.abs())
    assert ((correlation - correlation2).abs() <= 1e-14 * scale).all()
    for one, two in zip(
        derivatives(exchange + correlation, closed, allow_unused=True),
        derivatives(exchange2 + correlation2, double, allow_unused=True),
        strict=True,
    ):
        # the closed shell's row stands for both spins
        torch.testing.assert_close(one[0], two.sum(0), rtol=1e-12, atol=1e-14)


def corners(spins):
    """Every combination of vanishing and extreme fields, NaN's favourite places."""
    rho = [0.0, 1e-30, 0.9e-14, 1.1e-14, 3e-14, 1e-12, 1e-6, 0.3, 1e3]
    rho, slope = (rho, [0.0, 1e-30, 1e-3, 1e4]) if spins == 2 else ([*rho, 1e6], [0.0, 1e-30, 1e4])
    tau = [0.0, 1.0, 1e6]
    table = torch.tensor(
        list(itertools.product(*[rho] * spins, *[slope] * spins, *[tau] * spins)),
        dtype=torch.float64,
    ).T
    gradient = torch.zeros(spins, 3, table.shape[1], dtype=torch.float64)
    for spin in range(spins):
        gradient[spin, spin] = table[spins + spin]
    return tracked(GridDensity(table[:spins], gradient, table[2 * spins :]))


@pytest.mark.parametrize("spins", [1, 2])
@pytest.mark.parametrize("name", FUNCTIONALS)
def test_no_nan_and_exact_zeros_where_nothing_is(name, spins):
    density = corners(spins)
    energies = functional(name)(density)
    first = derivatives(sum(energies), density, create_graph=True, allow_unused=True)
    generator = torch.Generator().manual_seed(2)
    weighted = sum(
        (f * torch.randn(f.shape, generator=generator, dtype=f.dtype)).sum() for f in first
    )
    second = derivatives(weighted, density, allow_unused=True) if weighted.requires_grad else ()
    empty = density.total <= 1e-14
    assert int(empty.sum()) > 9
    for tensor in (*energies, *first, *second):
        assert tensor.isfinite().all()
        assert tensor[..., empty].eq(0.0).all()


@pytest.mark.parametrize("spins", [1, 2])
@pytest.mark.parametrize("name", LIBXC)
def test_first_and_second_derivatives_are_those_of_the_value(name, spins):
    density = random_density(spins, seed=4, lowest=-1.0, highest=0.5, count=3, spread=0.5)
    inputs = tuple(t.requires_grad_() for t in fields(tracked(density)))

    def energy(rho, gradient, tau):
        return sum(functional(name)(GridDensity(rho, gradient, tau)))

    assert torch.autograd.gradcheck(energy, inputs, atol=1e-6)
    assert torch.autograd.gradgradcheck(energy, inputs, atol=1e-5)


# torch's own forward mode loads decompositions through its deprecated script compiler
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", ["PBE", "r2SCAN"])
def test_forward_mode_gives_the_same_second_derivatives(name):
    density = tracked(random_density(2, seed=4, count=20, spread=1.0))

    def energy(rho, gradient, tau):
        return sum(functional(name)(GridDensity(rho, gradient, tau))).sum()

    inputs = fields(density)
    generator = torch.Generator().manual_seed(6)
    plain = tuple(f.detach() for f in inputs)
    tangents = tuple(f * torch.randn(f.shape, generator=generator, dtype=f.dtype) for f in plain)
    first = derivatives(energy(*inputs), density, create_graph=True, allow_unused=True)
    along = sum((f * t).sum() for f, t in zip(first, tangents, strict=True))
    reverse = derivatives(along, density, allow_unused=True)
    gradient = torch.func.grad(energy, argnums=(0, 1, 2))
    _, forward = torch.func.jvp(gradient, plain, tangents)
    torch.testing.assert_close(forward, reverse, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LIBXC)
def test_named_functional_is_what_it_says_for_libxc(name):
    from pyscf.dft import libxc

    chosen, density = functional(name), random_density(2, seed=1)
    expected, _ = libxc_energy(chosen.libxc, density)
    torch.testing.assert_close(sum(chosen(density)), expected, rtol=1e-12, atol=0.0)
    assert chosen.exact_exchange == pytest.approx(libxc.hybrid_coeff(chosen.libxc))
    assert chosen.citations


def test_b3lyp_is_pyscfs():
    density = random_density(1, seed=1)
    expected, _ = libxc_energy("b3lyp", density)
    torch.testing.assert_close(sum(functional("B3LYP")(density)), expected, rtol=1e-12, atol=0.0)


def test_hartree_fock_and_none():
    density = tracked(random_density(2, seed=1))
    assert functional("HF").exact_exchange == 1.0
    assert functional("none").exact_exchange == 0.0
    for name in ("HF", "none"):
        energy = sum(functional(name)(density))
        assert energy.eq(0.0).all()
        assert all(d.eq(0.0).all() for d in derivatives(energy, density, allow_unused=True))


class Counter(TorchDispatchMode):
    """Elements that pass through expensive functions, and through powers that are none of 2, 1."""

    def __init__(self):
        super().__init__()
        self.elements, self.powers = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name == "pow" and float(args[1]) % 1.0:
            self.powers += args[0].numel()
        if name in {"exp", "expm1", "log", "log1p", "atan", "sqrt", "rsqrt"}:
            self.elements += args[0].numel()
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", LIBXC)
def test_closed_shell_costs_about_half_and_derivatives_cost_no_power(name):
    cost = {}
    for spins in (1, 2):
        density = tracked(random_density(spins, seed=1, count=10))
        with Counter() as counter:
            energy = sum(functional(name)(density))
            cost[spins] = counter.elements + counter.powers
            first = derivatives(energy, density, create_graph=True, allow_unused=True)
            derivatives(sum(f.sum() for f in first), density, allow_unused=True)
        assert counter.powers == {1: 10, 2: 30}[spins]
    assert cost[1] <= 0.7 * cost[2]


def test_uniform_gas_correlation_energy():
    """Perdew and Wang's fit at rs = 2 against Ceperley and Alder's Monte Carlo, in hartree:
    0.0448 unpolarised, 0.0240 polarised."""
    n = 3.0 / (4.0 * math.pi * 8.0)
    rho = torch.tensor([[0.5 * n, n], [0.5 * n, 0.0]], dtype=torch.float64)
    closed, polarised = (functional("LDA")(GridDensity(rho)).correlation / n).tolist()
    assert closed == pytest.approx(-0.0448, abs=1e-4)
    assert polarised == pytest.approx(-0.0240, abs=2e-4)


def test_unknown_functional_is_named():
    with pytest.raises(InputError, match=r"functional 'PEB' is not known. Did you mean 'PBE'"):
        functional("PEB")
