"""jax-cfd (Kochkov et al. 2021, https://github.com/google/jax-cfd): its spectral solver.

`NavierStokes2D` with its 2/3 filter and `crank_nicolson_rk4`, in Fourier space inside one compiled
scan. Its axes are (x, y), ours (y, x).
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flow_case import Case
from jax_cfd.base import funcutils, grids
from jax_cfd.spectral import equations, time_stepping

from solvers.base import Solver
from solvers.jax_programs import JaxSolver


class JaxCfd(JaxSolver):
    packages: ClassVar[tuple[str, ...]] = ("jax-cfd", "jax", "jaxlib")
    schemes: ClassVar[dict[str, str]] = {
        "cnrk4": "Runge-Kutta of order 4 in 5 stages, Crank-Nicolson (order 2) for the viscous "
        "term, 25 transforms",
    }

    def program(self, scheme: str) -> Any:
        case = self.case
        domain = ((0, 2 * np.pi), (0, 2 * np.pi))
        grid = grids.Grid((case.size, case.size), domain=domain)
        equation = equations.NavierStokes2D(case.viscosity, grid, smooth=True)
        step = time_stepping.crank_nicolson_rk4(equation, case.dt)
        advance = funcutils.repeated(step, case.steps)
        return lambda omega: jnp.fft.irfftn(advance(jnp.fft.rfftn(omega)))

    def start(self) -> Any:
        return jnp.asarray(self.case.vorticity.T, dtype=jnp.float32)

    def array(self, result: Any) -> np.ndarray:
        return np.array(result).T


def build(case: Case) -> Solver:
    return JaxCfd(case)
