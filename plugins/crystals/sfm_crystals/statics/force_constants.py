"""Force constants of a supercell by differentiation, and the dynamical matrices that they make.

    Phi_ij = d2E / du_i du_j,   D(q)_ab = 1/sqrt(m_a m_b) sum_R Phi_(0a)(Rb) exp(i q (R + b - a))

K. Parlinski, Z. Q. Li, Y. Kawazoe, Phys. Rev. Lett. 78, 4063 (1997): of equally near images of an
atom in the supercell each has its share. Rows of the Hessian are those of one cell's atoms; no
displacement has a size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from sfm.constants import ACCELERATION
from sfm_crystals.cells import Cells, EnergyFunction

SAME = 1e-4  # angstrom, by which distances of images count as equal
THZ = ACCELERATION**0.5 / (2 * np.pi) * 1e3  # of sqrt(eV / angstrom^2 / amu): 15.6333


@dataclass(frozen=True, eq=False)
class Lattice:
    """Where the atoms of a supercell belong.

    Attributes:
        cells: the supercell: the atoms of each copy one after another, the given cell first.
        vectors: (P, 3) from an atom of the first cell to an image of an atom of the supercell, in
            vectors of the given cell; all that are equally near.
        first, second: (P,) which atoms these are, of n and of n copies.
        weight: (P,) one over how many are equally near.
    """

    cells: Cells
    vectors: Float[Tensor, "P 3"]
    first: Int[Tensor, " P"]
    second: Int[Tensor, " P"]
    weight: Float[Tensor, " P"]


def supercell(cells: Cells, repeats: tuple[int, int, int]) -> Lattice:
    """`repeats` copies of one cell along its vectors; differentiable in it.

    Args:
        cells: one cell of n atoms.
        repeats: along each lattice vector.
    """
    box, x = cells.cell[0], cells.positions
    axes = [np.arange(r) for r in repeats]
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    shifts = torch.from_numpy(steps).to(x)
    n, count = len(x), len(steps)
    large = Cells(
        positions=(x.unsqueeze(0) + (shifts @ box).unsqueeze(1)).reshape(-1, 3),
        types=cells.types.repeat(count),
        cell=(torch.tensor(repeats).to(x).unsqueeze(1) * box).unsqueeze(0),
        system=torch.zeros(n * count, dtype=torch.long, device=x.device),
    )
    inside = x.detach().cpu().double().numpy() @ np.linalg.inv(box.detach().cpu().double().numpy())
    vectors, first, second, weight = _nearest(
        inside, steps, np.array(repeats), box.detach().cpu().double().numpy()
    )
    return Lattice(
        cells=large,
        vectors=torch.from_numpy(vectors).to(x),
        first=torch.from_numpy(first).to(x.device),
        second=torch.from_numpy(second).to(x.device),
        weight=torch.from_numpy(weight).to(x),
    )


def _nearest(
    inside: np.ndarray, steps: np.ndarray, repeats: np.ndarray, box: np.ndarray
) -> tuple[np.ndarray, ...]:
    """`vectors`, `first`, `second`, `weight` of `Lattice`, from fractional positions (n, 3)."""
    n = len(inside)
    everywhere = (steps[:, None] + inside[None]).reshape(-1, 3)
    away = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    images = away * repeats
    vectors, first, second, weight = [], [], [], []
    for a in range(n):
        between = everywhere - inside[a]
        between = between - repeats * np.round(between / repeats)
        all_images = between[:, None] + images[None]
        length = np.linalg.norm(all_images @ box, axis=2)
        near = length < length.min(1, keepdims=True) + SAME
        which, image = np.nonzero(near)
        vectors.append(all_images[which, image])
        first.append(np.full(len(which), a))
        second.append(which)
        weight.append(1 / near.sum(1)[which])
    return tuple(np.concatenate(rows) for rows in (vectors, first, second, weight))


def force_constants(energy: EnergyFunction, lattice: Lattice, n: int) -> Float[Tensor, "{n} M 3 3"]:
    """(n, M, 3, 3) eV/angstrom^2 of the first cell's n atoms with all M of the supercell.

    Differentiable where gradients are recorded.

    Args:
        energy: (S,) eV of cells, twice differentiable.
        lattice: the supercell.
        n: atoms of a cell.
    """
    keep = torch.is_grad_enabled()
    cells = lattice.cells
    with torch.enable_grad():
        moved = torch.zeros_like(cells.positions, requires_grad=True)
        still = torch.zeros_like(cells.cell)
        value = energy(cells.deformed(moved, still)).sum()
        (slope,) = torch.autograd.grad(value, moved, create_graph=True)
        rows = [
            torch.autograd.grad(
                slope[a, k], moved, retain_graph=True, create_graph=keep, materialize_grads=True
            )[0]
            for a in range(n)
            for k in range(3)
        ]
    constants = torch.stack(rows).reshape(n, 3, len(cells.positions), 3).transpose(1, 2)
    return constants if keep else constants.detach()


@dataclass(frozen=True, eq=False)
class ForceConstants:
    """Force constants of a crystal, and the masses that move under them.

    Attributes:
        lattice: the supercell.
        values: (n, M, 3, 3) eV/angstrom^2 of the cell's n atoms with all M of the supercell.
        masses: (n,) amu.
    """

    lattice: Lattice
    values: Float[Tensor, "n M 3 3"]
    masses: Float[Tensor, " n"]

    def frequencies(self, points: Float[Tensor, "Q 3"]) -> Float[Tensor, "Q B"]:
        """(Q, 3 n) THz at wave vectors (Q, 3) in units of the cell's reciprocal vectors."""
        return frequencies(dynamical_matrices(self.values, self.lattice, self.masses, points))

    def detached(self) -> ForceConstants:
        """The same without a graph."""
        return replace(self, values=self.values.detach(), masses=self.masses.detach())


def dynamical_matrices(
    constants: Float[Tensor, "n M 3 3"],
    lattice: Lattice,
    masses: Float[Tensor, " n"],
    points: Float[Tensor, "Q 3"],
) -> Complex[Tensor, "Q 3*n 3*n"]:
    """(Q, 3 n, 3 n) Hermitian, eV/angstrom^2/amu.

    Args:
        constants: (n, M, 3, 3) eV/angstrom^2.
        lattice: the supercell.
        masses: (n,) amu.
        points: (Q, 3) wave vectors in units of the given cell's reciprocal vectors.
    """
    n = len(masses)
    phase = 2 * np.pi * points.to(constants) @ lattice.vectors.T
    weight = lattice.weight * torch.polar(torch.ones_like(phase), phase)  # (Q, P)
    pairs = constants[lattice.first, lattice.second].reshape(-1, 9).to(weight.dtype)
    place = lattice.first * n + lattice.second % n
    terms = weight.unsqueeze(2) * pairs
    sums = terms.new_zeros(len(points), n * n, 9).index_add(1, place, terms)
    matrix = sums.reshape(-1, n, n, 3, 3).transpose(2, 3).reshape(-1, 3 * n, 3 * n)
    scale = masses.repeat_interleave(3).rsqrt()
    matrix = matrix * scale.unsqueeze(1) * scale
    return (matrix + matrix.mH) / 2


def frequencies(matrices: Complex[Tensor, "Q B B"]) -> Float[Tensor, "Q B"]:
    """(Q, 3 n) THz of `dynamical_matrices` (Q, M, M), ascending; negative where imaginary.

    Differentiable, other than at zero, where a frequency counts as constant.
    """
    squares = torch.linalg.eigvalsh(matrices)
    moves = squares.abs() > 1e-12
    roots = torch.where(moves, squares.abs(), 1.0).sqrt()
    in_thz: Tensor = THZ * torch.where(moves, squares.sign() * roots, 0.0)
    return in_thz
