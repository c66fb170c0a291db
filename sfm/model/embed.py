"""Embedding: the trunk's features of a user's file or object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from sfm.data.rows import not_finite, row, rows_left_out
from sfm.data.sample import Sample
from sfm.errors import InputError, OutsideError
from sfm.model.guard import Guard
from sfm.model.inputs import is_many, read_samples, refuse
from sfm.nn.pooling import POOLINGS, Pooling, pool
from sfm.nn.trunk import INVARIANTS

if TYPE_CHECKING:
    from sfm.model.foundation import FoundationModel


@dataclass(frozen=True, repr=False)
class Embedding:
    """The trunk's features of one system, channels last.

    Attributes:
        id: the system's name.
        encoder: encoder that was used.
        level: level of theory that routed the experts.
        invariant: (C,) mean of the tokens' scalars, or what `layers` and `pooling` ask for.
        scalars: (N, C).
        vectors: (N, 3, C), components x, y, z.
        tensors: (N, 5, C), components in e3nn's order.
    """

    id: str
    encoder: str
    level: str
    invariant: np.ndarray
    scalars: np.ndarray
    vectors: np.ndarray
    tensors: np.ndarray

    def __repr__(self) -> str:
        names = ("invariant", "scalars", "vectors", "tensors")
        shapes = ", ".join(f"{name} {getattr(self, name).shape}" for name in names)
        return f"Embedding({self.id!r}, {self.encoder} @ {self.level}: {shapes})"


def embed(
    model: FoundationModel,
    inputs: Any,
    *,
    domain: str | None = None,
    level: str | None = None,
    extrapolate: bool = False,
    layers: Literal["last", "all"] = "last",
    pooling: Pooling = "mean",
) -> Embedding | list[Embedding]:
    """The trunk's features: for similarity, regression on few labels, or clustering.

    Args:
        model: the model.
        inputs: as for `predict`.
        domain: treat the systems as this domain's; None as for `predict`.
        level: level of theory that routes the experts; the encoder's first one if None.
        extrapolate: warn of what lies outside the training data instead of refusing it.
        layers: `invariant` from the last layer's scalars, or from the scalars and the norms of
            vectors and tensors of all layers, 3 (layers + 1) C numbers a token.
        pooling: `sum`, `mean`, or `cumulants`, means and deviations one after another.

    Raises:
        InputError: unreadable input, or an unknown domain, level, `layers` or `pooling`.
        OutsideError: elements, charge, spin or distances of a system lie outside the training data.
        RunError: features are not finite.
    """
    if pooling not in POOLINGS or layers not in ("last", "all"):
        raise InputError(
            f"layers '{layers}', pooling '{pooling}': take last or all, and one of "
            f"{', '.join(POOLINGS)}"
        )
    samples = read_samples(model, inputs, domain, level)
    pairs = embedded(
        model, samples, level=level, extrapolate=extrapolate, layers=layers, pooling=pooling
    )
    results = [one for _, one in pairs]
    return results if is_many(inputs, samples) else results[0]


def embedded(
    model: FoundationModel,
    samples: Sequence[Sample],
    *,
    level: str | None = None,
    extrapolate: bool = False,
    layers: Literal["last", "all"] = "last",
    pooling: Pooling = "mean",
) -> list[tuple[Sample, Embedding]]:
    """Every sample beside its features; without those that `sfm.data.rows.collecting` leaves out.

    Raises:
        InputError, OutsideError, RunError: as `embed`; no sample can be used.
    """
    results: list[tuple[Sample, Embedding]] = []
    guards: dict[tuple[str, str], Guard] = {}
    for sample in samples:
        try:
            with row():
                one = _embedding(model, sample, level, guards, extrapolate, layers, pooling)
                if np.isfinite(one.invariant).all():
                    results.append((sample, one))
                else:
                    not_finite(f"{sample.id}: its features are not finite numbers")
        except OutsideError as error:
            refuse(error, samples)
    if not results and (skipped := rows_left_out()):
        raise InputError(f"no row of the input can be used; {skipped.rows[0]}")
    return results


def encoder_of(model: FoundationModel, sample: Sample) -> str:
    """Name of the first encoder of the sample's domain that takes it.

    Raises:
        InputError: there is none.
    """
    for name, domain in model.config.encoder_domains.items():
        if domain == sample.domain and model.encoder(name).accepts(sample):
            return name
    raise InputError(f"{sample.id}: no encoder of '{model.config.name}' takes it")


def _embedding(
    model: FoundationModel,
    sample: Sample,
    level: str | None,
    guards: dict[tuple[str, str], Guard],
    extrapolate: bool,
    layers: Literal["last", "all"],
    pooling: Pooling,
) -> Embedding:
    encoder = encoder_of(model, sample)
    chosen = level or model.targets(encoder=encoder)[0].level
    guards.setdefault((encoder, chosen), Guard(model, encoder, chosen, extrapolate=extrapolate))
    tokens = model.tokenize(encoder, [sample], chosen)
    guards[encoder, chosen].check(tokens, [sample.conditions])
    with torch.no_grad():
        features = model.features({encoder: tokens}, invariants=layers == "all")[encoder]
        rows = features.extras[INVARIANTS] if layers == "all" else features.scalars
        invariant = pool(rows, features, pooling)[0]
    return Embedding(
        id=sample.id,
        encoder=encoder,
        level=chosen,
        invariant=invariant.cpu().numpy(),
        scalars=features.scalars.cpu().numpy(),
        vectors=features.vectors.cpu().numpy(),
        tensors=features.tensors.cpu().numpy(),
    )
