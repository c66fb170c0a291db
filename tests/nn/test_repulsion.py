"""The screened nuclear repulsion: ZBL's formula, its switch, and what the trunk is shown."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import sfm
from sfm.config.coverage import replaced
from sfm.data.covering import Survey, approaches
from sfm.data.elements import NUMBERS
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.model import FoundationModel
from sfm.nn.encoder import holds_atoms
from sfm.nn.known import LINE
from sfm.nn.repulsion import HELD, shown_length
from sfm.nn.zbl import envelope, zbl

F64 = torch.float64

# LAMMPS 22 Jul 2025, `pair_style zbl 10 12`, units metal: energy and force on the first atom. It
# rounds the screening length to 0.46850 angstrom, which is 1.6e-5 in the energy.
LAMMPS = [
    (1, 1, 0.3, 16.5391493, -101.267627),
    (1, 6, 0.5, 26.3569863, -127.036619),
    (8, 8, 0.6, 116.19979, -549.289327),
    (14, 14, 1.0, 50.9743619, -189.796219),
    (22, 22, 1.8, 6.64171924, -18.8081467),
    (6, 79, 0.9, 122.827319, -517.970591),
    (92, 92, 1.5, 74.7226217, -269.208738),
]


@pytest.mark.parametrize(("z1", "z2", "r", "energy", "force"), LAMMPS)
def test_zbl_is_that_of_lammps(z1, z2, r, energy, force):
    length = torch.tensor(r, dtype=F64, requires_grad=True)
    value = zbl(torch.tensor(z1), torch.tensor(z2), length)
    (slope,) = torch.autograd.grad(value, length)
    assert float(value.detach()) == pytest.approx(energy, rel=3e-5)
    assert float(slope) == pytest.approx(force, rel=6e-5)


def test_zbl_is_the_bare_coulomb_repulsion_of_touching_nuclei():
    value = zbl(torch.tensor(6), torch.tensor(8), torch.tensor(1e-7, dtype=F64))
    assert float(value) == pytest.approx(14.3996454784 * 48 / 1e-7, rel=1e-5)


def test_the_switch_falls_from_one_to_zero_with_two_smooth_derivatives():
    x = torch.linspace(0, 1.2, 241, dtype=F64, requires_grad=True)
    y = envelope(x)
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    y, first = y.detach(), first.detach()
    assert float(y[0]) == 1
    assert (y[x >= 1] == 0).all()
    assert (y.diff() <= 0).all()
    assert float(first[200].abs()) < 1e-9
    assert float(second[200].abs()) < 1e-9


def test_what_the_trunk_sees_is_the_distance_itself_in_the_data_and_constant_far_below():
    d = torch.tensor(1.1, dtype=F64)
    r = torch.linspace(0.01, 1.5, 150, dtype=F64, requires_grad=True)
    f = shown_length(r, d.expand_as(r))
    (slope,) = torch.autograd.grad(f.sum(), r)
    outside, inside = r >= LINE * d, r <= HELD * d
    assert torch.equal(slope[outside & (r > 1)], torch.zeros_like(slope[outside & (r > 1)]))
    torch.testing.assert_close(f[inside], (0.8 * d).expand_as(f[inside]))
    middle = ~outside & ~inside
    # f' = 10 t^3 - 15 t^4 + 6 t^5 by the formula itself
    t = ((r - HELD * d) / (0.2 * d))[middle]
    torch.testing.assert_close(slope[middle], 10 * t**3 - 15 * t**4 + 6 * t**5)
    edge = torch.tensor([float(LINE * d)], dtype=F64)
    torch.testing.assert_close(shown_length(edge, d.reshape(1)), edge)


# --- in a model -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> FoundationModel:
    return sfm.load("sfm-tiny").double()


def diatomic(part: str, one: int, two: int, r: float) -> Sample:
    crystal = part.startswith("crystals")
    return Sample(
        id=f"{one}-{two}",
        domain=part.partition("/")[0],
        positions=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, r]]),
        types=np.array([one, two]),
        cell=30 * np.eye(3) if crystal else None,
        pbc=np.full(3, crystal),
    )


def energies(model: FoundationModel, part: str, level: str, samples: list[Sample]) -> torch.Tensor:
    tokens = model.tokenize(part, samples, level)
    with torch.no_grad():
        return model({part: tokens}, {part: ("energy",)})[part]["energy"]


def pairs_of(model: FoundationModel, part: str, level: str, kinds, lengths) -> torch.Tensor:
    """Energies (M,) of many diatomics at once: all have the graph of the first, two edges.

    kinds: (M, 2) atomic numbers. lengths: (M,) angstrom.
    """
    first = model.tokenize(part, [diatomic(part, *kinds[0], lengths[0])], level)
    assert first.edges.shape == (2, 2)
    m = len(kinds)
    positions = torch.zeros(m, 2, 3, dtype=F64)
    positions[:, 1, 2] = torch.from_numpy(lengths)
    tokens = Tokens.points(
        positions=positions.flatten(0, 1),
        types=torch.from_numpy(kinds).flatten(),
        system=torch.arange(m).repeat_interleave(2),
        n_systems=m,
        edges=(first.edges[:, None] + 2 * torch.arange(m)[:, None]).flatten(1),
        shifts=first.shifts.repeat(m, 1),
        cell=first.cell.expand(m, 3, 3),
        cutoff=float(first.cutoff),
        context=int(first.context),
        conditions=first.conditions.expand(m, -1),
    )
    with torch.no_grad():
        return model({part: tokens}, {part: ("energy",)})[part]["energy"]


@pytest.mark.slow
def test_curves_of_all_covered_pairs_rise_below_070_of_the_shortest_distance(model):
    contexts = {
        t.context
        for t in model.targets()
        if t.quantity == "energy" and holds_atoms(model.encoder(t.encoder))
    }
    grid = np.linspace(0.1, 0.7, 9)
    for part, level in sorted(contexts):
        (covered,) = (c for c in model.config.coverage if c.context == (part, level))
        table = approaches(covered)
        numbers = [NUMBERS[symbol] for symbol in covered.elements]
        pairs = np.array(list(itertools.combinations_with_replacement(numbers, 2)))
        for some in np.array_split(pairs, -(-len(pairs) // 100)) if len(pairs) else []:
            lengths = np.array([table[tuple(pair)] for pair in some.tolist()])[:, None] * grid
            values = pairs_of(model, part, level, some.repeat(9, 0), lengths.ravel())
            one = diatomic(part, *some[-1], lengths[-1, -1])
            torch.testing.assert_close(values[-1:], energies(model, part, level, [one]))
            curves = values.reshape(len(some), 9)
            for pair, curve in zip(some, curves, strict=True):
                assert (curve.diff() < 0).all(), f"{part} {level}: {pair} {curve}"


def test_hydrogen_nuclei_at_03_angstrom_are_not_bound(model):
    part, level = "molecules/atoms", "GFN2-xTB"
    near, far = energies(model, part, level, [diatomic(part, 1, 1, r) for r in (0.3, 4.9)])
    # full configuration interaction in aug-cc-pVQZ (PySCF) says 8.16 eV, ZBL alone 16.5
    assert 5 < float(near - far) < 17


@pytest.mark.parametrize("part", ["molecules/atoms", "crystals/atoms"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forces_and_stress_are_derivatives_of_the_repelled_energy(model, part, dtype):
    """Central differences of the energy of a periodic cell and of a molecule."""
    level = model.level(part, None, "energy")
    crystal = part.startswith("crystals")
    rng = np.random.default_rng(1)
    positions = np.array([[0.0, 0, 0], [0.9, 0.2, 0.1], [0.1, 1.0, 0.4], [1.5, 1.4, 1.1]])
    sample = Sample(
        id="crowded",
        domain=part.partition("/")[0],
        positions=positions + 0.02 * rng.normal(size=(4, 3)),
        types=np.array([6, 8, 6, 7]),
        cell=np.diag([3.1, 3.3, 3.2]) if crystal else None,
        pbc=np.full(3, crystal),
    )
    names = ("energy", "forces", "stress") if crystal else ("energy", "forces")
    precise = sfm.load("sfm-tiny").to(dtype)
    tokens = precise.tokenize(part, [sample], level)
    assert precise.known.close(tokens) is not None
    said = precise({part: tokens}, {part: names})[part]
    step = 1e-4
    force = said["forces"].double()
    for atom, axis in ((0, 0), (2, 1)):
        moved = []
        for sign in (1, -1):
            x = np.array(sample.positions)
            x[atom, axis] += sign * step
            moved.append(sample.replace(positions=x))
        up, down = energies(model, part, level, moved)
        assert float(force[atom, axis]) == pytest.approx(float(down - up) / (2 * step), rel=2e-4)
    if crystal:
        strained = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[0, 1] = strain[1, 0] = sign * step / 2
            change = np.eye(3) + strain
            strained.append(
                sample.replace(positions=sample.positions @ change, cell=sample.cell @ change)
            )
        up, down = energies(model, part, level, strained)
        volume = float(np.linalg.det(sample.cell))
        difference = float(up - down) / (2 * step) / volume
        assert float(said["stress"][0, 0, 1]) == pytest.approx(difference, rel=2e-4, abs=1e-4)


def test_forces_are_smooth_where_the_repulsion_begins(model):
    part, level = "molecules/atoms", "GFN2-xTB"
    (covered,) = (c for c in model.config.coverage if c.context == (part, level))
    edge = LINE * approaches(covered)[6, 8]
    samples = [diatomic(part, 6, 8, edge + x) for x in (-1e-5, 1e-5)]
    tokens = model.tokenize(part, samples, level)
    forces = model({part: tokens}, {part: ("energy", "forces")})[part]["forces"]
    torch.testing.assert_close(forces[1], forces[3], rtol=0, atol=5e-3)


def test_a_batch_is_its_systems_one_by_one(model):
    part, level = "molecules/atoms", "GFN2-xTB"
    samples = [diatomic(part, 1, 8, r) for r in (0.4, 0.97)] + [diatomic(part, 7, 7, 0.5)]
    together = energies(model, part, level, samples)
    alone = torch.cat([energies(model, part, level, [s]) for s in samples])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(
    ("dataset", "part"),
    [
        ("molecules/molecules-xtb", "molecules/atoms"),
        ("crystals/crystals-forces", "crystals/atoms"),
        ("dft/dft-levels", "dft/atoms"),
    ],
)
def test_nothing_in_the_training_data_is_repelled(dataset, part):
    """So references fitted to them take the repulsion into account: it is zero."""
    model = sfm.load("sfm-tiny")
    level = model.level(part, sfm.dataset(dataset).levels[0], "energy")
    data = sfm.dataset(dataset, split="train", level=level)
    samples = [data[k] for k in range(0, len(data), max(len(data) // 150, 1))]
    survey = Survey(part, level, cutoff=5.0, spins=False)
    for sample in samples:
        survey.add(sample, ("energy",))
    model.cover(replaced(model.config.coverage, [survey.coverage()]))
    context = model.context(part, level)
    assert model.known.approach[context].max() > 0
    for sample in samples:
        tokens = model.encoder(part).tokenize(sample)
        tokens = tokens.replace(context=torch.full_like(tokens.context, context))
        assert model.known.close(tokens) is None, sample.id


def test_stretched_edges_survive_batching():
    def one(stretch: torch.Tensor | None) -> Tokens:
        tokens = Tokens.make(
            positions=torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]),
            types=torch.tensor([1, 1]),
            edges=torch.tensor([[0, 1], [1, 0]]),
            cutoff=5.0,
        )
        return tokens.replace(stretch=stretch)

    both = Tokens.cat([one(None), one(torch.tensor([2.0, 2.0]))])
    assert both.edge_vectors()[:, 0].tolist() == [-1.0, 1.0, -2.0, 2.0]
    assert Tokens.cat([one(None), one(None)]).stretch is None
