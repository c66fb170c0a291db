"""The universal force field in torch.

    E = sum_bonds 1/2 k (r - r0)^2 + sum_angles k a(theta) + sum_torsions V/2 (1 - s cos n phi)
        + sum_inversions k (c0 + c1 cos w + c2 cos 2w) + sum_pairs D ((x/r)^12 - 2 (x/r)^6)

with a(theta) = (1 - cos n theta) / n^2 for linear, trigonal and octahedral centres (n = 1, 3, 4)
and c0 + c1 cos theta + c2 cos 2 theta for others. There is no electrostatics, as in the paper's own
parameters. Only cosines are formed, so energies and all derivatives stay finite for planar and
linear arrangements (the cosine of a dihedral angle is undefined when three of its atoms are on a
line; that term is then left out). rdkit's penalty for angles below 30 degrees at planar and linear
centres is included; it is the only term that is not smooth.

A. K. Rappé et al., J. Am. Chem. Soc. 114, 10024 (1992), doi:10.1021/ja00051a040.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_molecules.constants import KCAL_PER_MOL
from sfm_molecules.potentials.uff_terms import GENERAL, LINEAR, Terms, terms

if TYPE_CHECKING:
    from rdkit.Chem import Mol

KINDS = ("bonds", "angles", "torsions", "inversions", "pairs")
NARROW = math.cos(math.radians(30))


class UniversalForceField(nn.Module):
    """Energy of a batch of molecules under UFF, in eV.

    Args:
        molecules: rdkit molecules with explicit hydrogens, one per system of the batch and in its
            order; their conformers are not used.

    Raises:
        InputError: UFF has no type for an atom, or hydrogens are missing.
    """

    def __init__(self, molecules: Sequence[Mol]) -> None:
        super().__init__()
        self._set_up([m.GetNumAtoms() for m in molecules], [terms(m) for m in molecules])

    @classmethod
    def of_terms(cls, counts: Sequence[int], every: Sequence[Terms]) -> UniversalForceField:
        """The force field of molecules with these numbers of atoms and these terms."""
        field = cls([])
        field._set_up(counts, every)
        return field

    def _set_up(self, counts: Sequence[int], every: Sequence[Terms]) -> None:
        self.counts = list(counts)
        starts = np.cumsum([0, *self.counts[:-1]])
        for name in KINDS if every else ():
            self._keep(name, [getattr(one, name) for one in every], starts)

    def _keep(
        self, name: str, parts: list[tuple[np.ndarray, np.ndarray]], starts: np.ndarray
    ) -> None:
        """Register the terms of one kind, atom indices shifted to their place in the batch."""
        atoms = np.concatenate([part[0] + start for part, start in zip(parts, starts, strict=True)])
        system = np.concatenate([np.full(len(part[0]), s) for s, part in enumerate(parts)])
        values = np.concatenate([part[1] for part in parts])
        self.register_buffer(f"{name}_atoms", torch.from_numpy(atoms), persistent=False)
        self.register_buffer(f"{name}_system", torch.from_numpy(system).long(), persistent=False)
        self.register_buffer(f"{name}_values", torch.from_numpy(values), persistent=False)

    def forward(
        self, positions: Float[Tensor, "N 3"], types: Int[Tensor, " N"], system: Int[Tensor, " N"]
    ) -> Float[Tensor, " S"]:
        """Energies (S,) in eV.

        Args:
            positions: (N, 3), angstrom.
            types: (N,) atomic numbers; not used, the molecules fix them.
            system: (N,) index of each atom's system.

        Raises:
            InputError: the number of atoms is not that of the molecules.
        """
        if positions.shape[0] != sum(self.counts):
            raise InputError(
                f"UFF was set up for {sum(self.counts)} atoms, given {positions.shape[0]}"
            )
        total = positions.new_zeros(len(self.counts))
        for name in KINDS:
            energy = self.term(name, positions)
            total = total.index_add(0, getattr(self, f"{name}_system"), energy)
        return total * KCAL_PER_MOL

    def term(self, name: str, positions: Float[Tensor, "N 3"]) -> Float[Tensor, " m"]:
        """Energies (m,) in kcal/mol of one kind of term: `bonds`, `angles`, ..."""
        atoms = getattr(self, f"{name}_atoms")
        values = getattr(self, f"{name}_values").to(positions.dtype)
        return _ENERGIES[name](positions[atoms], values)


def _length(vectors: Tensor) -> Tensor:
    return vectors.square().sum(-1).sqrt()


def _bond(x: Tensor, values: Tensor) -> Tensor:
    constant, rest = values.unbind(1)
    return 0.5 * constant * (_length(x[:, 0] - x[:, 1]) - rest).square()


def _angle(x: Tensor, values: Tensor) -> Tensor:
    constant, number, rest = values.unbind(1)
    first, second = x[:, 0] - x[:, 1], x[:, 2] - x[:, 1]
    cosine = ((first * second).sum(-1) / (_length(first) * _length(second))).clamp(-1, 1)
    c2 = 1 / (4 * rest.sin().square().clamp_min(1e-8))
    series = c2 * (2 * rest.cos().square() + 1 - 4 * rest.cos() * cosine + 2 * cosine.square() - 1)
    whole = number.clamp_min(1)
    # a linear centre has its minimum at 180 degrees: 1 + cos theta
    signed = torch.where(number == LINEAR, -cosine, cosine)
    special = (1 - _chebyshev(signed, whole)) / whole.square()
    energy = constant * torch.where(number == GENERAL, series, special)
    narrow = (number != GENERAL) & (cosine > NARROW)
    theta = torch.where(narrow, cosine.clamp(max=1 - 1e-12), torch.zeros_like(cosine)).acos()
    penalty = torch.exp(-20 * (theta - rest + 0.25))
    return energy + torch.where(narrow, penalty, torch.zeros_like(penalty))


def _torsion(x: Tensor, values: Tensor) -> Tensor:
    height, number, sign = values.unbind(1)
    axis = x[:, 2] - x[:, 1]
    first = torch.linalg.cross(x[:, 0] - x[:, 1], axis)
    second = torch.linalg.cross(-axis, x[:, 3] - x[:, 2])
    size = first.square().sum(-1) * second.square().sum(-1)
    defined = size > 1e-12
    safe = torch.where(defined, size, torch.ones_like(size))
    cosine = ((first * second).sum(-1) / safe.sqrt()).clamp(-1, 1)
    energy = 0.5 * height * (1 - sign * _chebyshev(cosine, number))
    return torch.where(defined, energy, torch.zeros_like(energy))


def _inversion(x: Tensor, values: Tensor) -> Tensor:
    constant, c0, c1, c2 = values.unbind(1)
    first, second, out = (x[:, i] - x[:, 1] for i in (0, 2, 3))
    normal = torch.linalg.cross(first, second)
    square = (normal * out).sum(-1).square()
    square = square / (normal.square().sum(-1) * out.square().sum(-1))
    cosine = (1 - square).clamp_min(1e-12).sqrt()  # of w, the angle of `out` with the plane
    energy: Tensor = constant * (c0 + c1 * cosine + c2 * (2 * cosine.square() - 1))
    return energy


def _pair(x: Tensor, values: Tensor) -> Tensor:
    depth, minimum = values.unbind(1)
    inverse = (minimum.square() / (x[:, 0] - x[:, 1]).square().sum(-1)) ** 3
    return depth * (inverse.square() - 2 * inverse)


def _chebyshev(cosine: Tensor, number: Tensor) -> Tensor:
    """cos(n theta) from cos(theta) for n = 1, 2, 3, 4 and 6, without forming theta."""
    square = cosine.square()
    double, triple = 2 * square - 1, cosine * (4 * square - 3)
    result = torch.where(number == 2, double, cosine)
    result = torch.where(number == 3, triple, result)
    result = torch.where(number == 4, 2 * double.square() - 1, result)
    return torch.where(number == 6, 2 * triple.square() - 1, result)


_ENERGIES = {
    "bonds": _bond,
    "angles": _angle,
    "torsions": _torsion,
    "inversions": _inversion,
    "pairs": _pair,
}
