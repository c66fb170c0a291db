"""A small model cut out of a joint one: one context of `dft/atoms`, and only the heads it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import torch

from sfm.model import FoundationModel
from sfm_dft.model.encoders import AtomEncoder

ENCODER = AtomEncoder.part


def single_context(
    base: FoundationModel,
    level: str,
    name: str,
    quantities: Collection[str] = (),
    *,
    seed: int | None = None,
) -> FoundationModel:
    """What `base` has for (`dft/atoms`, level): the mixture of experts merged, all else gone.

    Args:
        base: a joint model.
        level: level of theory.
        name: of the new model.
        quantities: heads to keep.
        seed: start from random weights of the same shapes instead. The mean number of neighbours,
            a constant of the data and no weight, is kept.

    Raises:
        InputError: `base` was not trained with `dft/atoms` at this level, or not on a quantity.
    """
    for quantity in quantities:
        level = base.level(ENCODER, level, quantity)
    level = base.level(ENCODER, level)
    context = base.context(ENCODER, level)
    dense = base.collapsed(ENCODER, level)
    whole = dense.config
    keys = {f"{ENCODER}:{quantity}" for quantity in quantities}
    config = dataclasses.replace(
        whole,
        encoders={ENCODER: whole.encoders[ENCODER]},
        encoder_domains={ENCODER: whole.encoder_domains[ENCODER]},
        heads=tuple(h for h in whole.heads if h.key in keys),
        targets=tuple(t for t in whole.targets if t.quantity in quantities),
        contexts=((ENCODER, level),),
        quantities={q: whole.quantities[q] for q in quantities},
        plugins={"dft": whole.plugins["dft"]},
        name=name,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed or 0)
        model = FoundationModel(config)
    weights, state = dense.state_dict(), model.state_dict()
    for key, value in state.items():
        known = key == "trunk.neighbours" or seed is None
        if not known or key == "trunk.contexts" or key.startswith("trunk.router"):
            continue  # indices of the one context, and the weights of one expert
        one = weights[key].shape != value.shape
        state[key] = weights[key][context : context + 1] if one else weights[key]
    model.load_state_dict(state)
    return model
