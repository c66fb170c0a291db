"""The base of the simulators with walls: steps, steady states, files.

Any consistent system of units.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.simulate import Observations, Setting, Simulator, Trajectory
from sfm_fluids import box
from sfm_fluids.figures.films import MOVING, STILL
from sfm_fluids.parameters import check_one_value
from sfm_fluids.staggered import grid as staggered
from sfm_fluids.staggered.flow import Flow, StaggeredState
from sfm_fluids.staggered.grid import StaggeredGrid
from sfm_fluids.stepping.checkpoints import CHECKPOINTS, check_steps

STEPPING = (
    Setting("dt", 0.01, summary="time step"),
    Setting("initial", "rest", ("rest", "steady"), summary="initial flow; steady: Newton's method"),
    *CHECKPOINTS,
)


BOUNDARY = {"periodic": "periodic", "walls": "wall", "open": "open"}  # an axis in a file


class WallSimulator(Simulator):
    """A simulator that states its grid, flow and the normal velocities at its sides."""

    order: ClassVar[tuple[str, int] | None] = ("dt", 2)
    batched: ClassVar[bool] = True
    plots_to: ClassVar[tuple[str, ...]] = STILL + MOVING
    writes_to: ClassVar[tuple[str, ...] | None] = (".h5", ".hdf5")

    viscosity: Tensor
    grid: StaggeredGrid
    dt: float
    initial: str
    recompute: bool
    segment: int

    def __init__(self, *, dtype: torch.dtype = torch.float64, **values: Any) -> None:
        super().__init__(dtype=dtype, **values)
        check_one_value(self)
        check_steps(self)
        if self.initial == "steady" and not bool((self.viscosity > 0).all()):
            raise InputError(f"{self.part}: initial='steady' needs a positive viscosity")
        if self.initial == "steady":
            self.default_steps = 0  # type: ignore[misc]  # the start is the answer

    def _keep(self, name: str, value: Tensor | nn.Module | None) -> None:
        """Keep a field or a module under `name`; a tensor may require a gradient."""
        if isinstance(value, Tensor):
            self.register_buffer(name, value.to(self.dtype))
        else:
            setattr(self, name, value)

    @abstractmethod
    def flow(self) -> Flow:
        """The problem with the parameters of now."""

    def impose(
        self, u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"]
    ) -> tuple[Float[Tensor, "... H Nx"], Float[Tensor, "... Ny W"]]:
        """u (B, H, N_x) and v (B, N_y, W) with the sides' normal velocities; here as given."""
        return u, v

    # --- states -------------------------------------------------------------------------------

    def rest(self) -> tuple[Float[Tensor, "_ H Nx"], Float[Tensor, "_ Ny W"]]:
        """No velocity but at the sides, (1, H, N_x) and (1, N_y, W)."""
        like = self.viscosity
        return self.impose(
            like.new_zeros(1, *self.grid.u_shape), like.new_zeros(1, *self.grid.v_shape)
        )

    def state(self, sample: Sample | None = None) -> StaggeredState:
        """The flow of the setting `initial`.

        Raises:
            InputError: a sample is given; flows between walls start from the simulator's own.
        """
        if sample is not None:
            raise InputError(f"{self.part}: reads no samples; start from initial=rest or steady")
        if self.initial == "steady":
            return self.steady()
        return self.flow().start(*self.rest())

    def from_faces(
        self, u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"]
    ) -> StaggeredState:
        """The state of u (B, H, N_x) and v (B, N_y, W), projected, with its pressure.

        Raises:
            InputError: they do not live on the grid.
        """
        self.grid.check(u, v)
        return self.flow().start(*self.impose(u.to(self.viscosity), v.to(self.viscosity)))

    def steady(self, start: StaggeredState | None = None) -> StaggeredState:
        """The steady flow, near `start` or from rest; differentiable by the implicit function.

        Raises:
            InputError: more than one flow at once.
            RunError: no steady flow is found.
        """
        from sfm_fluids.staggered.steady import steady

        u, v = self.rest() if start is None else self.impose(start.u, start.v)
        return steady(self.flow(), u, v, name=self.part)

    # --- dynamics -----------------------------------------------------------------------------

    def forward(self, state: StaggeredState, steps: int = 1) -> StaggeredState:
        """The flow `steps * dt` later."""
        u, v = self.impose(state.u, state.v)
        start = state._replace(u=u, v=v)
        return self.flow().integrate(start, self.dt, steps, self.recompute, self.segment)

    def velocity(self, state: StaggeredState) -> Float[Tensor, "B 2 H W"]:
        """At the cells' centres, (B, 2, H, W)."""
        return staggered.at_centres(state.u, state.v, self.grid)

    def converged(self, state: StaggeredState) -> bool | None:
        """Whether the flow that `initial="steady"` starts from is steady; None for later ones.

        It is if its acceleration would take 1e6 turnover times to change it.
        """
        if self.initial != "steady" or bool((state.time != 0).any()):
            return None
        with torch.no_grad():
            flow = self.flow()
            rates = flow.project(*flow.tendency(state.u, state.v))[:2]
            speed = max(float(w.abs().max()) for w in state[:2])
            if speed == 0:
                return all(not bool(rate.any()) for rate in rates)
            turnover = max(self.grid.length_x, self.grid.length_y) / speed
            if flow.solid is not None:  # an obstacle takes a push away in its own short time
                pairs = zip(rates, flow.solid, strict=True)
                rates = tuple(rate / (1 + turnover * chi) for rate, chi in pairs)  # type: ignore[assignment]
            return all(float(rate.abs().max()) <= 1e-6 * speed / turnover for rate in rates)

    def result(self, trajectory: Trajectory) -> dict[str, Shaped[Tensor, " ..."]]:
        """The steady flow, without an axis of flows: there is one."""
        return {name: values[-1, 0] for name, values in trajectory.observables.items()}

    def warnings(self, state: StaggeredState) -> tuple[str, ...]:
        """Courant number too large.

        Raises:
            RunError: the flow is no longer finite.
        """
        if not (torch.isfinite(state.u).all() and torch.isfinite(state.v).all()):
            raise RunError(f"{self.part}: the flow blew up; take a smaller dt or a finer grid")
        velocity = self.velocity(state).detach().abs()
        widths = (self.grid.x.metrics(velocity).widths, self.grid.y.metrics(velocity).widths)
        rate = velocity[..., 0, :, :] / widths[0] + velocity[..., 1, :, :] / widths[1][:, None]
        courant = self.dt * float(rate.amax())
        if courant > 1.7:
            return (f"Courant number {courant:.2f} is above 1.7: take a smaller dt",)
        return ()

    # --- files --------------------------------------------------------------------------------

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Speed and streamlines at three times and the energy; an animation if a .gif."""
        from sfm_fluids.figures.walls import draw

        draw(trajectory, self.grid, Path(path))

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """`.h5`: `velocity` (T, 2, H, W) at the centres, `times`, `x`, `y`, box, boundaries.

        `.hdf5`: the format of The Well, for grids that are not stretched.
        """
        from sfm_fluids.files.writing import write_flow

        axes = {"x": self.grid.x, "y": self.grid.y}
        write_flow(
            trajectory,
            {a: axis.metrics().centres.numpy() for a, axis in axes.items()},
            {a: axis.length for a, axis in axes.items()},
            Path(path),
            name=self.part,
            boundaries={a: BOUNDARY[axis.kind] for a, axis in axes.items()},
        )

    def stating(self) -> dict[str, Any]:
        """The box and its boundaries."""
        kinds = {"x": self.grid.x.kind, "y": self.grid.y.kind}
        ends = {f"boundary_{a}": BOUNDARY[kind] for a, kind in kinds.items()}
        return {**box.stating(self), **ends}

    def read_observations(self, path: Path) -> Observations:
        """A steady velocity for `sfm fit`.

        The file (.h5 or .npz) holds `velocity` (2, H, W) at the centres of this grid's cells;
        or (T, 2, H, W), or (T, 1, 2, H, W) as `sfm simulate --output` writes it, whose last entry
        is taken; `sigma`, a number, is its standard error.

        Raises:
            InputError: it is missing, of another shape, or in another box.
        """
        from sfm_fluids.files.readers import load_arrays
        from sfm_fluids.files.stated_box import check_file_lengths
        from sfm_fluids.files.values import standard_error

        arrays = load_arrays(path, ("velocity", "sigma", "length_x", "length_y"))
        check_file_lengths(self, arrays, path)
        if "velocity" not in arrays:
            raise InputError(f"{path}: no dataset 'velocity'; a fit needs it")
        velocity = arrays["velocity"]
        if velocity.ndim == 5 and velocity.shape[1] == 1:
            velocity = velocity[:, 0]
        velocity = velocity[-1] if velocity.ndim == 4 else velocity
        if velocity.shape != (2, *self.grid.shape):
            raise InputError(
                f"{path}: velocity {velocity.shape} is not (2, {self.grid.shape[0]}, "
                f"{self.grid.shape[1]}), the cells of {self.part}; set height and width"
            )
        if not np.isfinite(velocity).all():
            raise InputError(f"{path}: velocity is not finite")
        return Observations(
            state=None,
            values={"velocity": torch.from_numpy(velocity.copy()).to(self.viscosity)},
            units={"velocity": "1"},
            sigma=standard_error(arrays, "velocity", path),
        )

    def predict_observations(self, observations: Observations) -> dict[str, Shaped[Tensor, " ..."]]:
        """The steady velocity at the centres, (2, H, W); NaN where there is none.

        A fit takes NaN as a step too far.
        """
        try:
            return {"velocity": self.velocity(self.steady())[0]}
        except RunError:
            return {"velocity": self.viscosity.new_full((2, *self.grid.shape), math.nan)}
