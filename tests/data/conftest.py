"""How samples are compared after a way through files."""

from __future__ import annotations

import numpy as np
import pytest

from sfm.data.sample import Sample


def _assert_same(a: Sample, b: Sample) -> None:
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, other, strict=True)
        elif name in ("labels", "fields", "extras"):
            assert set(value) == set(other)
            for key in value:
                np.testing.assert_array_equal(value[key], other[key], strict=True)
        else:
            assert value == other, name


@pytest.fixture
def assert_same():
    """Two samples hold the same, to the last bit and in the same types."""
    return _assert_same
