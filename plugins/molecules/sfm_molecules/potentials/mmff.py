"""The Merck molecular force field, MMFF94 and MMFF94s, in torch.

    E = sum_bonds      143.9325/2 kb dr^2 (1 - 2 dr + 7/3 dr^2)
      + sum_angles     0.043844/2 ka dt^2 (1 - 0.006981317 dt),  143.9325 ka (1 + cos t) if linear
      + sum_angles     2.51210 (kba_i dr_i + kba_k dr_k) dt
      + sum_planes     0.043844/2 koop chi^2
      + sum_torsions   (V1 (1 + cos phi) + V2 (1 - cos 2 phi) + V3 (1 + cos 3 phi)) / 2
      + sum_pairs      e (1.07 R / (r + 0.07 R))^7 (1.12 R^7 / (r^7 + 0.12 R^7) - 2)
      + sum_pairs      332.0716 s q_i q_j / (r + 0.05)

in kcal/mol, angstrom and degrees; dr and dt are away from rest, chi is the angle of a bond with the
plane of two others, s is 0.75 between the ends of a dihedral angle and 1 beyond. 143.9325 is
(1 mdyn angstrom) in kcal/mol, 0.043844 and 2.51210 are it in degrees; they are not rounded here, as
rdkit does. The dielectric constant is 1. Derivatives are zero, not infinite, for an angle of 180
degrees at a centre that is not linear; a dihedral angle of three atoms on a line is left out.

T. A. Halgren, J. Comput. Chem. 17, 490 (1996), doi:10.1002/(SICI)1096-987X(199604)17:5/6<490::AID-
JCC1>3.0.CO;2-P; MMFF94s: T. A. Halgren, ibid. 20, 720 (1999).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from sfm_molecules.potentials import mmff_terms
from sfm_molecules.potentials.bonded import BondedField, Energy, Terms
from sfm_molecules.potentials.internal import angle_cosine, dihedral_cosine, height, length

if TYPE_CHECKING:
    from rdkit.Chem import Mol

MDYN_ANGSTROM = 143.9325  # kcal/mol
RADIANS = math.pi / 180  # of a degree
CUBIC_STRETCH, CUBIC_BEND = -2.0, -0.006981317  # 1/angstrom, 1/degree
COULOMB, BUFFER = 332.0716, 0.05  # kcal/mol angstrom / e^2, angstrom


def _bond(x: Tensor, values: Tensor) -> Tensor:
    constant, rest = values.unbind(1)
    dr = length(x[:, 0] - x[:, 1]) - rest
    series = 1 + CUBIC_STRETCH * dr + 7 / 12 * (CUBIC_STRETCH * dr).square()
    return MDYN_ANGSTROM / 2 * constant * dr.square() * series


def _degrees(cosine: Tensor) -> Tensor:
    """The angle of a cosine, with a finite slope at both ends."""
    edge = 1 - 4 * torch.finfo(cosine.dtype).eps
    return cosine.clamp(-edge, edge).acos() / RADIANS


def _angle(x: Tensor, values: Tensor) -> Tensor:
    constant, rest, linear = values.unbind(1)
    cosine = angle_cosine(x)
    away = _degrees(cosine) - rest
    bent = RADIANS**2 / 2 * away.square() * (1 + CUBIC_BEND * away)
    return MDYN_ANGSTROM * constant * torch.where(linear > 0, 1 + cosine, bent)


def _stretch_bend(x: Tensor, values: Tensor) -> Tensor:
    first, second, rest_first, rest_second, rest = values.unbind(1)
    along = first * (length(x[:, 0] - x[:, 1]) - rest_first)
    along = along + second * (length(x[:, 2] - x[:, 1]) - rest_second)
    return MDYN_ANGSTROM * RADIANS * along * (_degrees(angle_cosine(x)) - rest)


def _plane(x: Tensor, values: Tensor) -> Tensor:
    edge = 1 - 4 * torch.finfo(x.dtype).eps
    chi = height(x).clamp(-edge, edge).asin()
    return MDYN_ANGSTROM / 2 * values[:, 0] * chi.square()


def _torsion(x: Tensor, values: Tensor) -> Tensor:
    v1, v2, v3 = values.unbind(1)
    c, defined = dihedral_cosine(x)
    square = c.square()
    energy = (v1 * (1 + c) + v2 * (2 - 2 * square) + v3 * (1 + c * (4 * square - 3))) / 2
    return torch.where(defined, energy, torch.zeros_like(energy))


def _pair(x: Tensor, values: Tensor) -> Tensor:
    depth, minimum = values.unbind(1)
    ratio = length(x[:, 0] - x[:, 1]) / minimum
    return depth * (1.07 / (ratio + 0.07)) ** 7 * (1.12 / (ratio**7 + 0.12) - 2)


def _charge(x: Tensor, values: Tensor) -> Tensor:
    return COULOMB * values[:, 0] / (length(x[:, 0] - x[:, 1]) + BUFFER)


class MerckForceField(BondedField):
    """MMFF94 of a batch of molecules, in eV; `BondedField` says how it is called.

    Raises:
        InputError: MMFF94 has no type for an atom, or hydrogens are missing.
    """

    name: ClassVar[str] = "MMFF94"
    energies: ClassVar[Mapping[str, Energy]] = {
        "bonds": _bond,
        "angles": _angle,
        "stretch_bends": _stretch_bend,
        "planes": _plane,
        "torsions": _torsion,
        "pairs": _pair,
        "charges": _charge,
    }

    @classmethod
    def terms(cls, molecule: Mol) -> Terms:
        return mmff_terms.terms(molecule, cls.name)


class StaticMerckForceField(MerckForceField):
    """MMFF94s of a batch of molecules, in eV: nitrogens that are flat in crystals are flat.

    Raises:
        InputError: MMFF94s has no type for an atom, or hydrogens are missing.
    """

    name: ClassVar[str] = "MMFF94s"
