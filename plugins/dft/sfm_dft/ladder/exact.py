"""Exact ground states on the grid: one electron, and two electrons in a singlet.

Two electrons: Psi(x, y) = Psi(y, x) is an n x n matrix C, and

    (H C)(x, y) = T_x C + T_y C + [v(x) + v(y) + w(x - y)] C.

The lowest symmetric state is found by LOBPCG with one vector, preconditioned with
(T_x + T_y + shift)^-1, which sine transforms apply exactly. Nothing is truncated: what remains is
the grid. The residual bounds the error of the energy.

Reference: Knyazev, SIAM J. Sci. Comput. 23, 517 (2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.linalg
import torch
from jaxtyping import Float

from sfm.errors import RunError
from sfm_dft.ladder.grid import STENCILS
from sfm_dft.ladder.problem import Problem


@dataclass(frozen=True)
class GroundState:
    """Electronic energy in hartree (without nuclear repulsion), density (n,) in 1/bohr.

    Attributes:
        residual: norm of H psi - E psi. natural: (n,) natural occupation numbers, sum = electrons.
    """

    energy: float
    density: np.ndarray
    residual: float
    natural: np.ndarray


def one_electron(problem: Problem) -> GroundState:
    """The exact ground state of the first molecule with one electron."""
    orbitals = problem.orbitals(problem.external.detach())
    density = orbitals.vectors[0, :, 0] ** 2 / problem.dx
    occupied = np.zeros(len(density))
    occupied[0] = 1.0
    return GroundState(float(orbitals.levels[0, 0]), density.numpy(), 0.0, occupied)


class TwoElectrons:
    """The Hamiltonian of two electrons in one potential.

    Args:
        external: (n,) hartree. repulsion: (n, n) w(x - y). dx: bohr. order: of the differences.
    """

    def __init__(
        self, external: np.ndarray, repulsion: np.ndarray, dx: float, order: int = 4
    ) -> None:
        self.n, self.dx = len(external), dx
        self.stencil = [-0.5 * c / dx**2 for c in STENCILS[order]]
        self.v = external[:, None] + external[None, :] + repulsion
        angle = np.pi * np.arange(1, self.n + 1) / (self.n + 1)
        waves = np.full(self.n, self.stencil[0])
        for k, value in enumerate(self.stencil[1:], start=1):
            waves += 2.0 * value * np.cos(k * angle)
        self.kinetic = waves[:, None] + waves[None, :]

    def apply(self, c: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
        """H C, both (n, n) and symmetric."""
        t = self.stencil[0] * c
        for k, value in enumerate(self.stencil[1:], start=1):
            t[:-k] += value * c[k:]
            t[k:] += value * c[:-k]
        product: np.ndarray = t + t.T + self.v * c
        return product

    def precondition(self, r: Float[np.ndarray, "n n"], shift: float) -> Float[np.ndarray, "n n"]:
        """(T_x + T_y + shift)^-1 R; exact for differences of order 2, near the ends for others."""
        hat = scipy.fft.dstn(r, type=1, norm="ortho") / (self.kinetic + shift)
        solved = scipy.fft.dstn(hat, type=1, norm="ortho")
        symmetric: np.ndarray = 0.5 * (solved + solved.T)
        return symmetric

    def ground_state(
        self, guess: Float[np.ndarray, "n n"], *, tolerance: float = 1e-8, limit: int = 500
    ) -> GroundState:
        """The lowest singlet, from a symmetric guess (n, n).

        Raises:
            RunError: the residual is above `tolerance` after `limit` iterations.
        """
        c = guess / np.linalg.norm(guess)
        h = self.apply(c)
        p = hp = None
        energy = float(np.vdot(c, h))
        for _ in range(limit):
            r = h - energy * c
            residual = float(np.linalg.norm(r))
            if residual < tolerance:
                return self._finish(c, energy, residual)
            w = self.precondition(r, max(0.5, -energy))
            space, images = [c, w], [h, self.apply(w)]
            if p is not None and hp is not None:
                space, images = [*space, p], [*images, hp]
            energy, weights = _ritz(space, images)
            p = sum(a * s for a, s in zip(weights[1:], space[1:], strict=True))
            hp = sum(a * s for a, s in zip(weights[1:], images[1:], strict=True))
            c, h = weights[0] * c + p, weights[0] * h + hp
            size = np.linalg.norm(c)
            c, h = c / size, h / size
            size = np.linalg.norm(p)
            p, hp = p / size, hp / size
        raise RunError(f"two electrons: residual {residual:.1e} after {limit} iterations")

    def _finish(self, c: np.ndarray, energy: float, residual: float) -> GroundState:
        density = 2.0 * (c**2).sum(0) / self.dx
        values = scipy.linalg.eigvalsh(c)
        natural = np.sort(2.0 * values**2)[::-1]
        return GroundState(energy, density, residual, natural)


def _ritz(space: list[np.ndarray], images: list[np.ndarray]) -> tuple[float, np.ndarray]:
    scale = [1.0 / np.linalg.norm(s) for s in space]
    for i, a in enumerate(scale):
        space[i], images[i] = a * space[i], a * images[i]
    s = np.array([[np.vdot(a, b) for b in space] for a in space])
    h = np.array([[np.vdot(a, b) for b in images] for a in space])
    values, vectors = scipy.linalg.eigh(0.5 * (h + h.T), s)
    return float(values[0]), vectors[:, 0]


def two_electrons(problem: Problem, *, order: int = 4, tolerance: float = 1e-8) -> GroundState:
    """The exact singlet of the first molecule with two electrons.

    Starts from one orbital at each nucleus (Heitler and London's form), or from the non-interacting
    state where there is one nucleus only.
    """
    v = problem.external.detach()[0].numpy()
    with torch.no_grad():
        system = TwoElectrons(v, problem.repulsion().numpy(), problem.dx, order)
    r = problem.molecules.positions[0][problem.molecules.charges[0] > 0].detach().numpy()
    left, right = (np.exp(-np.abs(problem.x.numpy() - at)) for at in (r.min(), r.max()))
    guess = np.outer(left, right)
    return system.ground_state(guess + guess.T, tolerance=tolerance)
