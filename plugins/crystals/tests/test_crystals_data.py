"""The bundled datasets: what is in them, what is held out, and that they rebuild."""

from __future__ import annotations

import gzip
import json
import sys
from importlib import resources

import numpy as np
import pytest
import torch
from sfm_crystals.data import (
    bridging,
    building,
    experiments,
    materials_project,
    moduli,
    perturbation,
    specs,
    substitution,
    teaching,
)
from sfm_crystals.data.converters import to_pymatgen

from sfm.data.rounding import to_step
from sfm.data.splits import assign
from sfm.data.storage import open_dataset
from sfm.errors import InputError
from sfm.nn.symmetry import rotate_value

ALL = (
    specs.CRYSTALS_MP,
    specs.CRYSTALS_FORCES,
    specs.CRYSTALS_LEVELS,
    specs.CRYSTALS_ELASTIC,
    specs.CRYSTALS_PROPERTIES,
    specs.CRYSTALS_DIELECTRIC,
    specs.CRYSTALS_STIFFNESS,
    specs.FORMATION_ENERGY_EXP,
)


def formula(sample) -> str:
    return materials_project.reduced_formula(sample.types)


@pytest.fixture(scope="module")
def data():
    return {spec.name: open_dataset(spec.folder) for spec in ALL}


def test_counts_and_levels(data):
    assert {name: len(d) for name, d in data.items()} == {
        "crystals-mp": 3679,
        "crystals-forces": 12_000,
        "crystals-levels": 4_000,
        "crystals-elastic": 3434,
        "crystals-properties": 15_237,
        "crystals-dielectric": 1041,
        "crystals-stiffness": 1181,
        "formation-energy-exp": 227,
    }
    for spec in ALL:
        assert data[spec.name].levels == spec.levels
        assert set(data[spec.name][0].labels) <= set(spec.quantities)


def test_no_held_out_compound_is_ever_trained_on(data):
    assert all(spec.held_out for spec in ALL[-3:])
    held_out = {formula(s) for s in data["formation-energy-exp"]}
    for name in (
        "crystals-mp",
        "crystals-forces",
        "crystals-levels",
        "crystals-elastic",
        "crystals-properties",
    ):
        assert not held_out & {formula(s) for s in data[name]}


def test_splits_are_by_compound_and_agree_between_datasets(data):
    where: dict[str, dict[str, set[str]]] = {spec.name: {} for spec in ALL}
    for spec in ALL:
        for split in ("train", "validation", "test"):
            for sample in open_dataset(spec.folder, split=split):
                where[spec.name].setdefault(formula(sample), set()).add(split)
    tensors, measured = {"crystals-dielectric", "crystals-stiffness"}, {"formation-energy-exp"}
    for apart in (tensors, measured):  # these share compounds and not the fractions of the splits
        merged: dict[str, set[str]] = {}
        for name in where.keys() - apart:
            for compound, splits in where[name].items():
                merged.setdefault(compound, set()).update(splits)
        assert all(len(splits) == 1 for splits in merged.values())
        assert set().union(*merged.values()) == {"train", "validation", "test"}
    for spec in ALL:
        fractions = building.HELD_OUT if spec.name in measured else building.TRAINED_ON
        for sample in list(open_dataset(spec.folder, split="test"))[::20]:
            assert assign(formula(sample), fractions) == "test"


def test_experiments_are_those_of_pymatgen(data):
    path = resources.files("pymatgen.analysis.compatibility") / "exp_compounds.json.gz"
    raw = {r["mpid"]: r for r in json.loads(gzip.decompress(path.read_bytes()))}
    for sample in list(data["formation-energy-exp"])[::10]:
        row, composition = raw[sample.id], to_pymatgen(sample).composition
        units = composition.get_reduced_composition_and_factor()[0].num_atoms
        per_atom = row["exp energy"] / units
        assert float(sample.labels["formation_energy"]) == pytest.approx(per_atom, rel=1e-12)


def test_distilled_labels_obey_the_symmetries_of_an_energy(data):
    for sample in list(data["crystals-forces"])[::30]:
        assert np.abs(sample.labels["forces"]).max() <= building.LARGEST_FORCE
        assert sample.level == specs.DISTILLED
        assert np.abs(sample.labels["forces"].sum(0)).max() < 2e-4 * len(sample.types)
        np.testing.assert_allclose(sample.labels["stress"], sample.labels["stress"].T, atol=2e-5)


@pytest.mark.parametrize("spec", [specs.CRYSTALS_FORCES, specs.CRYSTALS_LEVELS])
def test_bundled_numbers_are_multiples_of_the_step_that_the_card_states(spec):
    card = " ".join((spec.folder / "README.md").read_text("utf-8").split())
    assert f"2^{round(np.log2(building.STEPS['forces']))} eV/angstrom (1.2e-4)" in card
    assert f"2^{round(np.log2(building.STEPS['stress']))} eV/angstrom^3 (7.6e-6)" in card
    samples = open_dataset(spec.folder)
    for sample in (samples[i] for i in range(0, len(samples), 25)):
        np.testing.assert_array_equal(sample.cell.astype(np.float32), sample.cell)
        for name, step in building.STEPS.items():
            numbers = sample.labels[name]
            np.testing.assert_array_equal(to_step(numbers, step), numbers)


def test_a_bridge_holds_the_same_cells_at_both_levels(data):
    """The first level's labels are those of `crystals-forces`, in the same split and group."""
    for split, size in (("train", 1200), ("validation", 200), ("test", 600)):
        first, second = (
            list(open_dataset(specs.CRYSTALS_LEVELS.folder, split=split, level=level))
            for level in (specs.DISTILLED, specs.SEVENNET)
        )
        whole = {s.id: s for s in open_dataset(specs.CRYSTALS_FORCES.folder, split=split)}
        assert len(first) == len(second) == size
        for one, other in zip(first[::20], second[::20], strict=True):
            name = one.id.partition("@")[0]
            assert other.id.partition("@")[0] == name
            assert one.group == other.group == whole[name].group
            np.testing.assert_array_equal(one.positions, whole[name].positions)
            np.testing.assert_array_equal(other.cell, whole[name].cell)
            for quantity, value in whole[name].labels.items():
                np.testing.assert_array_equal(one.labels[quantity], value)
            assert np.abs(other.labels["forces"]).max() <= building.LARGEST_FORCE
            assert np.abs(other.labels["forces"].sum(0)).max() < 2e-4 * len(other.types)
            np.testing.assert_allclose(other.labels["stress"], other.labels["stress"].T, atol=2e-5)


def test_the_card_of_the_bridge_says_how_far_apart_its_teachers_are():
    """Shifts per element of the training cells, differences of the test cells."""
    folder = specs.CRYSTALS_LEVELS.folder
    card = " ".join((folder / "README.md").read_text().split())

    def both(split):
        levels = (specs.DISTILLED, specs.SEVENNET)
        return zip(*(open_dataset(folder, split=split, level=x) for x in levels), strict=True)

    def difference(quantity):
        return np.concatenate([np.ravel(y.labels[quantity] - x.labels[quantity]) for x, y in test])

    train, test = list(both("train")), list(both("test"))
    cells = [x for x, _ in train]
    total = np.array([float(y.labels["energy"] - x.labels["energy"]) for x, y in train])
    shifts = bridging.element_shifts(cells, total)
    apart = [
        (y.labels["energy"] - x.labels["energy"] - sum(shifts[int(z)] for z in x.types))
        / len(x.types)
        for x, y in test
    ]
    assert f"{np.mean(np.abs(apart)):.3f} eV/atom" in card
    assert f"{np.mean(np.abs(difference('forces'))):.3f} eV/angstrom" in card
    assert f"{160.21766 * np.mean(np.abs(difference('stress'))):.2f} GPa" in card


def test_every_group_comes_once_before_any_comes_again(data):
    samples = list(open_dataset(specs.CRYSTALS_FORCES.folder, split="validation"))
    order = bridging.evenly(samples, 0)
    compounds = len({s.group for s in samples})
    assert len({s.group for s in order[:compounds]}) == compounds
    assert sorted(s.id for s in order) == sorted(s.id for s in samples)
    assert [s.id for s in order] == [s.id for s in bridging.evenly(samples, 0)]
    assert [s.id for s in order] != [s.id for s in bridging.evenly(samples, 1)]


def test_shifts_of_elements_are_what_energies_were_shifted_by(data):
    samples = list(data["crystals-forces"])[:200]
    true = {z: 0.1 * z for s in samples for z in s.types.tolist()}
    shifted = np.array([sum(true[z] for z in s.types.tolist()) for s in samples])
    shifts = bridging.element_shifts(samples, shifted)
    left = [e - sum(shifts[z] for z in s.types.tolist())
            for s, e in zip(samples, shifted, strict=True)]  # fmt: skip
    assert np.abs(left).max() < 1e-8


def test_distilled_stress_is_positive_in_tension(data):
    """Stretched cells must be pulled back: the volume's change and the mean stress correlate."""
    parents = {s.id: s for s in data["crystals-mp"]}
    change, pull = [], []
    for sample in list(data["crystals-forces"])[::5]:
        parent = parents[sample.id.rpartition("/")[0]]
        ratio = abs(np.linalg.det(sample.cell)) / abs(np.linalg.det(parent.cell))
        change.append(ratio - 1)
        pull.append(np.trace(sample.labels["stress"]) / 3)
    assert np.corrcoef(change, pull)[0, 1] > 0.5


def toy() -> materials_project.Crystal:
    return materials_project.Crystal(
        id="mp-0",
        formula="ClNa",
        types=np.array([11, 17]),
        positions=np.array([[0.0, 0, 0], [2.8, 0, 0]]),
        cell=2.8 * np.array([[0, 1.0, 1], [1, 0, 1], [1, 1, 0]]),
        formation_energy=-2.0,
    )


def test_the_bulk_modulus_of_a_linear_solid_is_exact():
    """Stress of any elastic constants and any stress at rest; K_Voigt = C_iijj / 9."""
    rng = np.random.default_rng(0)
    constants = rng.normal(size=(3, 3, 3, 3))
    rest = rng.normal(size=(3, 3))
    pulled, pressed = (
        rest + np.einsum("ijkl,kl->ij", constants, e * np.eye(3)) for e in moduli.STRAINS.values()
    )
    voigt = np.einsum("iijj->", constants) / 9
    assert moduli.bulk_modulus(pulled, pressed) == pytest.approx(voigt, rel=1e-10)


def test_strained_copies_scale_edges_and_atoms_alike():
    larger, smaller = perturbation.strained(toy())
    assert [larger.id, smaller.id] == ["mp-0/+", "mp-0/-"]
    for copy, scale in ((larger, 1.01), (smaller, 0.99)):
        np.testing.assert_allclose(copy.cell, scale * toy().cell)
        np.testing.assert_allclose(copy.positions, scale * toy().positions, rtol=1e-7)


def test_soft_solids_are_soft_and_hard_ones_hard(data):
    """The teacher against C. Kittel, Introduction to Solid State Physics: 2.0 GPa for caesium."""
    modulus = {s.id: 10 ** float(s.labels["log_clamped_bulk_modulus"])
               for s in data["crystals-elastic"]}  # fmt: skip
    assert modulus["mp-3"] == pytest.approx(2.0, rel=0.15)
    assert min(modulus.values()) >= building.SOFTEST
    assert max(modulus.values()) < 450  # diamond and its like, the hardest of all, are left out


def test_relatives_are_neighbours_in_a_column_and_cells_grow_with_them():
    assert substitution.relatives(17) == [9, 35]
    assert substitution.relatives(18) == []  # argon
    fresh = [substitution.substitute(toy(), copy, 0) for copy in range(20)]
    names = {f.id for f in fresh if f is not None}
    assert names == {"mp-0/Na>Li", "mp-0/Na>K", "mp-0/Cl>F", "mp-0/Cl>Br"}
    grown = next(f for f in fresh if f is not None and f.id == "mp-0/Cl>Br")
    scale = (1.66 + 1.20) / (1.66 + 1.02)  # covalent radii, B. Cordero et al., Dalton Trans. (2008)
    np.testing.assert_allclose(grown.cell, scale * toy().cell, rtol=1e-6)
    assert grown.formula == "BrNa"


def test_no_substituted_crystal_is_a_known_or_a_held_out_compound():
    chosen = substitution.substitutions([toy()], {"BrNa"}, 10, 0)
    assert {c.formula for c in chosen} <= {"ClLi", "ClK", "FNa"}
    assert len({c.formula for c in chosen}) == len(chosen) > 0


def test_gaps_of_the_teacher_are_none_for_metals_and_wider_by_hse(data):
    """HSE opens the gaps of PBE, +U and 4f shells aside; metals have none."""
    gaps: dict[str, dict[str, float]] = {}
    elements: dict[str, str] = {}
    for sample in data["crystals-properties"]:
        if "band_gap" in sample.labels:
            crystal = sample.id.partition("@")[0]
            elements[crystal] = formula(sample)
            gaps.setdefault(crystal, {})[sample.level] = float(sample.labels["band_gap"])
    both = np.array([
        (g[specs.MEGNET_PBE], g[specs.MEGNET_HSE]) for g in gaps.values() if len(g) == 3
    ])  # fmt: skip
    insulators = both[:, 0] > 1.0
    assert np.mean(both[insulators, 1] > both[insulators, 0]) > 0.9
    metals = {crystal for crystal, name in elements.items() if name in {"La", "Gd", "Np"}}
    assert metals
    assert all(gaps[metal][specs.MEGNET_PBE] < 0.1 for metal in metals)
    assert min(g for each in gaps.values() for g in each.values()) == 0.0


def test_a_table_with_an_unnamed_index_is_read_by_its_names():
    table = b"# comment\nid,formula\n0,7,CdCl2\n1,8,Rb2Te\n"
    assert materials_project.read_formulas(table) == {"CdCl2", "Rb2Te"}


def test_formulas_of_a_table_are_reduced_as_ours():
    table = b"# comment\nid,formula\n1,Al(CoSi)2\n2,Si\n3,Ca3(AlSi)2\n"
    assert materials_project.read_formulas(table) == {"AlCo2Si2", "Si", "Al2Ca3Si2"}
    with pytest.raises(InputError, match="no column 'formula'"):
        materials_project.read_formulas(b"a,b\n1,2\n")


def test_perturbations_depend_on_seed_crystal_and_copy_only():
    crystal = toy()
    first, again = perturbation.perturb(crystal, 0, 0), perturbation.perturb(crystal, 0, 0)
    np.testing.assert_array_equal(first.positions, again.positions)
    np.testing.assert_array_equal(first.positions, first.positions.astype(np.float32))
    assert not np.allclose(first.cell, perturbation.perturb(crystal, 1, 0).cell)
    assert not np.allclose(first.cell, perturbation.perturb(crystal, 0, 1).cell)
    many = [perturbation.perturb(crystal, i, 0) for i in range(50)]
    close = [perturbation.closest_approach(m.types, m.positions, m.cell) for m in many]
    assert min(close) > perturbation.CLOSEST
    ids = [c.id for c in perturbation.configurations([crystal], 3, 0)]
    assert ids == ["mp-0/0", "mp-0/1", "mp-0/2"]


def test_polymorphs_of_held_out_compounds_leave_training():
    crystal = toy()
    other = materials_project.Crystal(**{**vars(crystal), "id": "mp-1"})
    third = materials_project.Crystal(**{**vars(crystal), "id": "mp-2", "formula": "KCl"})
    measured = [experiments.Experiment("mp-0", -2.1, None)]
    left = experiments.training_crystals([crystal, other, third], measured)
    assert [c.id for c in left] == ["mp-2"]


def test_a_cut_off_answer_of_the_teacher_is_done_again(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a", "energy": 1.0}\n{"id": "b", "ene')
    assert teaching.labelled_ids(path) == {"a"}
    assert path.read_text() == '{"id": "a", "energy": 1.0}\n'


def test_a_teacher_may_bear_the_name_of_the_package_that_it_runs(tmp_path):
    """`chgnet.py` imports chgnet: the package, not itself."""
    script = tmp_path / "ase.py"
    script.write_text(
        "import json, pathlib, sys\n"
        "from ase.data import atomic_numbers\n"
        "tasks = pathlib.Path(sys.argv[1]).read_text().splitlines()\n"
        "rows = [json.dumps({**json.loads(t), 'z': atomic_numbers['Ga']}) + '\\n' for t in tasks]\n"
        "pathlib.Path(sys.argv[2]).write_text(''.join(rows))\n"
    )
    answers = tmp_path / "answers.jsonl"
    rows = teaching.taught(script, sys.executable, [{"id": "a"}], answers, requires=("ase",))
    assert rows == {"a": {"id": "a", "z": 31}}


def test_substituted_crystals_follow_the_real_ones(tmp_path, monkeypatch, data):
    """Their compounds are in no table, and neither start changes the other's cells."""
    crystal = toy()
    monkeypatch.setattr(building, "sources", lambda: ([crystal], []))
    monkeypatch.setattr(building, "held_out_compounds", set)
    zero = {"energy": 0.0, "forces": np.zeros((len(crystal.types), 3)), "stress": np.zeros((3, 3))}
    monkeypatch.setattr(building, "taught", lambda cells, _: {c.id: zero for c in cells})
    rows = {}
    for size, substituted in ((3, 0), (3, 2), (0, 2)):
        out = tmp_path / f"{size}-{substituted}"
        arguments = ["--size", str(size), "--substituted", str(substituted)]
        building.main("crystals-forces", out, arguments)
        rows[size, substituted] = [(s.id, s.positions.tolist()) for s in open_dataset(out)]
    assert rows[3, 2] == rows[3, 0] + rows[0, 2]
    assert len(rows[3, 0]) == 3
    assert len(rows[0, 2]) == 2
    assert all(">" in name for name, _ in rows[0, 2])


def test_rows_of_the_bundled_files_come_out_of_the_archive_again(tmp_path, monkeypatch, data):
    """The whole way from rows to samples, with the archives' content replaced by one crystal."""
    measured = [experiments.Experiment("mp-0", -2.1, None)]
    monkeypatch.setattr(building, "sources", lambda: ([toy()], measured))
    building.main("formation-energy-exp", tmp_path, ["--size", "1"])
    (sample,) = open_dataset(tmp_path)
    assert sample.id == "mp-0"
    assert set(sample.labels) == {"formation_energy"}
    assert float(sample.labels["formation_energy"]) == -2.1
    np.testing.assert_allclose(sample.positions, toy().positions, rtol=1e-6)


def test_tensors_lie_in_the_axes_of_their_crystals(data, monkeypatch):
    """A crystal's own rotations leave its tensors as they are, but for noise of the calculation."""
    spglib = pytest.importorskip("spglib")
    monkeypatch.setenv("SPGLIB_OLD_ERROR_HANDLING", "false")  # the other way warns at every call
    changes = {"dielectric": [], "elastic_constants": []}
    for name, quantity in (
        ("crystals-dielectric", "dielectric"),
        ("crystals-stiffness", "elastic_constants"),
    ):
        for sample in (data[name][i] for i in range(40)):
            inverse = np.linalg.inv(sample.cell)
            cell = (sample.cell, sample.positions @ inverse, sample.types)
            symmetry = spglib.get_symmetry(cell, symprec=0.01)
            value = torch.from_numpy(np.array(sample.labels[quantity], dtype=np.float64))
            assert torch.equal(value, value.mT)
            turns = [torch.from_numpy(sample.cell.T @ r @ inverse.T) for r in symmetry["rotations"]]
            mean = torch.stack([rotate_value(value[None], turn)[0] for turn in turns]).mean(0)
            changes[quantity].append(float((mean - value).abs().max() / value.abs().max()))
    assert np.median(changes["dielectric"]) < 0.003
    assert np.median(changes["elastic_constants"]) < 0.001
    assert all(np.mean(np.array(c) > 0.05) <= 0.05 for c in changes.values())
