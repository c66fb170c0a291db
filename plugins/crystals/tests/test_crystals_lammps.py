"""Every classical potential against LAMMPS, ase and finite differences.

`data/lammps.json` holds rattled, sheared cells, LAMMPS's commands and its answers.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.eam import EAM
from ase.stress import voigt_6_to_full_3x3_stress
from sfm_crystals.cells import derivatives
from sfm_crystals.data.converters import from_ase, to_ase
from sfm_crystals.data.prototypes import rock_salt
from sfm_crystals.potentials.ewald import COULOMB, ewald
from sfm_crystals.simulators.dynamics import MolecularDynamics
from sfm_crystals.simulators.lattice import LatticeStatics

from sfm.data.elements import NUMBERS
from sfm.data.sample import Sample
from sfm.errors import InputError

DATA = Path(__file__).parent / "data"
BAR = 1.6021765e6  # in one eV/angstrom^3, as LAMMPS has it
MAGNESIA = """# Lewis and Catlow, J. Phys. C 18, 1149 (1985)
Mg O  1428.5   0.29453  0
O  O  22764.3  0.149    27.88
charge Mg  2
charge O  -2
"""
# J. Tersoff, Phys. Rev. B 39, 5566 (1989) and 41, 3248: silicon, carbon, and both
_C, _SI = "3 1 0 38049 4.3484 -0.57058", "3 1 0 100390 16.217 -0.59825"
CARBIDE = f"""
C  C  C  {_C}  0.72751 1.5724e-7 2.2119 346.74 1.95 0.15 3.4879 1393.6
Si Si Si {_SI} 0.78734 1.1e-6 1.7322 471.18 2.85 0.15 2.4799 1830.8
C  Si Si {_C}  0.72751 1.5724e-7 1.97205 395.145 2.35726 0.1527 2.9839 1597.311
C  Si C  {_C}  0.72751 0 0 0 1.95 0.15 0 0
C  C  Si {_C}  0.72751 0 0 0 2.357260 0.15271 0 0
Si C  C  {_SI} 0.78734 1.1e-6 1.97205 395.145 2.35726 0.1527 2.9839 1597.31114
Si Si C  {_SI} 0.78734 0 0 0 2.35726 0.15271 0 0
Si C  Si {_SI} 0.78734 0 0 0 2.85 0.15 0 0
"""


@cache
def cases() -> dict[str, dict]:
    return json.loads((DATA / "lammps.json").read_text())["cases"]


def cell_of(name: str) -> Sample:
    """The cell of a case."""
    case = cases()[name]
    return Sample(
        id=name,
        domain="crystals",
        positions=np.array(case["positions"]),
        types=np.array([NUMBERS[e] for e in case["elements"]]),
        cell=np.array(case["cell"]),
        pbc=np.ones(3, dtype=bool),
    )


def stress_of(name: str) -> np.ndarray:
    """(3, 3) eV/angstrom^3, positive in tension."""
    xx, yy, zz, yz, xz, xy = cases()[name]["pressure_bar"]
    return -np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) / BAR


def written(folder: Path, name: str, text: str) -> Path:
    """A file in `folder`."""
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, copper) -> Path:
    path = tmp_path_factory.mktemp("tables")
    (path / copper.name).symlink_to(copper)
    return path


def settings(name: str, folder: Path) -> dict:
    """Of the simulators, what LAMMPS was told."""
    return {
        "lennard-jones": {"potential": "lennard-jones", "cutoff": 2.5, "switch": "shift"},
        "stillinger-weber": {"potential": "stillinger-weber"},
        "morse": {"potential": "morse", "switch": "shift"},
        "buckingham-argon": {"potential": "buckingham", "switch": "shift"},
        "buckingham-magnesia": {
            "potential": "buckingham",
            "switch": "shift",
            "table": str(written(folder, "magnesia.txt", MAGNESIA)),
        },
        "tersoff-silicon": {"potential": "tersoff"},
        "tersoff-carbide": {
            "potential": "tersoff",
            "table": str(written(folder, "SiC.tersoff", CARBIDE)),
        },
        "eam-mishin": {"potential": "eam", "table": str(folder / "Cu_mishin1.eam.alloy")},
        "eam-metals": {"potential": "eam"},
    }[name]


# Relative to the largest. LAMMPS's erfc is a polynomial with an error of 1e-7 (its own energies
# move by 1e-6 with the Coulomb cutoff; Madelung's constant below is exact), its Coulomb constant
# has 8 digits, its Tersoff leaves out tails of the bond order; the rest is rounding.
CLOSE = {"buckingham-magnesia": 1e-6, "tersoff-carbide": 1e-6}
NAMES = [
    "lennard-jones", "stillinger-weber", "morse", "buckingham-argon", "buckingham-magnesia",
    "tersoff-silicon", "tersoff-carbide", "eam-mishin", "eam-metals",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_energy_forces_and_stress_equal_lammps(name, folder):
    simulator = LatticeStatics(**settings(name, folder)).requires_grad_(False)
    said = simulator.observe(simulator.state(cell_of(name)))
    case, close = cases()[name], CLOSE.get(name, 1e-9)
    assert float(said["energy"][0]) == pytest.approx(case["energy"], rel=close)
    forces = np.array(case["forces"])
    np.testing.assert_allclose(said["forces"], forces, rtol=0, atol=close * np.abs(forces).max())
    stress = stress_of(name)
    atol = 10 * close * np.abs(stress).max()
    np.testing.assert_allclose(said["stress"][0], stress, rtol=0, atol=atol)


@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives_are_those_of_the_forces(name, folder):
    """Along random directions in positions, cell and every parameter, to 1e-4 and better."""
    simulator = LatticeStatics(**settings(name, folder))
    state = simulator.state(cell_of(name))
    generator = torch.Generator().manual_seed(0)
    draw = lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)  # noqa: E731
    along, strain = draw(state.positions), 0.1 * draw(state.cell)
    weights = draw(state.positions), draw(state.cell)

    def seen(amount: torch.Tensor) -> torch.Tensor:
        cells = state.deformed(amount * along, amount * strain)
        energy, forces, stress = derivatives(simulator.energy, cells, create_graph=True)
        return energy.sum() + (forces * weights[0]).sum() + (stress * weights[1]).sum()

    amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
    used = list(simulator.parameters())
    grads = torch.autograd.grad(seen(amount), [amount, *used], allow_unused=True)
    h = 1e-4
    expected = float((seen(amount + h) - seen(amount - h)).detach()) / (2 * h)
    assert float(grads[0]) == pytest.approx(expected, rel=1e-4)

    moved = [(p, g) for p, g in zip(used, grads[1:], strict=True) if g is not None]
    assert moved or simulator.potential == "eam"  # a setfl table has no parameters
    for parameter, grad in moved:
        assert bool(torch.isfinite(grad).all())
        change = draw(parameter) * parameter.detach().abs()
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-6 * change
            ends.append(float(seen(torch.zeros((), dtype=torch.float64)).detach()))
            with torch.no_grad():
                parameter -= sign * 1e-6 * change
        expected = (ends[0] - ends[1]) / 2e-6
        assert float((grad * change).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_embedded_copper_equals_ase(copper):
    """ase's own reader and splines of the same file."""
    atoms = to_ase(cell_of("eam-mishin"))
    atoms.calc = EAM(potential=str(copper))
    simulator = LatticeStatics(potential="eam", table=str(copper)).requires_grad_(False)
    said = simulator.observe(simulator.state(cell_of("eam-mishin")))
    assert float(said["energy"][0]) == pytest.approx(atoms.get_potential_energy(), rel=1e-8)
    np.testing.assert_allclose(said["forces"], atoms.get_forces(), atol=1e-6)
    stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
    np.testing.assert_allclose(said["stress"][0], stress, atol=1e-7)


def test_madelung_constants():
    """Of rock salt, 1.747564594633182 (C. Kittel); of the cell's choice nothing depends."""
    for times in (1, 2):
        atoms = bulk("NaCl", "rocksalt", a=2.0, cubic=True) * (times, 1, 1)
        cells = LatticeStatics(potential="none", closure=torch.nn.Identity()).batch(
            [from_ase(atoms)]
        )
        charges = torch.where(cells.types == 11, 1.0, -1.0).double()
        each = float(ewald(cells, charges)[0]) / (len(atoms) / 2)
        assert each == pytest.approx(-1.747564594633182 * COULOMB, rel=1e-12)


def test_magnesia_has_the_published_crystal(folder):
    """Lewis and Catlow's rigid ions: a = 4.2 angstrom, their fit to experiment (4.212)."""
    simulator = LatticeStatics(**{**settings("buckingham-magnesia", folder), "switch": "quintic"})
    relaxed = simulator.relax(simulator.state(rock_salt(12, 8, 4.22)))
    assert float(relaxed.cell[0, 0, 0].detach()) == pytest.approx(4.21, abs=0.02)


@pytest.mark.parametrize("name", ["morse", "tersoff-carbide", "eam-metals", "buckingham-magnesia"])
def test_dynamics_has_the_same_potentials(name, folder):
    sample = cell_of(name)
    one = LatticeStatics(**settings(name, folder)).requires_grad_(False)
    two = MolecularDynamics(**settings(name, folder)).requires_grad_(False)
    forces = one.observe(one.state(sample))["forces"]
    torch.testing.assert_close(two.observe(two.state(sample))["forces"], forces)


@pytest.mark.parametrize(
    ("values", "text", "message"),
    [
        ({"potential": "morse", "epsilon": 1.0}, None, "does not use epsilon; it has bond_length"),
        ({"potential": "eam", "table": "nowhere"}, None, "no such file"),
        ({"potential": "lennard-jones", "table": "nowhere"}, None, "does not use table"),
        ({"potential": "eam"}, "a\nb\nc\n1 Cu\n5 0.1 5", "no complete setfl file"),
        ({"potential": "eam"}, "a\nb\nc\n1 Qq\n5 0.1 5 0.1 5.0\n", "'Qq' is no element"),
        ({"potential": "tersoff"}, "Si Si Si 3 1", "an entry has 17"),
        ({"potential": "tersoff"}, CARBIDE.replace("C  Si C", "C  Si Si"), "no entry C Si C"),
        ({"potential": "buckingham"}, "Mg O 1 2\n", "line 1: 'Mg O 1 2' is neither"),
        ({"potential": "buckingham"}, "charge Mg 2\n", "holds no line"),
    ],
)
def test_what_cannot_be_used_is_refused(values, text, message, tmp_path):
    if text is not None:
        values = {**values, "table": str(written(tmp_path, "table", text))}
    with pytest.raises(InputError, match=message):
        LatticeStatics(**values)


def test_elements_and_charges_that_do_not_fit_are_refused(folder):
    metals = LatticeStatics(potential="eam")
    with pytest.raises(InputError, match="no parameters for Si"):
        metals.observe(metals.state(cell_of("tersoff-silicon")))
    ions = LatticeStatics(**settings("buckingham-magnesia", folder))
    sample = cell_of("buckingham-magnesia")
    with pytest.raises(InputError, match="charges make a cell of"):
        ions.observe(ions.state(sample.replace(types=np.array([12] * 5 + [8] * 3))))
