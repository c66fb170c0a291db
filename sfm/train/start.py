"""Start a pretraining from a published model, whose datasets the new recipe may widen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sfm.config import ModelConfig
from sfm.errors import RecipeError
from sfm.model import FoundationModel
from sfm.model.growing import (
    CONTEXT_LOGITS,
    CONTEXT_TABLES,
    ENCODER_LOGITS,
    LEVEL_LOGITS,
    start_in_trunk,
)
from sfm.model.widening import times_wider, widened
from sfm.nn.trunk import TrunkConfig


@torch.no_grad()
def start_from(model: FoundationModel, name: str) -> list[str]:
    """Give `model` the weights, scales and references of the model `name`, wherever it has them.

    Rows of levels and encoders are matched by name, so tasks may come in another order and new ones
    may join. What is new starts as usual: heads at random, a new level's row as a copy of the first
    level that its encoder knew, references of elements that `name` never saw from the labels. A
    trunk with a multiple of its channels starts as `name` widened, which says the same.

    Returns:
        What of the two models did not meet, one line each: parts that begin anew, parts of `name`
        that have no place in `model`.

    Raises:
        HubError: there is no such model.
        RecipeError: the trunk or an encoder has another shape; the first difference is named.
    """
    other = FoundationModel.from_pretrained(name)
    _refuse_other_baselines(model.config, other.config, name)
    sizes = (TrunkConfig(**c.trunk) for c in (other.config, model.config))
    if (times := times_wider(*sizes)) > 1:
        other = widened(other, times)
    state, theirs = model.state_dict(), other.state_dict()
    for key in sorted(state.keys() & theirs.keys()):
        if key == "trunk.contexts":  # numbers of the contexts, which the config gives
            continue
        if _by_row(key):
            rows = _rows(key, model.config, other.config)
            state[key] = _with_rows(state[key], theirs[key], rows, name, key)
        elif state[key].shape == theirs[key].shape:
            state[key] = theirs[key]
        else:
            raise _another(name, key, theirs[key], state[key])
    for index, context in enumerate(model.config.contexts):
        known = [i for i, c in enumerate(model.config.contexts) if c in other.config.contexts]
        donors = [i for i in known if model.config.contexts[i][0] == context[0]]
        if index not in known and donors:
            start_in_trunk(state, other.config, model.config, index, donors[:1])
    model.load_state_dict(state)
    return _unmatched(model.config, other.config, name)


def _refuse_other_baselines(config: ModelConfig, other: ModelConfig, name: str) -> None:
    shared = set(config.contexts) & set(other.contexts)
    ours, theirs = (
        {(b.encoder, b.level): b for b in c.baselines if (b.encoder, b.level) in shared}
        for c in (config, other)
    )
    if ours != theirs:
        level = next(k for k in shared if ours.get(k) != theirs.get(k))[1]
        raise RecipeError(
            f"start: '{name}' learned the energy at '{level}' on another baseline, or on none; "
            "give its task the same"
        )


def _by_row(key: str) -> bool:
    return key.startswith(("normalisers.", "uncertainties.", "error_scales.")) or key in (
        *CONTEXT_TABLES,
        ENCODER_LOGITS,
        LEVEL_LOGITS,
        CONTEXT_LOGITS,
    )


def _rows(key: str, config: ModelConfig, other: ModelConfig) -> list[tuple[int, int]]:
    """(row here, row there) of each context, encoder or level that both know."""
    tables: dict[str, tuple[Sequence[object], Sequence[object]]] = {
        ENCODER_LOGITS: (list(config.encoders), list(other.encoders)),
        LEVEL_LOGITS: (config.levels, other.levels),
    }
    here, there = tables.get(key, (config.contexts, other.contexts))
    return [(i, list(there).index(row)) for i, row in enumerate(here) if row in there]


def _with_rows(
    ours: Tensor, theirs: Tensor, rows: Sequence[tuple[int, int]], name: str, key: str
) -> Tensor:
    """`own` with the rows that `theirs` has; a zero reference is none and keeps the fitted one."""
    if ours.shape[1:] != theirs.shape[1:]:
        raise _another(name, key, theirs, ours)
    result = ours.clone()
    for here, there in rows:
        value = theirs[there]
        if key.endswith(".shift"):
            value = torch.where(value == 0, result[here], value)
        result[here] = value
    return result


def _another(name: str, key: str, theirs: Tensor, ours: Tensor) -> RecipeError:
    return RecipeError(
        f"start: '{name}' is of another architecture: '{key}' is {tuple(theirs.shape)} there and "
        f"{tuple(ours.shape)} here; take the same model section, or `channels` and `carried` both "
        "twice, three times ... as large"
    )


def _unmatched(config: ModelConfig, other: ModelConfig, name: str) -> list[str]:
    here = {f"level {' at '.join(c)}" for c in config.contexts} | {
        f"head {h.key}" for h in config.heads
    }
    there = {f"level {' at '.join(c)}" for c in other.contexts}
    there |= {f"head {h.key}" for h in other.heads}
    return [f"start: {what} is new" for what in sorted(here - there)] + [
        f"start: {what} of '{name}' has no task here and is left out"
        for what in sorted(there - here)
    ]
