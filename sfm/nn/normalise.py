"""Energy references and scales: fitted in float64, stored with the model, undone on output.

A value of quantity q at context g (encoder and level of theory) is

    value = scale_g * network + sum or own or mean of shift_g[type],

where the shift is a table by token type (energy references; of a tensor its isotropic part), or one
number for all types. Values at different levels have different tables, so they are never merged by
accident. The formula holds by definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from sfm.data.batching import row_counts
from sfm.data.isotropy import isotropic
from sfm.data.tokens import Tokens, system_sum
from sfm.nn.elements import N_TYPES
from sfm.nn.precision import Float64Buffers
from sfm.nn.references import fit_references
from sfm.quantity import Quantity


class Normaliser(Float64Buffers):
    """Scales and shifts of one quantity of one encoder, for every context of the model."""

    scale: Tensor
    shift: Tensor

    def __init__(self, quantity: Quantity, n_contexts: int, dim: int) -> None:
        super().__init__()
        self.quantity = quantity
        self.register_buffer("scale", torch.ones(n_contexts, dim, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(n_contexts, N_TYPES, dim, dtype=torch.float64))

    def rows(self, tokens: Tokens) -> Int[Tensor, " rows"]:
        """(rows,) system index of each row of the quantity."""
        if self.quantity.per == "system":
            return torch.arange(tokens.n_systems, device=tokens.system.device)
        if self.quantity.per == "token":
            return tokens.system
        cells = row_counts(self.quantity, tokens)
        return torch.repeat_interleave(torch.arange(len(cells), device=cells.device), cells)

    def offsets(self, tokens: Tokens) -> Float[Tensor, "rows dim"] | None:
        """(rows, dim) float64, added after scaling, in the quantity's unit; None on a grid."""
        if self.quantity.per == "grid":
            return None
        per_token = self.shift[tokens.context[tokens.system], tokens.types]
        if self.quantity.per == "token":
            return per_token
        total = system_sum(per_token, tokens.system, tokens.n_systems)
        return total if self.quantity.extensive else total / tokens.counts().unsqueeze(-1)

    def forward(
        self, values: Float[Tensor, " rows *axes"], tokens: Tokens
    ) -> Float[Tensor, " rows *axes"]:
        """Normalised (rows, ...) -> (rows, ...) in the quantity's unit; float64 with offsets."""
        scale = self.scale[tokens.context[self.rows(tokens)]]
        flat = values.reshape(len(values), -1) if values.ndim > 1 else values.unsqueeze(-1)
        offsets = self.offsets(tokens)
        if offsets is None or not bool(self.shift.any()):
            return (flat * scale.to(flat.dtype)).reshape(values.shape)
        return (flat.double() * scale + offsets).reshape(values.shape)

    def normalise(
        self, labels: Float[Tensor, " rows *axes"], tokens: Tokens
    ) -> Float[Tensor, " rows *axes"]:
        """The inverse of `forward`: (rows, ...) float64 without unit, for the network to say."""
        flat = labels.double().reshape(len(labels), -1)
        offsets = self.offsets(tokens)
        flat = flat if offsets is None else flat - offsets
        return (flat / self.scale[tokens.context[self.rows(tokens)]]).reshape(labels.shape)


def composition(types: Sequence[Int[np.ndarray, " _"]]) -> Float[np.ndarray, "systems 119"]:
    """(systems, 119) number of tokens of each type, from atomic numbers (N,) of each system."""
    return np.stack([np.bincount(t, minlength=N_TYPES) for t in types]).astype(np.float64)


def design(
    quantity: Quantity, types: Sequence[Int[np.ndarray, " _"]]
) -> Float[np.ndarray, "systems 119"]:
    """(systems, N_TYPES) what multiplies one number per type in a quantity per system.

    Counts of an extensive quantity, fractions of an intensive one.
    """
    counts = composition(types)
    return counts if quantity.extensive else counts / counts.sum(1, keepdims=True)


def fit(
    quantity: Quantity,
    mode: str,
    types: Sequence[Int[np.ndarray, " _"]],
    labels: Sequence[Shaped[np.ndarray, " ..."]],
    *,
    derivative_rms: float | None = None,
) -> dict[str, Any]:
    """Scale and shift of one (context, quantity) from training labels, in float64.

    Args:
        quantity: what the labels are.
        mode: the head's `normalisation`.
        types: token types of each system.
        labels: its label, in the canonical unit.
        derivative_rms: root mean square of the labels' derivative (forces), which then is the
            scale of an energy, as in MACE and UMA.

    Returns:
        `scale` (dim,), `shift` (N_TYPES, dim), `kind` (how the shift was made, see
        `sfm.nn.references`), and `residual` (rms after the shift, per system).
    """
    rows = [np.asarray(x, dtype=np.float64).reshape(_n_rows(quantity, x), -1) for x in labels]
    dim = rows[0].shape[1]
    values = np.concatenate(rows)
    shift = np.zeros((N_TYPES, dim))
    kind: str = mode
    if mode == "references" and quantity.per == "system":
        columns = design(quantity, types)
        shift, kind = _references(quantity, columns, values)
        values = values - columns @ shift
        if quantity.extensive:
            values = values / np.sqrt(columns.sum(1, keepdims=True))
    elif mode == "references":
        flat = np.concatenate([np.asarray(t) for t in types])
        scalar = _invariant_columns(quantity, dim)
        for token_type in np.unique(flat):
            shift[token_type, scalar] = values[flat == token_type][:, scalar].mean(0)
        kind, values = "mean", values - shift[flat]
    elif mode == "standard":
        shift[:] = values.mean(0)
        values = values - values.mean(0)
    if mode == "none":
        scale = np.ones(dim)
    elif derivative_rms is not None:
        scale = np.full(dim, derivative_rms)
    else:
        scale = _block_rms(quantity, values)
    floor = 1e-12 * max(1.0, float(np.abs(values).max(initial=0.0)))
    return {
        "scale": np.where(scale > floor, scale, 1.0),
        "shift": shift,
        "kind": kind,
        "residual": float(np.sqrt((values**2).mean())),
    }


def _references(
    quantity: Quantity, columns: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, str]:
    """(N_TYPES, dim) references of what does not turn, and how they were made."""
    dim, kind = values.shape[1], "none"
    shift = np.zeros((N_TYPES, dim))
    parts = isotropic(quantity.irreps)
    if parts is not None and parts.patterns.shape[1] == dim:
        for pattern, weights in zip(parts.patterns, parts.weights, strict=True):
            references = fit_references(columns, values @ weights)
            shift += references.values[:, None] * pattern
            kind = f"isotropic, {references.kind}"
        return shift, kind
    for component in np.flatnonzero(_invariant_columns(quantity, dim)):
        references = fit_references(columns, values[:, component])
        shift[:, component], kind = references.values, references.kind
    return shift, kind


def _n_rows(quantity: Quantity, label: np.ndarray) -> int:
    return 1 if quantity.per == "system" else len(label)


def _blocks(quantity: Quantity, dim: int) -> list[tuple[slice, int]]:
    """(columns, l) of each irrep when the columns are its components; one block otherwise."""
    if quantity.dim != dim:
        return [(slice(0, dim), 0 if dim == 1 else 1)]
    blocks, start = [], 0
    for term in quantity.irreps.split("+"):
        count, _, irrep = term.strip().rpartition("x")
        degree = int(irrep[:-1])
        for _ in range(int(count or 1)):
            blocks.append((slice(start, start + 2 * degree + 1), degree))
            start += 2 * degree + 1
    return blocks


def _invariant_columns(quantity: Quantity, dim: int) -> np.ndarray:
    columns = np.zeros(dim, dtype=bool)
    for block, degree in _blocks(quantity, dim):
        columns[block] = degree == 0
    return columns


def _block_rms(quantity: Quantity, values: np.ndarray) -> np.ndarray:
    """(dim,) one scale per irrep, equal for its components, so that equivariance holds."""
    scale = np.empty(values.shape[1])
    for block, _ in _blocks(quantity, values.shape[1]):
        scale[block] = np.sqrt((values[:, block] ** 2).mean())
    return scale
