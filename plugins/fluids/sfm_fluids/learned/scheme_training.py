"""Training a scheme of finite volumes through the solver, on trajectories and on spectra.

    flows = Flows(vorticity, interval=0.25, viscosity=1e-3, drag=0.1)
    scheme = LearnedScheme()
    fit_scheme(scheme, Runs(flows, dt=1 / 12))

A run starts from a sample of a direct simulation. Its loss is the mean over later samples of

    |F omega - F omega_exact| / |F omega_exact| + spectra * mean_k (ln E_k - ln E_k_exact)^2

with F a Gaussian of three cells and E_k the energy in shell k, for the shells that the start holds.
The second term is of statistics alone: what a flow that has decorrelated still has to fulfil.
Unrolled training of a coarse solver after D. Kochkov et al., PNAS 118, e2101784118 (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.errors import InputError
from sfm.nn.descent import cosine, descend
from sfm_fluids.learned.scheme import LearnedScheme
from sfm_fluids.spectral.filters import Filter
from sfm_fluids.spectral.grid_2d import Grid, energy_spectrum, velocity
from sfm_fluids.staggered.finite_volume_2d import FiniteVolume2D

WIDTH = 3.0  # of the Gaussian, in cells


@dataclass(frozen=True)
class Stage:
    """`steps` of the optimiser through runs of `samples` sampling intervals."""

    samples: int
    steps: int


STAGES = (Stage(1, 150), Stage(2, 100), Stage(4, 300))


@dataclass(frozen=True)
class Flows:
    """Kolmogorov flows of one viscosity and drag, sampled at equal times.

    Attributes:
        vorticity: (T, B, H, W) at the cells' corners, all modes that the grid's 2/3 rule retains.
        interval: time between samples.
        viscosity: nu.
        drag: alpha.
    """

    vorticity: Float[Tensor, "T B H W"]
    interval: float
    viscosity: float
    drag: float


class Runs:
    """Losses of runs of `fluids/finite-volume-2d` with a learned scheme, or central without one.

    Args:
        flows: what is run and compared with.
        dt: time step; divides the sampling interval.
        spectra: weight of the spectra.

    Raises:
        InputError: dt does not divide the interval.
    """

    def __init__(self, flows: Flows, dt: float, *, spectra: float = 0.01) -> None:
        steps = flows.interval / dt
        if abs(steps - round(steps)) > 1e-6 or steps < 0.5:
            raise InputError(f"dt={dt} does not divide the sampling interval {flows.interval}")
        height, width = flows.vorticity.shape[-2:]
        self.flows, self.dt, self.spectra = flows, dt, spectra
        self.grid, self.steps = Grid(height, width), round(steps)
        self.finish = Filter(self.grid, self.grid, WIDTH * self.grid.isotropic_spacing)
        self.vorticity = flows.vorticity.float()
        self.start = velocity(self.vorticity, self.grid)
        self.target = self.finish(self.vorticity)
        self.spectrum = self._spectrum(self.vorticity)

    def _spectrum(self, omega: Tensor) -> Tensor:
        """ln E_k of the shells from 1 to below a third of the grid."""
        return energy_spectrum(omega, self.grid)[1][..., 1 : self.grid.height // 3].log()

    def losses(
        self,
        scheme: LearnedScheme | None,
        when: Int[Tensor, " n"],
        which: Int[Tensor, " n"],
        samples: int,
    ) -> Float[Tensor, " n"]:
        """(n,) of runs from sample `when` (n,) of flow `which` (n,), over `samples` intervals."""
        height, width = self.grid.shape
        solver = FiniteVolume2D(
            height=height,
            width=width,
            viscosity=self.flows.viscosity,
            drag=self.flows.drag,
            dt=self.dt,
            dtype=torch.float32,
            recompute=False,
            **({"advection": "central"} if scheme is None else scheme.parts()),
        )
        for parameter in solver.parameters(recurse=False):
            parameter.requires_grad_(False)
        state = solver.from_velocity(self.start[when, which])
        total = torch.zeros(len(when))
        for number in range(1, samples + 1):
            state = solver(state, self.steps)
            omega = solver.observe(state)["vorticity"]
            exact = self.target[when + number, which]
            error = (self.finish(omega) - exact).flatten(1).norm(dim=1)
            gap = self._spectrum(omega) - self.spectrum[when + number, which]
            total = total + error / exact.flatten(1).norm(dim=1)
            total = total + self.spectra * gap.square().mean(-1)
        return total / samples


def fit_scheme(
    scheme: LearnedScheme,
    runs: Runs,
    stages: Sequence[Stage] = STAGES,
    *,
    batch: int = 8,
    lr: float = 3e-3,
    average: float | None = None,
    seed: int = 0,
    log: Callable[[str], None] = lambda text: None,
) -> list[float]:
    """Train in place with Adam: warm-up of 20 steps, cosine to zero, gradients clipped at 1.

    Runs of a batch that blew up are left out of its loss, unless all did.

    Args:
        scheme: of `fluids/finite-volume-2d`.
        runs: its losses.
        stages: longer and longer runs.
        batch: runs of a step.
        lr: largest learning rate.
        average: decay of a moving average of the weights, which is kept instead of the last ones.
        seed: of the choice of runs.
        log: gets a line now and then.

    Returns:
        The loss of every step.

    Raises:
        InputError: the flows hold no run of a stage's length.
        RunError: a loss is not finite.
    """
    samples, flows = runs.flows.vorticity.shape[:2]
    if max(stage.samples for stage in stages) >= samples:
        raise InputError(f"{samples} samples hold no run over as many intervals")
    lengths = [stage.samples for stage in stages for _ in range(stage.steps)]
    generator = np.random.default_rng(seed)

    def loss(step: int) -> Tensor:
        when = torch.from_numpy(generator.integers(samples - lengths[step], size=batch))
        which = torch.from_numpy(generator.integers(flows, size=batch))
        losses = runs.losses(scheme, when, which, lengths[step])
        kept = torch.isfinite(losses.detach())
        if bool(kept.any()) and not bool(kept.all()):
            # their gradients are not finite, and zeros would not silence them: run the rest again
            losses = runs.losses(scheme, when[kept], which[kept], lengths[step])
        return losses.mean()

    fall = cosine(len(lengths))
    return descend(
        scheme,
        loss,
        work=type(scheme).__name__,
        steps=len(lengths),
        optimizer=torch.optim.Adam(scheme.parameters(), lr=lr),
        schedule=lambda step: min((step + 1) / 20, fall(step)),
        clip=1.0,
        average=average,
        every=50,
        log=log,
    ).losses
