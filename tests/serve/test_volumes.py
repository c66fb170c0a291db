"""Fields in three dimensions as the page gets them."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from sfm.quantity import Quantity
from sfm.serve.numbers import solid, volume
from sfm.simulate import Volume

VELOCITY = Quantity("velocity", "m/s", "1o", "grid")
PRESSURE = Quantity("pressure", "Pa", "0e", "grid")


@pytest.mark.parametrize("batch", [(), (1,)])
def test_a_vector_field_is_its_magnitude(batch):
    field = np.random.default_rng(0).normal(size=(3, 8, 6, 5))
    body = solid(field.reshape(*batch, 3, 8, 6, 5), VELOCITY)
    assert body.unit == "m/s"
    np.testing.assert_allclose(body.values, np.linalg.norm(field, axis=0))
    assert body.surface == pytest.approx(0.5 * body.values.max())


@pytest.mark.parametrize("shape", [(2, 16, 16), (1, 16, 16), (16, 16), (16,), (3, 16, 16)])
def test_a_plane_is_none(shape):
    assert solid(np.ones(shape), VELOCITY) is None
    assert solid(np.ones(shape), PRESSURE) is None


def test_a_fine_volume_is_thinned_in_its_own_box():
    values = np.random.default_rng(0).normal(size=(100, 30, 41))
    body = Volume(values, "Pa", np.zeros(3), np.array([0.1, 0.2, 0.3]), 1.0)
    drawn = volume(body)
    assert drawn["shape"] == [34, 30, 21]
    assert drawn["steps"] == pytest.approx([0.3, 0.2, 0.6])
    sent = np.frombuffer(base64.b64decode(drawn["f32"]), "<f4").reshape(drawn["shape"])
    np.testing.assert_allclose(sent, values[::3, :, ::2], rtol=1e-6)
