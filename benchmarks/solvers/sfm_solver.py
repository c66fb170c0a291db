"""`fluids/navier-stokes-2d` as it is used: no option but grid, dt, viscosity and stepper."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from flow_case import Case
from sfm_fluids.periodic.advection_2d import Advection2D
from sfm_fluids.periodic.flow_state import FlowState
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.periodic.nonlinear_term_2d import factors_of
from sfm_fluids.spectral.transforms_2d import to_modes

from solvers.base import Solver, Work

TRANSFORMS = {"etdrk4": 16, "etdrk2": 8}


class Sfm(Solver):
    kernel: ClassVar[str] = "torch"
    packages: ClassVar[tuple[str, ...]] = ("sfm-hub", "torch")
    schemes: ClassVar[dict[str, str]] = {
        "etdrk2": "exponential time differencing of order 2, exact viscous term, 8 transforms",
        "etdrk4": "exponential time differencing of order 4, exact viscous term, 16 transforms",
    }

    def simulator(self, scheme: str, dtype: torch.dtype = torch.float32, finer: int = 1) -> Any:
        case = self.case
        simulator = NavierStokes2D(
            grid=case.size,
            dt=case.dt / finer,
            viscosity=case.viscosity,
            drag=0.0,
            forcing_wavenumber=0,
            stepper=scheme,
            kernel=self.kernel,
            dtype=dtype,
        )
        return simulator.requires_grad_(False)

    def start(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.from_numpy(self.case.vorticity).to(dtype)[None]

    def forward(self, scheme: str) -> Work:
        simulator, omega = self.simulator(scheme), self.start()
        state = FlowState(omega, omega.new_zeros(1, 2), omega.new_zeros(()))

        def work() -> torch.Tensor:
            with torch.no_grad():
                return simulator(state, self.case.steps).vorticity

        return work

    def gradient(self, scheme: str) -> Work:
        simulator, omega = self.simulator(scheme), self.start()

        def work() -> torch.Tensor:
            leaf = omega.clone().requires_grad_()
            state = FlowState(leaf, omega.new_zeros(1, 2), omega.new_zeros(()))
            end = simulator(state, self.case.steps).vorticity
            (grad,) = torch.autograd.grad(0.5 * end.square().sum(), leaf)
            return grad

        return work

    def kept(self, scheme: str, task: str) -> Work | None:
        """The transforms of the steps and nothing else: the solver's own, or torch's whole ones.

        A stage has two inverse and two forward ones, each pair in one call, as in the solver.
        """
        if task not in ("transforms", "whole transforms"):
            return None
        grid = self.simulator(scheme).grid
        fields = self.start().expand(2, -1, -1).contiguous()
        rounds = self.case.steps * TRANSFORMS[scheme] // 4
        if task == "transforms":
            modes = to_modes(fields, grid)
            pairs = torch.view_as_real(modes[:1])
            flow = Advection2D(grid, factors_of(grid, fields.dtype, "cpu"), pairs)

            def work() -> None:
                for _ in range(rounds):
                    flow.points(modes)
                    to_modes(fields, grid)
        else:
            modes = torch.fft.rfft2(fields)

            def work() -> None:
                for _ in range(rounds):
                    torch.fft.irfft2(modes, s=grid.shape)
                    torch.fft.rfft2(fields)

        def quiet() -> torch.Tensor:
            with torch.no_grad():
                work()
            return fields[:1]

        return quiet

    def reference(self) -> np.ndarray:
        """ETDRK4 in float64 with a quarter of the time step."""
        simulator, omega = self.simulator("etdrk4", torch.float64, 4), self.start(torch.float64)
        state = FlowState(omega, omega.new_zeros(1, 2), omega.new_zeros(()))
        with torch.no_grad():
            return self.array(simulator(state, 4 * self.case.steps).vorticity)

    def array(self, result: Any) -> np.ndarray:
        return result[0].numpy()


def build(case: Case) -> Solver:
    return Sfm(case)
