"""Whether a self-consistent solution is a minimum, and the way down where it is a saddle point.

At a solution the energy changes by 1/2 U.H U when orbitals turn by U (`newton`); the lowest
eigenvalue of H, by Davidson's method with exact Hessian-vector products, says which it is. A
negative one comes with the direction in which the energy falls: orbitals turn that way, and Newton
steps go on from there. Closed shells are tested as such: that up and down want to differ, as in
stretched bonds, shows in unrestricted calculations only.

References: Seeger, Pople, J. Chem. Phys. 66, 3045 (1977); Davidson, J. Comput. Phys. 17, 87 (1975).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.scf.diis import ScfState
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.newton import Rotation, newton

LOWEST = -1e-5  # hartree: eigenvalues above it are zero to the accuracy of grids
PRECISION = 1e-4  # hartree, of a residual: that of the eigenvalue is its square
VECTORS = 40
ROUNDS = 5
TURNS = (0.1, 0.2, 0.4, 0.8)  # radians
SEED = 0


def curvature(
    energy: EnergyFunctional, density_matrix: Float[Tensor, "1 s n n"]
) -> tuple[float, Rotation, list[Float[Tensor, "_ _"]]]:
    """Lowest eigenvalue of the orbital Hessian of one molecule in hartree, its orbitals, and the
    direction that belongs to it (spins of (empty, filled)).

    density_matrix: (1, s, n, n), self-consistent. Infinite where no orbital can turn.
    """
    rotation = Rotation(energy, density_matrix)
    rotation.canonicalise(energy.fock(rotation.density()).detach())
    shapes = [gap.shape for gap in rotation.gaps]
    diagonal = torch.cat([d.flatten() for d in rotation.diagonal])
    if not len(diagonal):
        return float("inf"), rotation, [torch.zeros_like(gap) for gap in rotation.gaps]
    product = rotation.hessian()

    def split(x: Tensor) -> list[Tensor]:
        parts = x.split([shape.numel() for shape in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def apply(x: Tensor) -> Tensor:
        return torch.cat([part.flatten() for part in product(split(x))])

    value, vector = lowest(apply, diagonal)
    return value, rotation, split(vector)


def lowest(
    apply: Callable[[Float[Tensor, " N"]], Float[Tensor, " N"]], diagonal: Float[Tensor, " N"]
) -> tuple[float, Float[Tensor, " N"]]:
    """Lowest eigenvalue of a symmetric operator and its vector (N,), by Davidson's method.

    diagonal: (N,) what the operator is close to. It ends early where a negative one is certain.
    """
    generator = torch.Generator().manual_seed(SEED)  # a start without symmetry
    noise = torch.randn(len(diagonal), generator=generator, dtype=diagonal.dtype)
    start = noise.to(diagonal.device) / diagonal.square()
    space, images = [start / start.norm()], []
    while True:
        images.append(apply(space[-1]))
        v, hv = torch.stack(space), torch.stack(images)
        values, vectors = torch.linalg.eigh(0.5 * (v @ hv.mT + hv @ v.mT))
        value, vector = float(values[0]), vectors[:, 0] @ v
        residual = vectors[:, 0] @ hv - value * vector
        error = float(residual.norm())
        done = error < PRECISION or value + error < 10.0 * LOWEST
        if done or len(space) == min(VECTORS, len(diagonal)):
            return value, vector
        distance = diagonal - value
        following = residual / torch.where(distance.abs() < 0.01, 0.01, distance)
        for _ in range(2):  # twice is enough
            following = following - v.mT @ (v @ following)
        space.append(following / following.norm())


def stabilise(
    energy: EnergyFunctional, state: ScfState, steps: int, *, tolerance: float = 1e-8
) -> ScfState:
    """Self-consistent molecules that sit on a saddle point go on to a minimum, in about ``steps``
    Newton steps each; one that has found none by then is no longer converged."""
    for index in state.converged.nonzero()[:, 0].tolist():
        one, left = energy.select([index]), steps
        n = one.system.size
        for _ in range(ROUNDS):
            d = state.density_matrix[index : index + 1, :, :n, :n]
            value, rotation, direction = curvature(one, d)
            if value > LOWEST:
                break
            before = int(state.cycles[index])
            state = _turned(state, index, _down(one, rotation, direction))
            state = newton(energy, state, max(left, 1), tolerance=tolerance, only=index)
            left -= int(state.cycles[index]) - before
            if not state.converged[index]:
                break
        else:
            state = _turned(state, index, state.density_matrix[index : index + 1, :, :n, :n])
    return state


def _down(energy: EnergyFunctional, rotation: Rotation, direction: list[Tensor]) -> Tensor:
    """The density matrix (1, s, n, n) of lowest energy along a direction and its opposite."""
    lowest_energy, best = torch.inf, rotation.density()
    for angle in (sign * turn for turn in TURNS for sign in (1.0, -1.0)):
        trial = rotation.turned([angle * u for u in direction]).density()
        value = float(energy.total(trial).detach())
        if value < lowest_energy:
            lowest_energy, best = value, trial
    return best


def _turned(state: ScfState, index: int, density_matrix: Tensor) -> ScfState:
    """One molecule elsewhere, and not converged."""
    matrices, converged = state.density_matrix.clone(), state.converged.clone()
    n = density_matrix.shape[-1]
    matrices[index, :, :n, :n] = density_matrix[0]
    converged[index] = False
    return replace(state, density_matrix=matrices, converged=converged)
