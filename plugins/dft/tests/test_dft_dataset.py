"""The bundled data: internal identities, and labels made again here."""

from functools import partial

import numpy as np
import pytest
import torch
from sfm_dft.basis import density_basis
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.data import building_small as building
from sfm_dft.data.geometry import displace, embed, relax, small_molecules
from sfm_dft.data.label_folder import failures, label_first, work_file
from sfm_dft.data.labelling import label
from sfm_dft.data.specs import DFT_SMALL, LDA, PBE
from sfm_dft.simulators.kohn_sham import KohnSham

from sfm.data.storage import open_dataset
from sfm.units import factor


@pytest.fixture(scope="module")
def samples():
    return list(open_dataset(DFT_SMALL.folder))


def test_energies_add_up(samples):
    from scipy.constants import physical_constants

    assert physical_constants["Hartree energy in eV"][0] == pytest.approx(27.2113862, abs=1e-6)
    for sample in samples:
        labels = sample.labels
        distances = sample.positions[:, None] - sample.positions[None]
        pair = np.outer(sample.types, sample.types)
        upper = np.triu_indices(len(pair), 1)
        nuclear = (pair[upper] / np.linalg.norm(distances[upper], axis=1)).sum()
        nuclear *= factor("hartree", "eV") * factor("bohr", "angstrom")
        parts = ("kinetic_energy", "external_energy", "hartree_energy", "xc_energy")
        total = sum(float(labels[name]) for name in parts) + nuclear
        # positions are stored in float32
        assert total == pytest.approx(float(labels["energy"]), abs=2e-2), sample.id


def test_physics_of_the_labels(samples):
    for sample in samples:
        labels = sample.labels
        virial = -(labels["energy"] - labels["kinetic_energy"]) / labels["kinetic_energy"]
        assert virial == pytest.approx(2.0, abs=0.25), sample.id
        assert labels["homo"] < labels["lumo"], sample.id
        assert labels["xc_correction"] < 0, sample.id
        if sample.level == PBE:
            electrons = labels["density_coefficients"] @ density_basis.electrons_per_function()
            assert electrons.sum() == pytest.approx(sample.types.sum(), abs=1e-4)


def test_minima_lie_below_displaced_geometries(samples):
    energy = {s.id: float(s.labels["energy"]) for s in samples if s.level == PBE}
    pairs = [
        (energy[name], energy[name.replace("/minimum", "/displaced")])
        for name in energy
        if "/minimum" in name
    ]
    assert len(pairs) > 100
    assert np.mean([low < high for low, high in pairs]) > 0.9


def test_labels_can_be_made_again(samples):
    """PySCF today, and our own simulator, against the stored numbers."""
    chosen = next(s for s in samples if s.level == PBE and len(s.types) == 4)
    again = label(chosen.types, chosen.positions)
    assert again is not None
    ev = factor("hartree", "eV")
    assert again["PBE"].total * ev == pytest.approx(float(chosen.labels["energy"]), abs=1e-4)
    molecule = build_molecule(chosen.types, chosen.positions)
    projections = density_basis.project(molecule, again["PBE"].density_matrix)
    np.testing.assert_allclose(projections, chosen.labels["density_projections"], atol=2e-4)
    coefficients = density_basis.fit(molecule, again["PBE"].density_matrix)
    np.testing.assert_allclose(coefficients, chosen.labels["density_coefficients"], atol=5e-3)
    simulator = KohnSham(functional="PBE", grid_level=1)
    observed = simulator.observe(simulator.solve(chosen))
    # the labels' density converged to about 1e-4: first order in components, second in energy
    for name, allowed in (("energy", 1e-3), ("hartree_energy", 2e-2), ("homo", 2e-3)):
        assert observed[name].item() == pytest.approx(float(chosen.labels[name]), abs=allowed)
    dipole = observed["dipole"].detach().numpy()
    np.testing.assert_allclose(dipole, chosen.labels["dipole"], atol=1e-3)


def test_exact_correction_turns_lda_into_pbe(samples):
    """E_xc^LDA[n] + xc_correction = E_xc^PBE[n], checked on the PBE density by our functionals."""
    from sfm_dft.xc import functional

    chosen = next(s for s in samples if s.level == PBE and len(s.types) == 3)
    simulator = KohnSham(functional="PBE", grid_level=1)
    state = simulator.solve(chosen)
    density = simulator.energy_functional(state).density(state.scf.density_matrix)
    base = float(state.molecule.grid.weights @ torch.stack(functional("LDA")(density)).sum(0))
    total = base * factor("hartree", "eV") + float(chosen.labels["xc_correction"])
    assert total == pytest.approx(float(chosen.labels["xc_energy"]), abs=1e-3)


def test_relatives_share_a_split():
    splits = {}
    for split in ("train", "validation", "test"):
        for sample in open_dataset(DFT_SMALL.folder, split=split, level=LDA):
            splits.setdefault(sample.id.split("/")[0], set()).add(split)
    assert all(len(names) == 1 for names in splits.values())


def test_schedule_is_deterministic_and_cheap_first():
    molecules = ["C", "O=C=O", "FC(F)(F)F", "N", "[HH]", "CC"]
    order = building.schedule(molecules, seed=0)
    assert order == building.schedule(reversed(molecules), seed=0)
    assert order[0] == "[HH]"
    assert order[-1] == "FC(F)(F)F"


def test_candidates_are_small_and_closed_shell():
    import gzip
    import json

    text = ["CCO", "C[CH2]", "[Na+].[Cl-]", "O=C=O", "C1CC1", "[2H]O", "[C-]#[O+]", "[CH2+][O-]"]
    candidates = small_molecules(gzip.compress(json.dumps(dict.fromkeys(text)).encode()))
    assert {"O=C=O", "[C-]#[O+]", "[HH]"} <= set(candidates)
    assert not {"C[CH2]", "[2H]O", "CCO", "C1CC1", "O=O", "[CH2+][O-]"} & set(candidates)


def test_geometry_is_a_minimum_and_displacement_is_seeded():
    numbers, positions = embed("O", 1)
    relaxed = relax(numbers, positions)
    assert relaxed is not None
    bond = np.linalg.norm(relaxed[1] - relaxed[0])
    assert bond == pytest.approx(0.96, abs=0.02)
    np.testing.assert_array_equal(displace(relaxed, 5), displace(relaxed, 5))


@pytest.mark.slow
def test_build_runs_and_resumes(tmp_path):
    work = tmp_path / "work"
    one = partial(building.label_one, seed=0, folder=work)
    names = ["[HH]", "C1#CC1", "O"]  # the second cannot be embedded
    done = label_first(one, names, 2, work, report=lambda text: None)
    stamp = work_file(work, "O").stat().st_mtime_ns
    assert label_first(one, names, 2, work) == done == ["[HH]", "O"]
    assert work_file(work, "O").stat().st_mtime_ns == stamp
    assert failures(names, work) == [("C1#CC1", "no embedding")]
    rows = list(building.rows(done, work))
    assert [row["id"] for row in rows] == [
        "[HH]/minimum",
        "[HH]/displaced",
        "O/minimum",
        "O/displaced",
    ]
