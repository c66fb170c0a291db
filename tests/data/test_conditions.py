"""Charge and spin: every spelling means one thing, and what nothing can mean is refused."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from sfm.data import ase_atoms
from sfm.data.conditions import check_conditions, length_factor, read_conditions
from sfm.data.readers import read_file
from sfm.data.xyz import read_xyz
from sfm.errors import InputError, InputWarning

WATER = np.array([8, 1, 1])
OXYGEN = np.array([8, 8])
ROWS = "O 0 0 0.119262\nH 0 0.763239 -0.477047\nH 0 -0.763239 -0.477047\n"
CATION = {"charge": 1.0, "spin": 1.0}


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("charge=1 spin=1", CATION),
        ("Charge=1 Spin=1", CATION),
        ("CHARGE=1 MULT=2", CATION),
        ("charge=1.0 spin=1.0", CATION),
        ("charge=+1 spin=1", CATION),
        ("charge=1+ spin=1", CATION),
        ("charge = 1 spin = 1", CATION),
        ("charge: 1 spin: 1", CATION),
        ("water cation, charge 1 multiplicity 2", CATION),
        ('{"charge": 1, "spin": 1}', CATION),
        ("total_charge=1 spin_multiplicity=2", CATION),
        ("total_charge=1 total_spin=2", CATION),
        ("totalCharge=1 spinMultiplicity=2", CATION),
        ("charge=1 uhf=1", CATION),
        ("charge=1 spin=1 multiplicity=2", CATION),
        ("1 2", CATION),
        ("q=1", {"charge": 1.0}),
        ("initial_charge=1", {"charge": 1.0}),
        ("0 1", {"charge": 0.0, "spin": 0.0}),
        ("charge=0 spin=1", {"charge": 0.0, "spin": 0.0}),  # a multiplicity: 10 electrons
        ("spin=2", {"spin": 2.0}),
        ("spin=3", {"spin": 2.0}),
        ("magmom=-1.98", {"spin": 2.0}),
        ("units=bohr", {}),
        ("water", {}),
        ("", {}),
    ],
)
def test_spellings_of_a_comment_line(tmp_path, comment, expected):
    path = tmp_path / "water.xyz"
    path.write_text(f"3\n{comment}\n{ROWS}")
    (sample,) = read_file(path)
    assert dict(sample.conditions) == expected
    assert sample.positions[0, 2] == pytest.approx(
        0.119262 * (0.529177210903 if "bohr" in comment else 1.0)
    )


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("charge=1;spin=1", r"water\.xyz, frame 1: charge=1; is not a number; separate"),
        ("charge=1, spin=1", r"water\.xyz, frame 1: charge=1, is not a number; separate"),
        ("charge=neutral", "charge=neutral is not a whole number"),
        ('charge="1 2"', r"charge=\[1 2\] is not a whole number"),
        ("charge=0.3", "charge=0.3 is not a whole number"),
        ("charge=1 spin=0.5", "spin=0.5 is not a whole number"),
        ("charge=T", "charge=True is not a whole number"),
        ("spin=-1 charge=1", "impossible with 9 electrons"),
        ("charge=1 spin=0", r"as unpaired electrons, 0.*as a multiplicity, -1.*9 electrons"),
        ("charge=1 unpaired_electrons=2", r"impossible with 9 electrons \(charge \+1\)$"),
        ("multiplicity=2", "impossible with 10 electrons .*is charge=... missing"),
        ("charge=11", r"charge \+11 takes more electrons than the 10"),
        ("spin=14", "impossible with 10 electrons"),
        ("charge=0 total_charge=1", r"charge=0 .*total_charge=1 .*contradict each other"),
        ("spin=2 multiplicity=1", r"spin=2 \(unpaired electrons 2\).* contradict"),
        ("1 1", r"multiplicity=1 is impossible with 9 electrons"),
        ("units=parsnips", "units=parsnips is no unit of length"),
        ("units=eV", "units=eV is no unit of length"),
        ("units=bohr energy=-76.4", "beside energies or forces"),
        ("energy=none", "energy=none is not a number"),
        ('energy="-137.8 -3"', r"energy has shape \(2,\), not one number"),
    ],
)
def test_what_no_molecule_can_have_is_refused_in_one_line(tmp_path, comment, message):
    path = tmp_path / "water.xyz"
    path.write_text(f"3\n{comment}\n{ROWS}")
    with pytest.raises(InputError, match=message) as caught:
        read_file(path)
    assert "\n" not in str(caught.value)
    assert "water.xyz" in str(caught.value)


@pytest.mark.parametrize(
    "comment",
    ["multiplicity=3", "Spin=2", "0 3", "charge=0 mult=3", "spin=2", "spin=3", "magmom=2.0"],
)
def test_oxygen_is_a_triplet(tmp_path, comment):
    path = tmp_path / "o2.xyz"
    path.write_text(f"2\n{comment}\nO 0 0 0\nO 0 0 1.208\n")
    assert read_file(path)[0].conditions["spin"] == 2


def test_ase_objects_say_the_same():
    oxygen = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]])
    oxygen.set_initial_magnetic_moments([1, 1])
    assert ase_atoms.conditions(oxygen, "O2") == {"spin": 2.0}
    vectors = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], magmoms=[[0, 0, 1], [0, 1, 0]])
    with pytest.raises(InputError, match=r"sum to 1\.41"):
        ase_atoms.conditions(vectors, "O2")
    oxygen.info["multiplicity"] = np.int64(1)
    with pytest.raises(InputError, match="contradict"):
        ase_atoms.conditions(oxygen, "O2")
    oxygen.set_initial_magnetic_moments([0.7, 0.7])
    with pytest.raises(InputError, match=r"sum to 1\.4"):
        ase_atoms.conditions(oxygen, "O2")
    ion = Atoms("OH", [[0, 0, 0], [0, 0, 1]])
    ion.set_initial_charges([-1, 0])
    assert ase_atoms.conditions(ion, "OH") == {"charge": -1.0}
    ion.set_initial_charges([-0.4, 0.4])
    assert ase_atoms.conditions(ion, "OH") == {"charge": 0.0}
    ion.set_initial_charges([-0.4, 0.1])
    with pytest.raises(InputError, match=r"sum to -0\.3"):
        ase_atoms.conditions(ion, "OH")


def test_the_moment_of_a_crystal_is_a_result_and_no_condition():
    iron = Atoms("Fe", cell=[2.8, 2.8, 2.8], pbc=True, info={"magmom": 2.21})
    iron.set_initial_magnetic_moments([2.3])
    assert ase_atoms.conditions(iron, "Fe") == {}


def test_hydrogen_isotopes_atomic_numbers_and_fortran_exponents(tmp_path):
    path = tmp_path / "mixed.xyz"
    path.write_text("4\n\nO 0 0 0\nD 0 0 9.6D-01\n1 0 9.6d-1 0\nt 0.96 0 0\n")
    (atoms,) = read_xyz(path)
    assert atoms.numbers.tolist() == [8, 1, 1, 1]
    np.testing.assert_allclose(atoms.get_masses(), [15.999, 2.0141, 1.008, 3.0160], atol=1e-4)
    np.testing.assert_array_equal(atoms.positions[1:].max(1), [0.96] * 3)


def test_stress_of_six_numbers_is_in_the_order_of_voigt(tmp_path):
    head = 'Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 pbc="T T T"'
    path = tmp_path / "cell.extxyz"
    path.write_text(f'1\n{head} stress="1 2 3 6 5 4"\nCu 0 0 0\n')
    (sample,) = read_file(path)
    np.testing.assert_array_equal(sample.labels["stress"], [[1, 4, 5], [4, 2, 6], [5, 6, 3]])


def test_a_gaussian_input_says_charge_and_multiplicity(tmp_path):
    path = tmp_path / "oh.gjf"
    path.write_text("# HF/6-31G\n\nradical\n\n0 2\nO 0.0 0.0 0.0\nH 0.0 0.0 0.97\n\n")
    (sample,) = read_file(path)
    assert dict(sample.conditions) == {"charge": 0.0, "spin": 1.0}


def test_dataset_check_finds_electrons_that_cannot_be():
    from sfm.data.checking import check_samples
    from sfm.data.sample import Sample

    def water(**conditions):
        return Sample(
            id="w", domain="molecules", types=WATER, positions=np.eye(3), conditions=conditions
        )

    (finding,) = check_samples([water(charge=1.0, spin=0.0)])
    assert (finding.severity, finding.check) == ("error", "electrons")
    assert "impossible with 9 electrons" in finding.message
    assert not check_samples([water(charge=1.0, spin=1.0)])


@given(st.integers(-3, 3), st.integers(0, 8))
def test_every_word_for_one_spin_gives_it(charge, unpaired):
    electrons = int(WATER.sum()) - charge
    if (electrons - unpaired) % 2:
        with pytest.raises(InputError):
            check_conditions({"charge": charge, "spin": unpaired}, WATER, "water")
        return
    expected = {"charge": float(charge), "spin": float(unpaired)}
    for word, value in (
        ("spin", unpaired),
        ("spin", unpaired + 1),
        ("Unpaired-Electrons", unpaired),
        ("multiplicity", str(unpaired + 1)),
        ("total_spin", np.float32(unpaired)),
        ("magmom", -unpaired + 0.01),
    ):
        assert read_conditions({"Charge": charge, word: value}, WATER, "water") == expected


@given(st.dictionaries(st.text(max_size=12), st.one_of(st.integers(), st.floats(), st.text())))
def test_nothing_that_is_stated_crashes(stated):
    for read in (lambda: read_conditions(stated, OXYGEN, "O2"), lambda: length_factor(stated, "")):
        with contextlib.suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)  # `CHAR` nearly is charge, and is said
            read()
