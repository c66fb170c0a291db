"""`fluids/darcy`: steady flow through a porous medium, -div(a grad p) = f."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Observations, Parameter, Setting, Simulator, Trajectory
from sfm_fluids import box
from sfm_fluids.darcy.medium import (
    AVERAGES,
    KINDS,
    Axis,
    Conductances,
    apply,
    boundary_source,
    conductances,
    fluxes,
)
from sfm_fluids.darcy.random_media import random_phase
from sfm_fluids.darcy.solve import singular, solution
from sfm_fluids.figures.films import STILL
from sfm_fluids.parameters import check_one_value
from sfm_fluids.quantities import DARCY_FLOW, PORE_PRESSURE

SIDES = ("left", "right", "bottom", "top")


class DarcyState(NamedTuple):
    """A medium, its sources and sides, and the pressure; any leading batch axes.

    Attributes:
        phase: (..., H, W); the permeability is low + (high - low) phase.
        source: (..., H, W) in units of `source_strength`.
        left: (..., H) what the parameter `left_value` is added to; so for the other sides.
        right: (..., H).
        bottom: (..., W).
        top: (..., W).
        pressure: (..., H, W).
    """

    phase: Tensor
    source: Tensor
    left: Tensor
    right: Tensor
    bottom: Tensor
    top: Tensor
    pressure: Tensor


class Darcy(Simulator):
    """Steady flow through a porous medium (Darcy's law and mass conservation) on a rectangle.

        -div(a grad p) = f,    velocity = -a grad p
        a = permeability_low + (permeability_high - permeability_low) phase(x, y)
        f = source_strength source(x, y)

    Each side is `dirichlet` (p given), `neumann` (the inflow a dp/dn per length given) or
    `periodic` (with the opposite side). Values are the parameters `left_value`, ... plus the
    state's arrays. With no Dirichlet side the sources and inflows must sum to zero; the pressure
    then has mean zero.

    Cells with a constant permeability each, second-order finite volumes: harmonic (exact for
    layers) or arithmetic means at the faces; mass is conserved in every cell to rounding. Solved in
    float64, whatever `dtype` is, by conjugate gradients preconditioned with the exact inverse for
    constant a. Derivatives in phase, source, side values and parameters are implicit: the adjoint
    is the same solve. First and second derivatives, forward and reverse mode.

    Any consistent units. Good values: the benchmark of Li et al. 2021: a of 3 and 12, f = 1, p = 0
    on the unit square; 16 to 421 cells a side. Contrasts up to about 1e6.

    A step is a whole solve, so `steps` beyond one change nothing.

    Limits: scalar permeability, rectangles, equal cells; single-phase, steady flow; no gravity.
    """

    part: ClassVar[str] = "fluids/darcy"
    summary: ClassVar[str] = "steady flow through a porous medium, -div(a grad p) = f"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("permeability_low", "1", 3.0, 1e-12, 1e12, "a where phase = 0"),
        Parameter("permeability_high", "1", 12.0, 1e-12, 1e12, "a where phase = 1"),
        Parameter("source_strength", "1", 1.0, summary="multiplies the source"),
        *(
            Parameter(f"{side}_value", "1", 0.0, summary=f"p, or inflow, at the {side} side")
            for side in SIDES
        ),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("height", 32, summary="cells along y, at least 2"),
        Setting("width", 32, summary="cells along x, at least 2"),
        Setting("length_x", 1.0, summary="extent along x"),
        Setting("length_y", 1.0, summary="extent along y"),
        *(Setting(side, "dirichlet", KINDS, summary=f"kind of the {side} side") for side in SIDES),
        Setting("face_average", "harmonic", AVERAGES, summary="mean of two cells at their face"),
        Setting("medium", "random", ("random", "uniform"), summary="initial phase: 0 if uniform"),
        Setting("seed", 0, summary="of the random medium"),
    )
    observables = (PORE_PRESSURE, *DARCY_FLOW)
    citations = (
        "https://arxiv.org/abs/2010.08895",  # Li et al. 2021, the benchmark's media
        "https://doi.org/10.1063/1.1704222",  # Keller 1964, reciprocity of two-phase media
    )
    default_steps: ClassVar[int] = 1
    batched: ClassVar[bool] = True
    plots_to: ClassVar[tuple[str, ...]] = STILL

    permeability_low: Tensor
    permeability_high: Tensor
    source_strength: Tensor
    height: int
    width: int
    length_x: float
    length_y: float
    left: str
    right: str
    bottom: str
    top: str
    face_average: str
    medium: str
    seed: int

    def __init__(self, *, dtype: torch.dtype = torch.float64, **values: Any) -> None:
        """See the class.

        Raises:
            InputError: a value out of bounds, or one side periodic and not its opposite.
        """
        super().__init__(dtype=dtype, **values)
        if min(self.height, self.width) < 2:
            raise InputError(f"{self.part}: {self.height} x {self.width} cells: at least 2 x 2")
        if not (0 < self.length_x < math.inf and 0 < self.length_y < math.inf):
            raise InputError(f"{self.part}: length_x and length_y must be positive and finite")
        check_one_value(self)
        for first, last in (SIDES[:2], SIDES[2:]):
            kinds = (getattr(self, first), getattr(self, last))
            if kinds.count("periodic") == 1:
                raise InputError(
                    f"{self.part}: {first}='{kinds[0]}' but {last}='{kinds[1]}'; "
                    "set both to 'periodic' or neither"
                )
        self.x_axis = Axis(self.width, self.length_x / self.width, self.left, self.right)
        self.y_axis = Axis(self.height, self.length_y / self.height, self.bottom, self.top)

    # --- states -------------------------------------------------------------------------------

    @classmethod
    def stated(cls, sample: Sample, **values: Any) -> dict[str, Any]:
        """Cells, extent, parameters and periodic sides of a sample."""
        settings = box.stated(cls, sample, "permeability", 2, values)
        for i, sides in enumerate((SIDES[:2], SIDES[2:])):
            if sample.pbc[i] and not set(sides) & set(values):
                settings |= dict.fromkeys(sides, "periodic")
        return settings

    def state(self, sample: Sample | None = None) -> DarcyState:
        """The medium of a sample with a field `permeability` (H, W), or the setting `medium`.

        Raises:
            InputError: the sample has no such field, another grid or another extent.
        """
        if sample is not None:
            if "permeability" not in sample.fields:
                raise InputError(f"{sample.id}: no field 'permeability', which {self.part} needs")
            field = torch.from_numpy(np.array(sample.fields["permeability"], dtype=np.float64))
            box.check_lengths(self, sample, 2)
            state = self.from_permeability(field.squeeze())
            box.say_unused(self, sample, ("permeability",))
            return state
        if self.medium == "random":
            return self.from_phase(random_phase(self.height, self.width, self.seed))
        return self.from_phase(torch.zeros(self.height, self.width))

    def from_phase(
        self,
        phase: Float[Tensor, "*batch H W"],
        source: Float[Tensor, " ..."] | None = None,
        **sides: Float[Tensor, " ..."],
    ) -> DarcyState:
        """A state of the phase (..., H, W), with source 1 and side values 0 unless given.

        Raises:
            InputError: a shape that is not the grid's, or an unknown side.
        """
        like = self.permeability_low.detach()
        phase = phase.to(like)
        self._check("phase", phase, (self.height, self.width))
        source = torch.ones_like(phase) if source is None else source.to(like)
        self._check("source", source, (self.height, self.width))
        lengths = {"left": self.height, "right": self.height}
        values = []
        for side in SIDES:
            cells = lengths.get(side, self.width)
            value = sides.pop(side, None)
            value = phase.new_zeros(*phase.shape[:-2], cells) if value is None else value.to(like)
            self._check(side, value, (cells,))
            values.append(value)
        if sides:
            raise InputError(f"{self.part}: no side '{next(iter(sides))}' ({', '.join(SIDES)})")
        batch = torch.broadcast_shapes(
            phase.shape[:-2], source.shape[:-2], *(v.shape[:-1] for v in values)
        )
        phase, source = (v.expand(*batch, *v.shape[-2:]).clone() for v in (phase, source))
        values = [v.expand(*batch, v.shape[-1]).clone() for v in values]
        left, right, bottom, top = values
        return DarcyState(phase, source, left, right, bottom, top, torch.zeros_like(phase))

    def from_permeability(
        self, permeability: Float[Tensor, "*batch H W"], **others: Float[Tensor, " ..."]
    ) -> DarcyState:
        """A state of the permeability (..., H, W) itself; `others` as in `from_phase`."""
        low, high = self.permeability_low.detach(), self.permeability_high.detach()
        if float(low) == float(high):
            raise InputError(f"{self.part}: permeability_low and _high are equal; set them apart")
        return self.from_phase((permeability.to(low) - low) / (high - low), **others)

    def _check(self, name: str, value: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(value.shape[-len(shape) :]) != shape:
            raise InputError(
                f"{self.part}: {name} has shape {tuple(value.shape)}, needed (..., "
                f"{', '.join(map(str, shape))}); set height and width"
            )

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Darcy, DarcyState]:
        """Six by seven cells with all kinds of sides but periodic ones."""
        case = {"height": 6, "width": 7, "left": "neumann", "left_value": 0.3, "top_value": 0.2}
        simulator = cls(**{**case, **values})
        return simulator, simulator.state()

    # --- the solve ----------------------------------------------------------------------------

    def permeability(self, state: DarcyState) -> Float[Tensor, "*batch H W"]:
        """(..., H, W)."""
        low = self.permeability_low
        return low + (self.permeability_high - low) * state.phase

    def _conductances(self, state: DarcyState) -> Conductances:
        a = self.permeability(state).double()
        return conductances(a, self.x_axis, self.y_axis, self.face_average)

    def _balance(self, state: DarcyState) -> tuple[Conductances, Tensor]:
        """c and b (..., H, W) of A(c) p = b, float64."""
        left, right, bottom, top = (self._side(state, side) for side in SIDES)
        c = self._conductances(state)
        b = (self.source_strength * state.source).double()
        b = b + boundary_source(c.x, self.x_axis, left, right)
        return c, b + boundary_source(c.y.mT, self.y_axis, bottom, top).mT

    def _side(self, state: DarcyState, side: str) -> Tensor:
        value: Tensor = (getattr(state, side) + getattr(self, f"{side}_value")).double()
        return value

    def forward(self, state: DarcyState, steps: int = 1) -> DarcyState:
        """The state with its pressure (0 steps: `state` itself).

        Raises:
            InputError: a permeability that is not positive, a value at a periodic side, or sources
                that do not sum to zero where no side fixes the pressure.
            RunError: conjugate gradients did not converge.
        """
        if steps == 0:
            return state
        if not bool((self.permeability(state) > 0).all()):
            raise InputError(f"{self.part}: the permeability must be positive everywhere")
        for side in SIDES:
            if getattr(self, side) == "periodic" and bool((self._side(state, side) != 0).any()):
                raise InputError(f"{self.part}: the {side} side is periodic and takes no value")
        c, b = self._balance(state)
        if singular(self.x_axis, self.y_axis):
            net, scale = b.detach().mean((-2, -1)).abs(), b.detach().abs().mean((-2, -1))
            if bool((net > 1e-5 * scale.clamp_min(1e-300)).any()):
                raise InputError(
                    f"{self.part}: no steady state: sources and inflows sum to "
                    f"{float(net.max()):.3g} per area, not zero, and no side lets them out; make "
                    "a side 'dirichlet' or subtract the mean of the source"
                )
        pressure = solution(b, c, self.x_axis, self.y_axis, where=self.part)
        return state._replace(pressure=pressure.to(self.dtype))

    def converged(self, state: DarcyState) -> bool:
        """Whether the pressure balances sources and sides, to 1e-4 of them."""
        with torch.no_grad():
            c, b = self._balance(state)
            rest = b - apply(state.pressure.double(), c, self.x_axis, self.y_axis)
            if singular(self.x_axis, self.y_axis):
                rest = rest - rest.mean((-2, -1), keepdim=True)
            return bool(rest.norm() <= 1e-4 * b.norm())

    def time(self, state: DarcyState) -> float:
        """Solves: 0 or 1."""
        return float(state.pressure.any())

    def face_fluxes(
        self, state: DarcyState
    ) -> tuple[Float[Tensor, "*batch H {self.width+1}"], Float[Tensor, "*batch {self.height+1} W"]]:
        """Darcy velocities through faces: along x (..., H, W + 1), along y (..., H + 1, W)."""
        left, right, bottom, top = (self._side(state, side) for side in SIDES)
        c, p = self._conductances(state), state.pressure.double()
        return (
            fluxes(p, c.x, self.x_axis, left, right),
            fluxes(p.mT, c.y.mT, self.y_axis, bottom, top).mT,
        )

    def observe(self, state: DarcyState) -> dict[str, Shaped[Tensor, " ..."]]:
        """pore_pressure, permeability (..., H, W), darcy_velocity (..., 2, H, W), boundary_flow.

        boundary_flow (..., 4) is the flow out through left, right, bottom and top.
        """
        x, y = self.face_fluxes(state)
        velocity = [(x[..., 1:] + x[..., :-1]) / 2, (y[..., 1:, :] + y[..., :-1, :]) / 2]
        dx, dy = self.x_axis.spacing, self.y_axis.spacing
        flow = [
            -dy * x[..., 0].sum(-1),
            dy * x[..., -1].sum(-1),
            -dx * y[..., 0, :].sum(-1),
            dx * y[..., -1, :].sum(-1),
        ]
        return {
            "pore_pressure": state.pressure,
            "permeability": self.permeability(state),
            "darcy_velocity": torch.stack(velocity, -3).to(self.dtype),
            "boundary_flow": torch.stack(flow, -1).to(self.dtype),
        }

    # --- files --------------------------------------------------------------------------------

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Permeability, pressure, and speed with streamlines, of the first medium of a batch."""
        from sfm_fluids.figures.darcy import draw

        draw(trajectory, self.length_x, self.length_y, Path(path))

    def stating(self) -> dict[str, float]:
        """The box."""
        return box.stating(self)

    def read_observations(self, path: Path) -> Observations:
        """A measured pressure for `sfm fit`: see `sfm_fluids.darcy.observations.read`."""
        from sfm_fluids.darcy.observations import read

        return read(self, Path(path))

    def predict_observations(self, observations: Observations) -> dict[str, Shaped[Tensor, " ..."]]:
        """The pressure, (..., H, W)."""
        return {"pore_pressure": self(observations.state).pressure}
