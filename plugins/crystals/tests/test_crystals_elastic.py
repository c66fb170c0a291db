"""Elastic constants and equations of state against published values and ase."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.eos import EquationOfState as AseFit
from sfm_crystals.data.prototypes import diamond, fcc
from sfm_crystals.potentials.metals import NAMES
from sfm_crystals.simulators.elastic import Elastic
from sfm_crystals.simulators.equation_of_state import EquationOfState
from sfm_crystals.statics.elasticity import moduli

from sfm.errors import InputError

SILICON = diamond(14, 5.4, primitive=True)
COPPER = fcc(29, 3.6, primitive=True)


def answer(simulator, sample):
    state = simulator(simulator.state(sample))
    return state, simulator.observe(state)


# C11, C12, C44 in GPa as published, and to how many they are
PUBLISHED = {
    # F. H. Stillinger, T. A. Weber's potential: E. R. Cowley, Phys. Rev. Lett. 60, 2379 (1988)
    "stillinger-weber": (SILICON, (151.4, 76.4, 56.4), 0.06),
    # J. Tersoff, Phys. Rev. B 38, 9902 (1988), table II, in Mbar: 1.425, 0.754, 0.690
    "tersoff": (SILICON, (142.5, 75.4, 69.0), 0.06),
    # Y. Mishin et al., Phys. Rev. B 63, 224106 (2001), table III
    "eam": (COPPER, (169.9, 122.6, 76.2), 0.06),
}


@pytest.mark.parametrize("potential", PUBLISHED)
def test_elastic_constants_are_the_published_ones(potential, copper):
    sample, published, close = PUBLISHED[potential]
    table = {"table": str(copper)} if potential == "eam" else {}
    _, seen = answer(Elastic(potential=potential, **table).requires_grad_(False), sample)
    c = seen["elastic_constants"].detach()
    constants = [float(c[0, 0]), float(c[0, 1]), float(c[3, 3])]
    assert constants == pytest.approx(published, abs=close)
    assert float(seen["stability"]) > 0
    if potential == "eam":
        assert float(seen["bulk_modulus"]) == pytest.approx(138.3, abs=0.1)  # table III


def test_moduli_of_isotropic_constants_are_their_own():
    bulk, shear = 100.0, 40.0
    c = torch.zeros(6, 6, dtype=torch.float64)
    c[:3, :3] = bulk - 2 * shear / 3
    c += torch.diag(torch.tensor([2.0, 2, 2, 1, 1, 1], dtype=torch.float64) * shear)
    means = moduli(c)
    assert float(means.bulk) == pytest.approx(bulk)
    assert float(means.shear) == pytest.approx(shear)
    assert float(means.young) == pytest.approx(9 * bulk * shear / (3 * bulk + shear))
    assert float(means.anisotropy) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["sigma", "three_body"])
def test_elastic_constants_follow_the_potential_through_the_relaxed_cell(name):
    """d C44 / d parameter against a finite difference; C44 has the atoms' relaxation in it."""

    def shear(change: float) -> tuple[torch.Tensor, torch.nn.Parameter]:
        start = {"sigma": 2.0951, "three_body": 21.0}[name]
        simulator = Elastic(potential="stillinger-weber", **{name: start + change})
        _, seen = answer(simulator, SILICON)
        return seen["elastic_constants"][3, 3], getattr(simulator, name)

    value, parameter = shear(0.0)
    (slope,) = torch.autograd.grad(value, parameter)
    h = 1e-3
    expected = float((shear(h)[0] - shear(-h)[0]).detach()) / (2 * h)
    assert float(slope) == pytest.approx(expected, rel=1e-4)


def test_the_curve_is_fitted_as_ase_fits_it_and_differentiates():
    simulator = EquationOfState(potential="eam", points=7)
    state, seen = answer(simulator, COPPER)
    volumes, energies = (seen[f"curve_{k}"].detach().numpy() for k in ("volume", "energy"))
    middle = float(state.volume()[0].detach())
    np.testing.assert_allclose(volumes / middle, np.linspace(0.94, 1.06, 7), rtol=1e-12)
    v0, e0, b0 = AseFit(volumes, energies, "birchmurnaghan").fit(warn=False)
    assert float(seen["volume"].detach()) == pytest.approx(v0, rel=1e-6)
    assert float(seen["energy"].detach()) == pytest.approx(e0, rel=1e-9)
    assert float(seen["bulk_modulus"].detach()) == pytest.approx(b0 * 160.2176634, rel=1e-4)
    (slope,) = torch.autograd.grad(seen["bulk_modulus"], simulator.field.values)
    row, column = NAMES.index("A"), 0  # the repulsion's strength, of copper
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            simulator.field.values[row, column] += sign * 1e-4
            ends.append(float(answer(simulator, COPPER)[1]["bulk_modulus"]))
            simulator.field.values[row, column] -= sign * 1e-4
    assert float(slope[row, column]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-4)


def test_atoms_relax_at_each_volume_where_asked():
    """A cell with a free coordinate, at the middle of which both curves meet."""
    sample = SILICON.replace(
        cell=SILICON.cell @ np.array([[1.0, 0.06, 0.0], [0.06, 1.0, 0.0], [0.0, 0.0, 1.0]])
    )
    energies = []
    for relax in (False, True):
        simulator = EquationOfState(
            potential="stillinger-weber", relax_cell="fixed", relax_points=relax, points=5
        ).requires_grad_(False)
        energies.append(answer(simulator, sample)[1]["curve_energy"])
    assert bool((energies[1] < energies[0] - 1e-6).all())


def test_atoms_that_relax_in_a_lattice_follow_it():
    """d (distance of both atoms) / d (size of a sheared cell) against a finite difference."""
    shear = np.array([[1.0, 0.06, 0.0], [0.06, 1.0, 0.0], [0.0, 0.0, 1.0]])
    sample = SILICON.replace(cell=SILICON.cell @ shear, positions=SILICON.positions @ shear)
    simulator = Elastic(potential="stillinger-weber").requires_grad_(False)
    state = simulator.state(sample)

    def distance(size):
        moved = state.replace(cell=state.cell * size, positions=state.positions * size)
        apart = simulator.relax(moved, "fixed").positions.diff(dim=0)
        return (apart * torch.tensor([1.0, 0.3, -0.5], dtype=apart.dtype)).sum()

    size = torch.ones((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(distance(size), size)
    h = 1e-4
    expected = float(distance(1 + h) - distance(1 - h)) / (2 * h)
    assert float(slope) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (EquationOfState, {"points": 3}, "use at least 4"),
        (EquationOfState, {"width": 0.7}, "between 0 and 0.5"),
        (Elastic, {"potential": "none"}, "leaves no energy"),
    ],
)
def test_what_cannot_be_computed_is_refused(cls, values, message):
    with pytest.raises(InputError, match=message):
        cls(**values)


def test_fixed_atoms_are_refused():
    with pytest.raises(InputError, match="some atoms are fixed"):
        Elastic(potential="eam").state(COPPER.replace(fixed=np.ones((1, 3), dtype=bool)))
