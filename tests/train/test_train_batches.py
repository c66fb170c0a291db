"""Batches of several domains: contexts together, masks, budgets, labels that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfm.data.batching import collate, label_rows
from sfm.errors import InputError, RunError
from sfm.quantity import ENERGY, FORCES
from sfm.train.build import fit_normalisers, model_config, new_model
from sfm.train.data import BatchStream, MixedData
from sfm.train.tasks import open_tasks


@pytest.fixture
def opened(recipe):
    settled = recipe()
    tasks = open_tasks(settled)
    model = new_model(model_config(tasks, settled.model, "toy"), 0)
    fit_normalisers(model, tasks)
    return settled, tasks, model


def test_a_batch_mixes_domains_within_budgets(opened):
    settled, tasks, model = opened
    data = MixedData(model, tasks, settled.training)
    stream = BatchStream(data.tokenizer, data.mixture, settled.training, 0, 1)
    seen = set()
    for _ in range(20):
        batch = stream.next_batch()
        assert batch.n_tokens <= settled.training.tokens_per_batch
        assert batch.n_edges <= settled.training.edges_per_batch
        seen |= set(batch.tokens)
        for tokens in batch.tokens.values():
            assert (torch.diff(tokens.context) >= 0).all()
    assert seen == {"spiders/points", "birds/points"}


def test_missing_labels_are_masks(opened):
    settled, tasks, model = opened
    tokenizer = MixedData(model, tasks, settled.training).tokenizer
    samples = [tasks[0].train[i] for i in range(9)]
    items = [tokenizer.make(0, s) for s in samples]
    batch = collate(items, tokenizer.quantities)
    labels = batch.labels["spiders/points"]["arrow"]
    assert labels.mask.tolist() == ["arrow" in s.labels for s in samples]
    assert not labels.mask.all()
    assert labels.mask.any()
    assert (labels.values[~labels.mask] == 0).all()
    assert labels.values[labels.mask].numpy() == pytest.approx(
        np.stack([s.labels["arrow"] for s in samples if "arrow" in s.labels])
    )


def test_ranks_share_a_global_batch(opened):
    settled, tasks, model = opened

    def ids(rank: int, world: int) -> list[set[str]]:
        data = MixedData(model, tasks, settled.training)
        stream = BatchStream(data.tokenizer, data.mixture, settled.training, rank, world)
        return [set(stream.next_batch().ids) for _ in range(5)]

    for whole, first, second in zip(ids(0, 1), ids(0, 2), ids(1, 2), strict=True):
        assert first | second == whole
        assert not first & second


def test_the_cache_is_bounded_and_gives_the_same_batches(opened):
    settled, tasks, model = opened
    streams = []
    for megabytes in (1, 1024):
        settings = settled.training.model_copy(update={"cache_mb": megabytes})
        data = MixedData(model, tasks, settings)
        if megabytes == 1:
            data.tokenizer.limit = 50_000
        streams.append(BatchStream(data.tokenizer, data.mixture, settings, 0, 1))
    for _ in range(40):
        small, large = (stream.next_batch() for stream in streams)
        assert small.ids == large.ids
    assert streams[0].tokenizer.used <= 50_000 < streams[1].tokenizer.used


def test_labels_that_are_wrong_name_the_sample(opened):
    settled, tasks, model = opened
    tokenizer = MixedData(model, tasks, settled.training).tokenizer
    sample = tasks[0].train[0]
    tokens = tokenizer.make(0, sample).tokens
    nan = sample.replace(labels={"energy": np.array(np.nan)})
    with pytest.raises(RunError, match=f"{sample.id}: the label 'energy' is not a finite number"):
        label_rows(nan, ENERGY, tokens)
    short = sample.replace(labels={"forces": sample.labels["forces"][:-1]})
    with pytest.raises(InputError, match=f"{sample.id}: the label 'forces' has shape"):
        label_rows(short, FORCES, tokens)
