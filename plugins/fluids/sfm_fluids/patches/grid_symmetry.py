"""The symmetries of a periodic square grid, acting on velocities and on stresses.

Any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.sample import Sample

QUARTER = np.array([[0.0, 1.0], [-1.0, 0.0]])
MIRROR = np.array([[-1.0, 0.0], [0.0, 1.0]])


def quarter_turn(velocity: Float[np.ndarray, "*B 2 H W"]) -> Float[np.ndarray, "*B 2 W H"]:
    """u'(x) = Q u(Q^-1 x) with Q = [[0, 1], [-1, 0]], for (..., 2, H, W)."""
    moved = np.rot90(velocity, axes=(-2, -1))
    return np.stack((moved[..., 1, :, :], -moved[..., 0, :, :]), axis=-3)


def mirror_x(velocity: Float[np.ndarray, "*B 2 H W"]) -> Float[np.ndarray, "*B 2 H W"]:
    """u'(x, y) = (-u, v)(-x, y), for (..., 2, H, W)."""
    mirrored: np.ndarray = velocity[..., ::-1] * np.array([-1.0, 1.0])[:, None, None]
    return mirrored


class _OnCells:
    """Moves values (cells, ...) of a grid that `move` has seen; vectors and 2 x 2 turn with Q."""

    def __init__(
        self,
        field: Callable[[np.ndarray], np.ndarray],
        cells: Callable[[Tensor], Tensor],
        turn: np.ndarray,
    ) -> None:
        self.field, self.cells, self.turn = field, cells, torch.from_numpy(turn)
        self.shape: tuple[int, int] | None = None

    def move(self, sample: Sample) -> Sample:
        self.shape = sample.fields["velocity"].shape[-2:]
        cell = sample.cell
        moved = {k: np.ascontiguousarray(self.field(v)) for k, v in sample.fields.items()}
        if cell is not None and moved["velocity"].shape[-2:] != self.shape:
            cell = cell[[1, 0, 2]][:, [1, 0, 2]]
        return sample.replace(fields=moved, cell=cell)

    def output(self, quantity: str, value: Tensor) -> Tensor:
        if self.shape is None or value.shape[0] % (self.shape[0] * self.shape[1]):
            return value
        turn = self.turn.to(value)
        on_grid = self.cells(value.reshape(*self.shape, *value.shape[1:]))
        flat = on_grid.reshape(-1, *value.shape[1:])
        if value.shape[1:] == (2, 2):
            return turn @ flat @ turn.T
        return flat @ turn.T if value.shape[1:] == (2,) else flat


def grid_symmetries(
    patch: int, generator: torch.Generator
) -> Iterator[tuple[str, Callable[[Sample], Sample], Callable[[str, Tensor], Tensor]]]:
    """(name, move_sample, move_output) of each symmetry; outputs are (cells, ...) row-major."""
    shift = tuple(patch * int(n) for n in torch.randint(1, 4, (2,), generator=generator))
    boost = torch.randn(2, 1, 1, dtype=torch.float64, generator=generator).numpy()
    still = np.eye(2)
    moves = {
        "rotation": _OnCells(quarter_turn, lambda t: torch.rot90(t, dims=(0, 1)), QUARTER),
        "reflection": _OnCells(mirror_x, lambda t: t.flip(1), MIRROR),
        "translation": _OnCells(
            lambda u: np.roll(u, shift, axis=(-2, -1)), lambda t: t.roll(shift, (0, 1)), still
        ),
        "boost": _OnCells(lambda u: u + boost, lambda t: t, still),
    }
    for name, on_cells in moves.items():
        yield name, on_cells.move, on_cells.output
