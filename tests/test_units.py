"""Units, against CODATA as scipy has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import constants

from sfm.errors import InputError
from sfm.units import COMMON, check_unit, convert, factor

EV = constants.e
BOHR = constants.physical_constants["Bohr radius"][0]
HARTREE = constants.physical_constants["Hartree energy"][0]


@pytest.mark.parametrize("unit", sorted(COMMON))
def test_units_that_are_taken_as_known_are_known(unit):
    assert factor(unit, f"2*{unit}") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("unit", "to", "ratio"),
    [
        ("hartree", "eV", HARTREE / EV),
        ("bohr", "angstrom", BOHR * 1e10),
        ("hartree/bohr", "eV/angstrom", HARTREE / EV / BOHR * 1e-10),
        ("eV/angstrom**3", "GPa", EV * 1e30 / 1e9),
        ("kcal/mol", "eV", 4184 / constants.N_A / EV),
        ("kJ/mol", "eV", 1000 / constants.N_A / EV),
        ("kJ/mol/nm", "eV/angstrom", 100 / constants.N_A / EV),
        ("debye", "e*angstrom", 1e-21 / constants.c / EV / 1e-10),
        ("1", "1", 1.0),
    ],
)
def test_factors_equal_codata(unit, to, ratio):
    assert factor(unit, to) == pytest.approx(ratio, rel=1e-8)


@pytest.mark.parametrize("unit", ["eV", "angstrom", "1"])
def test_the_same_unit_gives_the_same_object(unit):
    value = np.ones(3)
    assert convert(value, unit, unit) is value


def test_arrays_and_tensors_keep_their_kind():
    assert convert(np.ones(2, dtype=np.float32), "hartree", "eV").dtype == np.float32
    assert convert(torch.ones(2), "hartree", "eV").dtype == torch.float32


@pytest.mark.parametrize("unit", ["electronvolz", "", "metre?", "eV//", "furlong/"])
def test_an_unknown_unit_is_one_line(unit):
    with pytest.raises(InputError, match="is not known"):
        check_unit(unit)


def test_different_dimensions_are_refused():
    with pytest.raises(InputError, match="measure different things"):
        factor("eV", "angstrom")
