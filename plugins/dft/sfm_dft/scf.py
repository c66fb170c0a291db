"""Self-consistency: Pulay's DIIS on the Fock matrix, outside the graph.

The residual is the commutator F D S - S D F in an orthonormal basis. A calculation that does not
converge says so in its state; it never passes for an energy.

Reference: Pulay, J. Comput. Chem. 3, 556 (1982).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sfm_dft.energy import EnergyFunctional
from sfm_dft.system import KohnShamSystem

LINEAR_DEPENDENCE = 1e-8
HISTORY = 8
LARGEST_CHANGE = 1e-3


@dataclass(frozen=True)
class ScfState:
    """How far the iteration has come. Tensors carry no graph and keep their shapes.

    Attributes:
        density_matrix: (n, n). cycle: Fock matrices built so far.
        focks: (8, n, n) and residuals: (8, m, m) what DIIS remembers, the newest last.
        remembered: how many of them are filled.
        residual: largest element of the orthonormal commutator of the last density that was
            tested, hartree; infinite before the first cycle.
        converged: ``density_matrix`` is that density, and self-consistent.
    """

    density_matrix: Tensor
    focks: Tensor
    residuals: Tensor
    remembered: int = 0
    cycle: int = 0
    residual: float = math.inf
    converged: bool = False


@dataclass(frozen=True)
class Orbitals:
    """What a density matrix (n, n) leads to: levels (m,), orbitals (n, m) of its Fock matrix, and
    the residual that says how far it is from self-consistent."""

    density_matrix: Tensor
    energies: Tensor
    coefficients: Tensor
    residual: float


def start_state(system: KohnShamSystem, density_matrix: Tensor | None = None) -> ScfState:
    """A state before the first cycle, from a density matrix or from superposed atoms."""
    d = (system.guess if density_matrix is None else density_matrix).detach().clone()
    n, m = orthonormaliser(system.overlap).shape
    return ScfState(d, d.new_zeros(HISTORY, n, n), d.new_zeros(HISTORY, m, m))


def orthonormaliser(overlap: Tensor) -> Tensor:
    """X (n, m) with X^T S X = 1; directions with eigenvalue below 1e-8 are dropped."""
    values, vectors = torch.linalg.eigh(overlap)
    keep = values > LINEAR_DEPENDENCE
    return vectors[:, keep] / values[keep].sqrt()


def occupy(x: Tensor, fock: Tensor, occupied: int) -> tuple[Tensor, Tensor, Tensor]:
    """Orbital energies (m,), orbitals (n, m) and density matrix of the lowest ``occupied``."""
    energies, vectors = torch.linalg.eigh(x.mT @ fock @ x)
    coefficients = x @ vectors
    filled = coefficients[:, :occupied]
    return energies, coefficients, 2.0 * filled @ filled.mT


def extrapolate(focks: Tensor, residuals: Tensor) -> Tensor:
    """Pulay's combination of Fock matrices with the smallest residual."""
    size = len(focks)
    stacked = residuals.reshape(size, -1)
    matrix = stacked.new_zeros(size + 1, size + 1)
    gram = stacked @ stacked.mT
    matrix[:size, :size] = gram / gram.diagonal().max()
    matrix[size, :size] = matrix[:size, size] = -1.0
    right = stacked.new_zeros(size + 1)
    right[size] = -1.0
    weights = torch.linalg.lstsq(matrix, right[:, None], driver="gelsd").solution[:size, 0]
    return torch.einsum("k,kij->ij", weights, focks)


def iterate(
    functional: EnergyFunctional,
    state: ScfState,
    steps: int,
    *,
    tolerance: float = 1e-8,
    level_shift: float = 0.0,
) -> ScfState:
    """At most ``steps`` cycles more; a state that is self-consistent comes back as it is.

    One cycle builds F[D], measures the residual of D and, unless it is below ``tolerance``
    (hartree) and D fills the lowest levels, takes the next D from the extrapolated Fock matrix.
    ``level_shift`` (hartree) raises the empty levels. A state that converged with other parameters
    is tested again, and iterated where it no longer is a solution.
    """
    system = functional.system
    x, overlap = orthonormaliser(system.overlap), system.overlap
    if state.converged:
        if finish(functional, state).residual < tolerance:
            return state
        state = start_state(system, state.density_matrix)
    for _ in range(steps):
        d, cycle = state.density_matrix.detach(), state.cycle + 1
        fock = functional.fock(d).detach()
        commutator = _commutator(x, overlap, fock, d)
        residual = float(commutator.abs().max())
        if not math.isfinite(residual):
            return replace(state, cycle=cycle, residual=math.inf)
        if residual < tolerance:
            # a commuting density need not be the ground state's: symmetry alone can make superposed
            # atoms commute, and so does every excited configuration
            lowest = occupy(x, fock, system.occupied)[2]
            if (lowest - d).abs().max() < LARGEST_CHANGE:
                return replace(
                    state, density_matrix=d, cycle=cycle, residual=residual, converged=True
                )
            state = replace(start_state(system, lowest), cycle=cycle, residual=residual)
            continue
        focks = torch.cat([state.focks[1:].detach(), fock[None]])
        residuals = torch.cat([state.residuals[1:].detach(), commutator[None]])
        remembered = min(state.remembered + 1, HISTORY)
        mixed = extrapolate(focks[-remembered:], residuals[-remembered:])
        if level_shift:
            mixed = mixed + level_shift * (overlap - 0.5 * overlap @ d @ overlap)
        following = occupy(x, mixed, system.occupied)[2]
        state = ScfState(following, focks, residuals, remembered, cycle, residual)
    return state


def _commutator(x: Tensor, overlap: Tensor, fock: Tensor, d: Tensor) -> Tensor:
    half = fock @ d @ overlap
    return x.mT @ (half - half.mT) @ x


def finish(functional: EnergyFunctional, state: ScfState) -> Orbitals:
    """Orbitals of the state's own Fock matrix, and its residual under these parameters."""
    system, d = functional.system, state.density_matrix.detach()
    x, fock = orthonormaliser(system.overlap), functional.fock(d).detach()
    energies, coefficients, _ = occupy(x, fock, system.occupied)
    residual = float(_commutator(x, system.overlap, fock, d).abs().max())
    return Orbitals(d, energies, coefficients, residual)
