"""Self-consistency by second order: trust-region Newton steps in orbital rotations.

    C' = C exp([[0, -U^T], [U, 0]]),   dE = g.U + 1/2 U.H U,
    g = 2 F_vo,   H U = 2 [F_vv U - U F_oo + (C^T K[dD] C)_vo],   for each spin,

with v empty and o filled orbitals and K the exact response of the Fock matrix. A step minimises the
quadratic model inside the trust radius by Steihaug's truncated conjugate gradients, follows
negative curvature to its edge, and is taken only if the energy falls as the model said. It is what
helps where DIIS wanders: small gaps, learned functionals, stretched bonds. What it ends in is a
minimum, whose lowest levels need not all be filled.

Where one spin's density vanishes, as in a bond that is pulled apart, the second derivative by the
polarisation diverges, and no radius is small enough for the model to hold: there DIIS, which needs
no curvature, goes on from the broken symmetry that Newton's method has found.

References: Steihaug, SIAM J. Numer. Anal. 20, 626 (1983); Sun, Yang, Chan, Chem. Phys. Lett. 683,
291 (2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.scf.diis import ScfState, commutators, iterate, start_state
from sfm_dft.scf.energy import EnergyFunctional

FIRST_RADIUS = 0.4
LARGEST_RADIUS = 1.2
SMALLEST_RADIUS = 1e-6
INNER_STEPS = 25
RESCUE = 20  # cycles of DIIS where no step is short enough
ENERGY_NOISE = 1e-11  # relative: below it, energies no longer decide


def newton(
    energy: EnergyFunctional,
    state: ScfState,
    steps: int,
    *,
    tolerance: float = 1e-8,
    only: int | None = None,
) -> ScfState:
    """At most ``steps`` Newton steps more of every molecule that is not yet self-consistent, or of
    ``only`` one of them."""
    for index in (~state.converged).nonzero()[:, 0].tolist():
        if only in (None, index):
            state = _one(energy.select([index]), state, index, steps, tolerance)
    return state


@dataclass(frozen=True)
class _Descent:
    """Where the steps of one molecule ended: its density matrix (1, s, n, n) and energy, the
    residual in hartree, and whether that is a solution, or no step was short enough."""

    density: Tensor
    value: float
    residual: float
    cycles: int
    converged: bool
    stalled: bool = False


def _one(
    energy: EnergyFunctional, state: ScfState, index: int, steps: int, tolerance: float
) -> ScfState:
    n = energy.system.size
    start = Rotation(energy, state.density_matrix[index : index + 1, :, :n, :n].detach())
    end = _descend(energy, start, steps, tolerance)
    if end.stalled:
        end = _rescued(energy, end, tolerance)
    matrices = state.density_matrix.clone()
    matrices[index, :, :n, :n] = end.density[0]

    def put(old: Tensor, value: float | int | bool) -> Tensor:
        out = old.clone()
        out[index] = value
        return out

    return replace(
        state,
        density_matrix=matrices,
        remembered=put(state.remembered, 0),
        cycles=put(state.cycles, int(state.cycles[index]) + end.cycles),
        residual=put(state.residual, end.residual),
        converged=put(state.converged, end.converged),
    )


def _descend(
    energy: EnergyFunctional, rotation: Rotation, steps: int, tolerance: float
) -> _Descent:
    """Trust-region steps, each as long as the quadratic model tells the truth."""
    radius, cycles, converged, stalled = FIRST_RADIUS, 0, False, False
    value = float(energy.total(rotation.density()).detach())
    residual = float("inf")
    while cycles < steps and not stalled:
        cycles += 1
        fock = energy.fock(rotation.density()).detach()
        residual = float(commutators(energy.system, fock, rotation.density()).abs().max())
        if not isfinite(value):  # whatever its derivative says
            residual = float("inf")
        converged = residual < tolerance
        if converged or not residual < float("inf"):
            break
        rotation.canonicalise(fock)
        hessian = rotation.hessian()
        stalled = True
        while stalled and radius > SMALLEST_RADIUS:
            step, expected = _steihaug(rotation.gradient, hessian, rotation.diagonal, radius)
            trial = rotation.turned(step)
            trial_value = float(energy.total(trial.density()).detach())
            noise = ENERGY_NOISE * abs(value)
            gain = (trial_value - value - noise) / (expected - noise)
            length = float(torch.stack([u.square().sum() for u in step]).sum().sqrt())
            if not gain >= 0.25:  # NaN too: an energy that is not finite is no way to go
                radius = 0.25 * length
            elif gain > 0.75 and length > 0.9 * radius:
                radius = min(2.0 * radius, LARGEST_RADIUS)
            if gain > 0.0:
                rotation, value, stalled = trial, trial_value, False
    return _Descent(rotation.density(), value, residual, cycles, converged, stalled)


def _rescued(energy: EnergyFunctional, end: _Descent, tolerance: float) -> _Descent:
    """Some cycles of DIIS from where no step is short enough, unless they lead upwards."""
    start = start_state(energy.system, end.density)
    state = iterate(energy, start, RESCUE, tolerance=tolerance)
    cycles = end.cycles + int(state.cycles[0])
    value = float(energy.total(state.density_matrix).detach())
    if not value <= end.value + 10.0 * ENERGY_NOISE * abs(end.value):
        return replace(end, cycles=cycles)
    return _Descent(
        state.density_matrix, value, float(state.residual[0]), cycles, bool(state.converged[0])
    )


class Rotation:
    """Orbitals of one molecule, and the energy's first two derivatives by turning them.

    Rotations U are lists over spins of (empty, filled) matrices.
    """

    def __init__(self, energy: EnergyFunctional, density_matrix: Tensor) -> None:
        system = energy.system
        self.energy = energy
        x = system.orthonormaliser[0]
        x = x[:, x.square().sum(0) > 0]
        self.filled, self.empty = [], []
        half = x.mT @ system.overlap[0]
        for matrix, count in zip(density_matrix[0], system.electrons[0].tolist(), strict=True):
            _, vectors = torch.linalg.eigh(half @ matrix @ half.mT)
            orbitals = x @ vectors.flip(-1)
            self.filled.append(orbitals[:, :count])
            self.empty.append(orbitals[:, count:])

    def density(self) -> Float[Tensor, "1 s n n"]:
        """(1, s, n, n)."""
        return torch.stack([c @ c.mT for c in self.filled])[None]

    def canonicalise(self, fock: Float[Tensor, "1 s n n"]) -> None:
        """Diagonalise the filled and empty blocks of (1, s, n, n); sets gradient and diagonal."""
        share = 2.0 * self.energy.system.share
        self.gradient, self.diagonal, self.gaps = [], [], []
        for spin, f in enumerate(fock[0]):
            levels = []
            for block in (self.filled, self.empty):
                e, turn = torch.linalg.eigh(block[spin].mT @ f @ block[spin])
                block[spin] = block[spin] @ turn
                levels.append(e)
            gaps = levels[1][:, None] - levels[0]
            self.gaps.append(gaps)
            self.gradient.append(share * self.empty[spin].mT @ f @ self.filled[spin])
            self.diagonal.append(share * gaps.abs().clamp_min(0.1))

    def hessian(self) -> Callable[[list[Float[Tensor, "_ _"]]], list[Float[Tensor, "_ _"]]]:
        """U -> H U, with U (v, o) of each spin."""
        energy, share = self.energy, 2.0 * self.energy.system.share
        with torch.enable_grad():
            d = self.density().requires_grad_()
            fock = energy.fock(d, create_graph=True)

        def apply(u: list[Tensor]) -> list[Tensor]:
            half = [v @ x @ o.mT for v, x, o in zip(self.empty, u, self.filled, strict=True)]
            change = torch.stack([h + h.mT for h in half])[None]
            (answer,) = torch.autograd.grad(fock, d, change, retain_graph=True)
            answer = 0.5 * (answer + answer.mT)
            return [
                share * (gap * x + v.mT @ a @ o)
                for gap, x, v, a, o in zip(
                    self.gaps, u, self.empty, answer[0], self.filled, strict=True
                )
            ]

        return apply

    def turned(self, u: list[Float[Tensor, "_ _"]]) -> Rotation:
        """The orbitals after a rotation, U (v, o) of each spin."""
        other = object.__new__(Rotation)
        other.energy, other.filled, other.empty = self.energy, [], []
        for o, v, x in zip(self.filled, self.empty, u, strict=True):
            count = o.shape[1]
            both = torch.cat([o, v], 1)
            generator = both.new_zeros(both.shape[1], both.shape[1])
            generator[count:, :count], generator[:count, count:] = x, -x.mT
            both = both @ torch.linalg.matrix_exp(generator)
            other.filled.append(both[:, :count])
            other.empty.append(both[:, count:])
        return other


def _dot(a: list[Tensor], b: list[Tensor]) -> float:
    return float(sum((x * y).sum() for x, y in zip(a, b, strict=True)))


def _along(a: list[Tensor], t: float, b: list[Tensor]) -> list[Tensor]:
    return [x + t * y for x, y in zip(a, b, strict=True)]


def _steihaug(
    gradient: list[Tensor],
    hessian: Callable[[list[Tensor]], list[Tensor]],
    diagonal: list[Tensor],
    radius: float,
) -> tuple[list[Tensor], float]:
    """The step inside ``radius`` that lowers the quadratic model, and by how much (negative)."""
    z = [torch.zeros_like(g) for g in gradient]
    hz = [torch.zeros_like(g) for g in gradient]
    r = list(gradient)
    y = [a / b for a, b in zip(r, diagonal, strict=True)]
    p = [-a for a in y]
    rho, first = _dot(r, y), _dot(gradient, gradient)

    def value(u: list[Tensor], hu: list[Tensor]) -> float:
        return _dot(gradient, u) + 0.5 * _dot(u, hu)

    for _ in range(INNER_STEPS):
        image = hessian(p)
        curvature = _dot(p, image)
        step = rho / curvature if curvature > 0 else float("inf")
        ahead = _along(z, step, p) if curvature > 0 else z
        if curvature <= 0 or _dot(ahead, ahead) >= radius**2:
            a, b, c = _dot(p, p), _dot(z, p), _dot(z, z) - radius**2
            step = (-b + (b * b - a * c) ** 0.5) / a
            z, hz = _along(z, step, p), _along(hz, step, image)
            return z, value(z, hz)
        z, hz, r = ahead, _along(hz, step, image), _along(r, step, image)
        if _dot(r, r) <= min(0.01, first) * first:  # quadratic convergence near the end
            break
        y = [a / b for a, b in zip(r, diagonal, strict=True)]
        rho, previous = _dot(r, y), rho
        p = _along([-a for a in y], rho / previous, p)
    return z, value(z, hz)
