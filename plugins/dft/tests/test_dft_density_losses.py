"""Losses on the manifold of density matrices and on self-consistent densities."""

import numpy as np
import pytest
import torch
from sfm_dft.neural import density_losses as m
from sfm_dft.neural.functional import NeuralGGA
from sfm_dft.scf.diis import nearest_idempotent, orthonormal
from sfm_dft.simulators.kohn_sham import KohnSham

from sfm.data.sample import Sample
from sfm.errors import InputError

TURN = 1e-3  # of finite differences along the manifold
SHIFT = 1e-3  # of those in the weights


def sample(name, types, positions, spin=0):
    return Sample(
        id=name,
        domain="dft",
        types=np.array(types),
        positions=np.array(positions, dtype=float),
        conditions={"spin": spin},
    )


WATER = sample("H2O", [8, 1, 1], [[0, 0, 0.12], [0.1, 0.76, -0.47], [0, -0.76, -0.47]])
FLUORIDE = sample("HF", [9, 1], [[0, 0, 0.09], [0.2, 0.1, -0.83]])
HYDROXYL = sample("OH", [8, 1], [[0, 0, 0.1], [0.1, 0.2, -0.86]], spin=1)


def simulator(functional="PBE", **options):
    options = {"basis": "sto-3g", "grid_level": 0, "tolerance": 1e-11, **options}
    return KohnSham(functional=functional, **options)


def learned(seed=3, scale=0.2):
    one = NeuralGGA(hidden=6, layers=1).with_random_weights(seed, scale)
    return one, simulator("none", closure=one)


def shifted(network, direction, size):
    """The weights moved along `direction`; returns what undoes it."""
    with torch.no_grad():
        for weight, move in zip(network.parameters(), direction, strict=True):
            weight.add_(move, alpha=size)


def directions_of(network, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(w.shape, generator=g, dtype=w.dtype) for w in network.parameters()]


def slope(network, loss, size=SHIFT):
    """Four-point difference of `loss()` along random weights, and autograd's answer."""
    move = directions_of(network)
    values = {}
    for k in (-2, -1, 1, 2):
        shifted(network, move, k * size)
        values[k] = loss().detach()
        shifted(network, move, -k * size)
    measured = (8.0 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12.0 * size)
    grads = torch.autograd.grad(
        loss(), list(network.parameters()), allow_unused=True, materialize_grads=True
    )
    return measured, sum((g * v).sum() for g, v in zip(grads, move, strict=True))


@pytest.fixture(scope="module")
def pbe():
    one = simulator()
    return one, one.solve([WATER, FLUORIDE])


@pytest.mark.parametrize("spin", ["auto", "unrestricted"])
def test_gradient_vanishes_where_self_consistent_and_only_there(spin):
    one = simulator(spin=spin)
    state = one.solve([WATER, FLUORIDE])
    point = m.Point.of(state.system, state.scf.density_matrix)
    functional = one.energy_functional(state)
    assert float(m.gradient_loss(functional, point).detach().max()) < 1e-20  # residual below 1e-11
    other = simulator("LDA", spin=spin).energy_functional(state)
    assert float(m.gradient_loss(other, point).detach().min()) > 1e-7
    away = point.turned(0.1 * point.random(1)[0])
    assert float(m.gradient_loss(functional, away).detach().min()) > 1e-5


def test_mean_square_is_the_block_between_empty_and_filled_orbitals(pbe):
    one, state = pbe
    point = m.Point.of(state.system, state.scf.density_matrix)
    functional = simulator("LDA").energy_functional(state)
    fock = functional.fock(state.scf.density_matrix)
    for index, molecule in enumerate(state.system.molecules):
        solution = m.finish(one.energy_functional(state), state.scf)
        n, filled = molecule.orbitals, int(state.system.electrons[index, 0])
        c = solution.coefficients[index, 0][:n, :n]
        block = c[:, filled:].mT @ fock[index, 0, :n, :n] @ c[:, :filled]
        loss = m.gradient_loss(functional, point)[index]
        torch.testing.assert_close(loss, block.square().mean(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("samples", [[WATER, FLUORIDE], [HYDROXYL, WATER]])
def test_derivatives_are_those_of_the_energy_along_the_manifold(samples):
    _, one = learned()
    state = one.state(samples)
    system, functional = state.system, one.energy_functional(state)
    point = m.Point.of(system, nearest_idempotent(system, system.guess))
    u, v = point.random(2)
    length = u.flatten(1).norm(dim=1)
    torch.testing.assert_close(length, torch.ones_like(length))

    def energy(a, b):
        return functional.total(point.turned(TURN * (a * u + b * v)).density_matrix).detach()

    first = (8.0 * (energy(1, 0) - energy(-1, 0)) - (energy(2, 0) - energy(-2, 0))) / (12.0 * TURN)
    g = m.gradient(functional, point).detach()
    derivative = 2.0 * system.share * (g * u).sum((1, 2, 3))
    torch.testing.assert_close(derivative, first, rtol=1e-8, atol=1e-8)
    mixed = energy(1, 1) - energy(1, -1) - energy(-1, 1) + energy(-1, -1)
    products = m.hessian_products(functional, point, torch.stack([u, v])).detach()
    derivative = 2.0 * system.share * (products[0] * v).sum((1, 2, 3))
    torch.testing.assert_close(derivative, mixed / (4.0 * TURN**2), rtol=1e-5, atol=1e-5)
    turned_round = 2.0 * system.share * (products[1] * u).sum((1, 2, 3))
    torch.testing.assert_close(derivative, turned_round, rtol=1e-11, atol=1e-11)


def test_weights_feel_both_derivatives(pbe):
    _, state = pbe
    network, one = learned()
    functional = one.energy_functional(state)
    point = m.Point.of(state.system, state.scf.density_matrix)
    u = point.random(2)
    hybrid = simulator("PBE0").energy_functional(state)
    g = m.gradient(hybrid, point).detach()
    h = m.hessian_products(hybrid, point, u).detach()
    for loss in (
        lambda: m.gradient_loss(functional, point).sum(),
        lambda: m.gradient_loss(functional, point, g).sum(),
        lambda: m.hessian_loss(functional, point, u, h).sum(),
    ):
        measured, gradient = slope(network, loss)
        torch.testing.assert_close(gradient, measured, rtol=1e-7, atol=0)


def test_weights_feel_density_and_dipole_through_the_whole_scf(pbe):
    base, reference = pbe
    network, one = learned()
    start = one.state([WATER, FLUORIDE])
    target = m.Target.of(base.energy_functional(reference), reference.scf.density_matrix)

    def loss():
        state = one(start, one.max_cycles)
        errors = m.self_consistent_errors(one.energy_functional(state), state.scf, target)
        return (errors.square + errors.dipole).sum()

    measured, gradient = slope(network, loss)
    torch.testing.assert_close(gradient, measured, rtol=5e-6, atol=0)


def test_batch_is_its_molecules(pbe):
    base, reference = pbe
    _, one = learned()
    target = m.Target.of(base.energy_functional(reference), reference.scf.density_matrix)
    both = one.solve([WATER, FLUORIDE])
    errors = m.self_consistent_errors(one.energy_functional(both), both.scf, target)
    sizes = [len(molecule.grid.weights) for molecule in both.system.molecules]
    points = m.Point.of(reference.system, reference.scf.density_matrix)
    together = m.gradient_loss(one.energy_functional(reference), points)
    for index, atoms in enumerate([WATER, FLUORIDE]):
        alone = one.solve([atoms])
        part = m.Target(target.density.split(sizes)[index], target.dipole[index : index + 1])
        deviation = m.self_consistent_errors(one.energy_functional(alone), alone.scf, part)
        for name in ("square", "absolute", "dipole"):
            want = getattr(errors, name)[index]
            torch.testing.assert_close(getattr(deviation, name)[0], want, rtol=1e-7, atol=1e-12)
        n = alone.system.size
        point = m.Point.of(alone.system, reference.scf.density_matrix[index : index + 1, :, :n, :n])
        deviation = m.gradient_loss(one.energy_functional(alone), point)[0]
        torch.testing.assert_close(deviation, together[index], rtol=1e-9, atol=0)


def test_own_density_has_no_error(pbe):
    one, state = pbe
    functional = one.energy_functional(state)
    target = m.Target.of(functional, state.scf.density_matrix)
    electrons = torch.stack(
        [
            molecule.grid.weights @ part
            for molecule, part in zip(
                state.system.molecules,
                target.density.split([len(x.grid.weights) for x in state.system.molecules]),
                strict=True,
            )
        ]
    )
    # what grid level 0 integrates of ten electrons
    torch.testing.assert_close(electrons, torch.full_like(electrons, 10.0), rtol=0, atol=2e-2)
    errors = m.self_consistent_errors(functional, state.scf, target)
    assert float(errors.square.detach().abs().max()) == 0.0
    assert float(errors.dipole.detach().abs().max()) == 0.0
    zero = target.density.new_zeros(())
    nothing = m.DensityErrors.of(functional, zero * state.scf.density_matrix, target)
    torch.testing.assert_close(nothing.absolute, electrons / 10.0)


def test_correlated_density_matrices_from_pyscf():
    from pyscf import cc, gto, scf

    one = simulator()
    state = one.solve([WATER])
    atoms = [[int(z), tuple(r)] for z, r in zip(WATER.types, WATER.positions, strict=True)]
    mol = gto.M(atom=atoms, basis="sto-3g", verbose=0)
    solver = cc.CCSD(scf.RHF(mol).run()).run()
    matrix = torch.tensor(solver.make_rdm1(ao_repr=True))
    d = m.packed(state.system, [matrix])
    count = 2.0 * (d * state.system.overlap[:, None]).sum()
    torch.testing.assert_close(count, torch.tensor(10.0, dtype=count.dtype))
    dipole = torch.tensor(solver._scf.dip_moment(mol, matrix.numpy(), unit="au", verbose=0))
    torch.testing.assert_close(one.energy_functional(state).dipole(d)[0], dipole)
    with pytest.raises(InputError, match="nearest_idempotent"):
        m.Point.of(state.system, d)
    near = nearest_idempotent(state.system, d)
    point = m.Point.of(state.system, near)
    assert float((point.projector - orthonormal(state.system, d)).abs().max()) < 0.1
    torch.testing.assert_close(nearest_idempotent(state.system, near), near)


def test_gradient_descent_reaches_the_functional_that_made_the_density(pbe):
    """Toward PBE's density matrices, where zero weights (PBE itself) have no loss."""
    _, state = pbe
    network, one = learned(scale=0.3)
    one.requires_grad_(False)
    functional = one.energy_functional(state)
    network.requires_grad_(True)
    point = m.Point.of(state.system, state.scf.density_matrix)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.03)
    losses = []
    for _ in range(25):
        loss = m.gradient_loss(functional, point).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0]


def test_bad_input_is_named(pbe):
    one, state = pbe
    with pytest.raises(InputError, match="2 molecules"):
        m.packed(state.system, [torch.eye(7, dtype=torch.float64)])
    with pytest.raises(InputError, match=r"shape \(3, 3\) for 7 orbitals"):
        m.packed(state.system, [torch.eye(3, dtype=torch.float64)] * 2)
    with pytest.raises(InputError, match="electrons"):
        m.Point.of(state.system, 0.0 * state.scf.density_matrix)
    started = one.state([WATER, FLUORIDE])
    functional = one.energy_functional(state)
    target = m.Target.of(functional, state.scf.density_matrix)
    with pytest.raises(InputError, match="self-consistent"):
        m.self_consistent_errors(functional, started.scf, target)
