"""Relaxed cells as a fixed point, and their derivatives by the implicit function theorem.

At a minimum of the enthalpy H(y; p) in the coordinates y = (displacements, scaled strain),
g(y*, p) = dH/dy = 0, so dy*/dp = -K^-1 dg/dp with the Hessian K. The backward pass solves one
linear system K z = v by conjugate gradients on Hessian-vector products; no iteration is stored.

Source: A. Griewank and A. Walther, Evaluating Derivatives (2nd ed., SIAM, 2008), chapter 15.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm.errors import RunError
from sfm.simulate.fixed_point import attach
from sfm.simulate.krylov import Indefinite, NotConverged, conjugate_gradients
from sfm_crystals.cells import Cells, EnergyFunction
from sfm_crystals.statics.fire import strain_length

CELL_MODES = ("full", "volume", "fixed")


class Basin:
    """Coordinates around reference cells, in which H has a gradient and a Hessian.

    Args:
        enthalpy: (S,) eV of cells.
        cells: the reference, at y = 0.
        mode: what the lattice may do: `full` strain, `volume` only, or `fixed`.
        move_atoms: whether atoms may move inside the cell.
    """

    def __init__(self, enthalpy: EnergyFunction, cells: Cells, mode: str, move_atoms: bool) -> None:
        self.enthalpy = enthalpy
        self.cells = cells.detached()
        self.mode, self.move_atoms = mode, move_atoms
        self.length = strain_length(self.cells)[:, None, None]
        self.n_atoms = self.cells.positions.shape[0]
        self.origin = torch.zeros(
            self.n_atoms + 3 * self.cells.n_systems, 3, dtype=cells.cell.dtype
        ).to(cells.cell.device)

    def at(self, y: Float[Tensor, "rows 3"]) -> Cells:
        """The cells at the coordinates y, (N + 3 S, 3) angstrom."""
        strain = y[self.n_atoms :].reshape(-1, 3, 3) / self.length
        return self.cells.deformed(y[: self.n_atoms], strain)

    def within(self, cell: Float[Tensor, "S 3 3"]) -> Basin:
        """The same basin in lattices (S, 3, 3) angstrom that have a graph, equal to its own.

        Atoms are at their fractional coordinates: what follows the lattice then moves them too.
        """
        inside = (
            self.cells.positions.unsqueeze(1) @ torch.linalg.inv(self.cells.cell)[self.cells.system]
        )
        places = (inside @ cell[self.cells.system]).squeeze(1)
        basin = copy.copy(self)
        basin.cells = dataclasses.replace(self.cells, positions=places, cell=cell)
        return basin

    def project(self, y: Float[Tensor, "rows 3"]) -> Float[Tensor, "rows 3"]:
        """Remove what does not count or must not change: translations, rotations, frozen parts."""
        u, w = y[: self.n_atoms], y[self.n_atoms :].reshape(-1, 3, 3)
        if self.move_atoms:
            count = self.cells.counts().to(u.dtype).unsqueeze(1)
            mean = system_sum(u, self.cells.system, self.cells.n_systems) / count
            mean = mean.masked_fill(self.cells.pinned(), 0.0)  # nothing slides past a fixed atom
            u = self.cells.moving(u - mean[self.cells.system])
        else:
            u = torch.zeros_like(u)
        if self.mode == "full":
            w = (w + w.mT) / 2
        elif self.mode == "volume":
            trace = w.diagonal(dim1=1, dim2=2).mean(1)
            w = trace[:, None, None] * torch.eye(3, dtype=w.dtype, device=w.device)
        else:
            w = torch.zeros_like(w)
        return torch.cat([u, w.reshape(-1, 3)])

    def gradient(
        self,
    ) -> tuple[
        Float[Tensor, "rows 3"], Callable[[Float[Tensor, "rows 3"]], Float[Tensor, "rows 3"]]
    ]:
        """g at the reference (with a graph to all parameters) and v -> K v there."""
        with torch.enable_grad():
            y = self.origin.clone().requires_grad_()
            total = self.enthalpy(self.at(self.project(y))).sum()
            (g,) = torch.autograd.grad(total, y, create_graph=True)

        def product(v: Tensor) -> Tensor:
            (kv,) = torch.autograd.grad(g, y, v, retain_graph=True, materialize_grads=True)
            return kv

        return g, product


def against_hessian(
    product: Callable[[Float[Tensor, "rows 3"]], Float[Tensor, "rows 3"]],
    b: Float[Tensor, "rows 3"],
    *,
    tolerance: float = 1e-12,
) -> Float[Tensor, "rows 3"]:
    """z with K z = b for a positive definite K (on the subspace that b lies in).

    Args:
        product: v -> K v, (N + 3 S, 3).
        b: (N + 3 S, 3).
        tolerance: relative residual; 1e4 times that is enough where rounding stops the iteration.

    Raises:
        RunError: K has a direction of negative curvature, so this is no minimum; or no convergence.
    """
    try:
        return conjugate_gradients(product, b, tolerance=tolerance, accept=1e4 * tolerance).x
    except Indefinite:
        raise RunError(
            "the relaxed cell is a saddle point, not a minimum: displace its atoms a little "
            "and relax again"
        ) from None
    except NotConverged as error:
        raise RunError(
            f"conjugate gradients did not converge in {error.iterations} iterations: the Hessian "
            "is nearly singular (a phase transition, or a cutoff that is not smooth)"
        ) from None


def polish(basin: Basin, tolerance: float, max_iterations: int = 12) -> tuple[Basin, float]:
    """Newton iterations from a nearly relaxed cell.

    Returns:
        The basin around the last cells, and the largest component of its gradient, eV/angstrom.
        That is above `tolerance` if Newton's method failed; the caller then goes on with FIRE.
    """
    g, product = basin.gradient()
    size = _size(g)
    for _ in range(max_iterations):
        if size <= tolerance:
            break
        try:
            step = against_hessian(product, g.detach(), tolerance=1e-8)
        except RunError:
            break
        for shorten in (1.0, 0.5, 0.25):
            moved = basin.at(-shorten * basin.project(step))
            trial = Basin(basin.enthalpy, moved, basin.mode, basin.move_atoms)
            trial_g, trial_product = trial.gradient()
            if _size(trial_g) < size:
                basin, g, product, size = trial, trial_g, trial_product, _size(trial_g)
                break
        else:
            break
    return basin, size


def _size(g: Tensor) -> float:
    return float(g.detach().abs().max())


def respond(basin: Basin) -> Cells:
    """The relaxed cells, which follow every parameter of the enthalpy under differentiation.

    Args:
        basin: around relaxed cells.
    """
    g, product = basin.gradient()

    def response(v: Tensor) -> Tensor:
        return -against_hessian(product, basin.project(v))

    return basin.at(basin.project(attach(basin.origin, g, response, where="relaxed cell")))
