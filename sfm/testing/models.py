"""A small model with random weights around a plugin's encoders and all heads that fit them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, TypeVar

import torch

from sfm.config import HeadSpec, ModelConfig, Target
from sfm.data.sample import Sample
from sfm.model import FoundationModel
from sfm.nn.encoder import Encoder
from sfm.registry import find, plugin, quantities
from sfm.testing.checks import CheckFailed, Skipped
from sfm.testing.conformance_dataset import few_samples

Network = TypeVar("Network")

LEVEL = "conformance"
SMALL_TRUNK = {"channels": 16, "layers": 2, "experts": 3, "radial": 6, "carried": 4}


@cache
def encoder_samples(part: str) -> tuple[Sample, ...]:
    """A few samples that the encoder takes: its own examples, else from the plugin's datasets.

    Raises:
        CheckFailed: there are none.
    """
    cls: type[Encoder] = find("encoders", part).load()
    examples = cls.examples()
    if examples:
        return tuple(examples)
    encoder = _seeded(lambda: cls(channels=2))
    return tuple(few_samples(plugin(part.partition("/")[0]), encoder.accepts))


def _seeded(make: Callable[[], Network], seed: int = 0) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def config_for(
    parts: dict[str, tuple[str, ...]], trunk: dict[str, Any] | None = None
) -> ModelConfig:
    """The config of a model with these encoders and the heads `quantities` of each."""
    table = quantities()
    named = sorted({q for names in parts.values() for q in names} | {"energy", "forces", "stress"})
    return ModelConfig(
        trunk=SMALL_TRUNK if trunk is None else trunk,
        encoders={part: {} for part in parts},
        encoder_domains={part: find("encoders", part).domain for part in parts},
        heads=tuple(
            HeadSpec(part, q, f"{part.partition('/')[0]}/{q}")
            for part in parts
            for q in parts[part]
        ),
        targets=tuple(Target(part, LEVEL, q) for part in parts for q in parts[part]),
        contexts=tuple((part, LEVEL) for part in parts),
        quantities={q: table[q] for q in named},
        plugins={},
        name="conformance",
    )


@cache
def fitting_heads(part: str) -> tuple[str, ...]:
    """Those heads of the encoder's plugin that find in its tokens what they need."""
    name = part.partition("/")[0]
    samples = encoder_samples(part)[:1]
    fitting = []
    for quantity in plugin(name).heads:
        model = _seeded(partial(FoundationModel, config_for({part: (quantity,)})))
        try:
            model({part: model.tokenize(part, samples, LEVEL)}, {part: [quantity]})
        except KeyError:  # extras that another encoder of the plugin makes
            continue
        fitting.append(quantity)
    return tuple(fitting)


@cache
def model_for(part: str, dtype: torch.dtype = torch.float64) -> FoundationModel:
    """A model around one encoder, in evaluation mode."""
    config = config_for({part: fitting_heads(part)})
    return _seeded(lambda: FoundationModel(config)).to(dtype).eval()


def model_of_plugin(name: str) -> FoundationModel:
    """A float32 model around all the plugin's encoders that have samples."""
    parts = {}
    for short in plugin(name).encoders:
        part = f"{name}/{short}"
        try:
            encoder_samples(part)
        except CheckFailed:  # the encoder's own checks say so
            continue
        parts[part] = fitting_heads(part)
    if not parts:
        raise Skipped("the plugin has no encoder with samples")
    return _seeded(lambda: FoundationModel(config_for(parts))).eval()


def said(model: FoundationModel, part: str, samples: Sequence[Sample]) -> list[str]:
    """What to ask the model for: all heads, and what derives from an energy."""
    names = [h.quantity for h in model.config.heads if h.encoder == part]
    if "energy" in names and all(len(s.positions) for s in samples):
        names.append("forces")
        if all(s.cell is not None and s.pbc.all() for s in samples):
            names.append("stress")
    return names
