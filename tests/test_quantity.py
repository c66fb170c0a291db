"""Quantities and their table."""

from __future__ import annotations

import pytest

from sfm.errors import InputError
from sfm.quantity import CORE, ENERGY, FORCES, STRESS, Quantity, QuantityTable


@pytest.mark.parametrize(
    ("irreps", "dim"), [("0e", 1), ("1o", 3), ("0e+2e", 6), ("10x0e+5x1o+4x2e", 45)]
)
def test_dimension_equals_that_of_e3nn(irreps, dim, e3nn_o3):
    assert Quantity("q", "1", irreps).dim == dim == e3nn_o3.Irreps(irreps).dim


@pytest.mark.parametrize(
    "arguments",
    [
        ("Energy", "eV"),
        ("e nergy", "eV"),
        ("q", "1", "0"),
        ("q", "1", "1o+"),
        ("q", "1", "0e", "x"),
    ],
)
def test_bad_definitions_are_refused(arguments):
    with pytest.raises(InputError):
        Quantity(*arguments)


def test_the_core_knows_three():
    assert [q.name for q in CORE] == ["energy", "forces", "stress"]
    assert ENERGY.extensive
    assert FORCES.derived_from == STRESS.derived_from == "energy"


def test_one_name_has_one_meaning():
    table = QuantityTable()
    table.add(Quantity("height", "metre"))
    table.add(Quantity("height", "metre"))
    with pytest.raises(InputError, match="defined twice"):
        table.add(Quantity("height", "second"))


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(InputError, match="Did you mean 'energy'"):
        QuantityTable()["enrgy"]
