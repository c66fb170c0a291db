"""The loss: structure-wise, masked, normalised, the same for one process or many.

For a system s of task t and a quantity q with rows r (atoms, cells, or one)

    e_r = |prediction_r - label_r| / (scale sqrt(dim)),      l_s = mean over r of f(e_r),
    loss = sum_t w_t sum_q w_q mean over labelled systems of task t of l_s,

by definition, so a large system does not count more than a small one. A total energy's error is
per token. f is
the identity (`norm`: an L1 loss for numbers, the L2 norm for vectors), Huber or the square.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from sfm.data.batching import Batch, Labels, row_counts
from sfm.data.tokens import Tokens
from sfm.errors import RunError
from sfm.model import FoundationModel
from sfm.nn.derive import DERIVED
from sfm.recipe import LossKind, loss_kinds
from sfm.train.tasks import TaskData
from sfm.train.through import ThroughTerm


def shaped(error: Float[Tensor, "*shape"], kind: LossKind) -> Float[Tensor, "*shape"]:
    """f(e) of a non-negative error."""
    if kind == "norm":
        return error
    if kind == "square":
        return error * error
    return torch.where(error < 1, 0.5 * error * error, error - 0.5)


@dataclass(frozen=True)
class Losses:
    """Losses of one batch.

    Attributes:
        total: what to differentiate; summed over processes and divided by their number, it is the
            loss of the global batch.
        sums: (K,) sums of system losses over all processes, without gradient.
        counts: (K,) labelled systems over all processes; K runs over `Objective.keys`.
    """

    total: Tensor
    sums: Tensor
    counts: Tensor


class Objective(nn.Module):
    """The loss of a model on batches of the given tasks.

    Args:
        model: its normalisers give the scales; forces are measured in the energy's scale.
        tasks: weights.
        stress_scales: rms of the stress labels, `{encoder: {context: rms}}`.
        through: terms behind a simulator.

    Raises:
        RecipeError: two tasks want different kinds of loss for one encoder's quantity.
    """

    weights: Tensor

    def __init__(
        self,
        model: FoundationModel,
        tasks: Sequence[TaskData],
        stress_scales: Mapping[str, Mapping[int, float]] | None = None,
        through: Sequence[ThroughTerm] = (),
    ) -> None:
        super().__init__()
        self.tasks = list(tasks)
        self.through = list(through)
        self._kinds = loss_kinds((task.encoder, task.name, task.goals) for task in self.tasks)
        self.keys = [(t, name) for t, task in enumerate(self.tasks) for name in task.goals]
        weights = [self.tasks[t].weight * self.tasks[t].goals[q].weight for t, q in self.keys]
        self.keys += [(term.task, f"through {term.name}") for term in self.through]
        weights += [self.tasks[term.task].weight * term.weight for term in self.through]
        self._position = {key: i for i, key in enumerate(self.keys)}
        self.register_buffer(
            "weights", torch.tensor(weights, dtype=torch.float64), persistent=False
        )
        n_contexts = len(model.config.contexts)
        for part, scales in (stress_scales or {}).items():
            table = torch.ones(n_contexts, 1, dtype=torch.float64)
            for context, rms in scales.items():
                table[context] = rms
            self.register_buffer(_buffer(part), table, persistent=False)

    def scale(self, model: FoundationModel, part: str, name: str) -> Float[Tensor, "contexts dim"]:
        """(contexts, dim) float64 by which errors are divided."""
        if name == "stress":
            table: Tensor | None = getattr(self, _buffer(part), None)
            if table is not None:
                return table
        key = f"{part}:{'energy' if name in DERIVED else name}"
        return model.normalisers[key].scale  # type: ignore[return-value]

    def forward(
        self, model: FoundationModel, batch: Batch, *, train: bool = True, step: int | None = None
    ) -> Losses:
        """Losses of this process's share of a batch.

        Args:
            model: what is trained.
            batch: this process's share.
            train: whether a gradient will be asked for.
            step: number of the optimiser step, which says what to run through simulators; None
                leaves those terms out.

        Raises:
            RunError: a prediction or loss is not finite; sample and quantity are named.
        """
        asked = {part: list(named) for part, named in batch.labels.items() if named}
        values = model(batch.tokens, asked, create_graph=train)
        like = self.weights
        sums, counts = like.new_zeros(len(self.keys)), like.new_zeros(len(self.keys))
        for part, names in asked.items():
            for name in names:
                labels = batch.labels[part][name]
                losses = self.per_system(
                    model, part, name, values[part][name], labels, batch.tokens[part]
                )
                index = self._index(name, batch.tasks[part].tolist()).to(losses.device)
                masked = torch.where(labels.mask, losses, torch.zeros_like(losses))
                sums = sums.index_add(0, index, masked)
                counts = counts.index_add(0, index, labels.mask.to(counts.dtype))
        if step is not None and self.through:
            ran_sums, ran_counts = self._through(model, step)
            sums, counts = sums + ran_sums, counts + ran_counts
        own_sums, world = sums, 1
        everything = torch.stack([sums.detach(), counts])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            world = torch.distributed.get_world_size()
            torch.distributed.all_reduce(everything)
        all_sums, all_counts = everything
        total = world * (self.weights * own_sums / all_counts.clamp(min=1)).sum()
        if not torch.isfinite(total):
            self._explain(model, batch, values, asked)
        return Losses(total, all_sums, all_counts)

    def _through(self, model: FoundationModel, step: int) -> tuple[Tensor, Tensor]:
        """(K,) sums and counts of the runs through simulators."""
        rank, world = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        sums, counts = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        for term in self.through:
            losses = term.losses(model, step, rank, world).to(sums)
            if not torch.isfinite(losses).all():
                raise RunError(
                    f"{term.data.name}: a run through {term.name} is not finite at step {step + 1}"
                    "; lower optimizer.lr, the run's length or its dt"
                )
            if torch.is_grad_enabled() and len(losses) and not losses.requires_grad:
                raise RunError(
                    f"{term.data.name}: a run through {term.name} passes no gradient on to the "
                    "model: it cannot be trained through"
                )
            where = torch.tensor([self._index_of(term)], device=sums.device)
            sums = sums.index_add(0, where, losses.sum().reshape(1))
            counts = counts.index_add(0, where, counts.new_full((1,), float(len(losses))))
        return sums, counts

    def _index_of(self, term: ThroughTerm) -> int:
        return self._position[term.task, f"through {term.name}"]

    def validation(self, model: FoundationModel) -> dict[str, float]:
        """Mean losses of runs of the validation split, by name."""
        return {
            f"{label_of(term.data)}/through {term.name}": term.mean(
                term.make_closure(model), "validation"
            )
            for term in self.through
            if term.of_split("validation")
        }

    def per_system(
        self,
        model: FoundationModel,
        part: str,
        name: str,
        prediction: Float[Tensor, "rows ..."],
        labels: Labels,
        tokens: Tokens,
    ) -> Float[Tensor, " S"]:
        """(S,) float64 loss of every system, whether labelled or not."""
        quantity = model.config.quantities[name]
        rows = row_counts(quantity, tokens)
        system = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), rows)
        flat = prediction.double().reshape(len(labels.values), -1)
        if flat.shape != labels.values.shape:
            raise RunError(
                f"{part}: '{name}' is predicted with {flat.shape[1]} components, "
                f"the labels have {labels.values.shape[1]}"
            )
        scale = self.scale(model, part, name)[tokens.context[system]]
        error = (flat - labels.values) / scale
        dim = error.shape[1]
        length = error.abs().squeeze(1) if dim == 1 else error.norm(dim=1) / dim**0.5
        if self._per_token(model, part, name):
            length = length / tokens.counts()
        losses = shaped(length, self._kinds[part, name])
        return losses.new_zeros(len(rows)).index_add(0, system, losses) / rows

    @staticmethod
    def _per_token(model: FoundationModel, part: str, name: str) -> bool:
        quantity = model.config.quantities[name]
        if name in DERIVED or quantity.per != "system" or not quantity.extensive:
            return False
        return model.heads[f"{part}:{name}"].normalisation == "references"

    def _index(self, name: str, tasks: Sequence[int]) -> Tensor:
        # a task that has no such goal has no such label, so its place does not matter
        return torch.tensor([self._position.get((t, name), 0) for t in tasks])

    def _explain(
        self,
        model: FoundationModel,
        batch: Batch,
        values: Mapping[str, Mapping[str, Tensor]],
        asked: Mapping[str, Sequence[str]],
    ) -> None:
        for part, names in asked.items():
            tokens = batch.tokens[part]
            for name in names:
                labels = batch.labels[part][name]
                losses = self.per_system(model, part, name, values[part][name], labels, tokens)
                bad = ~torch.isfinite(losses) & labels.mask
                if bad.any():
                    where = int(torch.nonzero(bad)[0])
                    rows = row_counts(model.config.quantities[name], tokens).tolist()
                    values_here = labels.values.split(rows)[where]
                    if not torch.isfinite(values_here).all():
                        what = f"the label '{name}' is not a finite number; correct the data"
                    else:
                        what = (
                            f"the predicted '{name}' is not a finite number: the run diverged; "
                            "lower optimizer.lr or raise optimizer.warmup"
                        )
                    raise RunError(f"{tokens.ids[where]}: {what}")
        raise RunError(f"the loss is not finite in the batch of {', '.join(batch.ids[:5])}, ...")

    # ------------------------------------------------------------------ for logs

    def means(
        self, sums: Float[Tensor, " keys"], counts: Num[Tensor, " keys"]
    ) -> dict[tuple[int, str], float]:
        """Mean loss by (task, quantity) of those that had a label, from sums and counts (keys,)."""
        s, c = sums.tolist(), counts.tolist()
        return {key: s[i] / c[i] for i, key in enumerate(self.keys) if c[i] > 0}

    def named(self, sums: Float[Tensor, " keys"], counts: Num[Tensor, " keys"]) -> dict[str, float]:
        """Losses by name: `loss`, `loss/<domain>`, and `<task>/<quantity>` without weights.

        From sums and counts (keys,) of systems.
        """
        means = self.means(sums, counts)
        weights = self.weights.tolist()
        table: dict[str, float] = {"loss": 0.0}
        for key, value in means.items():
            task = self.tasks[key[0]]
            weighted = weights[self._position[key]] * value
            table["loss"] += weighted
            domain = f"loss/{task.domain}"
            table[domain] = table.get(domain, 0.0) + weighted
            table[f"{label_of(task)}/{key[1]}"] = value
        return table


@torch.no_grad()
def mean_losses(
    model: FoundationModel, objective: Objective, batches: Iterable[Batch]
) -> dict[str, float]:
    """Losses over fixed batches, by name as `Objective.named` has them; no batches, no losses.

    Every process of a run must call this with the same batches. They move to the model's device,
    where the objective has to be.
    """
    sums = counts = None
    for batch in batches:
        losses = objective(model, batch.to(model.device), train=False)
        sums = losses.sums if sums is None else sums + losses.sums
        counts = losses.counts if counts is None else counts + losses.counts
    return {} if sums is None or counts is None else objective.named(sums, counts)


def label_of(task: TaskData) -> str:
    """Short name of a task in logs: the dataset without its plugin."""
    return task.name.rpartition("/")[2]


def _buffer(part: str) -> str:
    return f"stress_{part.replace('/', '__').replace('-', '_').replace('.', '_')}"
