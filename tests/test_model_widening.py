"""Wider models that say what the narrower one says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import sfm
from sfm.config import HeadSpec
from sfm.data.storage import open_dataset
from sfm.errors import InputError
from sfm.model.widening import widened
from sfm.nn.mixture import MixtureLinear
from sfm.nn.trunk import TrunkConfig
from sfm.registry import find

DATASETS = (
    "molecules/molecules-xtb",
    "molecules/molecules-measured",
    "crystals/crystals-mp",
    "fluids/turbulence-2d",
    "dft/dft-levels",
    "dft/dft-small",
    "dynamics/dynamics-bodies",
)


@pytest.fixture(scope="module")
def tiny():
    return sfm.load("sfm-tiny").double()


@pytest.fixture(scope="module")
def wide(tiny):
    return widened(tiny, 2)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.filterwarnings("ignore")  # what lies outside the training data is asked for as well
def test_every_head_says_the_same(tiny, wide, name):
    """All numbers of all levels in float64, where only rounding is left: 1e-9 of the largest."""
    spec = find("datasets", name).load()
    samples = list(open_dataset(spec.folder, length_unit=spec.length_unit))[:2]
    plain = [s.replace(labels={}, level=None) for s in samples]
    for one, other in zip(*(m.predict(plain, extrapolate=True) for m in (tiny, wide)), strict=True):
        assert list(one) == list(other)
        assert len(one)
        for key in one:
            size = np.abs(one[key]).max()
            np.testing.assert_allclose(other[key], one[key], rtol=0, atol=1e-9 * size + 1e-12)


def test_copies_of_a_channel_differ_and_keep_the_size_of_weights(tiny, wide):
    pairs = [
        (a.weight.detach(), b.weight.detach())
        for a, b in zip(tiny.modules(), wide.modules(), strict=True)
        if isinstance(a, MixtureLinear)
    ]
    assert len(pairs) >= 10
    for narrow, broad in pairs:
        if broad.shape[1] == narrow.shape[1]:  # of radial functions, which stay as they are
            continue
        first, second = broad[:, ::2], broad[:, 1::2]
        together = narrow.repeat_interleave(2, dim=2)
        torch.testing.assert_close(first + second, together, rtol=1e-12, atol=1e-12)
        # half the variance over twice the inputs, to what a few thousand random numbers allow
        sizes = [float(w.square().mean().sqrt()) for w in (broad, narrow)]
        assert sizes[0] == pytest.approx(sizes[1] / 2**0.5, rel=0.1)
        assert float((first - second).square().mean().sqrt()) > 0.5 * sizes[0]


def test_a_wider_model_says_nothing_of_its_errors_yet(tiny, wide):
    methane = ("C 0 0 0", "H .63 .63 .63", "H -.63 -.63 .63", "H -.63 .63 -.63", "H .63 -.63 -.63")
    from ase import Atoms

    rows = [line.split() for line in methane]
    atoms = Atoms([r[0] for r in rows], [[float(x) for x in r[1:]] for r in rows])
    assert "energy" in tiny.predict(atoms).uncertainty
    assert "energy" not in wide.predict(atoms).uncertainty


def test_what_cannot_be_widened_is_refused(tiny):
    with pytest.raises(InputError, match="0 times as many channels: must be at least 1"):
        widened(tiny, 0)
    spec = HeadSpec("crystals/atoms", "gap", "core/kernel", {}, "experiment")
    fitted = dataclasses.replace(tiny.config, heads=(*tiny.config.heads, spec))
    model = sfm.load("sfm-tiny")
    model.config = fitted
    with pytest.raises(InputError, match=r"says gap at experiment in closed form"):
        widened(model, 2)


def test_only_a_multiple_is_wider():
    from sfm.model.widening import times_wider

    tiny = TrunkConfig()
    cases = {
        TrunkConfig(): 1,
        TrunkConfig(channels=128, carried=32): 2,
        TrunkConfig(channels=128): 0,
        TrunkConfig(channels=96, carried=24): 0,
        TrunkConfig(channels=128, carried=32, layers=3): 0,
        TrunkConfig(channels=32, carried=8): 0,
    }
    for config, times in cases.items():
        assert times_wider(tiny, config) == times
