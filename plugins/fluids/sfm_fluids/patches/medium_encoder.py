"""`fluids/medium`: a porous medium becomes tokens, one per square patch of points.

Points are those of `sfm_fluids.darcy.nodes`: the first row and column lie on the edge of the box,
the last ones a spacing from it. Features are moments of the logarithm of the permeability about its
mean, so a factor on all of it changes nothing; positions are in spacings. The plane lies in space
as for `fluids/patches`. Exchange of x and y, the one symmetry of the points, acts exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sfm.data.neighbours import neighbour_list
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.nn.harmonics import from_matrix
from sfm_fluids.box import SAME, lengths
from sfm_fluids.patches.cell_tensors import offsets, patches_of
from sfm_fluids.patches.square_patches import SquarePatches


class MediumEncoder(SquarePatches):
    """Permeability (H, W) between walls -> (H/s) (W/s) tokens.

    Raw features of a patch: 5 scalars (mean and mean square of the logarithm, those of a and of
    1/a, nearness of walls), 2 vectors (dipole of the logarithm, nearness and direction of walls)
    and 3 tensors (its quadrupole, the plane's normal, directions of walls).

    Args:
        channels: width of the trunk.
        cutoff: interaction range in spacings; default 2.5 patches.
        patch: s, points along a patch's side.

    Raises:
        InputError: the patch is smaller than one point; a permeability that is not positive, no
            box, a periodic side, or points whose spacing differs along x and y.
    """

    part: ClassVar[str] = "fluids/medium"
    raw: ClassVar[tuple[int, int, int]] = (5, 2, 3)
    fields: ClassVar[tuple[str, ...]] = ("permeability",)

    def tokenize(self, sample: Sample) -> Tokens:
        """Tokens; their extras hold what a solver on the points needs.

        Extras: `log_permeability` (N, s^2) of each token's points, `cell_index` (N, s^2) their
        row-major numbers, `grid_cells`, `grid_width`, `spacing` (S,).
        """
        field, spacing = self._medium(sample)
        (height, width), size = field.shape, self.patch
        self.check_divides(sample.id, height, width)
        log = field.log()
        points = self._points(height, width)
        edges, shifts = neighbour_list(points.numpy(), self.cutoff)
        scalars, vectors, tensors = self._features(log - log.mean(), points)
        numbers = torch.arange(height * width).reshape(1, height, width)

        def number(value: float) -> Tensor:
            return torch.tensor([value], dtype=torch.float64)

        return Tokens.make(
            positions=points,
            types=torch.zeros(len(points), dtype=torch.long),
            edges=torch.from_numpy(edges),
            shifts=torch.from_numpy(shifts).to(torch.float64),
            cutoff=self.cutoff,
            cell=torch.diag(torch.tensor([width, height, 1.0], dtype=torch.float64)),
            scalars=scalars,
            vectors=vectors,
            tensors=tensors,
            conditions=self.condition_values(sample),
            extras={
                "log_permeability": patches_of(log[None], size)[0],
                "cell_index": patches_of(numbers, size)[0],
                "grid_cells": torch.tensor([height * width]),
                "grid_width": torch.tensor([width]),
                "spacing": number(spacing),
            },
            id=sample.id,
        )

    def _medium(self, sample: Sample) -> tuple[Tensor, float]:
        """The permeability (H, W) float64, and the spacing of its points."""
        if "permeability" not in sample.fields:
            raise InputError(f"{sample.id}: no field 'permeability', which '{self.part}' needs")
        field = torch.from_numpy(np.array(sample.fields["permeability"], dtype=np.float64))
        if field.ndim != 2 or min(field.shape) < 2 or not bool((field > 0).all()):
            raise InputError(
                f"{sample.id}: the permeability must be positive, on (H, W) points from 2 x 2; it "
                f"is {tuple(field.shape)}, from {float(field.min()) if field.numel() else 0:.3g}"
            )
        box = lengths(sample, 2)
        if not box:
            raise InputError(f"{sample.id}: states no box, so its pressure has no scale; give one")
        if sample.pbc[:2].any():
            raise InputError(f"{sample.id}: periodic; '{self.part}' takes p = 0 on all four sides")
        spacing = box["x"] / field.shape[1]
        if abs(box["y"] / field.shape[0] / spacing - 1) > SAME:
            raise InputError(f"{sample.id}: its points are spaced differently along x and y")
        return field, spacing

    def _points(self, height: int, width: int) -> Tensor:
        """(n, 3) centres of the patches, in spacings from the corner of the box."""
        size = self.patch
        y, x = np.meshgrid(np.arange(height // size), np.arange(width // size), indexing="ij")
        places = np.stack((x.ravel(), y.ravel()), axis=1) * float(size) + (size - 1) / 2
        return nn.functional.pad(torch.from_numpy(places), (0, 1))

    def _features(self, log: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Moments of patches: (N, 5), (N, 3, 2), (N, 5, 3)."""
        size, (height, width) = self.patch, log.shape
        value = patches_of(log[None], size)[0]
        d = offsets(size, value)
        near = [
            torch.exp(-x / (2 * size))
            for x in (points[:, 0], width - points[:, 0], points[:, 1], height - points[:, 1])
        ]
        scalars = torch.stack(
            (
                value.mean(1),
                value.square().mean(1),
                value.exp().mean(1).log(),
                (-value).exp().mean(1).log(),
                near[0] + near[1] + near[2] + near[3],
            ),
            -1,
        )
        walls = torch.stack((near[0] - near[1], near[2] - near[3]), -1)
        vectors = torch.stack((value @ d, walls), -1)
        quadrupole = torch.einsum("nc,ci,cj->nij", value, d, d)
        sides = torch.diag_embed(torch.stack((near[0] + near[1], near[2] + near[3]), -1))
        normal = torch.zeros(len(points), 3, 3, dtype=value.dtype)
        normal[:, 2, 2] = 1.0
        pad = nn.functional.pad
        solid = torch.stack(
            (pad(quadrupole, (0, 1, 0, 1)), normal, pad(sides, (0, 1, 0, 1))), dim=-1
        )
        return scalars, pad(vectors, (0, 0, 0, 1)), from_matrix(solid)

    def symmetries(
        self, generator: torch.Generator
    ) -> Iterator[tuple[str, Callable[[Sample], Sample], Callable[[str, Tensor], Tensor]]]:
        """Exchange of x and y; outputs are (points,), row-major, of a quantity without unit."""
        shape: list[tuple[int, ...]] = []

        def move(sample: Sample) -> Sample:
            shape[:] = [sample.fields["permeability"].shape]
            fields = {k: np.ascontiguousarray(v.T) for k, v in sample.fields.items()}
            cell = None if sample.cell is None else sample.cell[[1, 0, 2]][:, [1, 0, 2]]
            return sample.replace(fields=fields, cell=cell)

        def output(quantity: str, value: Tensor) -> Tensor:
            height, width = shape[0]
            return value.reshape(height, width, -1).transpose(0, 1).reshape(value.shape)

        yield "exchange of x and y", move, output
