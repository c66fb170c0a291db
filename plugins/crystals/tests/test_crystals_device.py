"""Crystals on the device of their parameters: nothing is left on the CPU."""

from __future__ import annotations

import pytest
import torch
from sfm_crystals.data.prototypes import diamond, fcc
from sfm_crystals.simulators.elastic import Elastic
from sfm_crystals.simulators.equation_of_state import EquationOfState
from sfm_crystals.simulators.lattice import LatticeStatics
from sfm_crystals.simulators.phonons import Phonons
from sfm_crystals.simulators.quasi_harmonic import QuasiHarmonic

from sfm.testing.other_device import other_device

SILICON, ARGON, COPPER = diamond(14, 5.431, primitive=True), fcc(18, 5.3), fcc(29, 3.6)
WEBER = {"potential": "stillinger-weber"}
VIBRATING = {"repeat": 1, "mesh": 2, "temperatures": 3}
BANDS = {"band_points": 4, "dos_points": 5, "dos_width": 3.0}
SPAN = {"points": 4, "hottest": 300.0, "low": -0.06, "high": 0.06}
CASES = {
    "pairs": (LatticeStatics, ARGON, {}),
    "Morse": (LatticeStatics, COPPER, {"potential": "morse"}),
    "triplets": (LatticeStatics, SILICON, WEBER),
    "bond order": (LatticeStatics, SILICON, {"potential": "tersoff"}),
    "elastic": (Elastic, SILICON, WEBER),
    "equation of state": (EquationOfState, SILICON, {**WEBER, "points": 5}),
    "phonons": (Phonons, SILICON, {**WEBER, **VIBRATING, **BANDS}),
    "quasi-harmonic": (QuasiHarmonic, SILICON, {**WEBER, **VIBRATING, **SPAN}),
}


def observed(case, device):
    part, sample, values = CASES[case]
    simulator = part(**values).to(device)
    state = simulator.state(sample)
    assert state.positions.device == torch.device(device)
    return {name: x.detach().cpu() for name, x in simulator.observe(state).items()}


def assert_equal(seen, reference):
    """But for the order of sums: frequencies are roots of what is zero at the origin of q."""
    for name, value in reference.items():
        scale = max(1e-9, float(value.abs().max()))
        torch.testing.assert_close(seen[name], value, rtol=0, atol=1e-4 * scale, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_left_on_the_cpu(case):
    reference = observed(case, "cpu")
    with other_device() as device:
        seen = observed(case, device)
    assert seen.keys() == reference.keys()
    assert_equal(seen, reference)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", CASES)
def test_the_same_on_a_gpu(case):
    assert_equal(observed(case, "cuda"), observed(case, "cpu"))
