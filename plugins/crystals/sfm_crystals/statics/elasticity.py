"""Elastic constants of relaxed cells."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.voigt import VOIGT_AXES
from sfm.errors import InputError
from sfm_crystals.cells import Cells, EnergyFunction, derivatives
from sfm_crystals.constants import GPA

LARGEST_STRESS = 0.05  # GPa; above it the constants are not well defined by the energy alone


def voigt_strains(engineering: Float[Tensor, " 6"]) -> Float[Tensor, "3 3"]:
    """(6,) xx, yy, zz, yz, xz, xy with engineering shears -> (3, 3); dimensionless."""
    rows = []
    for i, j in VOIGT_AXES:
        basis = torch.zeros(3, 3, dtype=engineering.dtype, device=engineering.device)
        basis[i, j] += 0.5
        basis[j, i] += 0.5
        rows.append(basis)
    return torch.einsum("k,kij->ij", engineering, torch.stack(rows))


def elastic_constants(
    energy: EnergyFunction, cells: Cells, *, clamped: bool = False
) -> Float[Tensor, "6 6"]:
    """C_IJ = (1/V) d2E/de_I de_J at zero stress, Voigt order xx, yy, zz, yz, xz, xy. (6, 6) GPa.

    With internal relaxation C = (1/V) [E_ee - E_eu (E_uu)^+ E_ue], where u are the displacements of
    the atoms and translations are left out (X. Wu, D. Vanderbilt and D. R. Hamann, Phys. Rev. B 72,
    035105, 2005, the relaxed-ion elastic tensor).

    Args:
        energy: (S,) eV of cells; twice differentiable (three times to differentiate the result).
        cells: one relaxed cell.
        clamped: keep the atoms at their fractional coordinates ("unrelaxed").

    Raises:
        InputError: more than one cell, or a stress above 0.05 GPa.
    """
    hessian = _hessian(energy, cells, clamped=clamped)
    worst = float(derivatives(energy, cells)[2].abs().max()) * GPA
    if worst > LARGEST_STRESS:
        raise InputError(
            f"elastic constants: the cell has a stress of {worst:.3g} GPa; relax it at zero "
            "pressure first"
        )
    return _constants(_relaxed(hessian), cells)


def relaxed_and_clamped(
    energy: EnergyFunction, cells: Cells
) -> tuple[Float[Tensor, "6 6"], Float[Tensor, "6 6"]]:
    """Both kinds of `elastic_constants`, (6, 6) GPa each, of one cell, whatever its stress.

    Raises:
        InputError: more than one cell.
    """
    hessian = _hessian(energy, cells)
    return _constants(_relaxed(hessian), cells), _constants(hessian[:6, :6], cells)


def _hessian(energy: EnergyFunction, cells: Cells, *, clamped: bool = False) -> Tensor:
    """Second derivatives by strain (first 6 rows) and displacements, with a graph if recorded.

    (6 + 3 N, 6 + 3 N) eV, eV/angstrom, eV/angstrom^2; (6, 6 + 3 N) if clamped or of one atom.
    """
    if cells.n_systems != 1:
        raise InputError(f"elastic constants: give one cell, not {cells.n_systems}")
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        n = len(cells.positions)
        strain = torch.zeros(6, dtype=cells.cell.dtype, device=cells.cell.device)
        y = torch.cat([strain, strain.new_zeros(3 * n)]).requires_grad_()
        moved = cells.deformed(y[6:].reshape(n, 3), voigt_strains(y[:6]).unsqueeze(0))
        (gradient,) = torch.autograd.grad(energy(moved).sum(), y, create_graph=True)
        rows = 6 if clamped or n == 1 else 6 + 3 * n
        hessian = torch.stack(
            [
                torch.autograd.grad(
                    gradient[i], y, retain_graph=True, create_graph=keep, materialize_grads=True
                )[0]
                for i in range(rows)
            ]
        )
    return hessian if keep else hessian.detach()


def _relaxed(hessian: Tensor) -> Tensor:
    """(6, 6) eV, with the atoms at their minimum in the strained cell, if there are rows of them.

    Translations are left out.
    """
    clamped, along, inner = hessian[:6, :6], hessian[6:, :6], hessian[6:, 6:]
    n = len(inner) // 3
    if n == 0:
        return clamped
    shift = torch.eye(3, dtype=inner.dtype, device=inner.device).repeat(n, n) / n
    stiffness = inner.diagonal().mean().detach()
    curvature: Tensor = clamped - along.T @ torch.linalg.solve(inner + stiffness * shift, along)
    return curvature


def _constants(curvature: Tensor, cells: Cells) -> Tensor:
    """(6, 6) GPa of second derivatives in eV."""
    constants: Tensor = (curvature + curvature.T) / 2 / cells.volume() * GPA
    return constants


class Moduli(NamedTuple):
    """Of a polycrystal, as the mean of Voigt's and Reuss's (R. Hill, Proc. Phys. Soc. A 65, 349).

    Attributes:
        bulk, shear, young: GPa.
        poisson: Poisson's ratio.
        anisotropy: universal, 5 G_V / G_R + B_V / B_R - 6 (Ranganathan, Ostoja-Starzewski, Phys.
            Rev. Lett. 101, 055504, 2008).
    """

    bulk: Float[Tensor, ""]
    shear: Float[Tensor, ""]
    young: Float[Tensor, ""]
    poisson: Float[Tensor, ""]
    anisotropy: Float[Tensor, ""]


def moduli(constants: Float[Tensor, "6 6"]) -> Moduli:
    """Hill's averages of (6, 6) elastic constants in GPa."""
    c, s = constants, torch.linalg.inv(constants)

    def sums(m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return m.diagonal()[:3].sum(), m[0, 1] + m[0, 2] + m[1, 2], m.diagonal()[3:].sum()

    (axial, across, shears), (sa, sx, ss) = sums(c), sums(s)
    bulk_v, shear_v = (axial + 2 * across) / 9, (axial - across + 3 * shears) / 15
    bulk_r, shear_r = 1 / (sa + 2 * sx), 15 / (4 * sa - 4 * sx + 3 * ss)
    bulk, shear = (bulk_v + bulk_r) / 2, (shear_v + shear_r) / 2
    young = 9 * bulk * shear / (3 * bulk + shear)
    poisson = (3 * bulk - 2 * shear) / (6 * bulk + 2 * shear)
    return Moduli(bulk, shear, young, poisson, 5 * shear_v / shear_r + bulk_v / bulk_r - 6)
