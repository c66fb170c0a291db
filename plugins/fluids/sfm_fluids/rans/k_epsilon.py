"""Chien's low-Reynolds-number k-epsilon model (AIAA J. 20, 33, 1982), in wall units."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_fluids.rans.eddy_viscosity import LocalFlow
from sfm_fluids.rans.grid import HalfChannel, at_faces, with_wall


def viscosity(
    flow: LocalFlow, constants: Mapping[str, Float[Tensor, " ..."]]
) -> Float[Tensor, "*flows P"]:
    """(..., P) nu_t / nu = C_mu f_mu k^2 / epsilon~, f_mu = 1 - exp(-0.0115 y+)."""
    assert flow.kinetic_energy is not None
    assert flow.dissipation is not None
    damping = -torch.expm1(-constants["viscosity_damping"] * flow.wall_distance)
    return constants["c_mu"] * damping * flow.kinetic_energy.square() / flow.dissipation


def wall_term(
    kinetic_energy: Float[Tensor, "*flows P"], wall_distance: Float[Tensor, "... P"]
) -> Float[Tensor, "*flows P"]:
    """(..., P) D = 2 nu k / y^2, by which the dissipation exceeds epsilon~."""
    return 2 * kinetic_energy / wall_distance.square()


def rates(
    grid: HalfChannel,
    velocity: Float[Tensor, "*flows N"],
    logarithms: Float[Tensor, "*flows N 2"],
    constants: Mapping[str, Float[Tensor, " ..."]],
    eddy: Callable[[LocalFlow], Float[Tensor, "*flows P"]],
) -> Float[Tensor, "*flows N 3"]:
    """Time derivatives of U, ln k and ln epsilon~ at nodes 1 to N.

        dU/dt = 1/h + d/dy [(nu + nu_t) dU/dy]
        dk/dt = d/dy [(nu + nu_t / sigma_k) dk/dy] + P - epsilon~ - D,   P = nu_t (dU/dy)^2
        de/dt = d/dy [(nu + nu_t / sigma_e) de/dy] + (C1 P - C2 f_2 e) e / k
                - 2 nu e exp(-0.5 y+) / y^2

    with f_2 = 1 - 0.22 exp(-(k^2 / (6 nu e))^2) and k = e = 0 at the wall.

    Args:
        grid: in wall units.
        velocity: (..., N) U+ at nodes 1 to N.
        logarithms: (..., N, 2) ln k+ and ln epsilon~+.
        constants: by parameter name, (..., 1).
        eddy: nu_t / nu of the flow at nodes.

    Returns:
        (..., N, 3).
    """
    y = grid.nodes[..., 1:]
    k, e = logarithms.exp().unbind(-1)
    shear = grid.gradient(with_wall(velocity))
    node_shear = grid.at_nodes(shear)
    nu_t = eddy(LocalFlow(y, y / grid.height, node_shear, k, e))
    face_nu_t = at_faces(with_wall(nu_t))
    production = nu_t * node_shear.square()

    def diffusion(x: Tensor, prandtl: Tensor) -> Tensor:
        return grid.divergence((1 + face_nu_t / prandtl) * grid.gradient(with_wall(x)))

    turbulence = k.square() / e
    f_2 = 1 - constants["f2_amplitude"] * torch.exp(
        -(turbulence / constants["f2_reynolds"]).square()
    )
    momentum = grid.divergence((1 + face_nu_t) * shear) + 1 / grid.height
    energy = diffusion(k, constants["sigma_k"]) + production - e - wall_term(k, y)
    growth = constants["c_epsilon_1"] * production - constants["c_epsilon_2"] * f_2 * e
    sink = 2 * torch.exp(-constants["wall_damping"] * y) / y.square()
    dissipation = diffusion(e, constants["sigma_epsilon"]) / e + growth / k - sink
    return torch.stack([momentum, energy / k, dissipation], -1)
