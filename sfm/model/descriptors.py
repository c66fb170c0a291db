"""Descriptors that heads in closed form ask for: those of plugins, and what the model itself says.

A solubility has much to do with a melting point and a partition coefficient: where the model was
trained on those, its own values of them are inputs of a regression on few labels beside its
features, each at the level at which it was learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.descriptors import row
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.model.readout import general
from sfm.nn.derive import DERIVED
from sfm.nn.kernel import SAID

if TYPE_CHECKING:
    from sfm.model.network import Network

OWN = f"sfm/{SAID}"  # the model's place among the parts that give descriptors
_AT = " at "


def described(model: Network, encoder: str, sample: Sample, tokens: Tokens) -> Tokens:
    """The sample's tokens with the descriptors that the model's heads of `encoder` ask for."""
    keys = (h.key for h in model.config.heads if h.encoder == encoder and h.level)
    single: list[Any] = [model.heads[key] for key in keys]
    asked = {head.extra: head.descriptors for head in single if head.descriptors}
    if not asked:
        return tokens
    rows = {k: _row(model, encoder, sample, tokens, v)[None] for k, v in asked.items()}
    return tokens.replace(extras={**tokens.extras, **rows})


def _row(
    model: Network,
    encoder: str,
    sample: Sample,
    tokens: Tokens,
    names: Mapping[str, Sequence[str]],
) -> Tensor:
    """(K,) float64: the named descriptors of each part, one part after another."""
    parts = []
    for part, columns in names.items():
        if part == OWN:
            parts.append(said(model, encoder, columns, tokens)[0].cpu())
        else:
            parts.append(torch.from_numpy(row(sample, {part: columns})))
    return torch.cat(parts)


def sayable(model: Network, encoder: str, apart_from: str) -> list[str]:
    """Names `quantity at level` of the model's invariant numbers, each at its first level.

    Without total energies, which say little beyond composition, and without `apart_from`, for which
    there are differences to the model's own value.
    """
    names: dict[str, str] = {}
    for target in model.config.targets:
        quantity = model.config.quantities[target.quantity]
        if (
            target.encoder == encoder
            and quantity.is_number
            and quantity.name not in ("energy", apart_from, *DERIVED)
            and f"{encoder}:{quantity.name}" in model.heads
        ):
            names.setdefault(quantity.name, f"{quantity.name}{_AT}{target.level}")
    return list(names.values())


@torch.no_grad()
def said(
    model: Network, encoder: str, names: Sequence[str], tokens: Tokens
) -> Float[Tensor, "S K"]:
    """The model's values of K `names`, each in its own unit; one pass of the trunk per level.

    Args:
        model: knows them.
        encoder: name of the encoder.
        names: `quantity at level`.
        tokens: S systems, at any level.

    Returns:
        (S, K) float64.

    Raises:
        InputError: the model has no such level or quantity.
    """
    tokens = tokens.to(model.device, model.dtype)
    pairs = [name.split(_AT, 1) for name in names]
    values: dict[int, Tensor] = {}
    for level in dict.fromkeys(pair[-1] for pair in pairs):
        context = model.config.context(encoder, level)
        there = tokens.replace(context=torch.full_like(tokens.context, context))
        features = model.features({encoder: there})[encoder]
        for column, (quantity, *rest) in enumerate(pairs):
            if rest == [level]:
                raw, normaliser = general(model, encoder, quantity, features, there)
                values[column] = normaliser(raw, there).double().reshape(tokens.n_systems)
    return torch.stack([values[column] for column in range(len(names))], dim=1)
