"""The encoder: a token per site, so that the shared trunk reads fields."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from sfm.data.neighbours import neighbour_list
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.nn.encoder import Encoder


def lattice(phi: np.ndarray, name: str, **more: Any) -> Sample:
    """A field (L, L) as a sample: sites one length apart in a periodic plane."""
    size = len(phi)
    x, y = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    places = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3).astype(float)
    return Sample(
        id=name,
        domain="lattice-fields",
        positions=places,
        types=np.ones(size**2, dtype=int),
        cell=np.eye(3) * size,
        pbc=np.array([True, True, False]),
        fields={"phi4_field": phi.reshape(-1)},
        **more,
    )


class SiteEncoder(Encoder):
    """Sites as tokens with phi, phi^2, phi^4; edges to the eight nearest ones."""

    part: ClassVar[str] = "phi4/sites"
    domain: ClassVar[str] = "lattice-fields"
    length_unit: ClassVar[str] = "1"
    raw: ClassVar[tuple[int, int, int]] = (3, 0, 0)
    fields: ClassVar[tuple[str, ...]] = ("phi4_field",)
    default_cutoff: ClassVar[float] = 1.8
    token: ClassVar[str] = "site"

    def tokenize(self, sample: Sample) -> Tokens:
        phi = torch.tensor(np.ravel(sample.fields["phi4_field"]), dtype=torch.float64)
        edges, shifts = neighbour_list(sample.positions, self.cutoff, sample.cell, sample.pbc)
        return Tokens.make(
            positions=torch.tensor(sample.positions),
            types=torch.tensor(sample.types),
            edges=torch.from_numpy(edges),
            shifts=torch.from_numpy(shifts).double(),
            cell=torch.tensor(sample.cell),
            cutoff=self.cutoff,
            scalars=torch.stack([phi, phi**2, phi**4], -1),
            conditions=self.condition_values(sample),
            id=sample.id,
        )

    @classmethod
    def examples(cls) -> list[Sample]:
        rng = np.random.default_rng(0)
        return [lattice(0.5 * rng.normal(size=(n, n)), f"noise-{n}") for n in (3, 4)]
