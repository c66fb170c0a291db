"""Energies, forces and stresses against ase, matscipy and finite differences."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.stress import voigt_6_to_full_3x3_stress
from sfm_crystals.cells import Cells
from sfm_crystals.data.converters import from_ase
from sfm_crystals.data.prototypes import diamond
from sfm_crystals.potentials import lennard_jones
from sfm_crystals.potentials.triplets import triplets
from sfm_crystals.simulators.lattice import LatticeStatics

from sfm.data.sample import Sample

# A rattled, strained cell of silicon and what matscipy 1.3.1 says of it:
# Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))
SW_CELL = [[5.555, 0.11, 0.0], [0.055, 5.39, 0.082], [0.0, 0.028, 5.665]]
SW_POSITIONS = [
    [0.0004, 0.0439, -0.0416],
    [1.2665, 1.3119, 1.2823],
    [0.0386, 2.9058, 2.8003],
    [1.3368, 4.161, 4.367],
    [2.7923, -0.0679, 2.8263],
    [4.283, 1.2548, 4.1952],
    [2.5152, 2.5538, -0.2462],
    [4.1702, 3.9453, 1.5171],
]
SW_ENERGY = -31.73733892905127
SW_FORCES = [
    [-1.5337089990820425, -2.9256412023676583, 2.052709941960551],
    [1.3776618145148176, 0.957883003831085, 2.6285129789051416],
    [1.4564511681930612, -4.163359721416661, 2.0471137056745534],
    [0.18587596100493436, 0.14628607208190544, -2.30799331071566],
    [-0.804556636761226, 0.996594471712323, -0.5602657900726052],
    [-1.9089246108003775, 3.1851147227647094, -1.9458655680963306],
    [3.689341698363338, -0.16391369697260816, 2.3091691461321737],
    [-2.462140395432505, 1.9670363503669055, -4.223381103787823],
]
SW_STRESS = [
    [0.01699127213459315, 0.03741718560310774, -0.03108515199007653],
    [0.03741718560310774, 0.01420061635839473, 0.016604219948106253],
    [-0.03108515199007653, 0.016604219948106253, 0.027512148561253773],
]
GOOD = {"lennard-jones": {}, "stillinger-weber": {}}


def rattled_silicon() -> Sample:
    return Sample(
        id="si8",
        domain="crystals",
        positions=np.array(SW_POSITIONS),
        types=np.full(8, 14),
        cell=np.array(SW_CELL),
        pbc=np.ones(3, dtype=bool),
    )


def rattled_argon(a: float = 5.2, size: int = 2) -> Sample:
    rng = np.random.default_rng(3)
    atoms = bulk("Ar", "fcc", a=a, cubic=True) * (size, 1, 1)
    atoms.positions += rng.normal(0, 0.15, atoms.positions.shape)
    atoms.set_cell(
        np.array(atoms.cell) @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True
    )
    return from_ase(atoms)


def case(potential: str) -> tuple[LatticeStatics, Sample]:
    sample = rattled_silicon() if potential == "stillinger-weber" else rattled_argon()
    return LatticeStatics(potential=potential), sample


def observe(simulator: LatticeStatics, sample: Sample) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return {k: v.numpy() for k, v in simulator.observe(simulator.state(sample)).items()}


@pytest.mark.parametrize(("switch", "smooth"), [("xplor", True), ("shift", False)])
def test_lennard_jones_equals_ase(switch, smooth):
    from sfm_crystals.data.converters import to_ase

    sample = rattled_argon()
    epsilon, sigma, cutoff = 0.0104, 3.4, 2.7
    simulator = LatticeStatics(switch=switch, cutoff=cutoff, epsilon=epsilon, sigma=sigma)
    atoms = to_ase(sample)
    atoms.calc = LennardJones(
        epsilon=epsilon, sigma=sigma, rc=cutoff * sigma, ro=0.66 * cutoff * sigma, smooth=smooth
    )
    said = observe(simulator, sample)
    assert said["energy"][0] == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    np.testing.assert_allclose(said["forces"], atoms.get_forces(), atol=1e-13)
    stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
    np.testing.assert_allclose(said["stress"][0], stress, atol=1e-14)


def test_stillinger_weber_equals_matscipy():
    said = observe(LatticeStatics(potential="stillinger-weber"), rattled_silicon())
    assert said["energy"][0] == pytest.approx(SW_ENERGY, rel=1e-12)
    np.testing.assert_allclose(said["forces"], SW_FORCES, atol=1e-11)
    np.testing.assert_allclose(said["stress"][0], SW_STRESS, atol=1e-12)


@pytest.mark.parametrize("potential", GOOD)
def test_forces_and_stress_are_finite_differences(potential):
    simulator, sample = case(potential)
    said = observe(simulator, sample)
    assert sample.cell is not None
    h = 1e-4

    def energy(positions, cell):
        moved = sample.replace(positions=positions, cell=cell)
        with torch.no_grad():
            return float(simulator.energy(simulator.state(moved)))

    for atom, axis in ((0, 0), (3, 1), (5, 2)):
        shift = np.zeros_like(sample.positions)
        shift[atom, axis] = h
        up = energy(sample.positions + shift, sample.cell)
        down = energy(sample.positions - shift, sample.cell)
        assert said["forces"][atom, axis] == pytest.approx((down - up) / (2 * h), abs=2e-7)
    for i, j in ((0, 0), (2, 2), (0, 1), (1, 2)):
        strain = np.zeros((3, 3))
        strain[i, j] += h / 2
        strain[j, i] += h / 2
        up, down = (
            energy(sample.positions @ (np.eye(3) + s), sample.cell @ (np.eye(3) + s))
            for s in (strain, -strain)
        )
        expected = (up - down) / (2 * h) / said["volume"][0]
        assert said["stress"][0, i, j] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("potential", GOOD)
def test_second_derivatives_pass_gradcheck(potential):
    short = {"cutoff": 1.8} if potential == "lennard-jones" else {}
    simulator = LatticeStatics(potential=potential, **short)
    sample = diamond(14, 5.5, primitive=True) if potential == "stillinger-weber" else None
    start = simulator.state(sample)
    rng = torch.Generator().manual_seed(0)
    shape = start.positions.shape
    positions = start.positions + 0.1 * torch.randn(shape, generator=rng, dtype=torch.float64)

    def forces(x, epsilon, sigma):
        values = {"epsilon": epsilon, "sigma": sigma}
        moved = dataclasses.replace(start, positions=x)
        observed = torch.func.functional_call(_Observe(simulator), prefixed(values), (moved,))
        return observed["energy"], observed["forces"], observed["stress"]

    inputs = (
        positions.requires_grad_(),
        simulator.epsilon.detach().clone().requires_grad_(),
        simulator.sigma.detach().clone().requires_grad_(),
    )
    assert torch.autograd.gradcheck(forces, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)


class _Observe(torch.nn.Module):
    def __init__(self, simulator: LatticeStatics) -> None:
        super().__init__()
        self.simulator = simulator

    def forward(self, state: Cells) -> dict[str, torch.Tensor]:
        return self.simulator.observe(state)


def prefixed(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"simulator.{name}": value for name, value in values.items()}


@pytest.mark.parametrize("potential", GOOD)
def test_supercells_images_and_lattice_vectors_change_nothing(potential):
    simulator, sample = case(potential)
    assert sample.cell is not None
    said = observe(simulator, sample)
    n = len(sample.types)

    moved = sample.positions.copy()
    moved[1] += sample.cell[0] - 2 * sample.cell[2]
    images = observe(simulator, sample.replace(positions=moved))
    other = sample.replace(cell=np.array([[1, 0, 0], [1, 1, 0], [-1, 2, 1]]) @ sample.cell)
    vectors = observe(simulator, other)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(images[name], said[name], atol=1e-11)
        np.testing.assert_allclose(vectors[name], said[name], atol=1e-11)

    double = observe(
        simulator,
        sample.replace(
            positions=np.concatenate([sample.positions, sample.positions + sample.cell[1]]),
            types=np.tile(sample.types, 2),
            cell=sample.cell * np.array([[1], [2], [1]]),
        ),
    )
    assert double["energy"][0] == pytest.approx(2 * said["energy"][0], rel=1e-13)
    np.testing.assert_allclose(double["forces"][n:], said["forces"], atol=1e-11)
    np.testing.assert_allclose(double["stress"], said["stress"], atol=1e-12)


def test_a_batch_equals_its_members():
    simulator = LatticeStatics(potential="stillinger-weber")
    samples = [rattled_silicon(), diamond(14, 5.3, primitive=True), diamond(14, 5.5)]
    with torch.no_grad():
        batch = simulator.observe(simulator.batch(samples))
        singles = [simulator.observe(simulator.state(s)) for s in samples]
    for name in ("energy", "forces", "stress"):
        joined = torch.cat([s[name] for s in singles])
        torch.testing.assert_close(batch[name], joined, rtol=0, atol=1e-12)


def test_triplets_are_all_pairs_of_bonds_at_one_atom():
    receiver = torch.tensor([0, 0, 0, 2, 2, 3])
    first, second = triplets(receiver)
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 2),
        (3, 4),
    ]


@pytest.mark.parametrize("switch", ["quintic", "xplor", "shift"])
def test_the_closed_derivative_of_lennard_jones_is_that_of_autograd(switch):
    generator = torch.Generator().manual_seed(0)
    r2 = 8 + 110 * torch.rand(200, generator=generator, dtype=torch.float64)
    share, weight = torch.randn(2, 200, generator=generator, dtype=torch.float64)
    inputs = [r2, torch.tensor(0.011).double(), torch.tensor(3.3).double()]
    radial = lennard_jones.LennardJones(3.0, switch)
    assert float(r2.max()) > (3.0 * 3.3) ** 2
    for given in (share, None):
        at = [x.clone().requires_grad_() for x in inputs]
        energy, slope = radial(*at)
        loss = (weight * slope).sum() + (0.0 if given is None else (given * energy).sum())
        exact = torch.autograd.grad(loss, at)
        again, by_place, by_parameters = radial.pulled(r2, inputs[1:], given, weight)
        torch.testing.assert_close(again, slope.detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(by_place, exact[0], rtol=1e-9, atol=1e-18)
        torch.testing.assert_close(
            torch.stack(by_parameters), torch.stack(exact[1:]), rtol=1e-9, atol=0
        )


@pytest.mark.parametrize(
    ("cutoff", "energy", "virial"), [(3.0, -16.790, -46.249), (4.0, -17.060, -47.869)]
)
def test_lennard_jones_has_nists_reference_energies(cutoff, energy, virial):
    """NIST Standard Reference Simulation Website, Lennard-Jones fluid, sample configuration 4: 30
    atoms in a box of 8, pairs truncated, not shifted; the virial is the sum of f . r."""
    path = Path(__file__).parent / "data" / "nist_lennard_jones_4.txt"
    positions = np.loadtxt(path, skiprows=2)[:, 1:]
    cell = np.diag(np.loadtxt(path, max_rows=1))
    sample = Sample(
        id="nist",
        domain="crystals",
        positions=positions,
        types=np.full(30, 18),
        cell=cell,
        pbc=True,
    )
    simulator = LatticeStatics(epsilon=1.0, sigma=1.0, cutoff=cutoff, switch="shift")
    said = observe(simulator, sample)
    away = positions[:, None] - positions
    away -= 8.0 * np.round(away / 8.0)
    pairs = (np.linalg.norm(away, axis=2)[np.triu_indices(30, 1)] < cutoff).sum()
    shifted = pairs * 4 * (cutoff**-12 - cutoff**-6)
    assert said["energy"][0] + shifted == pytest.approx(energy, rel=5e-5)
    assert -(8.0**3) * np.trace(said["stress"][0]) == pytest.approx(virial, rel=5e-5)
