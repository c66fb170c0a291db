"""The same model, wider: every channel becomes several, and what it says stays as it was.

Channels are repeated, and a map that sums over them gives each copy a share of its weight (Chen et
al., "Net2Net", arXiv:1511.05641, section 2.3). The shares differ by random parts that cancel in
the sum, so that copies learn different things. Layer norms see the same mean and variance.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.nn.mixture import MixtureLinear
from sfm.nn.trunk import TrunkConfig

if TYPE_CHECKING:
    from sfm.model.foundation import FoundationModel

Model = TypeVar("Model", bound="FoundationModel")

# the axis over which a module's `weight` sums
SUMMED: dict[type[nn.Module], int] = {nn.Linear: 1, MixtureLinear: 1}
# errors of the features, which a wider model has to be calibrated for again
CALIBRATED = ("uncertainties.", "error_scales.")


def times_wider(old: TrunkConfig, new: TrunkConfig) -> int:
    """How often each channel of `old` is repeated in `new`; 0 where it is not just wider."""
    times = new.channels // old.channels
    wider = dataclasses.replace(old, channels=times * old.channels, carried=times * old.carried)
    return times if wider == new else 0


@torch.no_grad()
def widened(model: Model, times: int, *, seed: int = 0) -> Model:
    """A copy with `times` as many channels that says the same, up to rounding.

    Heads say nothing of their errors until they are calibrated again.

    Args:
        model: its heads are not of single levels.
        times: at least 1.
        seed: of the parts that tell copies of a channel apart.

    Raises:
        InputError: `times` is below 1, a head is a closed form, which rests on the features as they
            were, or a module keeps channels in a way that is not known here.
    """
    if times < 1:
        raise InputError(f"{times} times as many channels: must be at least 1")
    for spec in model.config.heads:
        if spec.level is not None:
            raise InputError(
                f"model '{model.config.name}' says {spec.quantity} at {spec.level} in closed form, "
                "which a wider model cannot: widen the model that it was fine-tuned from"
            )
    trunk = TrunkConfig(**model.config.trunk)
    wider = dataclasses.replace(
        trunk, channels=times * trunk.channels, carried=times * trunk.carried
    )
    config = dataclasses.replace(model.config, trunk=dataclasses.asdict(wider))
    wide = type(model)(config).to(device=model.device, dtype=model.dtype)
    generator = torch.Generator().manual_seed(seed)
    state = wide.state_dict()
    axes = {
        f"{name}.weight": SUMMED[type(module)]
        for name, module in model.named_modules()
        if type(module) in SUMMED
    }
    for key, value in model.state_dict().items():
        if not key.startswith(CALIBRATED):
            state[key] = _repeated(key, value, state[key], axes.get(key), generator)
    wide.load_state_dict(state)
    return wide


def _repeated(
    key: str,
    value: Shaped[Tensor, " ..."],
    like: Shaped[Tensor, " ..."],
    summed: int | None,
    generator: torch.Generator,
) -> Shaped[Tensor, " ..."]:
    """`value` with the shape of `like`."""
    times = [n // m if m else 1 for n, m in zip(like.shape, value.shape, strict=True)]
    result = value
    for axis, n in enumerate(times):
        result = result.repeat_interleave(n, dim=axis)
    if result.shape != like.shape or (summed is None and sum(n > 1 for n in times) > 1):
        raise InputError(f"'{key}' {tuple(value.shape)} cannot be widened to {tuple(like.shape)}")
    if summed is None or times[summed] == 1:
        return result
    return _shared_out(result, summed, times[summed], generator)


def _shared_out(
    weight: Shaped[Tensor, " ..."], axis: int, times: int, generator: torch.Generator
) -> Shaped[Tensor, " ..."]:
    """Repeated weights, of which each copy has a share: together the first, and as large in size.

    Weights of variance v over n inputs become weights of variance v / times over n times inputs,
    as at random first weights.
    """
    noise = torch.randn(weight.shape, generator=generator).to(weight)
    shape = (*weight.shape[:axis], -1, times, *weight.shape[axis + 1 :])
    apart = noise.reshape(shape)
    apart = (apart - apart.mean(axis + 1, keepdim=True)).reshape(weight.shape)
    size = weight.square().mean().sqrt() / times**0.5
    shared: Tensor = weight / times + size * apart
    return shared
