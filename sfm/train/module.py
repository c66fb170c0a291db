"""The LightningModule: one step, the optimiser, and what a checkpoint holds besides weights."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.batching import Batch
from sfm.errors import RunError
from sfm.model import FoundationModel
from sfm.nn.elements import TypeEmbedding
from sfm.nn.mixture import MixtureLinear
from sfm.recipe import OptimizerSection
from sfm.train.muon import Muon
from sfm.train.objective import Losses, Objective
from sfm.train.schedule import lr_factor

NO_DECAY = (nn.Embedding, TypeEmbedding, nn.LayerNorm)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices with weight decay; embeddings, norms, biases and routing logits without."""
    without = {
        id(p)
        for child in module.modules()
        if isinstance(child, NO_DECAY)
        for p in child.parameters(recurse=False)
    }
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, p in module.named_parameters():
        if p.requires_grad:
            plain = p.ndim < 2 or id(p) in without or "logits" in name
            (free if plain else decayed).append(p)
    groups = [(decayed, weight_decay), (free, 0.0)]
    return [{"params": p, "weight_decay": d} for p, d in groups if p]


def optimizer_of(module: nn.Module, settings: OptimizerSection) -> torch.optim.Optimizer:
    """The optimiser of a run. Muon's matrices are the mixtures of experts, the bulk of a trunk."""
    groups = parameter_groups(module, settings.weight_decay)
    if settings.method == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr)
    mixtures = {id(m.weight) for m in module.modules() if isinstance(m, MixtureLinear)}
    split = [
        {**group, "params": chosen, "matrices": matrices}
        for group in groups
        for matrices in (True, False)
        if (chosen := [p for p in group["params"] if (id(p) in mixtures) == matrices])
    ]
    return Muon(split, lr=settings.lr)


def rng_state() -> dict[str, Any]:
    """State of the global generators of torch, numpy and Python, as plain values and tensors."""
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.from_numpy(np.array(keys, dtype=np.int64)), int(position),
                  int(has_gauss), float(cached)],
        "python": random.getstate(),
    }  # fmt: skip


def restore_rng(state: Mapping[str, Any]) -> None:
    """Undo `rng_state`."""
    torch.set_rng_state(state["torch"].cpu().to(torch.uint8))
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


class TrainingModule(pl.LightningModule):
    """A model, its objective and its optimiser.

    Args:
        model: what is trained; parameters with `requires_grad=False` stay.
        objective: the loss.
        optimizer: settings.
        steps: length of the run, for the schedule.
        recipe: the resolved recipe, kept in checkpoints.
    """

    def __init__(
        self,
        model: FoundationModel,
        objective: Objective,
        optimizer: OptimizerSection,
        steps: int,
        recipe: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.settings, self.steps, self.recipe = optimizer, steps, dict(recipe)
        self.losses: Losses | None = None
        self.gradient_norm = 0.0
        self._batch: Batch | None = None

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """The loss of a batch, () without unit."""
        self._batch = batch
        self.losses = self.objective(self.model, batch, step=self.global_step)
        total = self.losses.total
        if self.trainer.world_size > 1:
            # every process must have a gradient for every weight
            total = total + 0.0 * torch.stack([p.sum() for p in self._trainable()]).sum()
        return total

    def _trainable(self) -> list[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]

    def on_after_backward(self) -> None:
        # the same rule as with several processes: what had no share in the loss has gradient zero
        for p in self._trainable():
            if p.grad is None:
                p.grad = torch.zeros_like(p)

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        norm = nn.utils.clip_grad_norm_(self._trainable(), self.settings.clip or math.inf)
        self.gradient_norm = float(norm)
        if not math.isfinite(self.gradient_norm):
            assert self._batch is not None
            names = ", ".join(self._batch.ids[:5])
            raise RunError(
                f"the gradient is not finite at step {self.global_step + 1}, in the batch of "
                f"{names}, ...; look at these samples, or lower optimizer.lr"
            )

    def configure_optimizers(self) -> Any:
        optimizer = optimizer_of(self.model, self.settings)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: lr_factor(step, self.settings, self.steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = dict(self._batch.state) if self._batch is not None else None
        checkpoint["sfm"] = {
            "recipe": self.recipe,
            "sampler": state,
            "rng": rng_state(),
            "parameters": self._names(),
        }

    def _names(self) -> list[str]:
        """Names of the trained weights, in the order of the optimiser's state."""
        return [name for name, p in self.named_parameters() if p.requires_grad]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        stored = checkpoint["sfm"]
        if stored["parameters"] != self._names():
            raise RunError("the checkpoint is of a model with other weights: start a new run")
        if stored["sampler"] is not None:
            self.trainer.datamodule.mixture.load_state_dict(stored["sampler"])  # type: ignore[attr-defined]
        restore_rng(stored["rng"])
