"""Orbitals and their derivatives of any order at many points: fast, and outside the graph.

With D_m = (d / (r dr))^m R of a contracted radial function R(r^2) = sum_k w_k exp(-a_k r^2), every
derivative of S_lm R is

    d^p (S_lm R) = sum_m Q_pm D_m,   D_m = sum_k w_k (-2 a_k)^m exp(-a_k r^2),
    d_x (Q_m D_m) = (d_x Q_m) D_m + x Q_m D_(m+1),

derived here, with polynomials Q that shells of one degree share. `sfm_dft.integrals.orbitals` has
the differentiable twin; here everything is a matrix product or an exponential, and shells that do
not reach a block of points are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm_dft.integrals.orbitals import displacements
from sfm_dft.integrals.shells import Block, Shells, monomials, solid_harmonics

CPU_BYTES, DEVICE_BYTES = 4_000_000, 1_000_000_000  # of orbitals at a time: what a cache holds
FAR, STEP = 60.0, 0.1  # bohr: how far, and how finely, the reach of a shell is looked for
Polynomial = dict[tuple[int, ...], Tensor]
_Terms = list[tuple[slice, list[tuple[int, Tensor]]]]


class _Group:
    """S shells of one degree on different atoms, each of K primitives.

    atoms: (S,), ascending. exponents: (S, K). weights: (S, K), or (S, 1 + order, K) for D_m.
    """

    def __init__(self, degree: int, atoms: Tensor, exponents: Tensor, weights: Tensor) -> None:
        self.degree, self.atoms, self.exponents, self.weights = degree, atoms, exponents, weights
        first, last = int(atoms[0]), int(atoms[-1]) + 1
        # neighbours need no copy
        self._place = slice(first, last) if last - first == len(atoms) else atoms

    def __len__(self) -> int:
        return len(self.atoms)

    @property
    def width(self) -> int:
        """Functions in a shell, 2 l + 1."""
        return 2 * self.degree + 1

    def of_shells(self, of_atoms: Tensor) -> Tensor:
        """The rows (S, ...) of something that all atoms have (A, ...)."""
        return of_atoms[self._place]

    def raised(self, order: int) -> _Group:
        """With the weights of D_0 to D_order."""
        rates = torch.stack([(-2.0 * self.exponents) ** m for m in range(order + 1)], 1)
        weights = self.weights[:, None] * rates
        return _Group(self.degree, self.atoms, self.exponents, weights)

    def select(self, which: np.ndarray) -> _Group:
        index = torch.from_numpy(np.flatnonzero(which)).to(self.atoms.device)
        tensors = (self.atoms[index], self.exponents[index], self.weights[index])
        return _Group(self.degree, *tensors)

    def to(self, device: torch.device | str) -> _Group:
        tensors = (self.atoms, self.exponents, self.weights)
        return _Group(self.degree, *(x.to(device) for x in tensors))


@dataclass(frozen=True, eq=False)
class Jets:
    """The functions of a basis, in a sequence of their own: groups of equal degree and contraction.

    Attributes:
        groups: the shells. order: (n,) number of each function in the basis.
        atoms: (n,) atom that each function sits on, in the sequence of the groups.
        shell_atoms: (S,) the same of each shell, on the CPU. reach: (S,) bohr.
    """

    groups: tuple[_Group, ...]
    order: Int[Tensor, " n"]
    atoms: Int[Tensor, " n"]
    shell_atoms: Int[np.ndarray, " S"]
    reach: Float[np.ndarray, " S"]

    @classmethod
    @torch.no_grad()
    def of(cls, shells: Shells, negligible: float) -> Jets:
        """negligible: value and slope beyond which a shell does not reach."""
        groups, order, reach = [], [], []
        for block in shells.blocks:
            for members, rows in _alike(block):
                group = _Group(
                    block.degree,
                    block.atoms[members],
                    block.exponents[rows],
                    block.weights()[rows],
                )
                groups.append(group)
                numbers = torch.arange(block.width, device=members.device)
                order.append((block.offsets[members][:, None] + numbers).reshape(-1))
                reach.append(_reach(group, negligible))
        atoms = [g.atoms.repeat_interleave(g.width) for g in groups]
        return cls(
            tuple(groups),
            torch.cat(order),
            torch.cat(atoms),
            torch.cat([g.atoms for g in groups]).cpu().numpy(),
            torch.cat(reach).cpu().numpy(),
        )

    def to(self, device: torch.device | str) -> Jets:
        groups = tuple(group.to(device) for group in self.groups)
        order, atoms = self.order.to(device), self.atoms.to(device)
        return Jets(groups, order, atoms, self.shell_atoms, self.reach)

    def functions(self, which: Bool[np.ndarray, " S"]) -> Int[Tensor, " k"]:
        """Places (k,) in the sequence of the functions of some shells (S,)."""
        widths = [g.width for g in self.groups for _ in range(len(g))]
        return torch.from_numpy(np.flatnonzero(np.repeat(which, widths))).to(self.order.device)

    def __call__(
        self, order: int, points: Tensor, positions: Tensor, which: np.ndarray | None = None
    ) -> Tensor:
        """All derivatives (c, k, g) up to an order, in the sequence 1, x, y, z, xx, xy, ...

        points: (g, 3) and positions: (A, 3), bohr. which: (S,) the shells that are wanted, or all.
        """
        points, positions = points.detach(), positions.detach()
        with torch.no_grad():
            parts = self._chosen(order, which)
            count = sum(part.width * len(part) for part in parts)
            out = points.new_empty(size(order), count, len(points))
            bytes_ = CPU_BYTES if points.device.type == "cpu" else DEVICE_BYTES
            step = max(128, bytes_ // (8 * max(1, count) * size(order)))
            for start in range(0, len(points), step):
                part = slice(start, start + step)
                _evaluate(out[..., part], parts, order, displacements(positions, points[part]))
        return out

    def _chosen(self, order: int, which: np.ndarray | None) -> list[_Group]:
        parts, start = [], 0
        for group in self._raised(order):
            stop = start + len(group)
            if which is None or which[start:stop].all():
                parts.append(group)
            elif which[start:stop].any():
                parts.append(group.select(which[start:stop]))
            start = stop
        return parts

    def _raised(self, order: int) -> tuple[_Group, ...]:
        if order not in self._known:
            self._known[order] = tuple(group.raised(order) for group in self.groups)
        return self._known[order]

    @cached_property
    def _known(self) -> dict[int, tuple[_Group, ...]]:
        return {}


def _alike(block: Block) -> Iterator[tuple[Tensor, Tensor]]:
    """Shells (S,) with equally many primitives (S, K), at most one on each atom."""
    counts = torch.bincount(block.shell, minlength=len(block.atoms))
    starts = counts.cumsum(0) - counts
    rows = torch.argsort(block.shell, stable=True)
    for length in torch.unique(counts).tolist():
        left = (counts == length).nonzero()[:, 0]
        while len(left):
            atoms = block.atoms[left]
            before = (atoms[:, None] == atoms).tril(-1).any(1)
            members = left[~before]
            members = members[torch.argsort(block.atoms[members])]
            numbers = torch.arange(length, device=members.device)
            yield members, rows[starts[members][:, None] + numbers]
            left = left[before]


def _reach(group: _Group, negligible: float) -> Tensor:
    """(S,) distance beyond which neither |chi| nor |grad chi| exceeds ``negligible``."""
    r = torch.arange(STEP, FAR, STEP, dtype=torch.float64, device=group.exponents.device)
    decay = group.weights[..., None] * torch.exp(-group.exponents[..., None] * r.square())
    value, slope = decay.sum(1).abs(), (2.0 * group.exponents[..., None] * decay).sum(1).abs()
    scale = math.sqrt((2 * group.degree + 1) / (4.0 * math.pi))  # largest S_lm at r = 1
    height = scale * r**group.degree * value
    steep = scale * (
        group.degree * r ** (group.degree - 1) * value + r ** (group.degree + 1) * slope
    )
    seen = torch.maximum(height, steep) > negligible
    last = torch.where(seen, torch.arange(1, len(r) + 1, device=r.device), 0).amax(1)
    return torch.where(last == len(r), torch.inf, STEP * (last + 1))


def _evaluate(out: Tensor, parts: Sequence[_Group], order: int, shift: Tensor) -> None:
    """Fill ``out`` (c, k, g) at displacements (3, A, g) from the atoms."""
    x, y, z = shift
    square = (x * x).addcmul_(y, y).addcmul_(z, z)[:, None]
    powers, first = _Powers(shift), 0
    angular: dict[int, _Terms] = {}
    for part in parts:
        if part.degree not in angular:
            angular[part.degree] = powers.angular(part.degree, order)
        last = first + part.width * len(part)
        view = out[:, first:last].unflatten(1, (len(part), -1)).transpose(0, 1)
        _fill(view, part, angular[part.degree], square)
        first = last


def _fill(out: Tensor, group: _Group, angular: _Terms, square: Tensor) -> None:
    """The derivatives (S, c, width, g) of a group, from the polynomials of its degree."""
    decay = group.of_shells(square) * -group.exponents[..., None]
    radial = (group.weights @ decay.exp_())[:, None]  # (S, 1, order + 1, g)
    for rows, terms in angular:
        part = out[:, rows]
        for place, (m, polynomials) in enumerate(terms):
            if place:
                part.addcmul_(group.of_shells(polynomials), radial[:, :, m, None])
            else:
                torch.mul(group.of_shells(polynomials), radial[:, :, m, None], out=part)


class _Powers:
    """Monomials x^i y^j z^k of displacements (3, A, g), by degree, (A, count, g)."""

    def __init__(self, shift: Tensor) -> None:
        self._shift = shift
        self._found = {0: torch.ones_like(shift[0])[:, None]}

    def __call__(self, degree: int) -> Tensor:
        if degree not in self._found:
            lower = self(degree - 1)
            rows = []
            index = {powers: k for k, powers in enumerate(monomials(degree - 1))}
            for powers in monomials(degree):
                axis = next(k for k in range(3) if powers[k])
                less = tuple(p - (k == axis) for k, p in enumerate(powers))
                rows.append(lower[:, index[less]] * self._shift[axis])  # type: ignore[index]
            self._found[degree] = torch.stack(rows, 1)
        return self._found[degree]

    def angular(self, degree: int, order: int) -> _Terms:
        """For the derivatives of each order: their rows, and Q_pm (A, rows, 2 l + 1, g) by m."""
        harmonics = solid_harmonics(degree).mT.to(self._shift.device) @ self(degree)
        out = []
        for k, terms in enumerate(_tables(degree, order)):
            rows = slice(size(k - 1), size(k))
            values = []
            for m, power, matrix in terms:
                if m == k:  # x^p S
                    value = self(k)[:, :, None] * harmonics[:, None] if k else harmonics[:, None]
                else:
                    value = matrix.to(self._shift.device) @ self(power)
                    value = value.unflatten(1, (rows.stop - rows.start, -1))
                values.append((m, value))
            out.append((rows, values))
        return out


@cache
@torch.inference_mode(False)
def _tables(degree: int, order: int) -> list[list[tuple[int, int, Tensor]]]:
    """For the derivatives of each order: (m, degree of Q, coefficients of all Q one after another
    (rows * (2 l + 1), monomials))."""
    harmonics = solid_harmonics(degree)
    start: Polynomial = {powers: harmonics[k] for k, powers in enumerate(monomials(degree))}
    known: dict[tuple[int, ...], dict[int, Polynomial]] = {(0, 0, 0): {0: start}}
    zero, out = torch.zeros(2 * degree + 1, dtype=torch.float64), []
    for k in range(order + 1):
        for powers in monomials(k):
            if k:
                axis = next(a for a in range(3) if powers[a])
                less = tuple(p - (a == axis) for a, p in enumerate(powers))
                known[powers] = _derivative(known[less], axis)
        terms = []
        for m in sorted({m for powers in monomials(k) for m in known[powers]}):
            power = degree - k + 2 * m
            blocks = [
                torch.stack([known[powers].get(m, {}).get(p, zero) for p in monomials(power)], 1)
                for powers in monomials(k)
            ]
            terms.append((m, power, torch.cat(blocks)))
        out.append(terms)
    return out


def _derivative(terms: dict[int, Polynomial], axis: int) -> dict[int, Polynomial]:
    """Of sum_m Q_m D_m along one axis."""
    out: dict[int, Polynomial] = {}

    def add(m: int, powers: tuple[int, ...], shift: int, value: Tensor) -> None:
        moved = tuple(p + shift * (k == axis) for k, p in enumerate(powers))
        into = out.setdefault(m, {})
        into[moved] = into[moved] + value if moved in into else value

    for m, polynomial in terms.items():
        for powers, value in polynomial.items():
            if powers[axis]:
                add(m, powers, -1, powers[axis] * value)
            add(m + 1, powers, 1, value)
    return out


def size(order: int) -> int:
    """Number of derivatives up to an order."""
    return (order + 1) * (order + 2) * (order + 3) // 6
