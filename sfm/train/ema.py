"""Exponential moving average of the weights: what is validated and saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn


class Ema(pl.Callback):
    """shadow <- d shadow + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)) after n steps.

    Only trainable weights are averaged; the rest do not move.

    Args:
        decay: 0 keeps the last weights.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow: dict[str, Tensor] = {}

    @staticmethod
    def weights(module: nn.Module) -> dict[str, Float[Tensor, " ..."]]:
        """Trainable parameters by name; of any shape, without unit."""
        return {name: p for name, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def start(self, module: nn.Module) -> None:
        """Begin at the module's weights, unless a checkpoint said where to go on."""
        now = self.weights(module)
        if not self.shadow:
            self.shadow = {name: p.detach().clone() for name, p in now.items()}
        self.shadow = {name: value.to(now[name]) for name, value in self.shadow.items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """One step."""
        now = self.weights(module)
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(
            list(self.shadow.values()), [now[name] for name in self.shadow], 1 - decay
        )

    @torch.no_grad()
    def apply(self, module: nn.Module) -> None:
        """Put the averaged weights into the module for good."""
        now = self.weights(module)
        for name, value in self.shadow.items():
            now[name].copy_(value)

    @contextmanager
    def averaged(self, module: nn.Module) -> Iterator[None]:
        """The averaged weights, inside a `with` block."""
        kept = {name: p.detach().clone() for name, p in self.weights(module).items()}
        self.apply(module)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, p in self.weights(module).items():
                    p.copy_(kept[name])

    # ------------------------------------------------------------------ hooks

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        self.update(pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates, self.shadow = state_dict["updates"], dict(state_dict["shadow"])
