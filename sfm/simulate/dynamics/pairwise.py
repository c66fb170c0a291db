"""Energies, forces and virials of radial pair potentials over a list of pairs, and their gradient.

    E = sum_p e(r_p^2),   F_first = sum_p 2 e'(r_p^2) r_p = -F_second,   W = -sum_p 2 e' r_p r_p

with r_p from the first particle of pair p to the second's image. The sums go through blocks of
pairs that fit into a processor's cache, coordinate by coordinate (contiguous gathers and scatters
are several times faster than rows of three), and keep nothing for the backward pass, which redoes
the geometry. Derivatives of the gradient, and function transforms, take the plain formula.

The virial of pairs: M. P. Allen, D. J. Tildesley, Computer Simulation of Liquids, 2nd ed. (2017),
section 2.4. Units: eV, angstrom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.autograd import Function, pulled_back
from sfm.data.tokens import system_sum
from sfm.simulate.dynamics.neighbours import Pairs
from sfm.simulate.function_transforms import several, traced

BLOCK = 2**15  # pairs: a dozen arrays of them are a few MB
Radial = Callable[..., tuple[Float[Tensor, " P"], Float[Tensor, " P"]]]
"""From r^2 (P,) angstrom^2 and parameters: energies (P,) eV, their slopes in r^2, eV/angstrom^2."""


def pair_sums(
    radial: Radial,
    listed: Pairs,
    positions: Float[Tensor, "N 3"],
    cell: Float[Tensor, "S 3 3"],
    parameters: Sequence[Float[Tensor, " ..."]],
    *,
    virial: bool,
) -> tuple[Float[Tensor, " S"], Float[Tensor, "N 3"], Float[Tensor, "S 3 3"]]:
    """Energies (S,) eV, forces (N, 3) eV/angstrom and virials (S, 3, 3) eV, zero unless `virial`.

    Args:
        radial: elementwise, `radial(r2, *parameters)`, zero beyond the potential's cutoff. One
            with a method `pulled` (see `_radial_slopes`, whose place it takes) is faster.
        listed: all pairs within that cutoff.
        positions: (N, 3) angstrom. cell: (S, 3, 3) angstrom.
        parameters: whatever `radial` depends on, scalars or not, and may need gradients.
    """
    inputs = (positions, cell, *parameters)
    if traced() or any(several(x) for x in inputs):
        return plain_sums(radial, listed, positions, cell, parameters, virial=virial)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        return cast(
            "tuple[Tensor, Tensor, Tensor]", _PairSums.apply(radial, listed, virial, *inputs)
        )
    return _forward(radial, listed, virial, *inputs)


def plain_sums(
    radial: Radial,
    listed: Pairs,
    positions: Float[Tensor, "N 3"],
    cell: Float[Tensor, "S 3 3"],
    parameters: Sequence[Float[Tensor, " ..."]],
    *,
    virial: bool,
) -> tuple[Float[Tensor, " S"], Float[Tensor, "N 3"], Float[Tensor, "S 3 3"]]:
    """`pair_sums` (eV, angstrom) by operations that autograd records."""
    v = listed.vectors(positions, cell)
    energy, slope = radial(v.square().sum(1), *parameters)
    pull = (2 * slope).unsqueeze(1) * v  # on the first, towards the second if positive
    forces = torch.zeros_like(positions).index_add(0, listed.first, pull)
    forces = forces.index_add(0, listed.second, -pull)
    work = torch.zeros_like(cell)
    if virial:
        each = pull.unsqueeze(2) * v.unsqueeze(1)
        work = -system_sum(each, listed.system, len(cell))
    return system_sum(energy, listed.system, len(cell)), forces, work


class _Blocks:
    """The geometry of a list's pairs, a block of them at a time, in (3, B) arrays."""

    def __init__(self, listed: Pairs, positions: Tensor, cell: Tensor) -> None:
        self.listed, self.count = listed, len(cell)
        self.x = positions.T.contiguous()
        self.offsets = listed.offsets_in(cell)
        size = min(BLOCK, len(listed.first))
        self.room = [positions.new_empty(3, size) for _ in range(2)]

    def __len__(self) -> int:
        return -(-len(self.listed.first) // BLOCK)

    def indices(self, number: int) -> tuple[slice, Tensor, Tensor]:
        """Where block `number` is, and its pairs' particles, (B,) each."""
        place = slice(number * BLOCK, (number + 1) * BLOCK)
        return place, self.listed.first[place], self.listed.second[place]

    def difference(self, values: Tensor, first: Tensor, second: Tensor, k: int = 0) -> Tensor:
        """(3, B) of second less first particle, of values (3, N); in the room k, to be reused."""
        size = len(first)
        out, other = self.room[k][:, :size], torch.empty_like(first, dtype=values.dtype)
        for axis in range(3):
            torch.index_select(values[axis], 0, second, out=out[axis])
            out[axis].sub_(torch.index_select(values[axis], 0, first, out=other))
        return out

    def vectors(self, place: slice, first: Tensor, second: Tensor) -> Tensor:
        """(3, B) angstrom, from the first to the second's image; to be reused."""
        v = self.difference(self.x, first, second)
        return v.add_(self.offsets[:, place])

    def per_system(self, values: Tensor, place: slice, total: Tensor) -> None:
        """Adds values (..., B) to the systems of `total` (..., S)."""
        if self.count == 1:
            total.add_(values.sum(-1, keepdim=True))
        else:
            total.index_add_(-1, self.listed.system[place], values)


def _square(v: Tensor) -> Tensor:
    """(B,) of v (3, B)."""
    return torch.addcmul(torch.addcmul(v[0] * v[0], v[1], v[1]), v[2], v[2])


@torch.no_grad()
def _forward(
    radial: Radial, listed: Pairs, virial: bool, *inputs: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    positions, cell, *parameters = (x.detach() for x in inputs)
    blocks = _Blocks(listed, positions, cell)
    energy, work = cell.new_zeros(1, len(cell)), cell.new_zeros(9, len(cell))
    ahead, back = torch.zeros_like(blocks.x), torch.zeros_like(blocks.x)
    for number in range(len(blocks)):
        place, first, second = blocks.indices(number)
        v = blocks.vectors(place, first, second)
        values, slope = radial(_square(v), *parameters)
        slope = slope.mul(2)
        blocks.per_system(values.unsqueeze(0), place, energy)
        for axis in range(3):
            pull = slope * v[axis]
            ahead[axis].scatter_add_(0, first, pull)
            back[axis].scatter_add_(0, second, pull)
            if virial:
                blocks.per_system(-pull * v, place, work[3 * axis : 3 * axis + 3])
    forces = (ahead - back).T.contiguous()
    return energy[0], forces, work.T.reshape(-1, 3, 3).contiguous()


class _PairSums(Function):
    @staticmethod
    def forward(
        ctx: Any, radial: Radial, listed: Pairs, virial: bool, *inputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.radial, ctx.listed, ctx.virial = radial, listed, virial
        ctx.save_for_backward(*inputs)
        return _forward(radial, listed, virial, *inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, needs = ctx.saved_tensors, ctx.needs_input_grad[3:]
        if torch.is_grad_enabled() or any(several(g) for g in gradients):
            return (None, None, None, *_again(ctx, inputs, needs, gradients))
        slopes = _backward(ctx.radial, ctx.listed, ctx.virial, inputs, needs, gradients)
        return (None, None, None, *slopes)


def _again(
    ctx: Any, inputs: Sequence[Tensor], needs: Sequence[bool], gradients: Sequence[Tensor]
) -> list[Tensor | None]:
    """The gradients of `_backward` from `plain_sums`; with a graph where one is being recorded."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        views = [x.view_as(x) for x in inputs]
        x, cell, values = views[0], views[1], views[2:]
        sums = plain_sums(ctx.radial, ctx.listed, x, cell, values, virial=ctx.virial)
        asked = [x for x, need in zip(views, needs, strict=True) if need]
        slopes = iter(pulled_back(sums, gradients, asked, create_graph=again))
    return [next(slopes) if need else None for need in needs]


def _backward(
    radial: Radial,
    listed: Pairs,
    virial: bool,
    inputs: Sequence[Tensor],
    needs: Sequence[bool],
    gradients: Sequence[Tensor],
) -> list[Tensor | None]:
    """The derivative of g_E E + g_F F + g_W W; `gradients` are these g.

    A pair's share is e g_E + e' c with c = 2 (w r - r g_W r) and w = g_F of first less second.
    """
    positions, cell, *parameters = (x.detach() for x in inputs)
    g_energy, g_work = gradients[0], gradients[2] + gradients[2].mT
    blocks = _Blocks(listed, positions, cell)
    g_forces = gradients[1].T.contiguous()
    ahead, back = torch.zeros_like(blocks.x), torch.zeros_like(blocks.x)
    g_cell = torch.zeros_like(cell) if needs[1] else None
    idle = not bool(g_energy.any())
    totals = [
        torch.zeros_like(p) if n else None for p, n in zip(parameters, needs[2:], strict=True)
    ]
    for number in range(len(blocks)):
        place, first, second = blocks.indices(number)
        v = blocks.vectors(place, first, second)
        w = blocks.difference(g_forces, second, first, 1)
        owner = listed.system[place]
        turned = _turned(g_work, v, owner) if virial else None
        weight = 2 * (w * v).sum(0)
        if turned is not None:
            weight = weight - (turned * v).sum(0)
            w = w - turned
        share = None if idle else g_energy[owner]
        pulled = getattr(radial, "pulled", None) or partial(_radial_slopes, radial, needs[2:])
        slope, bend, more = pulled(_square(v), parameters, share, weight)
        for total, part in zip(totals, more, strict=True):
            if total is not None and part is not None:
                total += part
        for axis in range(3):
            pull = torch.addcmul(bend * v[axis], slope, w[axis]).mul_(2)
            ahead[axis].scatter_add_(0, second, pull)
            back[axis].scatter_add_(0, first, pull)
            if g_cell is not None and blocks.count == 1:
                g_cell[0, :, axis] += pull @ listed.shifts[place]
            elif g_cell is not None:
                each = listed.shifts[place] * pull.unsqueeze(1)
                g_cell[:, :, axis].index_add_(0, owner, each)
    return [(ahead - back).T if needs[0] else None, g_cell, *totals]


def _turned(g_work: Tensor, v: Tensor, owner: Tensor) -> Tensor:
    """(3, B): (g_W + its transpose) r."""
    if len(g_work) == 1:
        return g_work[0] @ v
    return torch.einsum("pij,jp->ip", g_work[owner], v)


def _radial_slopes(
    radial: Radial,
    needs: Sequence[bool],
    r2: Tensor,
    parameters: Sequence[Tensor],
    share: Tensor | None,
    weight: Tensor,
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """e' (B,); d(e share + e' weight)/d(r^2) (B,), and its sum's slopes in the parameters.

    `share` None is 0; parameters that `needs` none have None.
    """
    with torch.enable_grad():
        at = r2.requires_grad_()
        given = [p.requires_grad_(n) for p, n in zip(parameters, needs, strict=True)]
        energy, slope = radial(at, *given)
        asked = [at, *(p for p, n in zip(given, needs, strict=True) if n)]
        share = torch.zeros_like(weight) if share is None else share
        slopes = torch.autograd.grad([energy, slope], asked, [share, weight], allow_unused=True)
    rest = iter(slopes[1:])
    bend = slopes[0] if slopes[0] is not None else torch.zeros_like(r2)
    return slope.detach(), bend, [next(rest) if n else None for n in needs]
