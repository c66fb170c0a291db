"""The encoder, and a model inside the simulator."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from sfm_crystals.data.specs import DISTILLED, PBE
from sfm_crystals.model.metrics import mae_gpa, mae_milli
from sfm_crystals.quantities import FORMATION_ENERGY
from sfm_crystals.simulators.lattice import LatticeStatics

from sfm.config import HeadSpec, ModelConfig, Target
from sfm.model import FoundationModel
from sfm.nn.trunk import TrunkConfig
from sfm.quantity import ENERGY, FORCES, STRESS

ATOMS = "crystals/atoms"


def silicon():
    from sfm_crystals.data.prototypes import diamond

    sample = diamond(14, 5.5)
    rng = np.random.default_rng(5)
    cell = sample.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
    return sample.replace(
        positions=sample.positions + rng.normal(0, 0.1, sample.positions.shape), cell=cell
    )


def model(dtype: torch.dtype = torch.float64) -> FoundationModel:
    """A small model with random weights."""
    targets = [Target(ATOMS, DISTILLED, q) for q in ("energy", "forces", "stress")]
    targets.append(Target(ATOMS, PBE, "formation_energy"))
    config = ModelConfig(
        trunk=asdict(TrunkConfig(channels=16, layers=2, experts=2, radial=6, carried=8)),
        encoders={ATOMS: {"cutoff": 4.0}},
        encoder_domains={ATOMS: "crystals"},
        heads=(
            HeadSpec(ATOMS, "energy", "crystals/energy"),
            HeadSpec(ATOMS, "formation_energy", "crystals/formation_energy"),
        ),
        targets=tuple(targets),
        contexts=((ATOMS, DISTILLED), (ATOMS, PBE)),
        quantities={q.name: q for q in (ENERGY, FORCES, STRESS, FORMATION_ENERGY)},
        plugins={},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = FoundationModel(config).to(dtype)
    built.normalisers[f"{ATOMS}:energy"].shift[0] = -5.0
    return built


def test_periodic_tokens_see_their_images_and_supercells_repeat_them():
    network, sample = model(), silicon()
    assert sample.cell is not None
    double = sample.replace(
        positions=np.concatenate([sample.positions, sample.positions + sample.cell[0]]),
        types=np.tile(sample.types, 2),
        cell=sample.cell * np.array([[2], [1], [1]]),
    )
    quantities = {ATOMS: ("energy", "forces", "stress", "formation_energy")}
    one, two = (
        network({ATOMS: network.tokenize(ATOMS, [s], DISTILLED)}, quantities)[ATOMS]
        for s in (sample, double)
    )
    torch.testing.assert_close(two["energy"], 2 * one["energy"])
    torch.testing.assert_close(two["formation_energy"], one["formation_energy"])
    torch.testing.assert_close(two["stress"], one["stress"])
    torch.testing.assert_close(two["forces"][:8], one["forces"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_simulator_sees_the_models_own_energy_forces_and_stress(dtype):
    network, sample = model(dtype), silicon()
    quantities = {ATOMS: ("energy", "forces", "stress")}
    tokens = {ATOMS: network.tokenize(ATOMS, [sample], DISTILLED)}
    expected = {k: v.double() for k, v in network(tokens, quantities)[ATOMS].items()}
    simulator = LatticeStatics(closure=network.closure("crystals"))
    assert simulator.potential == "none"
    observed = simulator.observe(simulator.state(sample))
    tolerance = 1e-10 if dtype is torch.float64 else 1e-4
    for name, value in expected.items():
        torch.testing.assert_close(
            observed[name].detach(), value.detach(), rtol=tolerance, atol=tolerance
        )


def test_gradients_of_a_simulated_stress_reach_the_model():
    network = model(torch.float32)
    simulator = LatticeStatics(closure=network.closure("crystals", level=DISTILLED))
    observed = simulator.observe(simulator.state(silicon()))
    (observed["stress"] ** 2).sum().backward()
    gradients = [p.grad for p in network.trunk.parameters() if p.grad is not None]
    assert gradients
    assert max(float(g.abs().max()) for g in gradients) > 0
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_a_correction_on_top_of_silicon_relaxes_and_differentiates_implicitly():
    """d(volume)/d(weight) through the fixed point against a finite difference."""

    network = model()
    weight = network.heads[f"{ATOMS}:energy"].readout.outer.weight

    def volume(change: float) -> tuple[LatticeStatics, torch.Tensor]:
        simulator = LatticeStatics(
            potential="stillinger-weber", closure=network.closure("crystals")
        )
        with torch.no_grad():
            weight[0, 3] += change
        from sfm_crystals.data.prototypes import diamond

        relaxed = simulator.relax(simulator.state(diamond(14, 5.45, primitive=True)))
        with torch.no_grad():
            weight[0, 3] -= change
        return simulator, relaxed.volume().sum()

    (slope,) = torch.autograd.grad(volume(0.0)[1], weight)
    h = 1e-4
    with torch.no_grad():
        expected = (volume(h)[1] - volume(-h)[1]) / (2 * h)
    assert slope[0, 3].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-7)
    assert abs(expected.item()) > 1e-5


def test_metrics_have_the_units_that_people_quote():
    assert mae_milli(np.array([1.0, 2.0]), np.array([1.1, 1.9])) == pytest.approx(100)
    assert mae_gpa(np.full((2, 3, 3), 0.01), np.zeros((2, 3, 3))) == pytest.approx(1.602, abs=1e-3)
