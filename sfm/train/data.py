"""From tasks to batches: tokenised samples in a bounded cache, mixed, one share per rank."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytorch_lightning as pl
import torch

from sfm.data.batching import Batch, Item, collate, label_rows
from sfm.data.budget import filled
from sfm.data.mixing import Draw, Mixture, divide, shares
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.model.descriptors import described
from sfm.quantity import Quantity
from sfm.recipe import TrainingSection
from sfm.train.tasks import TaskData, subset

MEGABYTE = 1 << 20
MEAN_SAMPLES = 32
INFERENCE = TrainingSection(tokens_per_batch=2048, edges_per_batch=60_000)


class Tokenizer:
    """Samples of tasks -> items on the CPU, the last used ones kept in memory.

    Args:
        model: its encoders and contexts are used, not its weights.
        tasks: what to tokenise.
        cache_bytes: memory of the cache; the least recently used items leave first.
    """

    def __init__(self, model: FoundationModel, tasks: Sequence[TaskData], cache_bytes: int) -> None:
        self.model, self.tasks, self.limit = model, list(tasks), cache_bytes
        self.quantities: Mapping[str, Quantity] = model.config.quantities
        self._cache: OrderedDict[tuple[int, int], Item] = OrderedDict()
        self._costs: dict[tuple[int, int], tuple[int, int]] = {}
        self.used = 0

    def make(self, task: int, sample: Sample) -> Item:
        """One item, not cached.

        Raises:
            InputError: the encoder does not take the sample, or a label does not fit.
            RunError: a label is not finite.
        """
        data = self.tasks[task]
        encoder = self.model.encoder(data.encoder)
        if not encoder.accepts(sample):
            raise InputError(
                f"{data.name}: sample '{sample.id}' is not for encoder '{data.encoder}' "
                f"(domain {sample.domain}, fields {', '.join(sample.fields) or 'none'})"
            )
        tokens = described(self.model, data.encoder, sample, encoder.tokenize(sample))
        labels = {}
        for name in data.goals:
            rows = label_rows(sample, self.quantities[name], tokens)
            if rows is not None:
                labels[name] = rows
        context = self.model.context(data.encoder, str(sample.level))
        tokens = tokens.replace(context=torch.full_like(tokens.context, context))
        return Item(task, data.encoder, tokens.to(dtype=self.model.dtype), labels)

    def item(self, draw: Draw) -> Item:
        """The item of a training draw."""
        key = (draw.task, draw.index)
        item = self._cache.get(key)
        if item is not None:
            self._cache.move_to_end(key)
            return item
        item = self.make(draw.task, self.tasks[draw.task].train[draw.index])
        self._costs[key] = item.cost
        self._cache[key] = item
        self.used += item.nbytes
        while self.used > self.limit and len(self._cache) > 1:
            _, old = self._cache.popitem(last=False)
            self.used -= old.nbytes
        return item

    def cost(self, draw: Draw) -> tuple[int, int]:
        """(tokens, edges) of a training draw; remembered for ever, as it is small."""
        key = (draw.task, draw.index)
        return self._costs[key] if key in self._costs else self.item(draw).cost


class BatchStream:
    """The endless sequence of training batches; each knows where the sampler stood after it.

    Every process draws the same global batch and collates its own share of it, so that n processes
    do what one would do. To draw, a process has to know what systems cost: it tokenises each once.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        mixture: Mixture,
        settings: TrainingSection,
        rank: int,
        world: int,
    ) -> None:
        self.tokenizer, self.mixture, self.settings = tokenizer, mixture, settings
        self.rank, self.world = rank, world

    def next_batch(self) -> Batch:
        """This rank's share of the next global batch."""
        cost = self.tokenizer.cost
        draws = self.mixture.fill(
            cost,
            self.settings.tokens_per_batch,
            self.settings.edges_per_batch,
            at_least=self.world,
        )
        owned = divide([float(cost(d)[1] + cost(d)[0]) for d in draws], self.world)[self.rank]
        items = [self.tokenizer.item(draws[i]) for i in owned]
        return collate(items, self.tokenizer.quantities, self.mixture.state_dict())

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next_batch()


class MixedData(pl.LightningDataModule):
    """Training and validation batches of several tasks.

    Args:
        model: for its encoders.
        tasks: what to train on.
        settings: budgets, temperature, seed.
        probabilities: shares of the tasks in the tokens, if not those of the temperature.
    """

    def __init__(
        self,
        model: FoundationModel,
        tasks: Sequence[TaskData],
        settings: TrainingSection,
        *,
        probabilities: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.tasks, self.settings = list(tasks), settings
        self.tokenizer = Tokenizer(model, tasks, settings.cache_mb * MEGABYTE)
        sizes = [len(t.train) for t in tasks]
        weights = shares(sizes, settings.temperature) if probabilities is None else probabilities
        self.token_shares = np.asarray(weights) / np.sum(weights)
        # a share is one of tokens: a flow of 256 tokens comes less often than a molecule of 10
        per_system = self.token_shares / [self._mean_tokens(i) for i in range(len(sizes))]
        self.mixture = Mixture(sizes, seed=settings.seed, probabilities=per_system)

    def _mean_tokens(self, task: int) -> float:
        samples = subset(self.tasks[task].train, MEAN_SAMPLES, 0)
        return float(np.mean([self.tokenizer.make(task, s).tokens.n_tokens for s in samples]))

    def train_dataloader(self) -> BatchStream:
        """This rank's stream."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return BatchStream(self.tokenizer, self.mixture, self.settings, rank, world)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """The batch on the device of the model."""
        return batch if device.type == "cpu" else batch.to(device)

    def validation_batches(self) -> list[Batch]:
        """Fixed batches of at most `validation_samples` systems of each task."""
        items = [
            self.tokenizer.make(number, sample)
            for number, task in enumerate(self.tasks)
            for sample in subset(task.validation, self.settings.validation_samples, 0)
        ]
        return pack(items, self.settings, self.tokenizer.quantities)


def pack(
    items: Sequence[Item], settings: TrainingSection, quantities: Mapping[str, Quantity]
) -> list[Batch]:
    """All items, in order, in batches that keep to the budgets."""
    chunks = filled(
        items,
        lambda item: item.cost,
        tokens=settings.tokens_per_batch,
        edges=settings.edges_per_batch,
    )
    return [collate(chunk, quantities) for chunk in chunks]
