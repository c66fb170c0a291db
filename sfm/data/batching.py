"""Batches: tokens of several encoders with their labels, masks for what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError, RunError
from sfm.quantity import Quantity


@dataclass(frozen=True)
class Item:
    """One tokenised system of one task.

    Attributes:
        task: index of the task.
        encoder: part name of its encoder.
        tokens: batch of one system, with its context.
        labels: (rows, dim) float64 by quantity; absent where the label is missing.
    """

    task: int
    encoder: str
    tokens: Tokens
    labels: Mapping[str, Tensor]

    @property
    def cost(self) -> tuple[int, int]:
        """(tokens, edges)."""
        return self.tokens.n_tokens, self.tokens.n_edges

    @property
    def nbytes(self) -> int:
        """Memory of all its tensors."""
        stored = [v for v in vars(self.tokens).values() if isinstance(v, Tensor)]
        tensors = [*stored, *self.tokens.extras.values(), *self.labels.values()]
        return sum(t.numel() * t.element_size() for t in tensors) + 2048


@dataclass(frozen=True)
class Labels:
    """Labels of one quantity for the systems of one encoder.

    Attributes:
        values: (rows, dim) float64; zero where missing.
        mask: (S,) bool, which systems have the label.
    """

    values: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Batch:
    """Systems of several encoders.

    Attributes:
        tokens: by encoder; systems of one context lie together.
        labels: by encoder and quantity; a quantity that no system has is absent.
        tasks: (S,) task index of each system, by encoder.
        state: where the sampler stood after this batch was drawn.
    """

    tokens: Mapping[str, Tokens]
    labels: Mapping[str, Mapping[str, Labels]]
    tasks: Mapping[str, Tensor]
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """Names of all systems."""
        return [name for tokens in self.tokens.values() for name in tokens.ids]

    @property
    def n_systems(self) -> int:
        return sum(t.n_systems for t in self.tokens.values())

    @property
    def n_tokens(self) -> int:
        return sum(t.n_tokens for t in self.tokens.values())

    @property
    def n_edges(self) -> int:
        return sum(t.n_edges for t in self.tokens.values())

    def to(self, device: torch.device | str) -> Batch:
        """A copy on `device`."""
        return Batch(
            tokens={k: t.to(device) for k, t in self.tokens.items()},
            labels={
                k: {q: Labels(v.values.to(device), v.mask.to(device)) for q, v in named.items()}
                for k, named in self.labels.items()
            },
            tasks={k: t.to(device) for k, t in self.tasks.items()},
            state=self.state,
        )


def row_counts(quantity: Quantity, tokens: Tokens) -> Int[Tensor, " S"]:
    """(S,) numbers of rows of the quantity in each system: 1, its tokens, or its grid cells."""
    if quantity.per == "system":
        return torch.ones(tokens.n_systems, dtype=torch.long, device=tokens.system.device)
    if quantity.per == "token":
        return tokens.counts()
    return tokens.extras["grid_cells"].long()


def label_rows(
    sample: Sample, quantity: Quantity, tokens: Tokens
) -> Float[Tensor, "rows dim"] | None:
    """The sample's label as (rows, dim) float64 in its unit, None where it has none.

    Raises:
        RunError: the label is not finite.
        InputError: it does not fit the system.
    """
    value = sample.labels.get(quantity.name)
    if value is None:
        return None
    array = np.array(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise RunError(
            f"{sample.id}: the label '{quantity.name}' is not a finite number; "
            "remove the sample or correct the label"
        )
    rows = int(row_counts(quantity, tokens)[0])
    if (
        array.size == 0
        or array.size % rows
        or (array.size != rows > 1 and array.shape[0] not in (rows, array.size))
    ):
        raise InputError(
            f"{sample.id}: the label '{quantity.name}' has shape {array.shape}, "
            f"which does not fit {rows} {quantity.per}{'s' if rows > 1 else ''}"
        )
    return torch.from_numpy(array.reshape(rows, -1))


def collate(
    items: Sequence[Item],
    quantities: Mapping[str, Quantity],
    state: Mapping[str, Any] | None = None,
) -> Batch:
    """One batch out of tokenised systems; those of one context come to lie together."""
    by_encoder: dict[str, list[Item]] = {}
    for item in items:
        by_encoder.setdefault(item.encoder, []).append(item)
    tokens, labels, tasks = {}, {}, {}
    for encoder in sorted(by_encoder):
        members = sorted(by_encoder[encoder], key=lambda item: int(item.tokens.context[0]))
        tokens[encoder] = Tokens.cat([item.tokens for item in members])
        tasks[encoder] = torch.tensor([item.task for item in members])
        names = sorted({name for item in members for name in item.labels})
        labels[encoder] = {name: _joined(members, quantities[name]) for name in names}
    return Batch(tokens, labels, tasks, dict(state or {}))


def _joined(items: Sequence[Item], quantity: Quantity) -> Labels:
    name = quantity.name
    dim = next(item.labels[name].shape[1] for item in items if name in item.labels)
    values = [
        item.labels[name]
        if name in item.labels
        else torch.zeros(int(row_counts(quantity, item.tokens)[0]), dim, dtype=torch.float64)
        for item in items
    ]
    mask = torch.tensor([name in item.labels for item in items])
    return Labels(torch.cat(values), mask)
