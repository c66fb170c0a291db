"""D3(BJ) against simple-dftd3, Grimme's group's own Fortran program (version 1.7.0)."""

import math

import pytest
import torch
from sfm_dft.xc.dispersion import d3

from sfm.errors import InputError
from sfm.simulate.dispersion import PARAMETERS


def benzene_and_water():
    """Benzene with water above it, off its axis: 15 atoms, bohr."""
    ring = [
        [r * math.cos(k * math.pi / 3), r * math.sin(k * math.pi / 3), 0.0]
        for r in (2.6303, 4.6798)
        for k in range(6)
    ]
    water = [[0.3, 0.2, 6.4217], [0.3, 1.6309, 5.3133], [0.3, -1.2309, 5.3133]]
    positions = torch.tensor(ring + water, dtype=torch.float64)
    return torch.tensor([6] * 6 + [1] * 6 + [8, 1, 1]), positions


def neon_and_hydrogen_chloride():
    positions = [[0.0, 0.0, 0.0], [0.0, 0.4, 6.0], [0.0, 0.1, 8.4]]
    return torch.tensor([10, 17, 1]), torch.tensor(positions, dtype=torch.float64)


# hartree; pip package dftd3 1.7.0, RationalDampingParam(method=..., atm=...)
SIMPLE_DFTD3 = {
    "PBE": (-0.013719986628632618, -0.013663495997206144, -0.0005914556411729541),
    "r2SCAN": (-0.004086892751116159, -0.004030402119689689, -0.00016879280165737562),
    "PBE0": (-0.01191087887674155, -0.01185438824531508, -0.0005123120910655038),
    "B3LYP": (-0.023139656782173765, -0.023083166150747295, -0.0010104769109770722),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_energy_equals_simple_dftd3(name):
    """1e-10 hartree: the two programs differ by 2e-11 (their reference C6 have other digits)."""
    pair, triple, small = SIMPLE_DFTD3[name]
    complex_ = benzene_and_water()
    assert d3(*complex_, name).item() == pytest.approx(pair, abs=1e-10)
    assert d3(*complex_, name, three_body=True).item() == pytest.approx(triple, abs=1e-10)
    assert d3(*neon_and_hydrogen_chloride(), name).item() == pytest.approx(small, abs=1e-10)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_package(name):
    from tad_dftd3.param import get_functional_params

    theirs = get_functional_params(name, damping="bj", dtype=torch.float64)
    for key, value in PARAMETERS[name]._asdict().items():
        assert theirs[key].item() == value


def test_gradient_equals_simple_dftd3_and_finite_differences():
    numbers, positions = neon_and_hydrogen_chloride()
    positions.requires_grad_()
    (gradient,) = torch.autograd.grad(d3(numbers, positions, "PBE"), positions)
    theirs = [
        [0.0, -6.779845416832945e-06, -0.00010812927542225851],
        [0.0, 6.807044672681813e-06, 9.933622168244848e-05],
        [0.0, -2.7199355848867364e-08, 8.793053739810035e-06],
    ]
    torch.testing.assert_close(
        gradient, torch.tensor(theirs, dtype=torch.float64), rtol=0.0, atol=1e-10
    )

    def energy(x):
        return d3(numbers, x, "r2SCAN", three_body=True)

    assert torch.autograd.gradcheck(energy, positions, atol=1e-10)
    assert torch.autograd.gradgradcheck(energy, positions, atol=1e-9)


def test_padded_batch_equals_molecules_one_by_one():
    long, short = benzene_and_water(), neon_and_hydrogen_chloride()
    numbers, positions = (
        torch.zeros(2, 15, dtype=torch.long),
        torch.zeros(2, 15, 3, dtype=torch.float64),
    )
    for row, (z, x) in enumerate((long, short)):
        numbers[row, : len(z)], positions[row, : len(z)] = z, x
    together = d3(numbers, positions.requires_grad_(), "B3LYP")
    apart = torch.stack([d3(*long, "B3LYP"), d3(*short, "B3LYP")])
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=0.0)
    (gradient,) = torch.autograd.grad(together.sum(), positions)
    assert gradient.isfinite().all()
    assert gradient[1, 3:].eq(0.0).all()


def test_one_atom_has_no_dispersion():
    position = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    energy = d3(torch.tensor([18]), position, "PBE")
    assert energy.shape == ()
    assert energy.item() == 0.0
    assert torch.autograd.grad(energy, position)[0].eq(0.0).all()


def test_bad_input_is_named():
    numbers, positions = neon_and_hydrogen_chloride()
    with pytest.raises(InputError, match=r"no parameters for 'PBe'. Did you mean 'PBE'"):
        d3(numbers, positions, "PBe")
    with pytest.raises(InputError, match="do not fit atomic numbers"):
        d3(numbers[:2], positions, "PBE")
    with pytest.raises(InputError, match="atomic number 117 has no reference"):
        d3(numbers + 100, positions, "PBE")
