"""Stored numbers on a step: half a step at most, once and for all, units as they were."""

from __future__ import annotations

import numpy as np
import pytest

from sfm.data.rounding import round_mantissa, rounded, to_step
from sfm.data.storage import ID, SPLIT, Column, open_dataset, write_dataset

STEP = 2.0**-13
COLUMNS = (
    ID,
    SPLIT,
    Column("energy", "eV", "label", "GFN2-xTB", (), "float64"),
    Column("forces", "eV/angstrom", "label", "GFN2-xTB", (-1, 3)),
    Column("forces", "kcal/mol/angstrom", "label", "MMFF94", (-1, 3)),
)
ENERGY, FORCES, OTHER = (column.name for column in COLUMNS[2:])


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1000, 3)) * np.logspace(-7, 2, 1000)[:, None]


def test_rounding_moves_a_number_by_half_a_step_at_most_and_only_once(values):
    coarse = to_step(values, STEP)
    assert np.abs(coarse - values).max() <= STEP / 2
    assert np.abs(coarse - values).max() > 0.49 * STEP
    np.testing.assert_array_equal(coarse / STEP, np.round(coarse / STEP))
    np.testing.assert_array_equal(to_step(coarse, STEP), coarse)
    assert np.array_equal(coarse.astype(np.float32), coarse), "float32 holds the multiples"


def test_zeros_stay_zeros_and_have_no_sign():
    coarse = to_step([0.0, -0.0, -STEP / 4, STEP / 4], STEP)
    assert not coarse.any()
    assert not np.signbit(coarse).any()
    assert to_step(0.0, STEP).shape == ()


@pytest.mark.parametrize("step", [0.0, -0.5, 1e-3, 3.0, float("nan"), float("inf")])
def test_a_step_is_a_power_of_two(step):
    with pytest.raises(ValueError, match="power of two"):
        to_step([1.0], step)


def test_rows_are_rounded_by_quantity_in_the_units_of_their_columns(tmp_path, values):
    rows = [
        {"id": "a", "split": "train", ENERGY: 1 / 3, FORCES: values, OTHER: 23.0 * values},
        {"id": "b", "split": "train", ENERGY: 1 / 3, FORCES: values, OTHER: None},
    ]
    write_dataset(
        tmp_path, COLUMNS, rounded(rows, COLUMNS, {"forces": STEP}), {"domain": "molecules"}
    )
    first, second, third = open_dataset(tmp_path)
    assert [s.level for s in (first, second, third)] == ["GFN2-xTB", "MMFF94", "GFN2-xTB"]
    assert float(first.labels["energy"]) == 1 / 3, "what has no step is left alone"
    np.testing.assert_array_equal(first.labels["forces"], to_step(np.float32(values), STEP))
    per_mole = second.labels["forces"] / 0.0433641153  # eV back to the column's kcal/mol
    np.testing.assert_allclose(per_mole, 23.0 * values, atol=STEP / 2 + 1e-4, rtol=1e-6)
    assert rows[0][FORCES] is values, "the caller's rows stay as they are"


def test_rounding_what_an_earlier_file_holds_gives_the_same_file(values):
    """A label goes to float32 on its way to the file, and must not be rounded otherwise before."""
    tie = np.full((1, 3), (7.5 + 1e-9) * STEP)  # above the tie in float64, on it in float32
    row = {"id": "a", "split": "train", FORCES: np.concatenate([values, tie])}
    earlier = {**row, FORCES: row[FORCES].astype(np.float32)}
    now, then = (next(rounded([r], COLUMNS, {"forces": STEP}))[FORCES] for r in (row, earlier))
    np.testing.assert_array_equal(now, then)


def test_a_step_of_a_quantity_that_no_column_holds_is_an_error():
    with pytest.raises(ValueError, match=r"\['force'\]"):
        next(rounded([], COLUMNS, {"force": STEP}))


def test_mantissas_keep_the_promised_bits():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    for bits in (9, 14):
        coarse = round_mantissa(values, bits)
        assert np.abs(coarse / values - 1).max() <= 2.0 ** -(bits + 1)
        assert not (coarse.view(np.uint32) & ((1 << (23 - bits)) - 1)).any()
        np.testing.assert_array_equal(round_mantissa(coarse, bits), coarse)
