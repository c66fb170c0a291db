"""Other models out of one: grown by targets and heads, without some heads, or for one context."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor

from sfm.config import HeadSpec, ModelConfig, Target
from sfm.errors import InputError
from sfm.nn.kernel import SAID

if TYPE_CHECKING:
    from sfm.model.foundation import FoundationModel

Model = TypeVar("Model", bound="FoundationModel")

# tables of the trunk with one row per (encoder, level)
CONTEXT_TABLES = ("trunk.context_scalars.weight", "trunk.neighbours")
# tables of its router with one row per encoder, per level, and per context
ENCODER_LOGITS, LEVEL_LOGITS = "trunk.router.encoder_logits", "trunk.router.level_logits"
CONTEXT_LOGITS = "trunk.router.context_logits"


@torch.no_grad()
def collapsed(model: Model, encoder: str, level: str) -> Model:
    """A copy for one (encoder, level): its mixtures of experts are merged to dense weights.

    Predictions for that context are equal up to rounding, and cost one dense model.

    Raises:
        InputError: the model does not know the context, or a head of it rests on what the model
            says at other levels.
    """
    context = model.context(encoder, level)
    for spec in model.config.heads:
        if (spec.encoder, spec.level) == (encoder, level) and SAID in spec.options["widths"]:
            raise InputError(
                f"{spec.quantity} at '{level}' rests on what model '{model.config.name}' says at "
                "other levels, which a model of one level has not: take the whole model"
            )
    config = dataclasses.replace(
        model.config,
        trunk={**model.config.trunk, "experts": 1},
        targets=tuple(model.targets(encoder=encoder, level=level)),
    )
    dense = copy.deepcopy(model)
    dense.config, dense.trunk = config, model.trunk.collapsed(context)
    return dense


def without_heads(model: Model, keys: Collection[str]) -> Model:
    """A copy without these heads of single levels, which the general ones serve again."""
    copied = copy.deepcopy(model)
    for key in keys:
        del copied.heads[key]
    kept = tuple(h for h in model.config.heads if h.key not in keys)
    copied.config = dataclasses.replace(model.config, heads=kept)
    return copied


@torch.no_grad()
def extended(
    model: Model,
    targets: Iterable[Target],
    heads: Iterable[HeadSpec] = (),
    quantities: Mapping[str, Any] | None = None,
    *,
    nearest: Mapping[tuple[str, str], tuple[str, str]] | None = None,
) -> Model:
    """A copy that can also be trained on `targets`; everything known is kept.

    A new head starts from scratch; one of a single level replaces its predecessor. A new level
    (its context row, routing, neighbours, scales and references) starts as a copy of the
    (encoder, level) that `nearest` names for it, else of the first that the encoder knows; of a
    new encoder, from the mean of all.
    """
    heads = tuple(heads)
    replaced = {h.key for h in heads if h.level is not None}
    config = _extended_config(model.config, targets, heads, replaced, quantities or {})
    grown = type(model)(config).to(device=model.device, dtype=model.dtype)
    state = grown.state_dict()
    for name, value in model.state_dict().items():
        if any(name.startswith(f"heads.{key}.") for key in replaced):
            continue
        if value.shape == state[name].shape:
            state[name] = value
        else:
            state[name][: len(value)] = value
    _start_new_levels(state, model.config, config, nearest or {})
    grown.load_state_dict(state)
    return grown


def _extended_config(
    old: ModelConfig,
    targets: Iterable[Target],
    heads: tuple[HeadSpec, ...],
    replaced: Collection[str],
    quantities: Mapping[str, Any],
) -> ModelConfig:
    new_targets = tuple(t for t in targets if t not in old.targets)
    kept = tuple(h for h in old.heads if h.key not in replaced)
    known = {h.key for h in kept}
    return dataclasses.replace(
        old,
        targets=old.targets + new_targets,
        contexts=tuple(dict.fromkeys((*old.contexts, *(t.context for t in new_targets)))),
        heads=kept + tuple(h for h in heads if h.key not in known),
        quantities={**old.quantities, **quantities},
    )


def _start_new_levels(
    state: dict[str, Tensor],
    old: ModelConfig,
    new: ModelConfig,
    nearest: Mapping[tuple[str, str], tuple[str, str]],
) -> None:
    """Fill the rows of new contexts in place, from those that they start as."""
    for index in range(len(old.contexts), len(new.contexts)):
        encoder, level = new.contexts[index]
        known = [i for i, (e, _) in enumerate(old.contexts) if e == encoder]
        donor = nearest.get((encoder, level))
        start = (
            [new.contexts.index(donor)] if donor else known[:1] or list(range(len(old.contexts)))
        )
        for name in state:
            if name.startswith("normalisers."):
                state[name][index] = state[name][start].mean(0)
        start_in_trunk(state, old, new, index, start)


def start_in_trunk(
    state: dict[str, Shaped[Tensor, " ..."]],
    old: ModelConfig,
    new: ModelConfig,
    index: int,
    donors: Sequence[int],
) -> None:
    """Fill the trunk's rows of one new context in place, with the mean of its donors'.

    Args:
        state: tables of a model of config `new`, changed in place: one row per context or level,
            of shape (C, channels) for C contexts, or (L, experts) for L levels, dimensionless.
        old: what was known before; the routing of its levels stays.
        new: the larger config.
        index: of the context among the new ones.
        donors: indices of contexts among the new ones.
    """
    for name in CONTEXT_TABLES:
        state[name][index] = state[name][donors].mean(0)
    encoders, levels = (list(rows) for rows in zip(*new.context_indices(), strict=True))
    first = levels.index(levels[index]) == index  # of several new contexts at one new level
    if first and new.contexts[index][1] not in old.levels:
        table = state[LEVEL_LOGITS]
        table[levels[index]] = table[[levels[i] for i in donors]].mean(0)
    # the rest of the way, where the level or the encoder has logits of its own already
    shared = state[ENCODER_LOGITS][encoders] + state[LEVEL_LOGITS][levels]
    given = (shared + state[CONTEXT_LOGITS])[donors].mean(0)
    state[CONTEXT_LOGITS][index] = given - shared[index]
