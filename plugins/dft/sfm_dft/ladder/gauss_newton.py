"""Functionals trained through self-consistency by Levenberg's and Marquardt's method.

The loss is a sum of squares: one residual for the energy of each molecule and one for its density
at every `stride`-th grid point. With n = F(v[n, theta]), chi = dF/dv and f = dv/dn the rows of the
Jacobian are

    dE/dtheta = dE_xc/dtheta at fixed n,
    dn(x)/dtheta = w dv_xc/dtheta with w = chi (1 - f chi)^-1 delta_x,

so each density row is one linear response, all rows of a molecule at once, and one backward pass.
Where the gradient of the whole loss (L-BFGS) needs hundreds of evaluations, since energies and
densities of a functional are coupled badly, this needs about ten steps.

References: Marquardt, J. Soc. Ind. Appl. Math. 11, 431 (1963); Li et al., Phys. Rev. Lett. 126,
036401 (2021), who choose the step by the energies of validation molecules, as here.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from sfm.errors import InputError, RunError
from sfm_dft.ladder.fixed_point import against_dielectric
from sfm_dft.ladder.grid import kinetic_matrix
from sfm_dft.ladder.kohn_sham_1d import KohnSham1D
from sfm_dft.ladder.line_state import LineState
from sfm_dft.ladder.mixing import begin
from sfm_dft.ladder.orbitals import Orbitals, Response
from sfm_dft.ladder.training import Fit, Labels

SHRINK, GROW, TRIALS = 0.25, 5.0, 10


@dataclass(frozen=True)
class Point:
    """Weights (P,), the self-consistent states they give, residuals (M, 1 + k), loss."""

    weights: Tensor
    state: LineState
    residuals: Tensor
    loss: float


class Residuals:
    """Energies and densities of self-consistent molecules against labels.

        loss = mean of [(E - E_exact)^2 + density_weight int (n - n_exact)^2 dx] / N

    The integral is over every `stride`-th point, a quarter of a stride off the centre: in a mirror
    symmetric molecule those left and right of it interleave.
    """

    def __init__(
        self, simulator: KohnSham1D, labels: Labels, *, density_weight: float, stride: int
    ) -> None:
        self.simulator, self.labels = simulator, labels
        middle = simulator.points // 2
        self.rows = torch.arange((middle + stride // 4) % stride, simulator.points, stride)
        share = 1.0 / (labels.molecules.electrons.to(torch.float64) * len(labels.energy))
        self.energy_weight = share.sqrt()
        self.density_weight = (share * density_weight * stride * simulator.dx).sqrt()
        self.cold = simulator.start(labels.molecules)

    def solve(self, guess: Float[Tensor, "M n"]) -> LineState:
        """From densities (M, n)."""
        molecules = self.labels.molecules
        nuclei = (molecules.positions, molecules.charges, molecules.electrons)
        start = LineState(*nuclei, begin(guess))
        state: LineState = self.simulator(start, self.simulator.max_cycles)
        return state

    @torch.no_grad()
    def __call__(self, state: LineState) -> Tensor:
        """(M, 1 + k), of converged states."""
        _, _, orbitals, _ = self.simulator.latest(state)
        energy = self.simulator.energy(state) - self.labels.energy
        density = (orbitals.density - self.labels.density)[:, self.rows]
        weighted = self.density_weight[:, None] * density
        return torch.cat([(self.energy_weight * energy)[:, None], weighted], dim=1)

    def jacobian(self, state: LineState, functional: nn.Module) -> Float[Tensor, "R P"]:
        """(R, P) derivatives of the R = M (1 + k) residuals.

        Raises:
            RunError: a density has no response.
        """
        problem, _, orbitals, potential = self.simulator.latest(state)
        repulsion = problem.repulsion().detach()
        rows = []
        for m in range(len(potential)):
            one = slice(m, m + 1)
            alone = Orbitals(
                orbitals.levels[one], orbitals.vectors[one], orbitals.filling[one], orbitals.dx
            )
            energy, density = self._slopes(alone, potential[one], repulsion, functional)
            rows += [self.energy_weight[m] * energy[None], self.density_weight[m] * density]
        return torch.cat(rows)

    def _slopes(
        self, orbitals: Orbitals, potential: Tensor, repulsion: Tensor, functional: nn.Module
    ) -> tuple[Tensor, Tensor]:
        """Of one molecule: dE/dtheta (P,) and dn/dtheta at the rows (k, P)."""
        simulator, weights = self.simulator, trainable(functional)
        size, dx = simulator.points, simulator.dx
        n = orbitals.density.requires_grad_()
        energy = functional(n, dx).sum() * dx
        (slope,) = torch.autograd.grad(energy, n, create_graph=True)
        v = slope / dx
        kinetic = kinetic_matrix(size, dx, simulator.difference_order)
        response = torch.vmap(Response(kinetic, potential, orbitals))

        def chi(w: Tensor) -> Tensor:
            return response(w[:, None])[:, 0]

        def dielectric(w: Tensor) -> Tensor:
            change = chi(w)
            (product,) = torch.autograd.grad(
                v, n, change[:, None], retain_graph=True, is_grads_batched=True
            )
            return w - product[:, 0] - change @ repulsion * dx

        points = torch.zeros(len(self.rows), size, dtype=torch.float64)
        points[torch.arange(len(self.rows)), self.rows] = 1.0
        w = chi(against_dielectric(dielectric, points, tolerance=5e-7))
        return _flat(energy, weights), _flat(v, weights, w[:, None])


class _Descent:
    """Marquardt's steps: where the weights stand, and how much the next step is damped."""

    def __init__(
        self, functional: nn.Module, residuals: Residuals, *, weight_decay: float, damping: float
    ) -> None:
        self.functional, self.residuals = functional, residuals
        self.weights = trainable(functional)
        self.weight_decay, self.damping = weight_decay, damping
        self.failures = 0

    def at(self, values: Tensor, guess: Tensor) -> Point | None:
        """The point with weights (P,), from densities (M, n); None if a field does not converge."""
        vector_to_parameters(values, self.weights)
        state = self.residuals.solve(guess)
        if not bool(state.converged.all()):
            return None
        r = self.residuals(state)
        decay = self.weight_decay * values.square().sum()
        return Point(values, state, r, float(r.square().sum() + decay))

    def step(self, point: Point) -> Point | None:
        """The next point, of lower loss; None if damping finds none."""
        vector_to_parameters(point.weights, self.weights)
        slopes = self.residuals.jacobian(point.state, self.functional)
        normal = slopes.mT @ slopes
        gradient = slopes.mT @ point.residuals.flatten() + self.weight_decay * point.weights
        one = torch.eye(len(gradient), dtype=gradient.dtype)
        for _ in range(TRIALS):
            damped = normal + (self.damping + self.weight_decay) * one
            move = torch.linalg.solve(damped, -gradient)
            trial = self.at(point.weights + move, point.state.field.density)
            self.failures += trial is None
            if trial is not None and trial.loss < point.loss:
                self.damping = max(SHRINK * self.damping, 1e-13)
                return trial
            self.damping *= GROW
        return None

    def error(self, point: Point, validation: Labels | None) -> tuple[float, Tensor]:
        """Mean squared error of an energy, hartree^2, and the weights; infinite where it is not a
        number."""
        simulator = self.residuals.simulator
        wrong = point.residuals[:, 0] / self.residuals.energy_weight
        if validation is not None:
            vector_to_parameters(point.weights, self.weights)
            with torch.no_grad():
                state = simulator(simulator.start(validation.molecules), simulator.max_cycles)
                wrong = torch.cat([wrong, simulator.energy(state) - validation.energy])
        error = float(wrong.square().mean())
        return (error if math.isfinite(error) else math.inf), point.weights


def train_by_least_squares(
    functional: nn.Module,
    labels: Labels,
    *,
    steps: int = 26,
    density_weight: float = 0.1,
    weight_decay: float = 1e-7,
    stride: int = 16,
    damping: float = 1e-2,
    dx: float = 0.08,
    tolerance: float = 1e-7,
    max_cycles: int = 100,
    validation: Labels | None = None,
    every: int = 2,
) -> Fit:
    """Train a functional through the self-consistent field, in place.

    Args:
        steps: of the method, each with one Jacobian. weight_decay: times |weights|^2 is added to
            the loss. damping: where Marquardt's parameter starts.
        validation: molecules on whose energies the step is chosen: that with the smallest mean
            squared error of an energy, these and the training molecules together, looked at every
            `every` steps. Without it, the last step.

    Raises:
        InputError: no labels, or a stride that leaves no point.
        RunError: at the start some molecule is not self-consistent.
    """
    size = labels.density.shape[-1]
    if not len(labels.energy):
        raise InputError("training a functional: no molecules; give labels of one or more")
    if not 1 <= stride <= size // 4:
        raise InputError(f"stride={stride}: give 1 to {size // 4}, of {size} grid points")
    simulator = KohnSham1D(
        closure=functional, points=size, dx=dx, tolerance=tolerance, max_cycles=max_cycles
    )
    residuals = Residuals(simulator, labels, density_weight=density_weight, stride=stride)
    descent = _Descent(functional, residuals, weight_decay=weight_decay, damping=damping)
    start = parameters_to_vector(descent.weights).detach().clone()
    point = descent.at(start, residuals.cold.field.density)
    if point is None:
        raise RunError("training a functional: at its start not all molecules are self-consistent")
    best, losses = (math.inf, start), [point.loss]
    for step in range(steps):
        if validation is not None and step % every == 0:
            best = min(best, descent.error(point, validation), key=lambda pair: pair[0])
        following = descent.step(point)
        if following is None:
            break
        point = following
        losses.append(point.loss)
    chosen = descent.error(point, validation)
    if validation is not None:
        chosen = min(best, chosen, key=lambda pair: pair[0])
    vector_to_parameters(chosen[1], descent.weights)
    error = math.sqrt(chosen[0]) if validation is not None else math.nan
    return Fit(losses, descent.failures, error)


def trainable(functional: nn.Module) -> list[nn.Parameter]:
    """The weights that training moves."""
    return [p for p in functional.parameters() if p.requires_grad]


def _flat(value: Tensor, parameters: list[nn.Parameter], rows: Tensor | None = None) -> Tensor:
    """Gradient (P,), or (k, P) of k contractions of `value` with `rows`."""
    slopes = torch.autograd.grad(
        value,
        parameters,
        rows,
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
        is_grads_batched=rows is not None,
    )
    lead = value.shape if rows is None else rows.shape[:1]
    return torch.cat([slope.reshape(*lead, -1) for slope in slopes], dim=-1)
