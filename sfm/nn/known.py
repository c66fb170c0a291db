"""What the training data cover, as tables that a batch of tokens is held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.config import ModelConfig
from sfm.config.coverage import coverage_of
from sfm.data.covering import approaches
from sfm.data.elements import NUMBERS
from sfm.data.tokens import Tokens
from sfm.nn.elements import N_TYPES
from sfm.nn.precision import Float64Buffers

LINE = 0.9  # of the closest approach; what is nearer is refused, and repelled


@dataclass(frozen=True, eq=False)
class ClosePairs:
    """Directed edges that are shorter than `LINE` times their elements' closest approach.

    Attributes:
        index: (P,) which edges; P > 0.
        length: (P,) angstrom, differentiable.
        approach: (P,) closest approach in angstrom, in the same dtype.
    """

    index: Int[Tensor, " P"]
    length: Float[Tensor, " P"]
    approach: Float[Tensor, " P"]


class Known(Float64Buffers):
    """Elements and closest approaches of every context of a model.

    Args:
        config: its coverage; a context that has none excludes nothing.
        angstrom: length of the unit of each encoder of atoms; other encoders are left alone.
    """

    elements: Tensor
    approach: Tensor
    angstrom: Tensor

    def __init__(self, config: ModelConfig, angstrom: Mapping[str, float]) -> None:
        super().__init__()
        n = len(config.contexts)
        elements = torch.ones(n, N_TYPES, dtype=torch.bool)
        approach = torch.zeros(n, N_TYPES, N_TYPES, dtype=torch.float64)
        for number, (part, level) in enumerate(config.contexts):
            coverage = coverage_of(config.coverage, part, level)
            if coverage is not None and part in angstrom:
                elements[number] = False
                elements[number, [NUMBERS[symbol] for symbol in coverage.elements]] = True
                approach[number] = torch.from_numpy(approaches(coverage))
        units = [angstrom.get(part, 1.0) for part, _ in config.contexts]
        # config.json holds them, not the weights
        self.register_buffer("elements", elements, persistent=False)
        self.register_buffer("approach", approach, persistent=False)
        self.register_buffer("angstrom", torch.tensor(units, dtype=torch.float64), persistent=False)

    def close(self, tokens: Tokens) -> ClosePairs | None:
        """The pairs that are nearer than the model knows; None if there is none."""
        sender, receiver = tokens.edges
        system = tokens.system[receiver]
        context = tokens.context[system]
        approach = self.approach[context, tokens.types[sender], tokens.types[receiver]]
        unit = self.angstrom[context]
        with torch.no_grad():
            squared = tokens.edge_vectors().square().sum(1) * unit.square()
            index = torch.nonzero(squared < (LINE * approach).square()).squeeze(1)
        if not len(index):
            return None
        vectors = tokens.edge_vectors()[index]
        length = torch.linalg.vector_norm(vectors, dim=1)
        return ClosePairs(
            index, length * unit[index].to(length.dtype), approach[index].to(length.dtype)
        )
