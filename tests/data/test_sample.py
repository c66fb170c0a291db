"""Samples refuse what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from sfm.data.sample import Sample
from sfm.errors import InputError

WATER = {"positions": np.eye(3), "types": np.array([8, 1, 1])}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positions": np.ones((3, 2))}, r"positions have shape \(3, 2\)"),
        ({"types": np.array([8, 1])}, "3 positions but types"),
        ({"types": np.array([8, 1, 119])}, "atomic number 119"),
        ({"types": np.array([8, 1, -1])}, "atomic number -1"),
        ({"positions": np.array([[0, 0, 0], [np.nan, 0, 0], [1, 1, 1]])}, "atom 2 is not a finite"),
        ({"cell": np.zeros((3, 3)), "pbc": True}, "zero volume"),
        ({"cell": np.eye(2)}, "not a finite 3 x 3"),
        ({"pbc": True}, "need a cell"),
        (
            {"fields": {"velocity": np.array([1.0, np.inf])}},
            r"'velocity' is not finite at index \(1,\)",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_the_sample(changes, said):
    with pytest.raises(InputError, match=f"water-7: .*{said}") as error:
        Sample(id="water-7", domain="molecules", **{**WATER, **changes})
    assert "\n" not in str(error.value)


def test_arrays_become_float64_and_int64():
    sample = Sample(id="a", domain="d", positions=[[0, 0, 0]], types=[1])
    assert sample.positions.dtype == np.float64
    assert sample.types.dtype == np.int64
    assert sample.pbc.tolist() == [False] * 3
    assert sample.replace(id="b").id == "b"
