"""Inference mode leaves nothing that training trips over; torch.func sees every simulator."""

from __future__ import annotations

import sys

import pytest
import torch
from sfm_fluids.darcy.flow import Darcy
from sfm_fluids.periodic.burgers import Burgers
from sfm_fluids.periodic.kuramoto_sivashinsky import KuramotoSivashinsky
from sfm_fluids.periodic.shallow_water import ShallowWater
from sfm_fluids.rans.channel import RansChannel
from sfm_fluids.staggered.cavity import Cavity
from sfm_fluids.staggered.channel import Channel
from sfm_fluids.staggered.finite_volume_2d import FiniteVolume2D

STEPPED = (Burgers, KuramotoSivashinsky, ShallowWater, Cavity, Channel, FiniteVolume2D)


def caches() -> list:
    """All functions of the plugin that keep tensors."""
    modules = [m for name, m in sys.modules.items() if name.startswith("sfm_fluids.")]
    return [f for m in modules for f in vars(m).values() if hasattr(f, "cache_clear")]


@pytest.mark.parametrize("kind", [*STEPPED, Darcy, RansChannel])
def test_a_run_in_inference_mode_does_not_spoil_training(kind):
    for cache in caches():
        cache.cache_clear()
    with torch.inference_mode():
        simulator, state = kind.conformance_case()
        simulator.observe(simulator(state, 2))
    simulator, state = kind.conformance_case()
    with torch.inference_mode():
        simulator(state, 2)  # what this simulator keeps for itself
    first = next(simulator.parameters())
    for parameter in list(simulator.parameters())[1:]:
        parameter.requires_grad_(False)
    sum(v.sum() for v in simulator.observe(simulator(state, 2)).values()).backward()
    assert first.grad is not None
    assert torch.isfinite(first.grad)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("kind", [*STEPPED, Darcy])
def test_torch_func_gives_the_same_derivative(kind):
    simulator, state = kind.conformance_case()
    name, parameter = next(iter(simulator.named_parameters()))

    def energy(value: torch.Tensor) -> torch.Tensor:
        end = torch.func.functional_call(simulator, {name: value}, (state, 2))
        return sum(x.square().sum() for x in end if x.ndim)

    value = parameter.detach()
    by_torch = torch.autograd.grad(energy(parameter), parameter)[0]
    torch.testing.assert_close(torch.func.grad(energy)(value), by_torch, rtol=1e-9, atol=0)
    tangent = torch.func.jvp(energy, (value,), (torch.ones_like(value),))[1]
    torch.testing.assert_close(tangent, by_torch, rtol=1e-9, atol=0)
