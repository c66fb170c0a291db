"""What the two JAX solvers share: a function of the vorticity, compiled, and its gradient."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solvers.base import Solver, Work


class JaxSolver(Solver):
    """Compiled by `jax.jit`, as the packages' documentation has it."""

    @abstractmethod
    def program(self, scheme: str) -> Any:
        """The function vorticity -> vorticity after all steps."""

    @abstractmethod
    def start(self) -> Any:
        """The initial vorticity in the package's layout."""

    def forward(self, scheme: str) -> Work:
        return self._compiled(self.program(scheme))

    def gradient(self, scheme: str) -> Work:
        program = self.program(scheme)
        return self._compiled(jax.grad(lambda omega: 0.5 * jnp.sum(program(omega) ** 2)))

    def _compiled(self, function: Any) -> Work:
        omega = self.start()
        ready = jax.jit(function).lower(omega).compile()
        return lambda: ready(omega).block_until_ready()

    def array(self, result: Any) -> np.ndarray:
        return np.array(result)
