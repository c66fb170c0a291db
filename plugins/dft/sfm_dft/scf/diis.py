"""Self-consistency: Pulay's DIIS on the Fock matrix, outside the graph, for many molecules at once.

The residual is the commutator F D S - S D F in an orthonormal basis. A calculation that does not
converge says so in its state; it never passes for an energy.

Reference: Pulay, J. Comput. Chem. 3, 556 (1982).

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.occupation import UNREACHABLE, occupations
from sfm_dft.scf.system import KohnShamSystem

HISTORY = 8
LARGEST_CHANGE = 1e-3
DIIS_CONDITION = 1e-13


@dataclass(frozen=True, eq=False)
class ScfState:
    """How far the iteration has come, molecule by molecule. Tensors carry no graph.

    Attributes:
        density_matrix: (M, s, n, n). cycles: (M,) Fock matrices built so far.
        focks: (M, 8, s, n, n) and residuals: (M, 8, s, n, n) what DIIS remembers, newest last.
        remembered: (M,) how many of them belong to the present run of DIIS.
        residual: (M,) largest element of the orthonormal commutator of the last density that was
            tested, hartree; infinite before the first cycle.
        converged: (M,) ``density_matrix`` is that density, and self-consistent.
    """

    density_matrix: Tensor
    focks: Tensor
    residuals: Tensor
    remembered: Tensor
    cycles: Tensor
    residual: Tensor
    converged: Tensor

    def done(self) -> bool:
        """Whether every molecule is self-consistent."""
        return bool(self.converged.all())


@dataclass(frozen=True, eq=False)
class Orbitals:
    """What density matrices (M, s, n, n) lead to: their Fock matrices, the levels (M, s, n) of
    these, orbitals (M, s, n, n) in columns, occupations (M, s, n), and the residual (M,) that says
    how far they are from self-consistent, infinite where an energy is not finite. Dropped
    directions have levels beyond reach and no orbital.

    graph: the Fock matrices at these density matrices as a function of the parameters, or None."""

    density_matrix: Tensor
    fock: Tensor
    energies: Tensor
    coefficients: Tensor
    filling: Tensor
    residual: Tensor
    graph: Tensor | None = None


def start_state(
    system: KohnShamSystem, density_matrix: Float[Tensor, "M s n n"] | None = None
) -> ScfState:
    """A state before the first cycle, from density matrices (M, s, n, n) or molecules' guesses."""
    d = (system.guess if density_matrix is None else density_matrix).detach().clone()
    count = len(system)
    empty = d.new_zeros(count, HISTORY, *d.shape[1:])
    zeros = torch.zeros(count, dtype=torch.int64, device=d.device)
    infinite = d.new_full((count,), torch.inf)
    return ScfState(d, empty, empty, zeros, zeros, infinite, zeros.bool())


def diagonalise(
    system: KohnShamSystem, fock: Float[Tensor, "M s n n"]
) -> tuple[Float[Tensor, "M s n"], Float[Tensor, "M s n n"]]:
    """Levels (M, s, n) and orbitals (M, s, n, n) of Fock matrices (M, s, n, n); levels are NaN
    where the matrix is not finite, which must not end the rest of the batch."""
    x = system.orthonormaliser[:, None]
    dropped = x.square().sum(-2) == 0
    small = x.mT @ fock @ x + torch.diag_embed(UNREACHABLE * dropped.to(fock.dtype))
    lost = ~small.isfinite().flatten(-2).all(-1)
    energies, vectors = torch.linalg.eigh(torch.where(lost[..., None, None], 0.0, small))
    return torch.where(lost[..., None], torch.nan, energies), x @ vectors


def occupy(
    system: KohnShamSystem, fock: Float[Tensor, "M s n n"], smearing: float = 0.0
) -> tuple[
    Float[Tensor, "M s n"],
    Float[Tensor, "M s n n"],
    Float[Tensor, "M s n"],
    Float[Tensor, "M s n n"],
]:
    """Levels, orbitals, occupations and the density matrix of Fock matrices (M, s, n, n)."""
    energies, coefficients = diagonalise(system, fock)
    filling = occupations(energies, system.electrons, smearing)
    return energies, coefficients, filling, (coefficients * filling[..., None, :]) @ coefficients.mT


def orthonormal(
    system: KohnShamSystem, density_matrix: Float[Tensor, "M s n n"]
) -> Float[Tensor, "M s n n"]:
    """Density matrices (M, s, n, n) in the orthonormal basis of the system."""
    half = system.orthonormaliser.mT @ system.overlap
    return half[:, None] @ density_matrix @ half.mT[:, None]


def nearest_idempotent(
    system: KohnShamSystem, density_matrix: Float[Tensor, "M s n n"]
) -> Float[Tensor, "M s n n"]:
    """(M, s, n, n): the natural orbitals of largest occupation, filled with whole electrons.

    For correlated density matrices, which no single determinant has, and for those of another
    geometry, whose orbitals are not normalised any more.
    """
    _, vectors = torch.linalg.eigh(orthonormal(system, density_matrix.detach()))
    order = torch.arange(vectors.shape[-1], device=vectors.device)
    last = order >= vectors.shape[-1] - system.electrons[..., None]
    orbitals = system.orthonormaliser[:, None] @ (vectors * last[..., None, :])
    density: Tensor = orbitals @ orbitals.mT
    return density


def extrapolate(
    focks: Float[Tensor, "M H s n n"],
    residuals: Float[Tensor, "M H ..."],
    remembered: Int[Tensor, " M"],
) -> Float[Tensor, "M s n n"]:
    """Pulay's combination (M, s, n, n) of Fock matrices (M, H, s, n, n), of which the newest
    ``remembered`` (M,) count, with the smallest residual."""
    count, size = focks.shape[:2]
    stacked = residuals.flatten(2)
    gram = stacked @ stacked.mT
    used = torch.arange(size, device=focks.device) >= size - remembered[:, None]
    both = used[:, :, None] & used[:, None, :]
    largest = (gram.diagonal(dim1=1, dim2=2) * used).max(1).values.clamp_min(1e-300)
    gram = torch.where(both, gram / largest[:, None, None], torch.zeros_like(gram))
    matrix = gram.new_zeros(count, size + 1, size + 1)
    matrix[:, :size, :size] = gram + torch.diag_embed((~used).to(gram.dtype))
    matrix[:, size, :size] = matrix[:, :size, size] = -used.to(gram.dtype)
    right = gram.new_zeros(count, size + 1, 1)
    right[:, size] = -1.0
    weights = (torch.linalg.pinv(matrix, hermitian=True, rtol=DIIS_CONDITION) @ right)[:, :size, 0]
    return torch.einsum("mk,mksij->msij", weights * used, focks)


def iterate(
    energy: EnergyFunctional,
    state: ScfState,
    steps: int,
    *,
    tolerance: float = 1e-8,
    level_shift: float = 0.0,
    smearing: float = 0.0,
) -> ScfState:
    """At most ``steps`` cycles more; molecules that are self-consistent stay as they are.

    One cycle builds F[D], measures the residual of D and, unless it is below ``tolerance``
    (hartree) and D fills the lowest levels, takes the next D from the extrapolated Fock matrix.
    ``level_shift`` (hartree) raises the empty levels. A state that converged with other parameters
    is tested again, and iterated where it no longer is a solution.
    """
    if state.converged.any():
        residual = finish(energy, state, smearing=smearing).residual
        lost = state.converged & (residual >= tolerance)
        if lost.any():
            state = replace(state, converged=state.converged & ~lost)
            state = _forget(state, lost)
    for _ in range(steps):
        which = (~state.converged & state.residual.isfinite() | (state.cycles == 0)).nonzero()
        active = [int(i) for i in which[:, 0]]
        if not active:
            break
        state = _cycle(energy.select(active), state, active, tolerance, level_shift, smearing)
    return state


def _forget(state: ScfState, which: Tensor) -> ScfState:
    zero = torch.zeros_like(state.remembered)
    return replace(
        state,
        remembered=torch.where(which, zero, state.remembered),
        cycles=torch.where(which, zero, state.cycles),
    )


def _cycle(
    energy: EnergyFunctional,
    state: ScfState,
    active: list[int],
    tolerance: float,
    level_shift: float,
    smearing: float,
) -> ScfState:
    """One cycle of the molecules ``active``, which are those of ``energy``."""
    system = energy.system
    n = system.size
    d = state.density_matrix[active, :, :n, :n]
    total, fock = energy.energy_and_fock(d)
    commutator = commutators(system, fock, d)
    residual = commutator.flatten(1).abs().max(1).values
    # an energy can be lost while its derivative is not: a closure may say NaN only there
    failed = ~(residual.isfinite() & total.isfinite())
    fock = torch.where(failed[:, None, None, None], torch.zeros_like(fock), fock)
    commutator = torch.where(failed[:, None, None, None], torch.zeros_like(fock), commutator)
    # a commuting density need not be the ground state's: symmetry alone can make superposed atoms
    # commute, and so does every excited configuration
    lowest = occupy(system, fock, smearing)[3]
    small = residual < tolerance
    converged = small & ((lowest - d).flatten(1).abs().max(1).values < LARGEST_CHANGE)
    restart = small & ~converged

    focks = _remember(state.focks, fock, active)
    residuals = _remember(state.residuals, commutator, active)
    remembered = (state.remembered[active] + 1).clamp_max(HISTORY)
    newest = slice(-int(remembered.max()), None)
    mixed = extrapolate(
        focks[active][:, newest, :, :n, :n], residuals[active][:, newest, :, :n, :n], remembered
    )
    if level_shift:
        overlap = system.overlap[:, None]
        mixed = mixed + level_shift * (overlap - overlap @ d @ overlap)
    following = occupy(system, mixed, smearing)[3]
    following = torch.where(restart[:, None, None, None], lowest, following)
    following = torch.where((converged | failed)[:, None, None, None], d, following)
    remembered = torch.where(restart, torch.zeros_like(remembered), remembered)

    def put(old: Tensor, new: Tensor) -> Tensor:
        out = old.clone()
        out[active] = new
        return out

    matrices = state.density_matrix.clone()
    matrices[active, :, :n, :n] = following
    return ScfState(
        density_matrix=matrices,
        focks=focks,
        residuals=residuals,
        remembered=put(state.remembered, remembered),
        cycles=put(state.cycles, state.cycles[active] + 1),
        residual=put(state.residual, torch.where(failed, torch.inf, residual)),
        converged=put(state.converged, converged),
    )


def _remember(history: Tensor, newest: Tensor, active: list[int]) -> Tensor:
    """History with one more entry for the molecules ``active``, and without the oldest."""
    n = newest.shape[-1]
    history = history.detach()
    row = history.new_zeros(len(history), 1, *history.shape[2:])
    row[active, 0, :, :n, :n] = newest
    return torch.cat([history[:, 1:], row], 1)


def commutators(
    system: KohnShamSystem, fock: Float[Tensor, "M s n n"], d: Float[Tensor, "M s n n"]
) -> Float[Tensor, "M s n n"]:
    """F D S - S D F of all electrons in an orthonormal basis, (M, s, n, n), hartree."""
    x, overlap = system.orthonormaliser[:, None], system.overlap[:, None]
    half = system.share * fock @ d @ overlap
    return x.mT @ (half - half.mT) @ x


def finish(
    energy: EnergyFunctional,
    state: ScfState,
    *,
    smearing: float = 0.0,
    create_graph: bool = False,
) -> Orbitals:
    """Orbitals of the state's own Fock matrices, and their residuals under these parameters.

    create_graph: keep the Fock matrices as a function of the parameters, for
    `sfm_dft.gradients.response.attach`.
    """
    system, d = energy.system, state.density_matrix.detach()
    total, graph = energy.energy_and_fock(d, create_graph=create_graph)
    fock = graph.detach()
    levels, coefficients, filling, _ = occupy(system, fock, smearing)
    residual = commutators(system, fock, d).flatten(1).abs().max(1).values
    residual = torch.where(total.isfinite(), residual, torch.inf)
    kept = graph if create_graph else None
    return Orbitals(d, fock, levels, coefficients, filling, residual, kept)
