"""`fluids/patches`: a velocity field becomes tokens, one per square patch of cells.

The plane of the flow lies in three-dimensional space as the tokens' x-y plane: vectors get z = 0,
in-plane matrices are bordered with zeros. So a rotation of the tokens rotates everything, and
the grid's own rotations, reflections and shifts by whole patches act exactly. All features are
Galilean invariant and scaled by the sample's root-mean-square strain; positions are in cells. No
Reynolds number goes in: what the model knows of it, it sees in the spectrum of the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.neighbours import neighbour_list
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.nn.harmonics import from_matrix
from sfm_fluids.box import check_periodic, say_dropped, square_spacing
from sfm_fluids.patches.cell_tensors import (
    N_MATRICES,
    N_SCALARS,
    N_VECTORS,
    CellTensors,
    cell_tensors,
    patch_features,
    patches_of,
)
from sfm_fluids.patches.square_patches import SquarePatches
from sfm_fluids.spectral.energy_shares import energy_shares

if TYPE_CHECKING:
    from sfm.model import FoundationModel


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept must serve training too
def _layout(rows: int, columns: int, size: int, cutoff: float) -> tuple[Tensor, ...]:
    """positions (n, 3), cell (3, 3), edges (2, E), shifts (E, 3), cell numbers (n, size^2)."""
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    points = np.stack((x.ravel(), y.ravel(), np.zeros(rows * columns)), axis=1)
    points[:, :2] = (points[:, :2] + 0.5) * size
    box = np.diag([columns * size, rows * size, 1.0]).astype(np.float64)
    edges, shifts = neighbour_list(points, cutoff, box, (True, True, False))
    numbers = torch.arange(rows * size * columns * size).reshape(1, rows * size, columns * size)
    return (
        torch.from_numpy(points),
        torch.from_numpy(box),
        torch.from_numpy(edges),
        torch.from_numpy(shifts).to(torch.float64),
        patches_of(numbers, size)[0],
    )


class PatchEncoder(SquarePatches):
    """Periodic velocity (2, H, W) on square cells -> (H/s) (W/s) tokens with moments as features.

    Raw features of a patch: 8 scalars (mean S:S, w^2, L^2, their contrast and spread, and two
    numbers of the whole field's spectrum), 5 vectors (L, S L, W L, dipoles of S:S and w^2) and 6
    rank-2 tensors (S, S W - W S, L L, quadrupoles of S:S and w^2, the plane's normal).

    Args:
        channels: width of the trunk.
        cutoff: interaction range in cells; default 2.5 patches.
        patch: s, cells along a patch's side; 2 gives 256 tokens for 32 x 32 cells, 4 gives 64.

    Raises:
        InputError: the patch is smaller than one cell; a field with walls or open ends, or whose
            cells are not square.
    """

    part: ClassVar[str] = "fluids/patches"
    raw: ClassVar[tuple[int, int, int]] = (N_SCALARS, N_VECTORS, N_MATRICES + 1)
    fields: ClassVar[tuple[str, ...]] = ("velocity",)

    def tokenize(self, sample: Sample) -> Tokens:
        if "velocity" not in sample.fields:
            raise InputError(f"{sample.id}: no field 'velocity', which encoder '{self.part}' needs")
        velocity = torch.from_numpy(np.array(sample.fields["velocity"], dtype=np.float64))
        if velocity.ndim != 3 or velocity.shape[0] != 2:
            raise InputError(f"{sample.id}: velocity {tuple(velocity.shape)} is not (2, H, W)")
        check_periodic(sample, 2, f"encoder '{self.part}'")
        square_spacing(sample, f"encoder '{self.part}'")
        if not sample.labels:  # somebody's input, not a row of a dataset
            shares = energy_shares(velocity.numpy(), velocity.shape[:0:-1], truncated=False)
            say_dropped(sample, f"encoder '{self.part}'", shares)
        return self.tokenize_field(velocity[None], ids=(sample.id,))

    def tokenize_field(
        self, velocity: Float[Tensor, "B 2 H W"], *, ids: tuple[str, ...] | None = None
    ) -> Tokens:
        """Tokens of B velocities (B, 2, H, W) as B systems; differentiable, no loop over systems.

        Extras: `strain` (N, s^2, 3) with (a, b, w) and `laplacian` (N, s^2, 2) of each token's
        cells, `cell_index` (N, s^2) their row-major numbers, `velocity_scale` (B,), `grid_cells`
        (B,).

        Raises:
            InputError: the grid is no multiple of the patch.
        """
        batch, _, height, width = velocity.shape
        size = self.patch
        self.check_divides(ids[0] if ids else "", height, width)
        layout = _layout(height // size, width // size, size, self.cutoff)
        positions, box, edges, shifts, numbers = (t.to(velocity.device) for t in layout)
        n, dtype = len(positions), velocity.dtype
        cells = cell_tensors(velocity)
        scalars, vectors, tensors = self._embed(cells)
        start = torch.arange(batch, device=velocity.device)
        strain = torch.stack((cells.a, cells.b, cells.w), -1)
        laplacians = torch.stack((cells.lx, cells.ly), -1)
        return Tokens.points(
            positions=positions.to(dtype).repeat(batch, 1),
            types=torch.zeros(batch * n, dtype=torch.long, device=velocity.device),
            scalars=scalars,
            vectors=vectors,
            tensors=tensors,
            edges=(edges[:, None, :] + (n * start)[:, None]).reshape(2, -1),
            shifts=shifts.to(dtype).repeat(batch, 1),
            system=start.repeat_interleave(n),
            n_systems=batch,
            cell=box.to(dtype).expand(batch, 3, 3),
            cutoff=self.cutoff,
            extras={
                "strain": patches_of(strain, size).flatten(0, 1),
                "laplacian": patches_of(laplacians, size).flatten(0, 1),
                "cell_index": numbers.repeat(batch, 1),
                "velocity_scale": cells.scale,
                "grid_cells": torch.full((batch,), height * width, device=velocity.device),
            },
            ids=ids or tuple(f"flow {i}" for i in range(batch)),
        )

    def _embed(self, cells: CellTensors) -> tuple[Tensor, Tensor, Tensor]:
        """Patch features in three dimensions: (N, F0), (N, 3, F1), (N, 5, F2)."""
        scalars, vectors, matrices = patch_features(cells, self.patch)
        pad = nn.functional.pad
        normal = torch.zeros_like(matrices[..., :1])
        normal = pad(normal, (0, 0, 0, 1, 0, 1))
        normal[..., 2, 2, :] = 1.0
        solid = torch.cat((pad(matrices, (0, 0, 0, 1, 0, 1)), normal), -1)
        return (
            scalars.flatten(0, 1),
            pad(vectors, (0, 0, 0, 1)).flatten(0, 1),
            from_matrix(solid).flatten(0, 1),
        )

    def closure(
        self, model: FoundationModel, *, level: str | None = None, **options: Any
    ) -> nn.Module:
        """`PatchClosure`: what `fluids/navier-stokes-2d` takes as its closure."""
        from sfm_fluids.patches.closure import PatchClosure

        return PatchClosure(model, self, level=level, **options)

    def symmetries(
        self, generator: torch.Generator
    ) -> Iterator[tuple[str, Callable[[Sample], Sample], Callable[[str, Tensor], Tensor]]]:
        """The grid's rotation, reflection and shift by a patch, and a Galilean boost."""
        from sfm_fluids.patches.grid_symmetry import grid_symmetries

        yield from grid_symmetries(self.patch, generator)
