"""Charge distributions in Hermite Gaussians, and the integrals between two of them.

McMurchie and Davidson: a product of two Gaussians is a sum of Hermite Gaussians

    Lambda_tuv = d_Px^t d_Py^u d_Pz^v exp(-p |r - P|^2),

and an integral of two Lambdas over any kernel of distance is a derivative of the integral between
two spherical Gaussians: R_{t+t',u+u',v+v'}(P - Q) (-1)^(t'+u'+v'). Everything is a closed recursion
in the distance vectors, so it is smooth where centres coincide and autograd differentiates it.

Reference: McMurchie, Davidson, J. Comput. Phys. 26, 218 (1978).

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm_dft.integrals.boys import boys
from sfm_dft.integrals.shells import Block, Shells, monomials, solid_harmonics

Kernel = Literal["coulomb", "overlap"]
Ends = tuple[Tensor, Tensor | None]  # centres (M, 3) and exponents (M,), None for points
NEGLIGIBLE = 1e-19


@dataclass(frozen=True)
class Distribution:
    """M primitive charge distributions, each `width` functions in Hermite Gaussians.

    Attributes:
        exponents: (M,), or None for point charges. centres: (M, 3).
        scale: (M,) times expansion: (M or 1, width, H) are the coefficients of Lambda_tuv.
        lowest, highest: total orders t+u+v present; H counts them all in `monomials` order.
        group: (M,) which contracted function block each primitive adds to; groups: their number.
    """

    exponents: Float[Tensor, " M"] | None
    centres: Float[Tensor, "M 3"]
    scale: Float[Tensor, " M"]
    expansion: Float[Tensor, "_ width H"]
    lowest: int
    highest: int
    group: Int[Tensor, " M"]
    groups: int

    def coefficients(self) -> Float[Tensor, "M width H"]:
        """(M, width, H)."""
        return self.scale[:, None, None] * self.expansion

    def weighted(self, weights: Float[Tensor, "groups width"]) -> Distribution:
        """One density: the sum of all functions, each times weights (groups, width)."""
        density = torch.einsum("mw,mwh->mh", weights[self.group], self.coefficients())
        return replace(self, scale=torch.ones_like(self.scale), expansion=density[:, None])


def hermite_orders(lowest: int, highest: int) -> list[tuple[int, int, int]]:
    """(t, u, v) of total order `lowest` to `highest`."""
    return [powers for order in range(lowest, highest + 1) for powers in monomials(order)]


def singles(shells: Shells, block: Block) -> Distribution:
    """The shells of one block by themselves.

    S_lm(r - R) exp(-a |r - R|^2) = S_lm(d_R) exp(-a |r - R|^2) / (2 a)^l, because S is harmonic:
    only Hermite Gaussians of order l take part.
    """
    scale = block.weights() * (2.0 * block.exponents) ** -block.degree
    harmonics = solid_harmonics(block.degree).to(scale.device)
    return Distribution(
        block.exponents,
        shells.positions[block.atoms[block.shell]],
        scale,
        harmonics.mT[None],
        block.degree,
        block.degree,
        block.shell,
        len(block.atoms),
    )


def points(positions: Float[Tensor, "A 3"], charges: Float[Tensor, " A"]) -> Distribution:
    """Point charges: positions (A, 3), charges (A,)."""
    group = torch.arange(len(charges), device=charges.device)
    unit = charges.new_ones(1, 1, 1)
    return Distribution(None, positions, charges, unit, 0, 0, group, len(charges))


@dataclass(frozen=True)
class Pairs:
    """Primitive pairs of two blocks that are not negligible, with what every integral needs.

    Attributes:
        left, right: the blocks; where they are the same, shells come with left >= right.
        weight: (M,) product of coefficients times exp(-a b |A - B|^2 / (a + b)).
        a, b, p: (M,) exponents and their sum. pa, pb: (M, 3) P - A and P - B. centres: (M, 3) P.
        centre_b: (M, 3) B.
        group: (M,) shell pair; shells: (2, groups) its shells.
    """

    left: Block
    right: Block
    weight: Float[Tensor, " M"]
    a: Float[Tensor, " M"]
    b: Float[Tensor, " M"]
    p: Float[Tensor, " M"]
    pa: Float[Tensor, "M 3"]
    pb: Float[Tensor, "M 3"]
    centres: Float[Tensor, "M 3"]
    centre_b: Float[Tensor, "M 3"]
    group: Int[Tensor, " M"]
    shells: Int[Tensor, "2 groups"]

    @property
    def groups(self) -> int:
        return self.shells.shape[1]

    def functions(self) -> tuple[Int[Tensor, "groups a b"], Int[Tensor, "groups a b"]]:
        """Basis functions (mu, nu) of each integral, both (groups, 2 l_a + 1, 2 l_b + 1)."""
        device = self.group.device
        x = torch.arange(self.left.width, device=device)[:, None]
        y = torch.arange(self.right.width, device=device)
        mu = self.left.offsets[self.shells[0]][:, None, None] + x + 0 * y
        nu = self.right.offsets[self.shells[1]][:, None, None] + y + 0 * x
        return mu, nu

    def moments(self, extra: int = 0) -> Float[Tensor, "M 3 _ _ _"]:
        """E (M, 3, l_a + 1, l_b + 1 + extra, L + 1) of every Cartesian direction, without weight.

        x_A^i x_B^j exp(-p x_P^2) = sum_t E^ij_t d_P^t exp(-p x_P^2).
        """
        la, lb = self.left.degree, self.right.degree + extra
        half = (0.5 / self.p)[:, None, None]
        pa, pb = self.pa[..., None], self.pb[..., None]
        row = torch.ones_like(pa)
        rows: list[list[Tensor]] = []
        for i in range(la + 1):
            line = [row]
            for _ in range(lb):
                line.append(_raise(line[-1], half, pb))
            rows.append([torch.nn.functional.pad(e, (0, la + lb + 1 - e.shape[-1])) for e in line])
            if i < la:
                row = _raise(row, half, pa)
        return torch.stack([torch.stack(line, 2) for line in rows], 2)

    def spherical(self, cartesian: Float[Tensor, "M _ _ *axes"]) -> Float[Tensor, "M _ _ *axes"]:
        """(M, n_a, n_b, ...) Cartesian components -> (M, 2 l_a + 1, 2 l_b + 1, ...)."""
        x = solid_harmonics(self.left.degree).to(cartesian.device)
        y = solid_harmonics(self.right.degree).to(cartesian.device)
        return torch.einsum("mab...,ax,by->mxy...", cartesian, x, y)

    def distribution(self) -> Distribution:
        """Products of two shells; width (2 l_a + 1)(2 l_b + 1)."""
        e = self.moments()
        highest = self.left.degree + self.right.degree
        orders = hermite_orders(0, highest)
        factors = []
        for axis in range(3):
            i = [powers[axis] for powers in monomials(self.left.degree)]
            j = [powers[axis] for powers in monomials(self.right.degree)]
            t = [powers[axis] for powers in orders]
            index = [torch.tensor(x, device=e.device) for x in (i, j, t)]
            factors.append(e[:, axis, index[0][:, None, None], index[1][:, None], index[2]])
        expansion = self.spherical(factors[0] * factors[1] * factors[2]).flatten(1, 2)
        return Distribution(
            self.p, self.centres, self.weight, expansion, 0, highest, self.group, self.groups
        )


def _raise(row: Tensor, half: Tensor, shift: Tensor) -> Tensor:
    """E of one more power: half E_(t-1) + shift E_t + (t + 1) E_(t+1); row is (M, 3, T)."""
    size = row.shape[-1]
    factor = torch.arange(1, size, dtype=row.dtype, device=row.device)
    pad = torch.nn.functional.pad
    out = pad(half * row, (1, 0)) + pad(shift * row, (0, 1))
    return out + pad(factor * row[..., 1:], (0, 2)) if size > 1 else out


def pairs(shells: Shells, left: Block, right: Block) -> Pairs:
    """Primitive pairs of two blocks of one basis; `left` is `right` or comes later."""
    device = shells.positions.device
    count_a, count_b = len(left.atoms), len(right.atoms)
    sa = torch.arange(count_a, device=device).repeat_interleave(count_b)
    sb = torch.arange(count_b, device=device).repeat(count_a)
    if left is right:
        keep = sa >= sb
        sa, sb = sa[keep], sb[keep]
    number = torch.full((count_a, count_b), -1, dtype=torch.int64, device=device)
    number[sa, sb] = torch.arange(len(sa), device=device)
    group = number[left.shell[:, None], right.shell[None, :]]
    centre_a = shells.positions[left.atoms[left.shell]]
    centre_b = shells.positions[right.atoms[right.shell]]
    wa, wb = left.weights(), right.weights()
    with torch.no_grad():
        total = left.exponents[:, None] + right.exponents
        distance = (centre_a[:, None] - centre_b).square().sum(-1)
        decay = torch.exp(-left.exponents[:, None] * right.exponents / total * distance)
        keep = (group >= 0) & ((wa[:, None] * wb).abs() * decay > NEGLIGIBLE)
        first, second = keep.nonzero(as_tuple=True)
        sort = torch.argsort(group[first, second], stable=True)
        first, second = first[sort], second[sort]
    a, b = left.exponents[first], right.exponents[second]
    centre_a, centre_b = centre_a[first], centre_b[second]
    p = a + b
    between = centre_a - centre_b
    weight = wa[first] * wb[second] * torch.exp(-a * b / p * between.square().sum(-1))
    pa, pb = -(b / p)[:, None] * between, (a / p)[:, None] * between
    shells_of = torch.stack([sa, sb])
    return Pairs(
        left, right, weight, a, b, p, pa, pb,
        centre_a + pa, centre_b, group[first, second], shells_of,
    )  # fmt: skip


def derivatives(
    bra: Ends,
    highest_bra: int,
    ket: Ends,
    highest_ket: int,
    kernel: Kernel,
    scale: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, "M H N"]:
    """R_tuv (M, H, N) of total order 0 to highest_bra + highest_ket between all primitives.

    scale: (N,) multiplies each column.
    """
    order = highest_bra + highest_ket
    shift = (bra[0][:, None] - ket[0]).permute(2, 0, 1)
    square = shift.square().sum(0)
    assert bra[1] is not None
    p, q = bra[1][:, None], ket[1]
    if q is None:
        alpha, front = p, (2.0 * math.pi) / p
    else:
        alpha = p * q / (p + q)
        if kernel == "coulomb":
            front = 2.0 * math.pi**2.5 / (p * q * torch.sqrt(p + q))
        else:
            front = (math.pi / (p + q)) ** 1.5
    if scale is not None:
        front = front * scale
    x = alpha * square
    radial = boys(x, order) if kernel == "coulomb" else torch.exp(-x).expand(order + 1, *x.shape)
    seeds, factor = [], front
    for n in range(order + 1):
        seeds.append(radial[n] * factor)
        factor = factor * (-2.0 * alpha)
    level = torch.stack(seeds, 1)[:, :, None]  # (M, orders left, components, N)
    below: Tensor | None = None
    parts = [level[:, 0]]
    dx, dy, dz = (s[:, None, None] for s in shift)
    for k in range(order):
        following = _next(level, below, k, dx, dy, dz)
        below, level = level, following
        parts.append(level[:, 0])
    return torch.cat(parts, 1)


def _next(
    level: Tensor, below: Tensor | None, k: int, dx: Tensor, dy: Tensor, dz: Tensor
) -> Tensor:
    """R^n of total order k + 1 from R^(n+1) of orders k and k - 1."""
    up = level[:, 1:]
    if below is None:
        return torch.cat([dx * up, dy * up, dz * up], 2)
    lower = below[:, 1 : 1 + up.shape[1]]
    along_x, along_y = _powers(k, up.device)
    head = torch.addcmul(along_x * lower, dx, up[:, :, : lower.shape[2]])
    middle = torch.addcmul(along_y * lower[:, :, -k:], dy, up[:, :, -k - 1 : -1])
    last = torch.addcmul(k * lower[:, :, -1:], dz, up[:, :, -1:])
    rest = dx * up[:, :, lower.shape[2] :]
    return torch.cat([head, rest, middle, dy * up[:, :, -1:], last], 2)


@cache
@torch.inference_mode(False)
def _powers(k: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """t of the components of order k with t > 0, and u of those with t = 0 and u > 0."""
    x = [float(t) for t, _, _ in monomials(k) if t]
    y = [float(u) for t, u, _ in monomials(k) if not t and u]

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=device)[:, None]

    return column(x), column(y)


@cache
@torch.inference_mode(False)
def sums(
    low_bra: int, high_bra: int, low_ket: int, high_ket: int, device: torch.device
) -> tuple[Int[Tensor, "h k"], Float[Tensor, " k"]]:
    """Where R_(h + h') stands for bra orders h and ket orders h', (H, H'), and signs (H',)."""
    index = {h: n for n, h in enumerate(hermite_orders(0, high_bra + high_ket))}
    kets = hermite_orders(low_ket, high_ket)
    rows = [
        [index[h[0] + g[0], h[1] + g[1], h[2] + g[2]] for g in kets]
        for h in hermite_orders(low_bra, high_bra)
    ]
    signs = [(-1.0) ** sum(g) for g in kets]
    return (
        torch.tensor(rows, device=device),
        torch.tensor(signs, dtype=torch.float64, device=device),
    )
