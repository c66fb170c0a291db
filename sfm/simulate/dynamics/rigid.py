"""Distances between particles that stay as they are: SHAKE and RATTLE.

A drift moves particles freely and then back onto the constraints, along the bonds as they were
before it, by masses; velocities are then those of the whole way, without their part along the new
bonds. J.-P. Ryckaert, G. Ciccotti, H. J. C. Berendsen, J. Comput. Phys. 23, 327 (1977); H. C.
Andersen, J. Comput. Phys. 52, 24 (1983). Kicks and friction lose their part along the bonds at
once, which in B A B leaves RATTLE's trajectory and in BAOAB is the geodesic integrator of
B. Leimkuhler, C. Matthews, Proc. R. Soc. A 472, 20160138 (2016).

Bonds that share particles form clusters, each solved by Newton's method with its own small matrix,
all clusters at once. Gradients are implicit: the multipliers are searched without a graph, and two
Newton steps from there, recorded, have their first and second derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm.errors import InputError, RunError

ITERATIONS = 60
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}  # of squared lengths, relative
INDEPENDENT = 1e-8  # smallest eigenvalue of a cluster's matrix, by its largest


@dataclass(frozen=True, eq=False)
class Rigid:
    """Constraints |x_second + shift - x_first| = length: C clusters, up to K bonds of A particles.

    Attributes:
        members: (C, A) indices of particles, 0 beyond a cluster's own.
        incidence: (C, K, A) -1 for the first and 1 for the second particle of a bond.
        shifts: (C, K, 3) of the second's image, in lattice vectors.
        lengths: (C, K) angstrom; 1 beyond a cluster's own bonds.
        system: (C,) each cluster's system.
        counts: (S,) bonds of each system.
    """

    members: Int[Tensor, "C A"]
    incidence: Float[Tensor, "C K A"]
    shifts: Float[Tensor, "C K 3"]
    lengths: Float[Tensor, "C K"]
    system: Int[Tensor, " C"]
    counts: Float[Tensor, " S"]

    @staticmethod
    def of(
        pairs: Int[Tensor, "M 2"],
        shifts: Float[Tensor, "M 3"],
        lengths: Float[Tensor, " M"],
        system: Int[Tensor, " N"],
        free: Bool[Tensor, "N 3"],
    ) -> Rigid | None:
        """Of bonds between particles `pairs` (M, 2), or None where there are none.

        Args:
            shifts: (M, 3) of the second's image, in lattice vectors.
            lengths: (M,) angstrom. system: (N,) ascending.
            free: (N, 3) false where a coordinate is fixed; a bond of two fixed particles is none.
        """
        moving = free.any(1)[pairs].any(1)
        pairs, shifts, lengths = pairs[moving], shifts[moving], lengths[moving]
        if not len(pairs):
            return None
        bonded = pairs.cpu().numpy()
        groups = _clusters(bonded, len(system))
        atoms = [np.unique(bonded[group]) for group in groups]
        count, k, a = len(groups), max(map(len, groups)), max(map(len, atoms))
        members = np.zeros((count, a), dtype=np.int64)
        incidence, where = np.zeros((count, k, a)), np.full((count, k), -1)
        for c, (group, mine) in enumerate(zip(groups, atoms, strict=True)):
            members[c, : len(mine)] = mine
            where[c, : len(group)] = group
            ends = np.searchsorted(mine, bonded[group])
            incidence[c, np.arange(len(group)), ends[:, 0]] = -1
            incidence[c, np.arange(len(group)), ends[:, 1]] = 1
        places = torch.from_numpy(where).to(pairs.device)
        filled = places >= 0
        owner = torch.from_numpy(members).to(system.device)
        return Rigid(
            owner,
            torch.from_numpy(incidence).to(lengths),
            torch.where(filled[..., None], shifts[places], 0.0).to(lengths),
            torch.where(filled, lengths[places], 1.0),
            system[owner[:, 0]],
            system_sum(torch.ones_like(lengths), system[pairs[:, 0]], int(system[-1]) + 1),
        )

    @cached_property
    def _padding(self) -> Tensor:
        """(C, K) 1 where there is no bond."""
        return 1.0 - self.incidence.abs().amax(2)

    def bonds(
        self, positions: Float[Tensor, "N 3"], cell: Float[Tensor, "S 3 3"]
    ) -> Float[Tensor, "C K 3"]:
        """(C, K, 3) angstrom, from first to second particles at (N, 3) in cells (S, 3, 3)."""
        return self.incidence @ positions[self.members] + self.shifts @ cell[self.system]

    def onto(
        self,
        positions: Float[Tensor, "N 3"],
        along: Float[Tensor, "C K 3"],
        mobility: Float[Tensor, "N 3"],
        cell: Float[Tensor, "S 3 3"],
    ) -> Float[Tensor, "N 3"]:
        """(N, 3) angstrom that put `positions` (N, 3) onto the constraints.

        Args:
            along: (C, K, 3) angstrom, bonds along which particles are moved.
            mobility: (N, 3) 1/amu, zero where a coordinate is fixed.
            cell: (S, 3, 3) angstrom.

        Raises:
            RunError: nothing within reach meets them.
        """
        start, weights = self.bonds(positions, cell), self._weights(mobility)
        multipliers = positions.new_zeros(self.lengths.shape)
        tolerance = TOLERANCE.get(positions.dtype, 1e-5)
        square = self.lengths.square()
        with torch.no_grad():
            for _ in range(ITERATIONS):
                multipliers, error = self._newton(multipliers, start, along, weights, square)
                if not bool(torch.isfinite(error).all()):
                    break
                if float(error.max()) < tolerance:
                    break
            else:
                error = error + torch.inf
        if not bool((error < torch.inf).all()):
            raise RunError(
                f"{int(self.counts.sum())} bonds that are to keep their lengths cannot be put "
                "back after a step: use a smaller dt, or look at the starting geometry"
            )
        if torch.is_grad_enabled():
            for _ in range(2):
                multipliers, _ = self._newton(multipliers, start, along, weights, square)
        return self._moved(multipliers, along, mobility)

    def tangent(
        self,
        velocities: Float[Tensor, "N 3"],
        positions: Float[Tensor, "N 3"],
        mobility: Float[Tensor, "N 3"],
        cell: Float[Tensor, "S 3 3"],
    ) -> Float[Tensor, "N 3"]:
        """(N, 3) velocities without their part that would change a bond at `positions` (N, 3)."""
        along, weights = self.bonds(positions, cell), self._weights(mobility)
        rate = (along * (self.incidence @ velocities[self.members])).sum(2)
        matrix = self._matrix(along, along, weights)
        return velocities + self._moved(-_solved(matrix, rate), along, mobility)

    def check(
        self,
        positions: Float[Tensor, "N 3"],
        mobility: Float[Tensor, "N 3"],
        cell: Float[Tensor, "S 3 3"],
    ) -> None:
        """Whether the constraints are independent at `positions` (N, 3).

        Raises:
            InputError: some follow from others.
        """
        along = self.bonds(positions, cell)
        along = along / along.norm(dim=2, keepdim=True).clamp_min(1e-12)
        values = torch.linalg.eigvalsh(self._matrix(along, along, self._weights(mobility)))
        if bool((values[:, 0] < INDEPENDENT * values[:, -1]).any()):
            raise InputError(
                "bonds that are to keep their lengths follow from one another (too many among few "
                "atoms, or in one plane); leave some out"
            )

    def _weights(self, mobility: Tensor) -> Tensor:
        """(C, K, K, 3) 1/amu: how a pull on one bond moves another."""
        each = self.incidence.unsqueeze(3) * mobility[self.members].unsqueeze(1)
        return torch.einsum("cpax,cqa->cpqx", each, self.incidence)

    def _matrix(self, one: Tensor, other: Tensor, weights: Tensor) -> Tensor:
        """(C, K, K): of the bonds' changes, 1 on the diagonal where there is no bond."""
        matrix = (one.unsqueeze(2) * weights * other.unsqueeze(1)).sum(3)
        return matrix + torch.diag_embed(self._padding)

    def _newton(
        self, multipliers: Tensor, start: Tensor, along: Tensor, weights: Tensor, square: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The next multipliers (C, K), and the relative error (C, K) of these."""
        pulled = start + (weights * (multipliers.unsqueeze(2) * along).unsqueeze(1)).sum(2)
        excess = (pulled.square().sum(2) - square) * (1 - self._padding)
        change = _solved(2 * self._matrix(pulled, along, weights), excess)
        return multipliers - change, (excess / square).abs()

    def _moved(self, multipliers: Tensor, along: Tensor, mobility: Tensor) -> Tensor:
        """(N, 3) by which multipliers (C, K) along bonds (C, K, 3) move the particles."""
        pull = self.incidence.mT @ (multipliers.unsqueeze(2) * along)
        each = torch.zeros_like(mobility).index_add(0, self.members.flatten(), pull.flatten(0, 1))
        return mobility * each


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """(C, K) solution of (C, K, K) equations."""
    solution: Tensor = torch.linalg.solve_ex(matrix, right.unsqueeze(2))[0].squeeze(2)
    return solution


def _clusters(pairs: np.ndarray, particles: int) -> list[np.ndarray]:
    """Indices of the bonds of each set that shares particles."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs))
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(particles, particles))
    labels = connected_components(graph, directed=False)[1][pairs[:, 0]]
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
