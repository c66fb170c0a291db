"""The exchange-correlation energy per volume to second order in the fields that it reads.

Fields are bilinear in orbitals: with phi and psi (c', o, g), c' = 1 their values or 4 with slopes,

    rho = 2 phi psi,   grad rho = 2 (grad phi psi + phi grad psi),   tau = grad phi . grad psi

summed over orbitals are by definition those that a change phi psi^T + psi phi^T of the density
matrix makes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.grid.molecular import fields
from sfm_dft.scf.energy import POINTS, EnergyFunctional
from sfm_dft.xc.contract import Functional
from sfm_dft.xc.density import GridDensity


@dataclass(frozen=True)
class Expansion:
    """value: (G,) energy per volume. slope: (s, c, G). curvature: (s, c, s, c, G)."""

    value: Float[Tensor, " G"]
    slope: Float[Tensor, "s c G"]
    curvature: Float[Tensor, "s c s c G"]

    @classmethod
    def at(cls, energy: EnergyFunctional, density_matrix: Float[Tensor, "s n n"]) -> Expansion:
        """About the density of one molecule, density matrix (s, n, n)."""
        (molecule,) = energy.system.molecules
        with torch.no_grad():
            density = torch.stack([fields(d, molecule.grid, energy.rung) for d in density_matrix])
        parts = [_expand(energy, part) for part in density.split(POINTS, dim=-1)]
        return cls(*(torch.cat(x, -1) for x in zip(*parts, strict=True)))


def _expand(energy: EnergyFunctional, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    with torch.enable_grad():
        u = angles.detach().requires_grad_()
        channels = u.shape[1]
        density = GridDensity(
            rho=u[:, 0],
            gradient=u[:, 1:4] if channels > 1 else None,
            tau=u[:, 4] if channels > 4 else None,
        )
        exchange, correlation = energy.base(density)
        value = energy.exchange_scale * exchange + energy.correlation_scale * correlation
        if isinstance(energy.closure, Functional):
            value = value + torch.stack(list(energy.closure(density))).sum(0)
        curvature = u.new_zeros(*u.shape[:2], *u.shape)
        if not value.requires_grad:  # exact exchange only
            return value.detach(), torch.zeros_like(angles), curvature
        (slope,) = torch.autograd.grad(value.sum(), u, create_graph=True, materialize_grads=True)
        if slope.requires_grad:
            for s in range(u.shape[0]):
                for c in range(channels):
                    (row,) = torch.autograd.grad(
                        slope[s, c].sum(), u, retain_graph=True, materialize_grads=True
                    )
                    curvature[s, c] = row
    return value.detach(), slope.detach(), curvature


def adjoint(
    v: Float[Tensor, "_ ... g"], phi: Float[Tensor, "k ... o g"]
) -> Float[Tensor, "k ... o g"]:
    """t (c', ..., o, g) with bilinear(phi, psi) . v = 2 sum t psi, of v (c, ..., g) and phi
    (c', ..., o, g), whose axes between broadcast."""
    v = v.unsqueeze(-2)
    first = v[0] * phi[0]
    if len(phi) == 1:
        return first[None]
    first = first + (v[1:4] * phi[1:4]).sum(0)
    rest = v[1:4] * phi[0]
    if len(v) > 4:
        rest = rest + 0.5 * v[4] * phi[1:4]
    return torch.cat([first[None], rest])


def bilinear(
    phi: Float[Tensor, "_ o g"], psi: Float[Tensor, "_ *axes o g"], channels: int
) -> Float[Tensor, "{channels} *axes g"]:
    """Fields (c, ..., g) of phi (c', o, g) and psi (c', ..., o, g)."""
    between = psi.dim() - phi.dim()
    phi = phi.reshape(phi.shape[0], *[1] * between, *phi.shape[1:])
    out = [2.0 * (phi[0] * psi[0]).sum(-2)]
    if channels > 1:
        out += [2.0 * (phi[k] * psi[0] + phi[0] * psi[k]).sum(-2) for k in (1, 2, 3)]
    if channels > 4:
        out.append((phi[1:4] * psi[1:4]).sum((0, -2)))
    return torch.stack(out)
