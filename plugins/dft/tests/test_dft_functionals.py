"""Functionals pointwise against libxc, down to vanishing density, and exact conditions."""

import math

import numpy as np
import pytest
import torch
from sfm_dft import functionals

from sfm.errors import InputError

LIBXC = {"LDA": "LDA_X,LDA_C_PW", "PBE": "GGA_X_PBE,GGA_C_PBE"}
LOWEST = -9.5  # below, libxc fades PBE correlation out until 1e-12 electrons per bohr^3


def grid(reduced_gradient):
    rho = torch.logspace(LOWEST, 3, 300, dtype=torch.float64)
    return rho.requires_grad_(), (reduced_gradient**2 * rho.detach() ** (8 / 3)).requires_grad_()


@pytest.mark.parametrize("name", ["LDA", "PBE"])
@pytest.mark.parametrize("reduced_gradient", [0.0, 0.1, 3.0, 60.0])
def test_value_and_potential_equal_libxc(name, reduced_gradient):
    from pyscf.dft import libxc

    rho, sigma = grid(reduced_gradient)
    energy = sum(functionals.functional(name)(rho, sigma))
    v_rho, v_sigma = torch.autograd.grad(
        energy.sum(), (rho, sigma), allow_unused=True, materialize_grads=True
    )
    x = np.zeros((4, len(rho)))
    x[0], x[1] = rho.detach().numpy(), sigma.detach().sqrt().numpy()
    per_electron, potential = libxc.eval_xc(LIBXC[name], x if name == "PBE" else x[0], deriv=1)[:2]
    np.testing.assert_allclose(energy.detach().numpy(), per_electron * x[0], rtol=2e-9, atol=1e-18)
    np.testing.assert_allclose(v_rho.numpy(), potential[0], rtol=3e-8, atol=1e-9)
    if name == "PBE" and reduced_gradient > 0:  # at zero, libxc puts a floor under sigma
        np.testing.assert_allclose(v_sigma.numpy(), potential[1], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", ["LDA", "PBE"])
def test_no_density_gives_exactly_zero_and_no_nan(name):
    rho = torch.tensor([0.0, -1e-18, 1e-30, 1e-15], dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([0.0, 0.0, 1e-30, 1e-20], dtype=torch.float64, requires_grad=True)
    energy = sum(functionals.functional(name)(rho, sigma))
    first = torch.autograd.grad(
        energy.sum(), (rho, sigma), create_graph=True, allow_unused=True, materialize_grads=True
    )
    assert torch.equal(energy, torch.zeros_like(energy))
    assert all(torch.equal(g, torch.zeros_like(g)) for g in first)


@pytest.mark.parametrize("name", ["LDA", "PBE"])
def test_second_derivatives(name):
    rho = torch.tensor([0.05, 0.2, 2.0], dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([1e-3, 0.5, 3.0], dtype=torch.float64, requires_grad=True)

    def energy(r, s):
        return sum(functionals.functional(name)(r, s))

    assert torch.autograd.gradgradcheck(energy, (rho, sigma))


def test_exchange_scales_uniformly():
    """E_x[rho_l] = l E_x[rho] with rho_l(r) = l^3 rho(l r): e_x(l^3 rho, l^8 sigma) = l^4 e_x."""
    rho, sigma = (t.detach() for t in grid(0.7))
    for factor in (0.5, 2.0):
        scaled = functionals.pbe_exchange(factor**3 * rho, factor**8 * sigma)
        wanted = factor**4 * functionals.pbe_exchange(rho, sigma)
        keep = rho > 1e-11
        torch.testing.assert_close(scaled[keep], wanted[keep], rtol=1e-12, atol=0.0)


def test_lieb_oxford_and_negative_correlation():
    for reduced_gradient in (0.0, 0.3, 2.0, 100.0):
        rho, sigma = (t.detach() for t in grid(reduced_gradient))
        enhancement = functionals.pbe_exchange(rho, sigma) / functionals.slater_exchange(rho)
        assert (enhancement >= 1.0 - 1e-14).all()
        assert (enhancement <= 1.804 + 1e-12).all()  # local form of the Lieb-Oxford bound
        assert (functionals.pbe_correlation(rho, sigma) <= 0).all()


def test_uniform_gas_correlation_energy():
    """Perdew and Wang's fit at rs = 2 against Ceperley and Alder's Monte Carlo, 0.0448 hartree."""
    rho = torch.tensor([3.0 / (4.0 * math.pi * 8.0)], dtype=torch.float64)
    per_electron = functionals.pw92_correlation(rho) / rho
    assert per_electron.item() == pytest.approx(-0.0448, abs=1e-4)


def test_unknown_functional_is_named():
    with pytest.raises(InputError, match=r"functional 'PEB' is not known. Did you mean 'PBE'"):
        functionals.functional("PEB")
