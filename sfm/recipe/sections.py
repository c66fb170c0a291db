"""The model, the optimiser and the run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sfm.recipe.values import Count, Items, Logger, Strict


class ModelSection(Strict):
    """Size of the trunk; None keeps the size's own value.

    Attributes:
        size: `tiny` (about 0.6 million parameters) or `small` (about 2.3 million), twice as wide.
        channels: width of every irrep.
        layers: message-passing layers.
        experts: linear maps that are mixed per domain and level.
        radial: Bessel functions.
        carried: channels of vectors and tensors along edges.
        encoders: constructor options by encoder part, for example {"molecules/atoms": {cutoff: 4}}.
        repulsion: `zbl`: atoms nearer than any in the data repel each other; or `none`.
    """

    size: Literal["tiny", "small"] = "tiny"
    channels: Count | None = Field(default=None, ge=1)
    layers: Count | None = Field(default=None, ge=1)
    experts: Count | None = Field(default=None, ge=1)
    radial: Count | None = Field(default=None, ge=1)
    carried: Count | None = Field(default=None, ge=1)
    encoders: dict[str, dict[str, Any]] = Field(default_factory=dict)
    repulsion: Literal["zbl", "none"] = "zbl"


class OptimizerSection(Strict):
    """AdamW or Muon, with warm-up.

    Attributes:
        method: `adamw`, or `muon`: the trunk's matrices step along their orthogonalised momentum.
        lr: largest learning rate.
        weight_decay: of matrices; embeddings, biases and norms have none.
        warmup: steps of linear warm-up.
        schedule: after it: `cosine` or `linear` down to `final`, `constant`, or `stable`: constant,
            with a decay in the last part of the run. A `stable` run can be finished at any length,
            and resumed to a longer one as if it had never been finished.
        decay: share of the steps in the decay of `stable`.
        final: last learning rate over the largest.
        clip: largest norm of the gradient, None for no limit.
    """

    method: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: Count = Field(default=100, ge=0)
    schedule: Literal["cosine", "linear", "constant", "stable"] = "cosine"
    decay: float = Field(default=0.2, gt=0, lt=1)
    final: float = Field(default=0.01, ge=0, le=1)
    clip: float | None = Field(default=1.0, gt=0)


class TrainingSection(Strict):
    """The run.

    Attributes:
        steps: optimiser steps.
        tokens_per_batch: tokens of one step, over all devices.
        edges_per_batch: edges of one step, over all devices.
        temperature: T of p_i ~ (D_i / D)^(1/T), the share of tokens that are from dataset i.
        ema: decay of the averaged weights, which are what is saved.
        precision: 32 or 64 bits.
        seed: of weights, order and subsets.
        validate_every: steps between validations.
        validation_samples: systems of each task in them.
        checkpoint_every: steps between checkpoints.
        log_every: steps between rows of the log.
        devices: number of processes or GPUs.
        accelerator: `auto`, `cpu` or `gpu`.
        max_samples: at most this many training samples of every task.
        cache_mb: memory for tokenised samples.
        loggers: where the numbers of the run go: `csv`, `tensorboard`, `wandb`, `trackio`.
    """

    steps: Count = Field(default=2000, ge=1)
    tokens_per_batch: Count = Field(default=1024, ge=1)
    edges_per_batch: Count = Field(default=24_000, ge=1)
    temperature: float = Field(default=2.0, gt=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    precision: Literal[32, 64] = 32
    seed: Count = Field(default=0, ge=0)
    validate_every: Count = Field(default=500, ge=1)
    validation_samples: Count = Field(default=64, ge=1)
    checkpoint_every: Count = Field(default=200, ge=1)
    log_every: Count = Field(default=10, ge=1)
    devices: Count = Field(default=1, ge=1)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    max_samples: Count | None = Field(default=None, ge=1)
    cache_mb: Count = Field(default=1024, ge=1)
    loggers: Annotated[tuple[Logger, ...], Items] = ("csv", "tensorboard")
