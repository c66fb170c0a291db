"""A small checkpoint of every released format loads, and says what it said when it was made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

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


def said_by(name: str) -> list[float]:
    """What a small module of the museum says, loaded by its plugin."""
    path = MUSEUM / "modules" / name
    ramp = torch.linspace(0.1, 1.0, 128)
    if name == "fluids-closure":
        from sfm_fluids.learned.training import load

        u = torch.sin(7 * ramp).reshape(1, 2, 8, 8)
        values = load(path.with_suffix(".safetensors"))(u, 1.0).flatten()[:4]
    elif name == "dft-ladder":
        from sfm_dft.ladder.saving import load

        density = torch.linspace(0.1, 1.0, 33, dtype=torch.float64)[None]
        values = load(path.with_suffix(".safetensors"))(density, 0.1)[0, :4]
    else:
        from sfm_dft.neural.saving import load
        from sfm_dft.xc.density import GridDensity

        rho = torch.tensor([[0.3, 0.8]], dtype=torch.float64)
        values = load(path)(GridDensity(rho, 0.1 * rho[:, None].expand(-1, 3, -1))).exchange
    numbers: list[float] = values.detach().tolist()
    return numbers


@pytest.mark.parametrize("name", ["fluids-closure", "dft-ladder", "dft-functional"])
def test_small_modules_of_the_old_savers_say_the_same(name: str) -> None:
    """Files that each plugin wrote before `sfm.nn.saving`, with headers of their own."""
    pytest.importorskip("sfm_" + name.partition("-")[0])
    said = json.loads((MUSEUM / "modules" / "said.json").read_text())
    np.testing.assert_allclose(said_by(name), said[name], rtol=1e-6)  # float32 in the closure
