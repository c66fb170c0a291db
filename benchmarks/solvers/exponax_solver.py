"""Exponax (Koehler et al., https://github.com/Ceyron/exponax): `NavierStokesVorticity`.

Its steps run in Fourier space inside one compiled scan, the fastest way that it offers. Its axes
and the sign of its vorticity differ from ours twice, so that it takes our array as it is.
"""

from __future__ import annotations

from typing import Any, ClassVar

import exponax
import jax
import jax.numpy as jnp
import numpy as np
from flow_case import Case

from solvers.base import Solver, Work
from solvers.jax_programs import JaxSolver


class Exponax(JaxSolver):
    packages: ClassVar[tuple[str, ...]] = ("exponax", "jax", "jaxlib")
    schemes: ClassVar[dict[str, str]] = {
        "etdrk2": "the same method, 10 transforms",
        "etdrk4": "the same method, 20 transforms",
    }

    def program(self, scheme: str, *, remat: bool = False) -> Any:
        case = self.case
        stepper = exponax.stepper.NavierStokesVorticity(
            2, 2 * np.pi, case.size, case.dt, diffusivity=case.viscosity, order=int(scheme[-1])
        )

        def step(modes: Any) -> Any:
            return stepper.step_fourier(modes)

        advance = exponax.repeat(jax.checkpoint(step) if remat else step, case.steps)

        def program(omega: Any) -> Any:
            modes = advance(exponax.fft(omega, num_spatial_dims=2))
            return exponax.ifft(modes, num_spatial_dims=2, num_points=case.size)

        return program

    def kept(self, scheme: str, task: str) -> Work | None:
        """`recomputed gradient`: the gradient with `jax.checkpoint` around each step."""
        if task != "recomputed gradient":
            return None
        program = self.program(scheme, remat=True)
        return self._compiled(jax.grad(lambda omega: 0.5 * jnp.sum(program(omega) ** 2)))

    def start(self) -> Any:
        return jnp.asarray(self.case.vorticity, dtype=jnp.float32)[None]

    def array(self, result: Any) -> np.ndarray:
        return np.array(result)[0]


def build(case: Case) -> Solver:
    return Exponax(case)
