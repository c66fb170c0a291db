"""References and scales: exact inverses, float64, never mixed between levels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfm.data.tokens import Tokens
from sfm.nn.normalise import Normaliser, fit
from sfm.quantity import ENERGY, Quantity

TENSOR = Quantity("tensor", "1", "0e+2e", "token")


def tokens(types: list[list[int]], contexts: list[int]) -> Tokens:
    empty = torch.zeros(2, 0, dtype=torch.long)
    batch = []
    for kinds, context in zip(types, contexts, strict=True):
        one = Tokens.make(
            positions=torch.zeros(len(kinds), 3), types=torch.tensor(kinds), edges=empty, cutoff=1.0
        )
        batch.append(one.replace(context=torch.tensor([context])))
    return Tokens.cat(batch)


def fitted(n_contexts: int = 2) -> Normaliser:
    normaliser = Normaliser(ENERGY, n_contexts, 1)
    normaliser.scale[:] = torch.tensor([[2.0], [3.0]], dtype=torch.float64)
    normaliser.shift[0, 1], normaliser.shift[0, 8] = -10.0, -2000.0
    normaliser.shift[1, 1], normaliser.shift[1, 8] = -1.0, -2.0
    return normaliser


def test_each_context_has_its_own_references():
    batch = tokens([[1, 1, 8], [1, 1, 8]], [0, 1])
    out = fitted()(torch.tensor([0.5, 0.5]), batch)
    assert out.dtype == torch.float64
    assert out.tolist() == [0.5 * 2 - 2020, 0.5 * 3 - 4]


def test_normalise_is_the_inverse():
    batch = tokens([[1, 8], [8, 8, 1]], [1, 0])
    normaliser, values = fitted(), torch.tensor([0.3, -0.7], dtype=torch.float64)
    back = normaliser.normalise(normaliser(values, batch), batch)
    torch.testing.assert_close(back, values, rtol=0, atol=1e-12)


def test_casting_the_model_keeps_references_in_float64():
    normaliser = fitted().to(torch.float32).half()
    assert normaliser.shift.dtype == normaliser.scale.dtype == torch.float64


def test_references_are_the_least_squares_solution():
    rng = np.random.default_rng(0)
    types = [rng.choice([1, 6, 8], size=rng.integers(2, 9)) for _ in range(60)]
    atomic = {1: -13.6, 6: -1030.0, 8: -2041.0}
    energies = [np.array(sum(atomic[t] for t in ts) + 0.01 * rng.normal()) for ts in types]
    result = fit(ENERGY, "references", types, energies)
    for kind, value in atomic.items():
        assert result["shift"][kind, 0] == pytest.approx(value, abs=0.02)
    assert result["scale"][0] == pytest.approx(result["residual"], rel=1e-9)


def test_the_scale_of_an_energy_may_be_that_of_its_forces():
    types, energies = [np.array([1]), np.array([1, 1])], [np.array(1.0), np.array(2.5)]
    assert fit(ENERGY, "references", types, energies, derivative_rms=0.7)["scale"] == [0.7]


def test_components_of_one_irrep_share_a_scale():
    rng = np.random.default_rng(1)
    labels = [rng.normal(size=(4, 6)) * [1, 2, 3, 4, 5, 6] for _ in range(10)]
    result = fit(TENSOR, "references", [np.ones(4, dtype=int)] * 10, labels)
    assert len(set(result["scale"][1:])) == 1
    assert result["scale"][0] != result["scale"][1]
    assert (result["shift"][:, 1:] == 0).all()
