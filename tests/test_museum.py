"""A small checkpoint of every released format loads, and says what it said when it was made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sfm
from sfm.config import FORMAT

MUSEUM = Path(__file__).parent / "museum"
WATER = Path(__file__).parents[1] / "docs" / "examples" / "water.xyz"


def test_every_format_is_in_the_museum() -> None:
    assert [p.name for p in sorted(MUSEUM.glob("format-*"))] == [
        f"format-{n}" for n in range(1, FORMAT + 1)
    ]


@pytest.mark.parametrize("folder", sorted(MUSEUM.glob("format-*")), ids=lambda p: p.name)
def test_old_checkpoint_says_the_same(folder: Path) -> None:
    said = json.loads((folder / "said.json").read_text())
    now = sfm.load(str(folder)).predict(WATER)
    # float32 rounding differs between machines
    assert float(now["energy"]) == pytest.approx(said["energy"], abs=1e-5)
    np.testing.assert_allclose(now["forces"], said["forces"], atol=1e-5)
