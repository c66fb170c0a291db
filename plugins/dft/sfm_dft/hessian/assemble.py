"""The Hessian and the dipole's derivatives from skeletons and one response of all displacements.

    H_uv = L_uv + tr(F_u D_v) - tr(S_u W_v),

(J. A. Pople et al., Int. J. Quantum Chem. S13, 225, 1979) with D_v and W_v as in `curvature`, whose
equations are solved here for whole electrons, between empty and filled orbitals only.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.progress import report
from sfm_dft.basis import library as basis_sets
from sfm_dft.basis.gaussians import Gaussians
from sfm_dft.gradients.forces import energy_weighted, grid_energy
from sfm_dft.gradients.lagrangian import one_electron, two_electron
from sfm_dft.gradients.response import respond, weighting
from sfm_dft.hessian.expansion import Expansion
from sfm_dft.hessian.fitted_terms import fitted_terms
from sfm_dft.hessian.grid_terms import grid_terms
from sfm_dft.hessian.kernel import Kernel, kernel, pointwise
from sfm_dft.hessian.occupied import Occupied
from sfm_dft.hessian.skeleton import Skeleton, by_autograd
from sfm_dft.integrals import dipole
from sfm_dft.scf.diis import Orbitals
from sfm_dft.scf.energy import EnergyFunctional

TOLERANCE = 1e-9  # relative residual of the response


def hessian(
    energy: EnergyFunctional, solution: Orbitals
) -> tuple[Float[Tensor, "U U"], Float[Tensor, "U 3"]]:
    """Hessian (U, U) in hartree per bohr^2 and dipole derivatives (U, 3) in e, U = 3 A.

    Of one molecule with whole electrons at a self-consistent solution.

    Raises:
        RunError: the solution is no minimum, or does not fill the lowest levels.
    """
    weighting(solution)  # refuses what has no response
    occupied = Occupied.of(solution, energy.system.share)
    d = solution.density_matrix.detach()
    weighted = energy_weighted(energy.system, d, solution.fock.detach())[0]
    expansion = Expansion.at(energy, d[0]) if pointwise(energy) else None
    skeleton = _skeleton(energy, occupied, d[0], weighted, expansion)
    overlap = skeleton.overlap
    assert overlap is not None
    with torch.no_grad():
        answer = kernel(energy, solution, occupied, expansion)
        changes, moved = _respond(occupied, answer, skeleton.focks, overlap)
        second = skeleton.second + occupied.trace(skeleton.focks, changes)
        second = second - overlap.flatten(1) @ moved.flatten(1).mT
    return 0.5 * (second + second.mT), _dipoles(energy, occupied, d[0], changes)


def _skeleton(
    energy: EnergyFunctional,
    occupied: Occupied,
    d: Tensor,
    weighted: Tensor,
    expansion: Expansion | None,
) -> Skeleton:
    (molecule,) = energy.system.molecules
    gaussians, r = Gaussians.of(molecule), molecule.positions
    charges = molecule.numbers.to(d.dtype)

    def take(function: Any, work: str) -> Skeleton:
        return by_autograd(function, r, d, weighted, occupied, f"vibrations: {work}, displacement")

    skeleton = take(partial(one_electron, energy, gaussians, charges), "one-electron integrals")
    if molecule.fitted and r.device.type == "cpu" and basis_sets.has_pyscf():
        skeleton = skeleton + fitted_terms(energy, occupied)
    else:
        more = take(lambda r, d, w: two_electron(energy, gaussians, r, d), "two-electron integrals")
        skeleton = skeleton + Skeleton(more.second, more.focks)
    if expansion is not None:
        return skeleton + grid_terms(energy, occupied, expansion)
    more = take(lambda r, d, w: grid_energy(energy, d, r), "grid")
    return skeleton + Skeleton(more.second, more.focks)


def _respond(
    occupied: Occupied, answer: Kernel, focks: list[Tensor], overlap: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Changes Z (U, n, o) of each spin's density matrix, and W_v (U, n, n)."""
    follow, right, weights, turned = [], [], [], []
    for c, e, o in zip(occupied.orbitals, occupied.levels, occupied.filled, strict=True):
        s = c.mT @ overlap @ c  # (U, n, n)
        turned.append(s)
        follow.append(-0.5 * s[:, :, :o])
        weights.append(1.0 / (e[o:, None] - e[:o]))
    answered = answer(follow)
    rows = zip(turned, focks, answered, occupied.levels, occupied.filled, strict=True)
    for s, f, k, e, o in rows:
        right.append((f + k)[:, o:] - 0.5 * s[:, o:, :o] * (e[o:, None] + e[:o]))
    y = _solve(occupied, answer, right, weights)
    changes = []
    for z, solution, w, o in zip(follow, y, weights, occupied.filled, strict=True):
        z = z.clone()
        z[:, o:] -= w * solution
        changes.append(z)
    moved = torch.zeros_like(overlap)
    rows = zip(turned, focks, answer(changes), occupied.levels, occupied.filled, strict=True)
    for (s, f, k, e, o), c, z in zip(rows, occupied.orbitals, changes, strict=True):
        w = torch.zeros_like(s)
        w[:, :, :o] += z * e[:o]
        w[:, :o] += (z * e[:, None]).mT + (f + k).mT - e[:o, None] * s[:, :o]
        moved += occupied.share * (c @ (0.5 * (w + w.mT)) @ c.mT)
    return changes, moved


def _solve(
    occupied: Occupied, answer: Kernel, right: list[Tensor], weights: list[Tensor]
) -> list[Tensor]:
    """y (U, v, o) of each spin with (1 + K W) y = right."""
    shapes = [x.shape[1:] for x in right]
    sizes = [a * b for a, b in shapes]
    count, scale = len(right[0]), torch.cat([w.flatten() for w in weights])
    steps = 0

    def join(parts: list[Tensor]) -> Tensor:
        return torch.cat([x.flatten(1) for x in parts], 1)

    def split(flat: Tensor) -> list[Tensor]:
        pairs = zip(flat.split(sizes, 1), shapes, strict=True)
        return [x.unflatten(1, shape) for x, shape in pairs]

    def couple(flat: Tensor) -> Tensor:
        nonlocal steps
        report("vibrations: response, step", steps)
        steps += 1
        z = []
        for x, o in zip(split(flat), occupied.filled, strict=True):
            z.append(torch.cat([x.new_zeros(count, o, o), x], 1))
        answered = answer(z)
        return join([x[:, o:] for x, o in zip(answered, occupied.filled, strict=True)])

    return split(respond(couple, lambda x: scale * x, join(right), tolerance=TOLERANCE))


def _dipoles(
    energy: EnergyFunctional, occupied: Occupied, d: Tensor, changes: list[Tensor]
) -> Tensor:
    """Changes (U, 3) of the dipole moment, e."""
    (molecule,) = energy.system.molecules
    total = occupied.share * d.sum(0)
    with torch.enable_grad():
        r = molecule.positions.detach().clone().requires_grad_()
        moments = (dipole(Gaussians.of(molecule).orbitals.at(r)) * total).sum((1, 2))
        rows = [torch.autograd.grad(m, r, retain_graph=True)[0].flatten() for m in moments]
    operators = molecule.dipole[:, None].expand(-1, len(d), -1, -1)
    answered = occupied.trace(occupied.between(operators), changes)  # (3, U)
    charges = molecule.numbers.to(d.dtype)
    nuclei = torch.kron(charges[:, None], torch.eye(3).to(total))  # (U, 3)
    return nuclei - torch.stack(rows, 1) - answered.mT
