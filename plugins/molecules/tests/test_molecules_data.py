"""How the datasets are made, and what lies bundled."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict

import numpy as np
import pytest
from ase.collections import g2
from sfm_molecules.constants import BOHR, HARTREE
from sfm_molecules.data import building, candidates, labelling, specs
from sfm_molecules.data.catalogues import (
    WIDE_ELEMENTS,
    canonical,
    chemicals_identifiers,
    robocrys_smiles,
)
from sfm_molecules.data.labelling import Settings, Xtb, label_all, label_molecule, select
from sfm_molecules.geometry import embedding
from sfm_molecules.geometry.displacement import displace, hessian, modes
from sfm_molecules.model.metrics import correlation, mean_cosine, mean_vector_error

from sfm.constants import BOLTZMANN
from sfm.data.rounding import to_step
from sfm.data.spec import DatasetSpec
from sfm.data.storage import open_dataset

# GFN2-xTB by xtb 22.1, another program than the one that labels (hartree, bohr, e)
WATER = (-5.070222286726564, -0.8995447240617377, -0.5610534144683887)
ACETAMIDE = (-13.818158742237584, -1.6965445929215541, -0.42549336413105987)
ACETAMIDE_SLOPE = [0.006446248226542563, 0.028989096624225164, 0.0008670007913534075]


def test_labels_equal_those_of_another_program():
    water = Xtb(g2["H2O"].numbers)(g2["H2O"].positions)
    assert water.energy == pytest.approx(WATER[0] * HARTREE, abs=1e-5)
    assert water.dipole[2] == pytest.approx(WATER[1] * BOHR, abs=1e-4)
    assert water.charges[0] == pytest.approx(WATER[2], abs=1e-4)
    acetamide = Xtb(g2["CH3CONH2"].numbers)(g2["CH3CONH2"].positions)
    assert acetamide.energy == pytest.approx(ACETAMIDE[0] * HARTREE, abs=1e-5)
    assert acetamide.dipole[1] == pytest.approx(ACETAMIDE[1] * BOHR, abs=1e-4)
    assert acetamide.charges[0] == pytest.approx(ACETAMIDE[2], abs=1e-4)
    np.testing.assert_allclose(
        acetamide.forces[0], -np.array(ACETAMIDE_SLOPE) * HARTREE / BOHR, atol=1e-4
    )


# twice what convergence leaves, of the stored label and of the new one, beside half a step
NOISE = {"forces": 8e-5, "dipole": 7e-5, "charges": 1.2e-5}


def test_bundled_labels_can_be_computed_again_and_forces_are_slopes():
    data = open_dataset(specs.MOLECULES_XTB.folder)
    for index in (17, 4321, 9876):
        sample = data[index]
        engine = Xtb(sample.types)
        again = engine(sample.positions)
        assert again.energy == pytest.approx(float(sample.labels["energy"]), abs=2e-5)
        for name, step in building.XTB_STEPS.items():
            label, atol = sample.labels[name], step / 2 + NOISE[name]
            np.testing.assert_allclose(getattr(again, name), label, rtol=0, atol=atol)
        step = np.zeros_like(sample.positions)
        step[1, 2] = 2e-3
        up, down = (engine(sample.positions + sign * step).energy for sign in (1, -1))
        slope = -(up - down) / 4e-3
        assert slope == pytest.approx(float(sample.labels["forces"][1, 2]), abs=1e-3)


def test_bundled_ions_and_properties_can_be_computed_again():
    data = open_dataset(specs.MOLECULES_XTB_WIDE.folder)
    picks = [
        next(i for i in range(len(data)) if data[i].conditions["charge"] == q) for q in (1, -1)
    ]
    for sample in (data[i] for i in (0, *picks)):
        charge, spin = sample.conditions["charge"], int(sample.conditions["spin"])
        engine = Xtb(sample.types, charge=charge, uhf=spin)
        again = engine(sample.positions)
        assert again.energy == pytest.approx(float(sample.labels["energy"]), abs=2e-5)
        atol = building.XTB_STEPS["charges"] / 2 + NOISE["charges"]
        np.testing.assert_allclose(again.charges, sample.labels["charges"], rtol=0, atol=atol)
        np.testing.assert_allclose(again.quadrupole, sample.labels["quadrupole"], atol=2e-3)
        np.testing.assert_allclose(again.valences, sample.labels["valences"], atol=2e-4)
        if "homo" in sample.labels:
            for name, value in asdict(engine.properties(sample.positions)).items():
                assert value == pytest.approx(float(sample.labels[name]), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    ("spec", "steps"),
    [
        (specs.MOLECULES_XTB, building.XTB_STEPS),
        (specs.MOLECULES_XTB_WIDE, building.RICH_STEPS),
        (specs.MOLECULES_DIMERS, building.RICH_STEPS),
        (specs.MOLECULES_IONS, building.RICH_STEPS),
        (specs.MOLECULES_MEASURED, building.FORCE_FIELD_STEPS),
        (specs.POLARIZABILITY_DFT, building.FORCE_FIELD_STEPS),
    ],
)
def test_bundled_numbers_are_multiples_of_the_step_that_the_card_states(spec: DatasetSpec, steps):
    data = open_dataset(spec.folder)
    card = (spec.folder / "README.md").read_text("utf-8")
    units = {column.quantity: column.unit for column in data.columns}
    for name, step in steps.items():
        assert f"2^{round(np.log2(step))} {units[name]}" in " ".join(card.split())
        for sample in (data[i] for i in range(0, len(data), 25)):
            numbers = sample.positions if name == "positions" else sample.labels[name]
            np.testing.assert_array_equal(to_step(numbers, step), numbers)


def test_builders_give_numbers_on_their_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "candidates", lambda: {"CO": 6, "N": 4})
    monkeypatch.setattr(building, "cache_dir", lambda: tmp_path / "cache")
    building.build_xtb(tmp_path / "out", 4, 1, 0)
    samples = list(open_dataset(tmp_path / "out"))
    assert len(samples) == 4
    for sample in samples:
        for name, step in building.XTB_STEPS.items():
            value = sample.labels[name]
            assert value.any()
            np.testing.assert_array_equal(to_step(value, step), value)


def test_catalogues_are_read_once_whatever_is_built(tmp_path, monkeypatch):
    """Four molecules took as long as four thousand: 158,000 SMILES were filtered for each build."""
    read = []

    def one(smiles: str, *rest) -> str | None:
        read.append(smiles)
        return canonical(smiles, *rest)

    monkeypatch.setattr(candidates, "canonical", one)
    monkeypatch.setattr(candidates, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(
        candidates, "_catalogues", lambda **options: iter(["OC", "N", "CCCl", "C.C"])
    )
    monkeypatch.setattr(candidates, "polarizabilities", lambda: {"CCCl": 1.0})
    assert candidates.candidates() == {"CO": 6, "N": 4}
    assert read == ["OC", "N", "CCCl", "C.C"]
    assert candidates.candidates() == {"CO": 6, "N": 4}
    assert len(read) == 4
    monkeypatch.setattr(candidates, "FILTERS", candidates.FILTERS + 1)  # other filters: read again
    candidates.candidates()
    assert len(read) == 8


def test_numbers_of_atoms_are_those_of_the_molecule_with_its_hydrogens():
    for smiles in ("CO", "c1ccccc1", "C[N+](=O)[O-]", "C[Si](C)(C)Br", "[C-]#[O+]"):
        molecule = embedding.parse_smiles(smiles)
        assert candidates.number_of_atoms(smiles) == molecule.GetNumAtoms()


def test_one_worker_works_in_this_process(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(labelling, "_label_chunk", lambda *job: seen.append(job[0]))
    monkeypatch.setattr(
        labelling, "_tried", lambda folder: dict.fromkeys(["O", "N"][: len(seen)], folder)
    )
    monkeypatch.setattr(labelling, "_load", lambda path: iter(()))
    assert list(label_all(["O", "N"], Settings(), tmp_path, chunk=1)) == []
    assert seen == [["O"], ["N"]]


def test_a_molecule_gives_the_same_conformers_again_and_different_temperatures():
    first, second = (label_molecule("CC=O", Settings(conformers=4)) for _ in range(2))
    assert [r.index for r in first] == [0, 1, 2, 3]
    assert first[0].temperature == 0
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
    # the first is nearly relaxed, so the others lie above it
    assert all(r.labels.energy > first[0].labels.energy for r in first[1:])
    assert np.abs(first[0].labels.forces).max() < 0.3


def test_polarizability_is_the_curvature_of_the_energy_in_a_field():
    """Two roads to one number: differences of the dipole, and of the energy."""
    from tblite.interface import Calculator

    relaxed = label_molecule("CCO", Settings(conformers=1, properties=True))[0]
    step = 0.004

    def energy(field: list[float]) -> float:
        calculator = Calculator("GFN2-xTB", relaxed.types, relaxed.positions / BOHR)
        calculator.set("verbosity", 0)
        calculator.set("accuracy", 0.01)
        if any(field):
            calculator.add("electric-field", field)
        return float(calculator.singlepoint().get("energy"))

    middle = energy([0.0, 0.0, 0.0])
    axes = (step * np.eye(3)).tolist()
    curvature = [energy(a) + energy([-x for x in a]) - 2 * middle for a in axes]
    expected = -sum(curvature) / step**2 / 3
    # both carry terms of the square of their step: a per cent
    assert relaxed.properties.polarizability == pytest.approx(expected, rel=0.02)


def test_ions_and_triplets_are_vertical_states_of_the_same_molecule():
    settings = Settings(conformers=1, excited=1.0, properties=True)
    seen = set()
    for smiles in ("CCO", "Brc1ccccc1", "CP(=O)(O)O", "C[Si](C)(C)C"):
        ground, other = label_molecule(smiles, settings)
        seen.add((other.charge, other.spin))
        assert (ground.charge, ground.spin) == (0, 0)
        assert other.properties is None
        assert other.labels.charges.sum() == pytest.approx(other.charge, abs=1e-6)
        again = Xtb(other.types, charge=other.charge, uhf=other.spin)(other.positions)
        assert again.energy == pytest.approx(other.labels.energy, abs=2e-5)
        assert ground.properties.homo < ground.properties.lumo
        # water takes polar molecules best, hexane the others
        assert ground.properties.solvation_energy_hexane < 0
    assert len(seen) > 1


def test_labelling_goes_on_where_it_stopped(tmp_path):
    molecules, settings = ["O", "N", "C", "CO"], Settings(conformers=2)

    class Here:
        """An executor that works in this process."""

        def __init__(self, limit: int) -> None:
            self.limit, self.done = limit, 0

        def map(self, function, *arguments):
            for row in zip(*arguments, strict=True):
                if self.done == self.limit:
                    raise KeyboardInterrupt
                self.done += 1
                yield function(*row)

    def run(executor):
        return list(label_all(molecules, settings, tmp_path, chunk=2, executor=executor))

    with pytest.raises(KeyboardInterrupt):
        run(Here(1))
    rest = Here(9)
    rows = run(rest)
    assert rest.done == 1
    assert [r.smiles for r in rows] == [m for m in molecules for _ in range(2)]


def test_selection_is_spread_over_sizes_and_nested():
    candidates = [(f"{atoms}-{i}", atoms) for atoms in (3, 8, 20) for i in range(5 * atoms)]
    small, large = select(candidates, 30), select(candidates, 60)
    assert large[:30] == small
    assert {s.split("-")[0] for s in small} == {"3", "8", "20"}
    assert small == select(reversed(candidates), 30)


@pytest.mark.parametrize(
    ("smiles", "kept"),
    [
        ("OCC", "CCO"),
        ("C[C@H](N)O", "CC(N)O"),
        ("C[N+](=O)[O-]", "C[N+](=O)[O-]"),
        ("[NH4+]", None),
        ("[CH3]", None),
        ("CBr", None),
        ("O.O", None),
        ("[2H]O", None),
        ("CCCCCCCCCC", None),
        ("[H][H]", None),
        ("O=O", None),
        ("[CH2+]C(=N)[O-]", None),
        ("[C-]#[O+]", "[C-]#[O+]"),
        ("nonsense", None),
    ],
)
def test_which_molecules_are_kept(smiles, kept):
    assert canonical(smiles) == kept


def test_more_elements_and_sizes_are_kept_on_request():
    options = {"max_atoms": 30, "elements": WIDE_ELEMENTS}
    assert canonical("CBr", **options) == "CBr"
    assert canonical("OB(O)c1ccccc1", **options) == "OB(O)c1ccccc1"
    assert canonical("C[Se]C", **options) is None
    assert canonical("CCCCCCCCCC", **options) is None


def test_lists_of_chemicals_are_read():
    line = "6\t97-00-7\tC6H3ClN2O4\t202.55\tCCO\tInChI\tkey\tname\n"
    content = (line + "broken line\n").encode()
    assert list(chemicals_identifiers(content)) == [("97-00-7", "CCO")]


def test_robocrys_list_is_read():
    content = gzip.compress(json.dumps({"CCO": {"name_iupac": "ethanol"}}).encode())
    assert robocrys_smiles(content) == ["CCO"]


def test_displacements_have_the_variance_of_the_harmonic_ensemble():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 3)) * 2
    springs = [(i, j) for i in range(5) for j in range(i)]
    rest = {pair: np.linalg.norm(x[pair[0]] - x[pair[1]]) for pair in springs}

    def gradient(y):
        slope = np.zeros_like(y)
        for (i, j), length in rest.items():
            arm = y[i] - y[j]
            slope[i] += 3 * (np.linalg.norm(arm) - length) * arm / np.linalg.norm(arm)
            slope[j] -= 3 * (np.linalg.norm(arm) - length) * arm / np.linalg.norm(arm)
        return slope

    constants, vectors = modes(hessian(gradient, x), x, floor=1e-3)
    assert len(constants) == 15 - 6
    drawn = np.stack([displace(x, constants, vectors, 300.0, rng) - x for _ in range(4000)])
    along = drawn.reshape(4000, -1) @ vectors
    np.testing.assert_allclose(along.var(0), BOLTZMANN * 300.0 / constants, rtol=0.12)
    turning = np.cross(x - x.mean(0), drawn).sum(1)
    assert np.abs(turning).max() < 1e-10
    assert np.abs(drawn.sum(1)).max() < 1e-12


@pytest.mark.parametrize(
    "spec",
    [
        specs.MOLECULES_XTB,
        specs.MOLECULES_XTB_WIDE,
        specs.MOLECULES_MEASURED,
        specs.POLARIZABILITY_DFT,
    ],
)
def test_bundled_dataset_is_what_its_spec_says(spec: DatasetSpec):
    parts = {
        split: open_dataset(spec.folder, split=split) for split in ("train", "validation", "test")
    }
    whole = open_dataset(spec.folder)
    assert sum(map(len, parts.values())) == len(whole)
    assert len(parts["train"]) / len(whole) == pytest.approx(0.8, abs=0.03)
    assert whole.levels == spec.levels
    assert whole.domain == "molecules"
    assert set().union(*(whole[i].labels for i in range(9))) == set(spec.quantities)


def test_no_molecule_is_in_two_splits_and_the_held_out_ones_are_in_none():
    def groups(folder) -> dict[str, set[str]]:
        import pyarrow.parquet as pq

        table = pq.read_table(folder / "data", columns=["group", "split"]).to_pylist()
        splits: dict[str, set[str]] = {}
        for row in table:
            splits.setdefault(row["group"], set()).add(row["split"])
        return splits

    pretraining = groups(specs.MOLECULES_XTB.folder)
    for spec in (specs.MOLECULES_XTB_WIDE, specs.MOLECULES_MEASURED):
        more = groups(spec.folder)
        assert all(pretraining.get(name, splits) == splits for name, splits in more.items())
        pretraining |= more
    held_out = groups(specs.POLARIZABILITY_DFT.folder)
    assert len(pretraining) > 3000
    assert all(len(splits) == 1 for splits in (*pretraining.values(), *held_out.values()))
    assert not pretraining.keys() & held_out.keys()


def test_measured_values_are_those_of_handbooks():
    """Acrylic acid: CRC Handbook of Chemistry and Physics, 97th edition (12.5 and 141 degrees);
    partition coefficient of C. Hansch, A. Leo, D. Hoekman, Exploring QSAR (1995)."""
    import pyarrow.parquet as pq

    rows = pq.read_table(specs.MOLECULES_MEASURED.folder / "data").to_pylist()
    (acid,) = (row for row in rows if row["group"] == "C=CC(=O)O")
    assert acid["melting_temperature[K]@experiment (chemicals 1.5.2)"] == pytest.approx(
        285.7, abs=1
    )
    assert acid["boiling_temperature[K]@experiment (chemicals 1.5.2)"] == pytest.approx(
        414.2, abs=1
    )
    assert acid["log_octanol_water[1]@experiment (chemicals 1.5.2)"] == pytest.approx(
        0.35, abs=0.01
    )


def test_metrics():
    target = np.array([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 1e-9]])
    assert mean_cosine(2 * target, target) == pytest.approx(1.0)
    assert mean_cosine(-target, target) == pytest.approx(-1.0)
    assert mean_vector_error(target + np.array([0, 0, 3.0]), target) == pytest.approx(3.0)
    assert correlation(3 * target - 1, target) == pytest.approx(1.0)
