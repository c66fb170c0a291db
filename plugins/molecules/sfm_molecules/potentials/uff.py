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
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from sfm_molecules.potentials import uff_terms
from sfm_molecules.potentials.bonded import BondedField, Energy, Terms
from sfm_molecules.potentials.internal import angle_cosine, dihedral_cosine, height, length
from sfm_molecules.potentials.uff_terms import GENERAL, LINEAR

if TYPE_CHECKING:
    from rdkit.Chem import Mol

NARROW = math.cos(math.radians(30))


def _bond(x: Tensor, values: Tensor) -> Tensor:
    constant, rest = values.unbind(1)
    return 0.5 * constant * (length(x[:, 0] - x[:, 1]) - rest).square()


def _angle(x: Tensor, values: Tensor) -> Tensor:
    constant, number, rest = values.unbind(1)
    cosine = angle_cosine(x)
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
    barrier, number, sign = values.unbind(1)
    cosine, defined = dihedral_cosine(x)
    energy = 0.5 * barrier * (1 - sign * _chebyshev(cosine, number))
    return torch.where(defined, energy, torch.zeros_like(energy))


def _inversion(x: Tensor, values: Tensor) -> Tensor:
    constant, c0, c1, c2 = values.unbind(1)
    square = height(x).square()
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


class UniversalForceField(BondedField):
    """UFF of a batch of molecules, in eV; `BondedField` says how it is called.

    Raises:
        InputError: UFF has no type for an atom, or hydrogens are missing.
    """

    name: ClassVar[str] = "UFF"
    energies: ClassVar[Mapping[str, Energy]] = {
        "bonds": _bond,
        "angles": _angle,
        "torsions": _torsion,
        "inversions": _inversion,
        "pairs": _pair,
    }

    @classmethod
    def terms(cls, molecule: Mol) -> Terms:
        return uff_terms.terms(molecule)
