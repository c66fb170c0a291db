"""Encoders: sample -> tokens.

An encoder tokenizes a sample (constant data: points, types, raw features, edges) and lifts raw
features to the trunk's channels. A domain's encoder subclasses `Encoder`; for typed points in space
with a neighbour list, `PointEncoder` does everything.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.conditions import unpaired
from sfm.data.neighbours import neighbour_list
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError, InputWarning, SfmError

if TYPE_CHECKING:
    from sfm.model import FoundationModel


class Encoder(nn.Module, ABC):
    """Base of all encoders.

    Class attributes:
        part: full name of the part, `molecules/atoms`.
        domain: domain of the samples that it takes.
        length_unit: unit of positions, cell and cutoff.
        raw: widths (F0, F1, F2) of the raw scalars, vectors and tensors that `tokenize` makes.
        conditions: names of `Sample.conditions` that it uses; absent ones count as zero, but
            `spin` as one where the number of electrons is odd.
        fields: names of `Sample.fields` that it needs.
        label_inputs: names of `Sample.labels` that it reads as inputs; it reads no others.
        default_cutoff: interaction range if the recipe names none.
        largest_cutoff: no longer one is taken: every token would see every other.
        token: what a token is, in one word: `atom`, `patch`.

    Args:
        channels: width of the trunk.
        cutoff: interaction range, in `length_unit`.
    """

    part: ClassVar[str]
    domain: ClassVar[str]
    length_unit: ClassVar[str] = "angstrom"
    raw: ClassVar[tuple[int, int, int]] = (0, 0, 0)
    conditions: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[tuple[str, ...]] = ()
    label_inputs: ClassVar[tuple[str, ...]] = ()
    default_cutoff: ClassVar[float] = 5.0
    largest_cutoff: ClassVar[float] = 100.0
    token: ClassVar[str] = "token"

    def __init__(self, *, channels: int, cutoff: float | None = None) -> None:
        super().__init__()
        self.channels = channels
        if isinstance(cutoff, (bool, str)):
            raise InputError(f"encoder '{self.part}': cutoff {cutoff!r} is no number")
        self.cutoff = float(self.default_cutoff if cutoff is None else cutoff)
        if not 0 < self.cutoff <= self.largest_cutoff:
            raise InputError(
                f"encoder '{self.part}': cutoff {self.cutoff:g} must be positive and at most "
                f"{self.largest_cutoff:g} {self.length_unit}"
            )
        self.lift_scalars = self._lift(self.raw[0] + len(self.conditions))
        self.lift_vectors = self._lift(self.raw[1])
        self.lift_tensors = self._lift(self.raw[2])

    def _lift(self, width: int) -> nn.Parameter:
        return nn.Parameter(torch.randn(width, self.channels) / math.sqrt(max(width, 1)))

    @property
    def options(self) -> dict[str, Any]:
        """Constructor arguments besides `channels`, for the model's config."""
        return {"cutoff": self.cutoff}

    @abstractmethod
    def tokenize(self, sample: Sample) -> Tokens:
        """Tokens of one system, in float64, without gradient.

        Raises:
            InputError: the sample lacks what this encoder needs.
        """

    def accepts(self, sample: Sample) -> bool:
        """Whether `tokenize` can take the sample: same domain, all fields present."""
        return sample.domain == self.domain and all(f in sample.fields for f in self.fields)

    @classmethod
    def examples(cls) -> list[Sample]:
        """Small samples for the conformance kit; none: it takes them from the plugin's datasets."""
        return []

    def condition_values(self, sample: Sample) -> Float[Tensor, "1 K"]:
        """(1, K) float64, each in its own unit (`sfm.data.conditions`).

        Raises:
            InputError: the sample is charged, and this encoder does not know of charge.
        """
        self._check_conditions(sample)
        stated = dict(sample.conditions)
        if "spin" in self.conditions:
            stated["spin"] = unpaired(stated, sample.types)
        values = [[float(stated.get(name, 0.0)) for name in self.conditions]]
        return torch.tensor(values, dtype=torch.float64).reshape(1, len(self.conditions))

    def _check_conditions(self, sample: Sample) -> None:
        """What the sample states and this encoder does not use is refused or said."""
        charge = float(sample.conditions.get("charge", 0.0))
        if charge and "charge" not in self.conditions:
            raise InputError(
                f"{sample.id}: charge {charge:+g}, of which encoder '{self.part}' knows nothing; "
                "leave the charge out to have the neutral system's answer"
            )
        if sample.conditions.get("spin") and "spin" not in self.conditions:
            warnings.warn(
                f"a spin is stated, which encoder '{self.part}' does not use",
                InputWarning,
                stacklevel=4,
            )

    def forward(self, tokens: Tokens) -> Tokens:
        """Lift raw features to (N, C), (N, 3, C), (N, 5, C): equivariant linear maps."""
        scalars = torch.cat([tokens.scalars, tokens.conditions[tokens.system]], dim=1)
        return tokens.replace(
            scalars=scalars @ self.lift_scalars,
            vectors=tokens.vectors @ self.lift_vectors,
            tensors=tokens.tensors @ self.lift_tensors,
        )

    def closure(
        self, model: FoundationModel, *, level: str | None = None, **options: Any
    ) -> nn.Module:
        """The module that this plugin's simulator takes as its closure.

        Raises:
            SfmError: this encoder supplies none.
        """
        raise SfmError(f"encoder '{self.part}' supplies no closure")

    def symmetries(
        self, generator: torch.Generator
    ) -> Iterator[tuple[str, Callable[[Sample], Sample], Callable[[str, Tensor], Tensor]]]:
        """Symmetries that outputs must follow: `(name, move_sample, move_output)`.

        `move_output(quantity, value)` turns the output of the sample into that of the moved
        sample. The base gives random rotations, a reflection and a translation of points in space;
        an encoder of fields gives those of its grid.
        """
        from sfm.nn.symmetry import point_symmetries

        yield from point_symmetries(generator)


def holds_atoms(encoder: object) -> bool:
    """Whether its tokens are atoms: points whose type is an atomic number."""
    return isinstance(encoder, PointEncoder) and encoder.token == PointEncoder.token


class PointEncoder(Encoder):
    """Typed points in space (atoms), open or periodic, with a neighbour list inside `cutoff`."""

    token: ClassVar[str] = "atom"

    def features(self, sample: Sample) -> dict[str, Any]:
        """Raw features `scalars`, `vectors`, `tensors` (float64), for subclasses that have some."""
        return {}

    def tokenize(self, sample: Sample) -> Tokens:
        if len(sample.positions) == 0:
            raise InputError(f"{sample.id}: no atoms, which encoder '{self.part}' needs")
        missing = [name for name in self.fields if name not in sample.fields]
        if missing:
            raise InputError(f"{sample.id}: no field {missing}, which '{self.part}' needs")
        try:
            edges, shifts = neighbour_list(sample.positions, self.cutoff, sample.cell, sample.pbc)
        except InputError as error:
            raise InputError(f"{sample.id}: {error}") from None
        cell = None if sample.cell is None else torch.from_numpy(np.array(sample.cell))
        return Tokens.make(
            positions=torch.from_numpy(np.array(sample.positions)),
            types=torch.from_numpy(np.array(sample.types)),
            edges=torch.from_numpy(edges),
            shifts=torch.from_numpy(shifts).to(torch.float64),
            cell=cell,
            cutoff=self.cutoff,
            conditions=self.condition_values(sample),
            id=sample.id,
            **self.features(sample),
        )
