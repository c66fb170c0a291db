"""`dft-levels`: labels at four levels on one density, and how they are built."""

import importlib.util
from functools import partial

import numpy as np
import pytest
from sfm_dft.basis import density_basis
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.data import building_levels as building
from sfm_dft.data.label_folder import failures, keep, label_first, write_failures
from sfm_dft.data.labelling_levels import FUNCTIONALS, label_levels, xc_energies
from sfm_dft.data.specs import B3LYP_ON_PBE, DFT_LEVELS, LDA_ON_PBE, PBE, R2SCAN_ON_PBE

from sfm.data.storage import open_dataset
from sfm.errors import RunError
from sfm.units import factor

EV = factor("hartree", "eV")
WATER = (
    np.array([8, 1, 1]),
    np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.46], [0.0, -0.8, -0.45]]),
)
NAMES = ["[HH]", "O", "C1#CC1", "N"]  # the third cannot be embedded


@pytest.fixture(scope="module")
def samples():
    return list(open_dataset(DFT_LEVELS.folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A work folder with three labelled molecules and a failure, made by the real pipeline."""
    work = tmp_path_factory.mktemp("levels")
    assert label_first(labeller(work), NAMES, 3, work, report=lambda text: None) == [
        "[HH]",
        "O",
        "N",
    ]
    return work


def labeller(folder):
    return partial(building.label_one, seed=0, folder=folder)


def test_energies_are_pyscfs_on_that_density():
    """One density through PySCF's own energy functional, level by level."""
    from pyscf import dft

    labels = label_levels(*WATER)
    assert labels is not None
    molecule = build_molecule(*WATER)
    for level, name in FUNCTIONALS.items():
        mean_field = dft.RKS(molecule, xc=name)
        mean_field.grids.level = 3
        total = mean_field.energy_tot(labels.density_matrix)
        # the labels' Coulomb energy is fitted, at every level alike
        shift = labels.energies[PBE] - labels.energies[level]
        mean_field.xc = FUNCTIONALS[PBE]
        reference = mean_field.energy_tot(labels.density_matrix)
        assert shift == pytest.approx(reference - total, abs=1e-9), level
        assert labels.energies[level] == pytest.approx(total, abs=2e-4), level


def test_the_pbe_energy_is_stationary_and_the_others_are_upper_bounds():
    from pyscf import dft

    labels = label_levels(*WATER)
    assert labels is not None
    for level, allowed in ((PBE, 1e-6), (LDA_ON_PBE, 2e-3), (R2SCAN_ON_PBE, 5e-3)):
        mean_field = dft.RKS(build_molecule(*WATER), xc=FUNCTIONALS[level]).density_fit(
            auxbasis="def2-universal-jfit"
        )
        mean_field.grids.level = 3
        mean_field.kernel(labels.density_matrix)
        # from the other side only by what the integration grid of the density cost
        assert -1e-7 < labels.energies[level] - mean_field.e_tot < allowed, level


def test_forces_are_the_derivative_of_the_energy():
    """The energy is on a finer grid than the force: about 1e-4 hartree/bohr."""
    labels = label_levels(*WATER)
    assert labels is not None
    numbers, positions = WATER
    step = 2e-3
    ends = []
    for sign in (1, -1):
        moved = positions.copy()
        moved[1, 1] += sign * step
        moved_labels = label_levels(numbers, moved)
        assert moved_labels is not None
        ends.append(moved_labels.energies[PBE])
    slope = (ends[0] - ends[1]) / (2 * step) * factor("bohr", "angstrom")
    assert labels.forces[1, 1] == pytest.approx(-slope, abs=3e-4)
    np.testing.assert_allclose(labels.forces.sum(0), 0.0, atol=1e-6)


def test_xc_energies_of_a_uniformly_scaled_density_matrix():
    """LDA exchange-correlation grows with the density; a quadrature of zero density is zero."""
    molecule = build_molecule(*WATER)
    nothing = xc_energies(molecule, np.zeros((molecule.nao, molecule.nao)), 0)
    assert all(value == 0.0 for value in nothing.values())


def test_building_resumes_and_lists_failures(folder, tmp_path):
    stamps = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    said = []
    done = label_first(labeller(folder), NAMES, 3, folder, report=said.append)
    assert done == ["[HH]", "O", "N"]
    assert not said
    assert stamps == {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert failures(NAMES, folder) == [("C1#CC1", "no embedding")]
    write_failures(failures(NAMES, folder), tmp_path / "failures.csv")
    assert (tmp_path / "failures.csv").read_text() == "smiles,reason\nC1#CC1,no embedding\n"


def test_rows_hold_rounded_labels_of_the_stored_positions(folder):
    rows = list(building.rows(["[HH]", "O", "N"], folder, coefficients=1))
    assert [row["id"] for row in rows] == ["[HH]", "O", "N"]
    name = f"density_coefficients[1]@{PBE}"
    assert [name in row for row in rows] == [True, False, False]
    water = rows[1]
    again = label_levels(water["types[1]"], water["positions[angstrom]"].astype(np.float32))
    assert again is not None
    for level in building.LEVELS:
        # the self-consistency itself is good to about 1e-8 hartree
        assert water[f"energy[eV]@{level}"] == pytest.approx(again.energies[level] * EV, abs=1e-4)
    forces = again.forces * EV / factor("bohr", "angstrom")
    np.testing.assert_allclose(water[f"forces[eV/angstrom]@{PBE}"], forces, atol=2e-3)
    electrons = (rows[0][name] @ density_basis.electrons_per_function()).sum()
    assert electrons == pytest.approx(2.0, abs=5e-3)


def test_a_broken_job_stops_nobody(tmp_path):
    def breaks(smiles):
        if smiles == "O":
            raise MemoryError("out of memory")
        keep(tmp_path, smiles, "no embedding")

    with pytest.raises(RunError, match="O: MemoryError"):
        label_first(breaks, ["O", "N"], 2, tmp_path, report=lambda text: None)
    assert failures(["O", "N"], tmp_path) == [("N", "no embedding")]


def test_noise_that_collapses_a_bond_is_refused(monkeypatch):
    numbers, positions = np.array([6, 6]), np.array([[0.0, 0, 0], [1.2, 0, 0]])
    monkeypatch.setattr(building, "minimum", lambda smiles, seed: (numbers, positions))
    monkeypatch.setattr(building, "displace", lambda x, seed, scale: x * 0.6)
    assert building.geometry("C#C", 0) == "atoms too close"
    assert building.closest(numbers, positions) == pytest.approx(1.2 / (2 * 0.76))


def test_order_is_deterministic_and_mixed():
    names = ["C" * n for n in range(1, 13)]
    order = building.schedule(names, seed=0)
    assert order == building.schedule(reversed(names), seed=0)
    assert order != names
    assert order.index("C") < order.index("C" * 12)


@pytest.mark.slow
def test_build_script_with_two_workers(folder, tmp_path, monkeypatch, capsys):
    """The command that `sfm dataset build` runs, on Dask's workers."""
    monkeypatch.setattr(building, "candidates", lambda seed: ["[HH]", "O", "C1#CC1", "N", "C"])
    place = importlib.util.spec_from_file_location("build", DFT_LEVELS.folder / "build.py")
    script = importlib.util.module_from_spec(place)
    place.loader.exec_module(script)
    arguments = ["--out", str(tmp_path), "--workers", "2", "--set", f"work={folder}"]
    assert script.main(["--size", "4", *arguments]) == 0
    data = open_dataset(tmp_path, level=PBE)
    assert [sample.id.split("@")[0] for sample in data] == ["[HH]", "O", "N", "C"]
    assert "C1#CC1,no embedding" in (tmp_path / "failures.csv").read_text()
    assert script.main(["--size", "0", *arguments]) == 2
    assert script.main(["--size", "4", *arguments, "grid=3"]) == 2
    assert "grid: not one of" in capsys.readouterr().err


def test_published_labels_are_physical(samples):
    by_name = {}
    for sample in samples:
        by_name.setdefault(sample.id.split("@")[0], {})[sample.level] = sample
    assert len(by_name) > 200
    differences = []
    for name, levels in by_name.items():
        assert set(levels) == set(DFT_LEVELS.levels), name
        labels = levels[PBE].labels
        energy = {level: float(s.labels["energy"]) for level, s in levels.items()}
        electrons = int(levels[PBE].types.sum())
        # LDA misses exchange: an eV per electron, two in the cores of the second row
        assert 0 < (energy[LDA_ON_PBE] - energy[PBE]) / electrons < 3.0, name
        differences.append((energy[B3LYP_ON_PBE] - energy[PBE]) / electrons)
        np.testing.assert_allclose(labels["forces"].sum(0), 0.0, atol=2e-3, err_msg=name)
        assert labels["homo"] < labels["lumo"], name
        if "density_coefficients" in labels:
            count = (labels["density_coefficients"] @ density_basis.electrons_per_function()).sum()
            assert count == pytest.approx(electrons, abs=0.05), name
    assert np.std(differences) < 0.5


def test_a_molecule_is_in_the_split_that_dft_small_has_it_in():
    from sfm_dft.data.specs import DFT_SMALL

    def splits(folder):
        return {
            sample.id.split("@")[0].split("/")[0]: split
            for split in ("train", "validation", "test")
            for sample in open_dataset(folder, split=split, level=PBE)
        }

    small, levels = splits(DFT_SMALL.folder), splits(DFT_LEVELS.folder)
    common = set(small) & set(levels)
    assert len(common) > 50
    assert all(small[name] == levels[name] for name in common)
