"""Charges on a mesh (PME) beside Ewald's sums and Madelung's constants."""

from __future__ import annotations

import sys

import pytest
import torch
from ase.build import bulk
from sfm_crystals.cells import Cells
from sfm_crystals.data.converters import from_ase
from sfm_crystals.data.prototypes import repeated, rock_salt
from sfm_crystals.potentials.ewald import COULOMB, ewald
from sfm_crystals.potentials.mesh import particle_mesh
from sfm_crystals.simulators.lattice import LatticeStatics

from sfm.errors import InputError

TABLE = "Mg O 1428.5 0.29453 0\nO O 22764.3 0.149 27.88\ncharge Mg 2\ncharge O -2\n"


def stacked(*cells: Cells) -> Cells:
    system = torch.repeat_interleave(torch.tensor([len(c.types) for c in cells]))
    whole = {name: torch.cat([getattr(c, name) for c in cells]) for name in ("positions", "types")}
    return Cells(cell=torch.cat([c.cell for c in cells]), system=system, **whole)


def salt(times: int, seed: int = 0) -> tuple[Cells, torch.Tensor]:
    """Rattled, sheared rock salt, and the charges (N,) of its ions."""
    sample, random = repeated(rock_salt(11, 17, 5.64), times), torch.Generator().manual_seed(seed)
    count = len(sample.types)
    cells = Cells(
        positions=torch.tensor(sample.positions),
        types=torch.tensor(sample.types).long(),
        cell=torch.tensor(sample.cell)[None],
        system=torch.zeros(count).long(),
    )
    rattle = 0.1 * torch.randn(count, 3, generator=random).double()
    cells = cells.deformed(rattle, 0.05 * torch.randn(1, 3, 3, generator=random).double())
    return cells, torch.where(cells.types == 11, 1.0, -1.0).double()


def derived(energy, cells, charges):
    """Energy (S,), and its derivatives in displacements, strain and charges."""
    inputs = [torch.zeros_like(cells.positions), torch.zeros_like(cells.cell), charges.clone()]
    inputs = [x.requires_grad_() for x in inputs]
    value = energy(cells.deformed(*inputs[:2]), inputs[2])
    return value.detach(), *torch.autograd.grad(value.sum(), inputs)


@pytest.fixture(autouse=True)
def _installed(request):
    if "without" not in request.node.name:
        pytest.importorskip("torchpme", reason="the extra 'long-range' is not installed")


def test_energies_forces_stress_and_potentials_are_those_of_ewald():
    """Of a batch of two sizes, one of them with a net charge that the background makes up for."""
    (small, one), (large, two) = salt(2), salt(3, seed=1)
    one[0] += 0.5
    cells, charges = stacked(small, large), torch.cat([one, two])
    expected, actual = derived(ewald, cells, charges), derived(particle_mesh, cells, charges)
    per_ion = (actual[0] - expected[0]) / cells.counts()
    assert float(per_ion.abs().max()) < 1e-7
    limits = {"forces": 1e-5, "stress": 1e-6, "potentials": 3e-7}
    for (name, close), a, b in zip(limits.items(), actual[1:], expected[1:], strict=True):
        assert float((a - b).abs().max() / b.abs().max()) < close, name


def test_madelung_constants():
    """Rock salt 1.747564594633, caesium chloride 1.762674773070 (C. Kittel's, in more digits)."""
    for name, structure, edge, madelung in (
        ("NaCl", "rocksalt", 2.0, 1.747564594633),
        ("CsCl", "cesiumchloride", 2 / 3**0.5, 1.762674773070),
    ):
        atoms = bulk(name, structure, a=edge, cubic=structure == "rocksalt") * (2, 2, 2)
        cells = LatticeStatics(potential="none", closure=torch.nn.Identity()).batch(
            [from_ase(atoms)]
        )
        charges = torch.where(cells.types == 17, -1.0, 1.0).double()
        each = float(particle_mesh(cells, charges)[0]) / (len(atoms) / 2) / COULOMB
        assert each == pytest.approx(-madelung, rel=1e-6)


def test_second_derivatives_are_those_of_the_forces():
    cells, charges = salt(2)
    along = torch.randn(cells.positions.shape, generator=torch.Generator().manual_seed(2)).double()
    still = torch.zeros_like(cells.cell)

    def force(amount):
        where = (amount * along).requires_grad_()
        energy = particle_mesh(cells.deformed(where, still), charges).sum()
        (slope,) = torch.autograd.grad(energy, where, create_graph=True)
        return (slope * along).sum()

    amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (exact,) = torch.autograd.grad(force(amount), amount)
    step = torch.tensor(1e-4, dtype=torch.float64)
    expected = float((force(step) - force(-step)).detach()) / 2e-4
    assert float(exact) == pytest.approx(expected, rel=1e-5)


def test_a_simulator_has_magnesia_either_way(tmp_path):
    (tmp_path / "MgO.txt").write_text(TABLE)
    sample = repeated(rock_salt(12, 8, 4.25), 2)
    options = {"potential": "buckingham", "table": str(tmp_path / "MgO.txt")}
    seen = []
    for coulomb in ("ewald", "pme"):
        sim = LatticeStatics(coulomb=coulomb, **options).requires_grad_(False)
        seen.append(sim.observe(sim.state(sample)))
    assert float(seen[1]["energy"][0]) == pytest.approx(float(seen[0]["energy"][0]), rel=1e-8)
    torch.testing.assert_close(seen[1]["stress"], seen[0]["stress"], rtol=0, atol=1e-5)


def test_it_is_refused_without_charges():
    with pytest.raises(InputError, match="coulomb=pme, and there are no charges"):
        LatticeStatics(potential="buckingham", coulomb="pme")
    with pytest.raises(InputError, match="does not use coulomb"):
        LatticeStatics(potential="morse", coulomb="pme")


def test_without_the_package_it_says_how_to_get_it(monkeypatch, tmp_path):
    (tmp_path / "MgO.txt").write_text(TABLE)
    monkeypatch.setitem(sys.modules, "torchpme", None)
    with pytest.raises(InputError, match=r"pip install 'sfm-hub\[long-range\]'"):
        LatticeStatics(potential="buckingham", coulomb="pme", table=str(tmp_path / "MgO.txt"))
