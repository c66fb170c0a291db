"""Functionals trained through self-consistency, and without it as a baseline.

Through (the Kohn-Sham equations regularise): at the self-consistent density n of each molecule,

    loss = mean of (E - E_exact)^2 / N + weight int (n - n_exact)^2 dx / N.

The energy's gradient is the envelope theorem's, the density's one linear response. Without: the
exact density n_exact is put into the functional, and the loss is (E_xc[n_exact] - E_xc,exact)^2 / N
with E_xc,exact = E - T_s - E_ext - E_H - E_nn; T_s comes from the potential that gives n_exact,
which two electrons in one orbital have in closed form.

A state that does not become self-consistent drops out of the step, and is counted.

Reference: Li et al., Phys. Rev. Lett. 126, 036401 (2021), whose loss is on the energies of all
cycles instead.

Atomic units (hartree, bohr); losses as they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from sfm.errors import InputError, RunError
from sfm_dft.ladder.grid import kinetic_matrix
from sfm_dft.ladder.kohn_sham_1d import KohnSham1D
from sfm_dft.ladder.mixing import begin
from sfm_dft.ladder.molecules import Molecules


@dataclass(frozen=True)
class Labels:
    """Exact energies (B,) in hartree, nuclei included, and densities (B, n) on the grid."""

    molecules: Molecules
    energy: Tensor
    density: Tensor

    def cropped(self, points: int) -> Labels:
        """On the `points` innermost grid points."""
        cut = self.density.shape[-1] - points
        if cut < 0 or cut % 2:
            raise InputError(f"points={points}: the labels have {self.density.shape[-1]}")
        inner = self.density[:, cut // 2 : self.density.shape[-1] - cut // 2]
        return Labels(self.molecules, self.energy, inner)


@dataclass(frozen=True)
class Fit:
    """What training did.

    Attributes:
        losses: one per evaluation or step. failures: states that did not converge, in all.
        validation: root mean square error of an energy at the step that was chosen, hartree; NaN
            where nothing was held out.
    """

    losses: list[float]
    failures: int
    validation: float = math.nan


def optimise(
    module: nn.Module,
    loss: Callable[[], Float[Tensor, ""]],
    *,
    steps: int,
    score: Callable[[float], float] = float,
) -> list[float]:
    """L-BFGS in float64, at most `steps` evaluations of the loss ().

    Stays apart from `sfm.nn.descent`, whose optimisers are torch's: here every evaluation solves
    for a self-consistent density, and scipy's L-BFGS-B has a line search by More and Thuente, which
    needs about one evaluation a step, and takes a loss that is not finite as a wall to turn from,
    where `descend` stops the training.

    Returns:
        The loss of each evaluation. The module keeps the weights of the smallest `score`, which
        is given the loss.

    Raises:
        RunError: the first loss is not a number.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    losses: list[float] = []
    best: tuple[float, np.ndarray] | None = None
    worst = 0.0

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, worst
        vector_to_parameters(torch.from_numpy(x.copy()), parameters)
        value = loss()
        gradient = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
        current, flat = float(value.detach()), parameters_to_vector(gradient).numpy()
        losses.append(current)
        if not math.isfinite(current):
            if best is None:
                raise RunError(f"training a functional: the first loss is {current}")
            return 10.0 * worst, np.zeros_like(flat)
        worst = max(worst, current)
        points = score(current)
        if best is None or points < best[0]:
            best = points, x.copy()
        return current, flat

    start = parameters_to_vector(parameters).detach().numpy().copy()
    scipy.optimize.minimize(
        evaluate,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxfun": steps, "maxiter": steps, "ftol": 0.0, "gtol": 1e-12, "maxcor": 20},
    )
    assert best is not None
    vector_to_parameters(torch.from_numpy(best[1]), parameters)
    return losses


def train_through(
    functional: nn.Module,
    labels: Labels,
    *,
    steps: int = 300,
    density_weight: float = 0.03,
    weight_decay: float = 0.0,
    dx: float = 0.08,
    tolerance: float = 1e-7,
    max_cycles: int = 60,
    validation: Labels | None = None,
) -> Fit:
    """Train a functional through the self-consistent field, in place.

    Args:
        validation: molecules on whose energies the step is chosen: that with the smallest mean
            squared error of an energy, these and the training molecules together. Without it,
            the smallest loss.

    Raises:
        RunError: no molecule at all becomes self-consistent.
    """
    size = labels.density.shape[-1]
    simulator = KohnSham1D(
        closure=functional, points=size, dx=dx, tolerance=tolerance, max_cycles=max_cycles
    )
    cold = simulator.start(labels.molecules)
    electrons = labels.molecules.electrons.to(torch.float64)
    guess, failures, last = cold.field.density, 0, torch.zeros(0)
    held = None if validation is None else validation.molecules

    def loss() -> Tensor:
        nonlocal guess, failures, last
        state = simulator(type(cold)(*_nuclei(labels.molecules), begin(guess)), max_cycles)
        good = state.converged
        failures += int((~good).sum())
        if not bool(good.all()):  # no step is taken there
            return torch.full((), torch.nan, dtype=torch.float64) * _nothing(functional)
        guess = torch.where(good[:, None], state.field.density, cold.field.density)
        energy, density = simulator.energy_and_density(state)
        squared = (energy - labels.energy) ** 2
        last = squared.detach()
        spread = ((density - labels.density) ** 2).sum(-1) * dx
        each = (squared + density_weight * spread) / electrons
        decay = weight_decay * parameters_to_vector(functional.parameters()).square().sum()
        return each.mean() + decay

    def score(value: float) -> float:
        if validation is None or held is None:
            return value
        with torch.no_grad():
            state = simulator(simulator.start(held), max_cycles)
            wrong = (simulator.energy(state) - validation.energy) ** 2
        error = float(torch.cat([wrong, last]).mean())
        return error if math.isfinite(error) else math.inf

    return Fit(optimise(functional, loss, steps=steps, score=score), failures)


def _nothing(module: nn.Module) -> Tensor:
    """1, with a graph to all weights."""
    return 1.0 + 0.0 * parameters_to_vector(module.parameters()).sum()


def _nuclei(molecules: Molecules) -> tuple[Tensor, Tensor, Tensor]:
    return molecules.positions, molecules.charges, molecules.electrons


def exact_xc_energy(labels: Labels, *, dx: float = 0.08, order: int = 4) -> Float[Tensor, " B"]:
    """(B,) exchange-correlation energy of exact densities of two electrons, hartree.

    Raises:
        InputError: a molecule does not have two electrons in one orbital.
    """
    if bool((labels.molecules.electrons != 2).any()):
        raise InputError("the exact kinetic energy in closed form is that of two electrons only")
    size = labels.density.shape[-1]
    orbital = torch.sqrt(0.5 * labels.density * dx)
    kinetic = 2.0 * ((orbital @ kinetic_matrix(size, dx, order)) * orbital).sum(-1)
    simulator = KohnSham1D(points=size, dx=dx, difference_order=order)
    with torch.no_grad():
        problem = simulator.problem(labels.molecules)
        parts = problem.components(labels.density, problem.repulsion())
    return labels.energy - kinetic - parts["external"] - parts["hartree"] - parts["nuclear"]


def train_on_exact_densities(
    functional: nn.Module, labels: Labels, *, steps: int = 300, dx: float = 0.08
) -> Fit:
    """Train a functional on energies at fixed exact densities, without self-consistency."""
    target = exact_xc_energy(labels, dx=dx)
    electrons = labels.molecules.electrons.to(torch.float64)

    def loss() -> Tensor:
        energy = functional(labels.density, dx).sum(-1) * dx
        error: Tensor = ((energy - target) ** 2 / electrons).mean()
        return error

    return Fit(optimise(functional, loss, steps=steps), 0)
