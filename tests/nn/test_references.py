"""References of few labels: exact leave-one-out errors, and shrinkage where labels are few."""

from __future__ import annotations

import numpy as np
import pytest

from sfm.nn.normalise import fit
from sfm.nn.references import fit_references
from sfm.quantity import Quantity


def crystals(n: int, elements: int, seed: int = 0) -> np.ndarray:
    """(n, elements) fractions of two or three elements each."""
    rng = np.random.default_rng(seed)
    fractions = np.zeros((n, elements))
    for row in fractions:
        chosen = rng.choice(elements, size=rng.integers(2, 4), replace=False)
        row[chosen] = rng.dirichlet(np.ones(len(chosen)))
    return fractions


@pytest.mark.parametrize("noise", [0.01, 1.0])
def test_leave_one_out_is_what_leaving_one_out_gives(noise):
    """The penalty is fixed by taking the limits: plain least squares and the mean."""
    rng = np.random.default_rng(1)
    x = rng.integers(1, 6, size=(30, 3)).astype(float)
    y = x @ [-3.0, 5.0, 7.0] + noise * rng.normal(size=30)
    fitted = fit_references(x, y)
    assert fitted.kind == "least squares"
    errors = []
    for i in range(30):
        rest = np.arange(30) != i
        solution = np.linalg.lstsq(x[rest], y[rest], rcond=None)[0]
        errors.append(y[i] - x[i] @ solution)
    assert fitted.error == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-9)
    np.testing.assert_allclose(fitted.values, np.linalg.lstsq(x, y, rcond=None)[0], rtol=1e-9)


def test_noise_is_not_fitted():
    rng = np.random.default_rng(2)
    x = crystals(100, 60)
    fitted = fit_references(x, rng.normal(size=100))
    assert fitted.kind in ("none", "mean")
    shifted = fit_references(x, 5 + 0.1 * rng.normal(size=100))
    assert shifted.kind == "mean"
    assert shifted.values[0] == pytest.approx(5, abs=0.05)


def test_few_labels_of_many_elements_generalise_better_than_least_squares():
    rng = np.random.default_rng(3)
    truth = rng.normal(size=60)
    x = crystals(700, 60)
    y = x @ truth + 0.3 * rng.normal(size=700)
    fitted = fit_references(x[:100], y[:100])
    assert fitted.kind == "ridge"
    plain = np.linalg.lstsq(x[:100], y[:100], rcond=1e-6)[0]
    error, before = (np.abs(x[100:] @ c - y[100:]).mean() for c in (fitted.values, plain))
    assert error < 0.8 * before


def test_an_element_that_was_never_seen_has_the_common_number():
    x = np.array([[1.0, 1, 0], [2, 1, 0], [1, 3, 0], [4, 1, 0]])
    fitted = fit_references(x, x @ [2.0, 2.0, 0.0])
    assert fitted.values == pytest.approx([2, 2, 2])


def test_how_references_were_made_is_a_word_for_every_kind_of_quantity():
    """It goes into training.json."""
    types = [np.array([1, 1, 8]), np.array([6, 8])]
    cases = {
        Quantity("energy", "eV", extensive=True): [np.array(1.0), np.array(2.0)],
        Quantity("charges", "e", per="token"): [np.ones(3), np.zeros(2)],
        Quantity("projections", "1", "2x0e+1o", per="token"): [np.ones((3, 5)), np.zeros((2, 5))],
    }
    for quantity, labels in cases.items():
        assert isinstance(fit(quantity, "references", types, labels)["kind"], str)
