"""Contracted spherical Gaussians as tensors, in PySCF's order and normalisation.

    chi_lm(r) = S_lm(r - R) sum_k c_k N(l, a_k) exp(-a_k |r - R|^2)

with S_lm the real solid harmonics (m from -l to l; x, y, z for l = 1) times their usual factor
sqrt((2 l + 1) / 4 pi), N the radial normalisation of one primitive, and the sum normalised to one
(Helgaker, Joergensen, Olsen, Molecular Electronic-Structure Theory, 2000, chapter 6).
Derivatives with respect to exponents and coefficients go through both normalisations.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.errors import InputError

LARGEST_DEGREE = 5
_Part = tuple[int, int, np.ndarray, np.ndarray]  # atom, l, exponents, coefficients


@dataclass(frozen=True)
class Block:
    """All shells of one angular momentum; K primitives in S contracted shells.

    Attributes:
        degree: l. atoms: (S,) which atom each shell sits on.
        shell: (K,) the contracted shell of each primitive.
        exponents: (K,) bohr^-2. coefficients: (K,) of normalised primitives.
        offsets: (S,) index of each shell's first function.
    """

    degree: int
    atoms: Int[Tensor, " S"]
    shell: Int[Tensor, " K"]
    exponents: Float[Tensor, " K"]
    coefficients: Float[Tensor, " K"]
    offsets: Int[Tensor, " S"]

    @property
    def width(self) -> int:
        """Functions in a shell, 2 l + 1."""
        return 2 * self.degree + 1

    def weights(self) -> Float[Tensor, " K"]:
        """Coefficients (K,) of the bare primitives r^l exp(-a r^2), both normalisations done."""
        power = self.degree + 1.5
        scale = 0.5 * math.gamma(power)  # integral of r^(2l+2) exp(-a r^2) = scale a^-power
        bare = self.coefficients * (2.0 * self.exponents) ** (0.5 * power) / math.sqrt(scale)
        left, right = _partners(self.shell)
        overlap = scale * (self.exponents[left] + self.exponents[right]) ** -power
        square = torch.zeros_like(self.offsets, dtype=bare.dtype).index_add(
            0, self.shell[left], bare[left] * bare[right] * overlap
        )
        return bare * square.rsqrt()[self.shell]


@dataclass(frozen=True)
class Shells:
    """A basis on a molecule. positions: (A, 3) bohr; blocks by degree; size: functions in all."""

    positions: Float[Tensor, "A 3"]
    blocks: tuple[Block, ...]
    size: int

    def at(self, positions: Float[Tensor, "A 3"]) -> Shells:
        """The same shells with the atoms elsewhere."""
        return replace(self, positions=positions)

    def joined(self, other: Shells) -> Shells:
        """These functions, and then those of another basis on the same atoms."""
        blocks = {block.degree: block for block in self.blocks}
        for block in other.blocks:
            moved = replace(block, offsets=block.offsets + self.size)
            first = blocks.get(block.degree)
            blocks[block.degree] = moved if first is None else _merged(first, moved)
        ordered = tuple(blocks[degree] for degree in sorted(blocks))
        return Shells(self.positions, ordered, self.size + other.size)

    def order(self) -> Int[Tensor, " size"]:
        """(size,) where each function stands when blocks are laid one after another."""
        numbers = [
            (block.offsets[:, None] + torch.arange(block.width, device=block.offsets.device))
            for block in self.blocks
        ]
        return torch.argsort(torch.cat([n.reshape(-1) for n in numbers]))

    @classmethod
    def of(
        cls, molecule: Any, *, device: torch.device | str = "cpu", largest: int = LARGEST_DEGREE
    ) -> Shells:
        """The basis of a PySCF molecule (general contractions become separate shells).

        Raises:
            InputError: Cartesian functions, effective core potentials, or degrees above ``largest``
                (integrals end at 5, values at points do not).
        """
        if molecule.cart or molecule.has_ecp():
            raise InputError("integrals in torch take spherical shells without core potentials")
        parts: list[_Part] = []
        for index in range(molecule.nbas):
            degree, exponents = molecule.bas_angular(index), molecule.bas_exp(index)
            power = degree + 1.5
            norm = (2.0 * exponents) ** (0.5 * power) / math.sqrt(0.5 * math.gamma(power))
            columns = molecule._libcint_ctr_coeff(index) / norm[:, None]
            parts += [(molecule.bas_atom(index), degree, exponents, c) for c in columns.T]
        positions = torch.tensor(molecule.atom_coords(), dtype=torch.float64, device=device)
        return _collect(parts, positions, largest)

    @classmethod
    def of_tables(
        cls,
        tables: Mapping[int, Sequence[Sequence[Any]]],
        numbers: Int[Tensor, " A"],
        positions: Float[Tensor, "A 3"],
        *,
        largest: int = LARGEST_DEGREE,
    ) -> Shells:
        """Atoms (A,) at positions (A, 3) in bohr with shells ``[l, [exponent, coefficient, ...],
        ...]`` by atomic number; each column of coefficients is a shell.

        Raises:
            InputError: a degree above ``largest``.
        """
        known = {number: list(_columns(table)) for number, table in tables.items()}
        parts: list[_Part] = [
            (atom, *part) for atom, number in enumerate(numbers.tolist()) for part in known[number]
        ]
        return _collect(parts, positions, largest)


def _columns(table: Sequence[Sequence[Any]]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    for degree, *rows in table:
        if rows and isinstance(rows[0], int):  # PySCF's kappa
            rows = rows[1:]
        values = np.array(sorted(rows, reverse=True), dtype=np.float64)
        for column in values[:, 1:].T:
            yield degree, values[:, 0], column


def _collect(parts: Sequence[_Part], positions: Tensor, largest: int) -> Shells:
    by_degree: dict[int, list[tuple[int, np.ndarray, np.ndarray, int]]] = {}
    offset = 0
    for atom, degree, exponents, column in parts:
        if degree > largest:
            raise InputError(f"a shell with l={degree}; up to {largest} is supported")
        by_degree.setdefault(degree, []).append((atom, exponents, column, offset))
        offset += 2 * degree + 1
    blocks = tuple(
        _block(degree, by_degree[degree], positions.device) for degree in sorted(by_degree)
    )
    return Shells(positions, blocks, offset)


def _block(degree: int, shells: list[Any], device: torch.device | str) -> Block:
    def real(values: Any) -> Tensor:
        return torch.tensor(np.concatenate(values), dtype=torch.float64, device=device)

    def whole(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=device)

    return Block(
        degree,
        whole([shell[0] for shell in shells]),
        whole([k for k, shell in enumerate(shells) for _ in shell[1]]),
        real([shell[1] for shell in shells]),
        real([shell[2] for shell in shells]),
        whole([shell[3] for shell in shells]),
    )


def _merged(first: Block, second: Block) -> Block:
    return Block(
        first.degree,
        torch.cat([first.atoms, second.atoms]),
        torch.cat([first.shell, second.shell + len(first.atoms)]),
        torch.cat([first.exponents, second.exponents]),
        torch.cat([first.coefficients, second.coefficients]),
        torch.cat([first.offsets, second.offsets]),
    )


def _partners(shell: Tensor) -> tuple[Tensor, Tensor]:
    """All ordered pairs of primitives of the same shell."""
    counts = torch.bincount(shell)
    left = torch.repeat_interleave(torch.arange(len(shell), device=shell.device), counts[shell])
    starts = torch.cumsum(counts, 0) - counts
    first = torch.cumsum(counts[shell], 0) - counts[shell]
    right = torch.arange(len(left), device=shell.device) - first[left] + starts[shell[left]]
    return left, right


@cache
def monomials(degree: int) -> tuple[tuple[int, int, int], ...]:
    """Exponents of x, y, z of degree l: xx, xy, xz, yy, yz, zz."""
    return tuple(
        (i, j, degree - i - j) for i in range(degree, -1, -1) for j in range(degree - i, -1, -1)
    )


@cache
@torch.inference_mode(False)
def solid_harmonics(degree: int) -> Float[Tensor, "({degree}+1)*({degree}+2)//2 2*{degree}+1"]:
    """Coefficients ((l+1)(l+2)/2, 2l+1) of S_lm in `monomials`, times sqrt((2l+1) / 4 pi).

    Helgaker, Joergensen, Olsen, Molecular Electronic-Structure Theory, eq. 6.4.47; for l = 1 the
    order is x, y, z.
    """
    index = {powers: k for k, powers in enumerate(monomials(degree))}
    out = torch.zeros(len(index), 2 * degree + 1, dtype=torch.float64)
    for column, m in enumerate((1, -1, 0) if degree == 1 else range(-degree, degree + 1)):
        k, odd = abs(m), int(m < 0)
        norm = math.factorial(degree + k) * math.factorial(degree - k) * (1 if m == 0 else 2)
        scale = math.sqrt(norm) / (2**k * math.factorial(degree))
        scale *= math.sqrt((2 * degree + 1) / (4.0 * math.pi))
        for t in range((degree - k) // 2 + 1):
            for u in range(t + 1):
                for w in range(odd, k + 1, 2):  # w = 2 v
                    sign = (-1) ** (t + (w - odd) // 2)
                    binomials = (
                        math.comb(degree, t)
                        * math.comb(degree - t, k + t)
                        * math.comb(t, u)
                        * math.comb(k, w)
                    )
                    powers = (2 * t + k - 2 * u - w, 2 * u + w, degree - 2 * t - k)
                    out[index[powers], column] += scale * sign * 0.25**t * binomials
    return out
