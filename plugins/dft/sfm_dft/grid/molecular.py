"""The integration grid with the orbitals on it, and the two linear maps between it and matrices.

    fields   D -> rho = chi D chi, grad rho = 2 (grad chi) D chi, tau = 1/2 grad chi . D grad chi
    adjoint  its transpose: derivatives of an energy by these fields -> its derivative by D

The two are each other's derivative, so that energies, potentials and their responses to any order
cost two matrix products and two passes over the orbitals each. Points come in blocks that stay in a
processor's cache, each with only those orbitals that reach it. Grid and orbitals are made on the
device of the nuclei. J. A. Pople, P. M. W. Gill and B. G. Johnson, Chem. Phys. Lett. 199, 557
(1992).

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.autograd import Function
from sfm_dft.grid.atomic import atomic_grid
from sfm_dft.grid.becke import becke_weights, size_adjustment
from sfm_dft.grid.orbital_derivatives import Jets
from sfm_dft.integrals.orbitals import displacements
from sfm_dft.integrals.shells import Shells

BLOCK = 1024  # points: some MB with their orbitals
DEVICE_BLOCK = 16_384  # the same for an accelerator, which wants long rows
PARTITION_BYTES = 1_000_000, 500_000_000  # pairs of atoms at a time, likewise
BOX, MARGIN = 1.2, 4.2  # bohr: neighbours are points in one box; how far boxes go beyond the nuclei
NEGLIGIBLE = 1e-13
WORTHWHILE = 0.95  # share of shells: above it, leaving out the rest costs more than it saves
CHANNELS = {"lda": 1, "gga": 4, "mgga": 5}


@dataclass(frozen=True, eq=False)
class Block:
    """Some points: orbitals (c, k, g) with c = 1 (values) or 4 (and derivatives by x, y, z).

    functions: (k,) which of the orbitals they are, in the sequence of `Grid.jets`, or None for all.
    shells: (S,) the same for shells, on the CPU.
    """

    start: int
    orbitals: Float[Tensor, "c k g"]
    functions: Int[Tensor, " k"] | None
    shells: Bool[np.ndarray, " S"] | None

    @property
    def points(self) -> slice:
        """Where its points stand in the grid."""
        return slice(self.start, self.start + self.orbitals.shape[2])

    def part(self, matrix: Float[Tensor, "n n"]) -> Float[Tensor, "k k"]:
        """The rows and columns (k, k) of this block's orbitals."""
        if self.functions is None:
            return matrix
        return matrix[self.functions[:, None], self.functions]


@dataclass(frozen=True, eq=False)
class Grid:
    """Becke's grid of one molecule, atomic units.

    Attributes:
        points: (G, 3) bohr. weights: (G,) bohr^3.
        owners: (G,) atom whose grid a point belongs to. volumes: (G,) its weight in that atom's
            own grid, before Becke's partition.
        jets: makes orbitals and their derivatives. blocks: the orbitals on the grid.
    """

    points: Float[Tensor, "G 3"]
    weights: Float[Tensor, " G"]
    owners: Int[Tensor, " G"]
    volumes: Float[Tensor, " G"]
    jets: Jets
    blocks: tuple[Block, ...]

    def sort(self, matrix: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
        """A matrix (n, n) of the basis in the sequence of `jets`."""
        return matrix[self.jets.order[:, None], self.jets.order]

    def to(self, device: torch.device | str) -> Grid:
        blocks = tuple(
            replace(
                block,
                orbitals=block.orbitals.to(device),
                functions=None if block.functions is None else block.functions.to(device),
            )
            for block in self.blocks
        )
        moved = {
            name: getattr(self, name).to(device)
            for name in ("points", "weights", "owners", "volumes", "jets")
        }
        return Grid(blocks=blocks, **moved)


@torch.no_grad()
def build_grid(
    numbers: Int[Tensor, " A"], shells: Shells, level: int, *, prune: bool, gradient: bool
) -> Grid:
    """Becke's grid about atoms (A,) and the orbitals of a basis on it.

    The points are PySCF's. level: 0 coarse to 9 fine. prune: NWChem's. gradient: orbital
    derivatives too.
    """
    positions = shells.positions.detach()
    offsets, volumes = zip(*(atomic_grid(z, level, prune) for z in numbers.tolist()), strict=True)
    counts = torch.tensor([len(v) for v in volumes], device=positions.device)
    owners = torch.arange(len(numbers), device=positions.device).repeat_interleave(counts)
    points = torch.tensor(np.concatenate(offsets), device=positions.device) + positions[owners]
    order = _neighbours(points, positions)
    points, owners = points[order], owners[order]
    sizes = torch.tensor(np.concatenate(volumes), device=positions.device)[order]
    jets = Jets.of(shells, NEGLIGIBLE)
    return Grid(
        points=points,
        weights=partition(points, positions, numbers, owners, sizes),
        owners=owners,
        volumes=sizes,
        jets=jets,
        blocks=tuple(_blocks(jets, points, positions, gradient)),
    )


def partition_size(positions: Float[Tensor, "A 3"]) -> int:
    """Points whose distances from pairs of atoms (A, 3) are held at a time."""
    bytes_ = PARTITION_BYTES[positions.device.type != "cpu"]
    return max(256, bytes_ // (4 * len(positions) ** 2))


def partition(
    points: Float[Tensor, "G 3"],
    positions: Float[Tensor, "A 3"],
    numbers: Int[Tensor, " A"],
    owners: Int[Tensor, " G"],
    volumes: Float[Tensor, " G"],
) -> Float[Tensor, " G"]:
    """Becke's weights (G,) of points (G, 3)."""
    adjustment, weights = size_adjustment(numbers), []
    for part in torch.arange(len(points), device=points.device).split(partition_size(positions)):
        shift = displacements(positions, points[part])
        weights.append(becke_weights(shift, positions, adjustment, owners[part], volumes[part]))
    return torch.cat(weights)


def _neighbours(points: Tensor, positions: Tensor) -> Tensor:
    """An order (G,) that lists points box by box, all that lie far out together (as in PySCF)."""
    low, high = positions.amin(0) - MARGIN, positions.amax(0) + MARGIN
    count = ((high - low) / BOX).round()
    place = ((points - low) / ((high - low) / count)).floor()
    place = place.clamp_min(-1.0).minimum(count).to(torch.int64) + 1
    y, z = (int(n) + 2 for n in count[1:].tolist())
    return torch.argsort((place[:, 0] * y + place[:, 1]) * z + place[:, 2], stable=True)


def _blocks(jets: Jets, points: Tensor, positions: Tensor, gradient: bool) -> Iterator[Block]:
    parts = points.split(BLOCK if points.device.type == "cpu" else DEVICE_BLOCK)
    nearest = torch.stack([torch.cdist(part, positions).amin(0) for part in parts]).cpu().numpy()
    start = 0
    for part, near in zip(parts, nearest, strict=True):
        reached = near[jets.shell_atoms] < jets.reach
        shells = None if reached.mean() > WORTHWHILE else reached
        orbitals = jets(int(gradient), part, positions, shells)
        yield Block(start, orbitals, None if shells is None else jets.functions(shells), shells)
        start += len(part)


def fields(density_matrix: Float[Tensor, "n n"], grid: Grid, rung: str) -> Float[Tensor, "c G"]:
    """rho, its gradient and tau (c, G) of a symmetric density matrix (n, n); c by rung 1, 4 or 5.

    Differentiable in the density matrix to any order.
    """
    return cast(Tensor, _Fields.apply(density_matrix, grid, CHANNELS[rung]))


class _Fields(Function):
    @staticmethod
    def forward(ctx: Any, d: Tensor, grid: Grid, channels: int) -> Tensor:
        ctx.grid, ctx.channels, ctx.size = grid, channels, d.shape[-1]
        out = d.new_empty(channels, len(grid.weights))
        d = grid.sort(d)
        for block in grid.blocks:
            chi, part, place = block.orbitals, block.part(d), out[:, block.points]
            half = part @ chi[0]
            torch.sum(chi[: min(channels, 4)] * half, 1, out=place[:4])
            if channels == 5:
                turned = part @ chi[1:]
                torch.sum(turned.mul_(chi[1:]), (0, 1), out=place[4])
        if channels > 1:
            out[1:4] *= 2.0
        if channels == 5:
            out[4] *= 0.5
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Adjoint.apply(gradient, ctx.grid, ctx.channels, ctx.size), None, None


class _Adjoint(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, grid: Grid, channels: int, size: int) -> Tensor:
        ctx.grid, ctx.channels = grid, channels
        out = a.new_zeros(size, size)
        for block in grid.blocks:
            chi, weights = block.orbitals, a[:, None, block.points]
            scaled = weights[0] * chi[0]
            for k in range(1, min(channels, 4)):
                scaled.addcmul_(weights[k], chi[k], value=2.0)
            matrix = chi[0] @ scaled.mT
            if channels == 5:
                for slope in chi[1:]:
                    matrix.addmm_(slope, (0.5 * weights[4] * slope).mT)
            if block.functions is None:
                out += matrix
            else:
                out.index_put_((block.functions[:, None], block.functions), matrix, accumulate=True)
        back = torch.argsort(grid.jets.order)
        return (0.5 * (out + out.mT))[back[:, None], back]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        symmetric = 0.5 * (gradient + gradient.mT)
        return _Fields.apply(symmetric, ctx.grid, ctx.channels), None, None, None
