"""Pairs of molecules: how they are placed, drawn, labelled, kept, and what lies bundled."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.data.s22 import create_s22_system
from sfm_molecules.constants import BOHR, HARTREE
from sfm_molecules.data import dimers, specs
from sfm_molecules.data.building import LARGEST_OF_PAIR
from sfm_molecules.data.dimers import (
    IONS,
    RADICALS,
    DimerSettings,
    by_split,
    descend,
    fragments,
    label_dimers,
    label_pair,
    pair,
)
from sfm_molecules.data.labelling import Xtb
from sfm_molecules.geometry.pairing import apart, gap_between, radii, random_turn

from sfm.data.splits import assign
from sfm.data.storage import open_dataset
from sfm.errors import InputError

POOL = ["C", "CO", "N", "O", "CCO", "C=O", "CC#N", "CS", "FC(F)F", "C#C", "NC=O", "CBr", "CP"]


@pytest.fixture(scope="module")
def pools() -> dict[str, list[str]]:
    return dict.fromkeys(("train", "validation", "test"), POOL)


@pytest.fixture(scope="module")
def bundled():
    return list(open_dataset(specs.MOLECULES_DIMERS.folder))


@pytest.mark.parametrize("gap", [-1.2, 0.0, 6.0])
def test_surfaces_are_as_far_apart_as_asked_and_nothing_is_nearer(gap):
    generator = np.random.default_rng(2)
    water = create_s22_system("Water_dimer")
    first, second = water.positions[:3] @ random_turn(generator).T, water.positions[3:]
    reach = np.add.outer(radii(water.numbers[:3]), radii(water.numbers[3:]))
    direction = random_turn(generator)[0]
    placed = apart(first, second, reach, direction, gap)
    assert gap_between(first, placed, reach) == pytest.approx(gap, abs=1e-9)
    # it came from outside: every place further along the line is further from the surface
    further = [gap_between(first, placed + t * direction, reach) for t in (0.1, 0.5, 2.0)]
    assert gap < further[0] < further[1] < further[2]


def test_turns_are_rotations_spread_over_the_sphere():
    generator = np.random.default_rng(0)
    turns = np.array([random_turn(generator) for _ in range(2000)])
    unit = np.broadcast_to(np.eye(3), turns.shape)
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), unit, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1.0, atol=1e-12)
    # a uniform direction has mean 0 and variance 1/3: four standard errors
    assert np.abs(turns[:, 0].mean(0)).max() < 4 * np.sqrt(1 / 3 / 2000)
    assert np.abs((turns[:, 0] ** 2).mean(0) - 1 / 3).max() < 4 * np.sqrt(4 / 45 / 2000)


def test_the_water_dimer_of_s22_is_bound_as_gfn2_says():
    """Another road: tblite itself on the three geometries; CCSD(T)/CBS says -5.02 kcal/mol."""
    from tblite.interface import Calculator

    atoms = create_s22_system("Water_dimer")

    def energy(types, positions) -> float:
        calculator = Calculator("GFN2-xTB", types, positions / BOHR)
        calculator.set("verbosity", 0)
        return float(calculator.singlepoint().get("energy")) * HARTREE

    z, x = atoms.numbers, atoms.positions
    expected = energy(z, x) - energy(z[:3], x[:3]) - energy(z[3:], x[3:])
    one = [dimers.Monomer("O", 0, 0, z[i : i + 3], x[i : i + 3], None, None) for i in (0, 3)]
    labels = dimers.label(one, [x[:3], x[3:]], 0)
    # tblite's own accuracy here is ten times coarser; positions are float32
    assert labels["interaction_energy"] == pytest.approx(expected, abs=2e-5)
    assert labels["interaction_energy"] * 23.06 == pytest.approx(-5.02, abs=0.3)


def test_every_named_ion_and_radical_is_what_its_list_says():
    for smiles in IONS:
        ((_, _, charge, spin),) = fragments(smiles)
        assert (abs(charge), spin) == (1, 0), smiles
    for smiles in RADICALS:
        ((_, _, charge, spin),) = fragments(smiles)
        assert (charge, spin) == (0, 1), smiles


def test_a_pair_follows_from_its_number_alone(pools):
    settings = DimerSettings()
    first = label_pair(5, pools, settings)
    label_pair(2, pools, settings)
    assert json.dumps(label_pair(5, pools, settings)) == json.dumps(first)
    assert pair(5, pools, 0)[:3] != pair(5, pools, 1)[:3]
    kinds = [set(pair(i, pools, 0)[1:3]) for i in range(300)]
    assert 25 < sum(bool(k & set(IONS)) for k in kinds) < 65  # 15 % of 300: three deviations
    assert 25 < sum(bool(k & set(RADICALS)) for k in kinds) < 65


def test_building_goes_on_where_it_stopped_and_a_larger_set_begins_with_a_smaller(tmp_path):
    molecules = [*POOL, "CCl", "CF", "OO", "C=C", "CC", "CN", "C=N", "CCC", "COC"]
    assert all(by_split(molecules).values())
    settings = DimerSettings(monomer_steps=1, dimer_steps=1)
    lines: list[str] = []

    def build(size: int):
        lines.clear()
        return label_dimers(
            molecules[:20] + molecules[20:24],
            size,
            settings,
            tmp_path,
            chunk=2,
            report=lines.append,
        )

    rows, failures = build(10)
    assert len(rows) == 10
    assert len({row["id"] for row in rows} | {name for name, _ in failures}) >= 10
    (folder,) = tmp_path.iterdir()
    chunks = sorted(folder.glob("0*.json"))
    chunks[0].unlink()
    kept = chunks[1].stat().st_mtime_ns
    again, _ = build(10)
    assert again == rows
    assert chunks[0].is_file()
    assert chunks[1].stat().st_mtime_ns == kept
    assert build(5)[0] == rows[:5]


def test_a_split_without_molecules_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no molecule .* split"):
        label_dimers(["C"], 4, DimerSettings(), tmp_path)


def test_what_fails_is_a_reason_and_stops_nobody(pools, monkeypatch):
    broken = {split: ["nonsense"] for split in pools}
    rows, failures = label_pair(0, broken, DimerSettings())
    assert rows == []
    ((name, reason),) = failures
    assert name == "000000"
    assert "nonsense" in reason
    rows, failures = label_pair(1, pools, DimerSettings(max_force=1e-3))
    assert rows == []
    assert len(failures) == 4
    assert all("eV/angstrom" in reason for _, reason in failures)


def test_descending_finds_the_minimum_of_water():
    water = create_s22_system("Water_dimer")[:3]
    engine = Xtb(water.numbers)
    away = water.positions + np.random.default_rng(0).normal(scale=0.05, size=(3, 3))
    relaxed = descend(engine, away, 30)
    assert np.abs(engine(relaxed).forces).max() < 0.02
    assert engine(relaxed).energy < engine(away).energy


def test_molecules_of_a_pair_are_of_its_split_and_pairs_are_of_one(bundled):
    splits: dict[str, set[str]] = {}
    rows = open_dataset(specs.MOLECULES_DIMERS.folder)._table.column("split").to_pylist()
    charged = dict.fromkeys((*IONS, *RADICALS))
    for sample, split in zip(bundled, rows, strict=True):
        names = sample.group.split(".")
        neutral = [name for name in names if name not in charged]
        assert neutral
        assert all(assign(name) == split for name in neutral)
        splits.setdefault(split, set()).update(neutral)
        molecules = list(fragments(sample.group))
        assert sum(atoms for _, atoms, _, _ in molecules) == len(sample.types)
        assert sum(charge for _, _, charge, _ in molecules) == sample.conditions["charge"]
        assert sum(spin for _, _, _, spin in molecules) == sample.conditions["spin"]
        assert max(atoms for s, atoms, _, _ in molecules if s not in charged) <= LARGEST_OF_PAIR
    assert not splits["train"] & splits["test"]
    assert not splits["train"] & splits["validation"]
    assert not splits["validation"] & splits["test"]


def test_bundled_labels_can_be_computed_again(bundled):
    picks = [next(s for s in bundled if s.conditions["charge"] == q) for q in (0, 1, -1)]
    picks.append(next(s for s in bundled if s.conditions["spin"]))
    for sample in picks:
        charge, spin = int(sample.conditions["charge"]), int(sample.conditions["spin"])
        labels = Xtb(sample.types, charge=charge, uhf=spin)(sample.positions)
        start, alone = 0, 0.0
        for _, atoms, q, s in fragments(sample.group):
            here = slice(start, start + atoms)
            alone += Xtb(sample.types[here], charge=q, uhf=s)(sample.positions[here]).energy
            start += atoms
        expected = float(sample.labels["interaction_energy"])
        assert labels.energy - alone == pytest.approx(expected, abs=5e-5)
        assert labels.energy == pytest.approx(float(sample.labels["energy"]), abs=2e-5)
        # half a step, and what convergence of a soft density leaves
        np.testing.assert_allclose(labels.quadrupole, sample.labels["quadrupole"], atol=2e-3)
        np.testing.assert_allclose(labels.valences, sample.labels["valences"], atol=2e-4)
        np.testing.assert_allclose(labels.forces, sample.labels["forces"], atol=5e-4)


def test_bundled_pairs_reach_from_the_wall_to_where_nothing_is_left(bundled):
    gaps, energies = [], []
    for sample in bundled:
        if sample.conditions["charge"] or sample.conditions["spin"]:
            continue
        n = next(fragments(sample.group))[1]
        reach = np.add.outer(radii(sample.types[:n]), radii(sample.types[n:]))
        gaps.append(gap_between(sample.positions[:n], sample.positions[n:], reach))
        energies.append(float(sample.labels["interaction_energy"]))
    gaps_of, energy_of = np.array(gaps), np.array(energies)
    assert gaps_of.min() < -1.0
    assert 5.5 < gaps_of.max() < 6.2
    assert np.median(energy_of[gaps_of < -0.9]) > 0.1
    assert -0.1 < np.median(energy_of[(gaps_of > 0) & (gaps_of < 0.6)]) < 0
    assert np.abs(np.median(energy_of[gaps_of > 4])) < 2e-3
