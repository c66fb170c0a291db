"""torch-cfd (S. Cao, https://github.com/scaomath/torch-cfd): its spectral solver.

`NavierStokes2DSpectral` with its 2/3 filter and `RK4CrankNicolsonStepper`, in Fourier space; a port
of jax-cfd's. Its axes are (x, y), ours (y, x).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from flow_case import Case
from torch_cfd.grids import Grid
from torch_cfd.spectral import NavierStokes2DSpectral, RK4CrankNicolsonStepper

from solvers.base import Solver, Work


class TorchCfd(Solver):
    packages: ClassVar[tuple[str, ...]] = ("torch-cfd", "torch")
    schemes: ClassVar[dict[str, str]] = {
        "cnrk4": "Runge-Kutta of order 4 in 5 stages, Crank-Nicolson (order 2) for the viscous "
        "term, 25 transforms",
    }

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        domain = ((0, 2 * np.pi), (0, 2 * np.pi))
        grid = Grid((case.size, case.size), domain=domain)
        self.equation = NavierStokes2DSpectral(
            case.viscosity, grid, smooth=True, step_fn=RK4CrankNicolsonStepper()
        )

    def advance(self, omega: torch.Tensor) -> torch.Tensor:
        end, _ = self.equation(torch.fft.rfft2(omega), self.case.dt, self.case.steps)
        return torch.fft.irfft2(end)

    def start(self) -> torch.Tensor:
        return torch.from_numpy(self.case.vorticity.T.copy()).float()

    def forward(self, scheme: str) -> Work:
        omega = self.start()

        def work() -> torch.Tensor:
            with torch.no_grad():
                return self.advance(omega)

        return work

    def gradient(self, scheme: str) -> Work:
        omega = self.start()

        def work() -> torch.Tensor:
            leaf = omega.clone().requires_grad_()
            (grad,) = torch.autograd.grad(0.5 * self.advance(leaf).square().sum(), leaf)
            return grad

        return work

    def array(self, result: Any) -> np.ndarray:
        return result.numpy().T


def build(case: Case) -> Solver:
    return TorchCfd(case)
