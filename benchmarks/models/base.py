"""What the measuring process asks of a model, whoever wrote it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from systems import Structure
from torch import Tensor, nn


class Model(ABC):
    """A model with random float32 weights behind one face.

    Attributes:
        module: holds the trainable parameters.
        settings: all hyper-parameters, for the report.
        packages: distributions whose versions the report names.
    """

    module: nn.Module
    settings: dict[str, Any]
    packages: tuple[str, ...] = ("torch",)

    @abstractmethod
    def prepare(self, structures: tuple[Structure, ...], device: torch.device) -> Any:
        """Structures -> the model's own batch, neighbour list included."""

    @abstractmethod
    def n_edges(self, batch: Any) -> int:
        """Number of directed pairs within the cutoff."""

    @abstractmethod
    def energy_and_forces(self, batch: Any, *, training: bool) -> tuple[Tensor, Tensor]:
        """(S,) and (N, 3); `training` keeps the graph of the forces."""
