"""Airfoils: their outlines, and what the teacher says of them against thin-airfoil theory."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
from sfm_fluids.data.airfoils import outline, polars
from sfm_fluids.data.specs import NEURALFOIL

import sfm
from sfm.errors import InputError


def test_an_outline_is_as_thick_and_as_cambered_as_its_digits_say():
    """NACA Report 460: the largest thickness is at 0.3, that of the camber line at its place."""
    shape = outline(0.02, 0.4, 0.12, points=401)
    plain = outline(0.0, 0.0, 0.12, points=401)
    np.testing.assert_allclose(shape[[0, -1]], [[1, 0], [1, 0]], atol=1e-12)
    assert plain[:, 1].max() == pytest.approx(0.06, abs=2e-5)
    assert plain[plain[:, 1].argmax(), 0] == pytest.approx(0.3, abs=5e-3)
    np.testing.assert_allclose(plain[:, 1], -plain[::-1, 1], atol=1e-15)
    middle = 0.5 * (shape[:401][::-1] + shape[400:])
    assert middle[:, 1].max() == pytest.approx(0.02, abs=1e-6)
    assert middle[middle[:, 1].argmax(), 0] == pytest.approx(0.4, abs=5e-3)


def test_an_impossible_airfoil_is_refused():
    with pytest.raises(InputError, match="thickness 0"):
        outline(0.0, 0.0, 0.0)
    with pytest.raises(InputError, match="camber"):
        outline(0.02, 0.0, 0.12)


def test_labels_are_near_thin_airfoil_theory():
    """Lift 2 pi per radian within 15 % at small angles; none at an angle of 0."""
    splits = ("train", "validation", "test")
    samples = [s for split in splits for s in sfm.dataset("fluids/airfoil-polars", split=split)]
    assert len(samples) == 588
    assert {s.level for s in samples} == {NEURALFOIL}
    runs: dict[str, dict[float, float]] = {}
    for s in samples:
        if s.conditions["reynolds_number"] > 9e6 and s.id.startswith("naca00"):
            runs.setdefault(s.id[:8], {})[round(s.conditions["angle_of_attack"])] = float(
                s.labels["lift_coefficient"]
            )
    assert runs
    for lift in runs.values():
        assert lift[0] == pytest.approx(0, abs=5e-3)
        assert lift[3] == pytest.approx(-lift[-3], abs=1e-2)
        assert lift[3] / math.radians(3) == pytest.approx(2 * math.pi, rel=0.15)
    assert all(float(s.labels["drag_coefficient"]) > 0 for s in samples)


@pytest.mark.skipif(
    importlib.util.find_spec("neuralfoil") is not None, reason="for where it is absent"
)
def test_without_the_teacher_it_says_how_to_get_it():
    with pytest.raises(InputError, match=r"pip install 'sfm-hub\[airfoils\]'"):
        polars(outline(0.0, 0.0, 0.12), np.zeros(1), 1e6)
