"""A multipole graph operator: kernels between near points, on levels that are ever coarser.

    down    v_l+1 = mean of W v_l over a point's children            what a region sends afar
    on each v_l <- v_l + f(W v_l + mean_j k(x_j - x_i, a_i, a_j) v_j)   within a radius of the level
    up      v_l <- v_l + W v_l+1 of the parent                       what comes from afar

One V-cycle is down, then up; every level and cycle has weights of its own, k is a perceptron whose
numbers multiply the channels of v_j, and a are the inputs. Radii are lengths, and means stand for
integrals, so a finer grid than that of training is read by the same kernels.

Source: Z. Li et al., Multipole Graph Neural Operator for Parametric Partial Differential Equations,
NeurIPS 2020, arXiv:2006.09535; there levels are random subsets of the points, here those of a grid,
and k is a full matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError


class Level(NamedTuple):
    """n points of a graph, E pairs of near ones.

    Attributes:
        edges: (2, E) senders and receivers.
        apart: (E, d) from receiver to sender, over the level's radius.
        share: (E,) one over the receiver's number of senders.
        parent: (n,) which point of the next level a point belongs to; empty for the last.
        children: (n',) how many points each of those has.
    """

    edges: Tensor
    apart: Tensor
    share: Tensor
    parent: Tensor
    children: Tensor


class MultipoleOperator(nn.Module):
    """(B, C, *grid) -> (B, K, *grid), dimensionless.

    Args:
        inputs: C, channels in.
        outputs: K, channels out.
        grid: points of the training grid along each axis; finer ones are multiples of it.
        periodic: whether the grid is.
        width: channels inside.
        hidden: of the kernels' perceptrons.
        cycles: V-cycles.

    Raises:
        InputError: (call) a grid that is no multiple of the training grid.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        grid: Sequence[int],
        periodic: bool = False,
        width: int = 48,
        hidden: int = 32,
        cycles: int = 2,
    ) -> None:
        super().__init__()
        self.grid, self.periodic = tuple(grid), periodic
        levels = len(_sizes(self.grid))
        self.lift = nn.Linear(inputs, width)
        seen = 2 * inputs + len(self.grid)
        self.blocks = nn.ModuleList(_Cycle(levels, seen, width, hidden) for _ in range(cycles))
        self.out = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, outputs))

    def forward(self, field: Float[Tensor, "B C *grid"]) -> Float[Tensor, "B K *grid"]:
        shape = tuple(field.shape[2:])
        if any(n % g for n, g in zip(shape, self.grid, strict=True)):
            raise InputError(
                f"a grid of {shape} points; this operator takes multiples of {self.grid}"
            )
        levels = [
            Level(*(x.to(field) if x.is_floating_point() else x.to(field.device) for x in level))
            for level in _levels(shape, self.grid, self.periodic)
        ]
        a = field.flatten(2).mT  # (B, n, C)
        inputs = [a]
        for level in levels[:-1]:
            inputs.append(_pooled(inputs[-1], level))
        v = self.lift(a)
        for block in self.blocks:
            v = block(v, inputs, levels)
        values: Tensor = self.out(v)
        answers: Tensor = values.mT.unflatten(2, shape)
        return answers


class _Cycle(nn.Module):
    """One V-cycle."""

    def __init__(self, levels: int, seen: int, width: int, hidden: int) -> None:
        super().__init__()
        self.sinking = nn.ModuleList(_Near(seen, width, hidden) for _ in range(levels))
        self.rising = nn.ModuleList(_Near(seen, width, hidden) for _ in range(levels - 1))
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(levels - 1))
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(levels - 1))

    def forward(self, v: Tensor, inputs: list[Tensor], levels: list[Level]) -> Tensor:
        states = []
        for number, (near, a, level) in enumerate(zip(self.sinking, inputs, levels, strict=True)):
            v = near(v, a, level)
            states.append(v)
            if number < len(self.down):
                v = _pooled(self.down[number](v), level)
        for number in reversed(range(len(self.up))):
            level = levels[number]
            v = states[number] + self.up[number](v)[:, level.parent]
            v = self.rising[number](v, inputs[number], level)
        return v


class _Near(nn.Module):
    """What points of one level tell their neighbours."""

    def __init__(self, seen: int, width: int, hidden: int) -> None:
        super().__init__()
        self.kernel = nn.Sequential(nn.Linear(seen, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.norm = nn.LayerNorm(width)
        self.local = nn.Linear(width, width)
        self.mix = nn.Linear(width, width, bias=False)

    def forward(self, v: Tensor, a: Tensor, level: Level) -> Tensor:
        sender, receiver = level.edges
        apart = level.apart.expand(len(a), -1, -1)
        k = self.kernel(torch.cat((apart, a[:, receiver], a[:, sender]), -1))
        known = self.norm(v)
        told = k * self.mix(known)[:, sender] * level.share[:, None]
        mean = torch.zeros_like(v).index_add(1, receiver, told)
        return v + nn.functional.gelu(self.local(known) + mean)


def _pooled(v: Tensor, level: Level) -> Tensor:
    """(B, n, C) -> (B, n', C): means over children."""
    total = v.new_zeros(len(v), len(level.children), v.shape[2]).index_add(1, level.parent, v)
    return total / level.children[:, None]


def _sizes(grid: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Grids of all levels: halved as long as all sides are even and above 2."""
    sizes = [grid]
    while all(n % 2 == 0 and n > 2 for n in sizes[-1]):
        sizes.append(tuple(n // 2 for n in sizes[-1]))
    return sizes


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept must serve training too
def _levels(shape: tuple[int, ...], grid: tuple[int, ...], periodic: bool) -> tuple[Level, ...]:
    """Those of `grid`, the first on the points of the finer `shape`; float64."""
    sizes = _sizes(grid)
    levels = []
    for number, size in enumerate([shape, *sizes[1:]]):
        edges, apart = _near(
            size, tuple(n // g for n, g in zip(size, sizes[number], strict=True)), periodic
        )
        count = torch.bincount(edges[1])
        parent, children = torch.zeros(0, dtype=torch.long), torch.zeros(0)
        if number + 1 < len(sizes):
            parent = _parents(size, sizes[number + 1])
            children = torch.bincount(parent)
        levels.append(Level(edges, apart, 1 / count[edges[1]].double(), parent, children.double()))
    return tuple(levels)


def _near(size: tuple[int, ...], reach: tuple[int, ...], periodic: bool) -> tuple[Tensor, Tensor]:
    """Pairs of points of a grid up to `reach` steps apart along each axis."""
    steps = torch.cartesian_prod(*(torch.arange(-r, r + 1) for r in reach)).reshape(-1, len(size))
    place = torch.cartesian_prod(*(torch.arange(n) for n in size)).reshape(-1, len(size))
    n = torch.tensor(size)
    sender = place[:, None] + steps
    inside = torch.ones(sender.shape[:2], dtype=torch.bool)
    if periodic:
        sender = sender % n
    else:
        inside = ((sender >= 0) & (sender < n)).all(-1)
    strides = torch.tensor([int(n[i + 1 :].prod()) for i in range(len(size))])
    receiver = torch.arange(len(place))[:, None].expand(inside.shape)
    edges = torch.stack(((sender * strides).sum(-1)[inside], receiver[inside]))
    apart = (steps / torch.tensor(reach)).expand(*inside.shape, len(size))[inside]
    return edges, apart.double()


def _parents(size: tuple[int, ...], coarse: tuple[int, ...]) -> Tensor:
    """(n,) number of the coarse grid's point whose block a point lies in."""
    number = torch.arange(int(torch.tensor(coarse).prod())).reshape(coarse)
    for axis, (n, c) in enumerate(zip(size, coarse, strict=True)):
        number = number.repeat_interleave(n // c, axis)
    return number.flatten()
