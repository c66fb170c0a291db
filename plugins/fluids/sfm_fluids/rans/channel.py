"""`fluids/rans-channel`: fully developed turbulent channel flow with an eddy viscosity."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Observations, Parameter, Setting, Simulator, Trajectory
from sfm_fluids.figures.films import STILL
from sfm_fluids.parameters import parameter_batch
from sfm_fluids.quantities import CHANNEL_PROFILES
from sfm_fluids.rans import k_epsilon
from sfm_fluids.rans.eddy_viscosity import LocalFlow, check_closure, mixing_length
from sfm_fluids.rans.grid import HalfChannel, stretched, with_wall
from sfm_fluids.rans.newton import follow, jacobian, steady_state


class ChannelState(NamedTuple):
    """Profiles at the nodes from the wall (first) to the centreline (last), in wall units.

    Attributes:
        velocity: U+, (..., N + 1).
        kinetic_energy: k+, (..., N + 1); None for a model without transport equations.
        dissipation: epsilon~+, (..., N + 1), zero at the wall; None likewise.
        iterations: of Newton's method that led here, ().
    """

    velocity: Tensor
    kinetic_energy: Tensor | None
    dissipation: Tensor | None
    iterations: Tensor


class RansChannel(Simulator):
    """Fully developed turbulent flow between two walls at rest, averaged (RANS), one-dimensional.

        0 = 1/h + d/dy [(nu + nu_t) dU/dy]     U = 0 at the wall, dU/dy = 0 at the centreline

    in wall units: lengths in nu / u_tau, velocities in u_tau, so h = Re_tau, nu = 1, the wall
    stress is 1 and the pressure gradient is -1 / Re_tau. The half channel 0 <= y <= h is solved.

    `model` gives nu_t: `laminar`, none; `mixing-length`, l^2 |dU/dy| with van Driest's damping
    (kappa, A+) and Nikuradse's length in the core; `k-epsilon`, Chien's low-Reynolds-number model;
    `learned`, any module `(LocalFlow) -> nu_t / nu` of the same shape, given as `closure`, which
    must be non-negative, vanish at the wall and see one point at a time (checked at construction).
    With `model="k-epsilon"` a closure replaces Chien's nu_t and sees k and epsilon~ too.

    Finite volumes on a stretched grid, second order; the total stress is linear to rounding.
    Solved by Newton's method in float64 whatever `dtype` is; derivatives of the solution in every
    parameter and every weight of the closure come from the implicit function theorem (first and
    second derivatives, forward and reverse mode). Every parameter may have a batch axis (B,).

    A step is a whole solve, so `steps` beyond one change nothing; time is the iteration count.

    Good values: Re_tau 100 to 10,000 (laminar below about 50), 96 cells, `stretching` 2.5 up to
    Re_tau = 1000 and 3 to 4 beyond, so that the first node is below y+ = 1.

    Limits: smooth walls, no transition: at low Re_tau k-epsilon may have no turbulent solution.
    Against direct simulation at Re_tau = 178, 392 and 587 mean velocities are within 0.7 (mixing
    length) and 1.1 (k-epsilon) u_tau, and bulk velocities within 1.3% and 4.2%.

    Sources: S. B. Pope, Turbulent Flows (2000), chapter 7; E. R. van Driest, J. Aeronaut. Sci. 23,
    1007 (1956); K.-Y. Chien, AIAA J. 20, 33 (1982).
    """

    part: ClassVar[str] = "fluids/rans-channel"
    summary: ClassVar[str] = "turbulent channel, RANS: mixing length, k-epsilon, learned viscosity"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("friction_reynolds", "1", 395.0, 1.0, 1e6, "Re_tau = u_tau h / nu; 100 to 1e4"),
        Parameter("von_karman", "1", 0.41, 0.05, 2.0, "kappa of the mixing length; 0.38 to 0.42"),
        Parameter("damping_length", "1", 26.0, 1.0, 500.0, "A+ of van Driest; 25 to 26"),
        Parameter("c_mu", "1", 0.09, 1e-3, 1.0, "C_mu of k-epsilon"),
        Parameter("c_epsilon_1", "1", 1.35, 0.1, 5.0, "C_1 of k-epsilon"),
        Parameter("c_epsilon_2", "1", 1.8, 0.1, 5.0, "C_2 of k-epsilon"),
        Parameter("sigma_k", "1", 1.0, 0.1, 10.0, "Prandtl number of k"),
        Parameter("sigma_epsilon", "1", 1.3, 0.1, 10.0, "Prandtl number of epsilon"),
        Parameter("viscosity_damping", "1", 0.0115, 1e-4, 1.0, "in f_mu = 1 - exp(-c y+)"),
        Parameter("wall_damping", "1", 0.5, 0.01, 10.0, "in the wall sink 2 e exp(-c y+) / y^2"),
        Parameter("f2_amplitude", "1", 0.22, 0.0, 1.0, "in f_2 = 1 - c exp(-(Re_t / R)^2)"),
        Parameter("f2_reynolds", "1", 6.0, 0.1, 100.0, "R in f_2"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting(
            "model",
            "mixing-length",
            ("laminar", "mixing-length", "k-epsilon", "learned"),
            summary="eddy viscosity",
        ),
        Setting("core", "nikuradse", ("nikuradse", "linear"), summary="mixing length off the wall"),
        Setting("cells", 96, summary="intervals from wall to centreline, at least 8"),
        Setting("stretching", 2.5, summary="of the grid towards the wall, 0 (none) to 6"),
    )
    observables = CHANNEL_PROFILES
    closure_quantity: ClassVar[str | None] = "turbulent_viscosity"
    citations = (
        "https://doi.org/10.2514/8.3713",  # van Driest 1956
        "https://doi.org/10.2514/3.51043",  # Chien 1982
        "https://doi.org/10.1063/1.869966",  # Moser, Kim, Mansour 1999, the data compared with
    )
    default_steps: ClassVar[int] = 1
    batched: ClassVar[bool] = True
    plots_to: ClassVar[tuple[str, ...]] = STILL

    friction_reynolds: Tensor
    von_karman: Tensor
    damping_length: Tensor
    model: str
    core: str
    cells: int
    stretching: float

    def __init__(
        self,
        *,
        closure: nn.Module | None = None,
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        """See the class.

        Raises:
            InputError: a value out of bounds, a grid that is too coarse, a model without its
                closure or the reverse, a closure that breaks its contract.
        """
        super().__init__(closure=closure, dtype=dtype, **values)
        if self.cells < 8:
            raise InputError(f"{self.part}: cells={self.cells}: need at least 8")
        if not 0 <= self.stretching <= 6:
            raise InputError(f"{self.part}: stretching={self.stretching} is outside [0, 6]")
        if self.model == "learned" and closure is None:
            raise InputError(f"{self.part}: model='learned' needs closure=, a module")
        if closure is not None:
            if self.model not in ("learned", "k-epsilon"):
                raise InputError(
                    f"{self.part}: a closure goes with model='learned' or 'k-epsilon', not "
                    f"'{self.model}'"
                )
            check_closure(closure, self.model == "k-epsilon")
        self._batch()

    def _batch(self) -> torch.Size:
        return parameter_batch(self)

    # --- states -------------------------------------------------------------------------------

    def grid(self) -> HalfChannel:
        """Nodes and faces in wall units; (..., N + 1) with the batch axes of Re_tau."""
        outer = stretched(self.cells, self.stretching).to(self.friction_reynolds)
        return HalfChannel.at(outer, self.friction_reynolds)

    def state(self, sample: Sample | None = None) -> ChannelState:
        """A guess to start from: the mixing-length profile, with k and epsilon~ in equilibrium.

        Raises:
            InputError: a sample is given; this simulator starts from none.
        """
        if sample is not None:
            raise InputError(f"{self.part}: starts from no sample; set friction_reynolds instead")
        with torch.no_grad():
            grid = self.grid()
            kappa, a_plus = torch.tensor([0.41, 26.0]).to(grid.nodes)
            length = mixing_length(grid.faces, grid.height, kappa, a_plus, "nikuradse")
            stress = 1 - grid.faces / grid.height
            shear = 2 * stress / (1 + (1 + 4 * length.square() * stress).sqrt())
            velocity = with_wall((shear * grid.spacing).cumsum(-1))
            velocity = velocity.expand(*self._batch(), -1).clone()
            count = torch.zeros((), dtype=torch.int64, device=velocity.device)
            if self.model != "k-epsilon":
                return ChannelState(velocity, None, None, count)
            y = grid.nodes[..., 1:]
            k = 3.3 * torch.expm1(-y / 8).square() * (1 - 0.8 * y / grid.height)
            e = (0.09**0.75 * k**1.5 / (0.41 * y)).clamp_max(0.3)
            k, e = (with_wall(x).expand(velocity.shape).clone() for x in (k, e))
            return ChannelState(velocity, k, e, count)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[RansChannel, ChannelState]:
        """k-epsilon on 16 cells at Re_tau = 150."""
        case = {"model": "k-epsilon", "cells": 16, "stretching": 2.0, "friction_reynolds": 150.0}
        simulator = cls(**{**case, **values})
        return simulator, simulator.state()

    # --- equations, in float64 through `_Call` ------------------------------------------------

    def _eddy(self, flow: LocalFlow, grid: HalfChannel) -> Tensor:
        """nu_t / nu at the points of `flow`."""
        if self.closure is not None:
            ratio: Tensor = self.closure(flow.expanded())
            return ratio
        if self.model == "k-epsilon":
            return k_epsilon.viscosity(flow, self._constants())
        if self.model == "laminar":
            return torch.zeros_like(flow.shear)
        kappa, a_plus = self.von_karman.unsqueeze(-1), self.damping_length.unsqueeze(-1)
        length = mixing_length(flow.wall_distance, grid.height, kappa, a_plus, self.core)
        return length.square() * flow.shear.abs()

    def _constants(self) -> dict[str, Tensor]:
        return {p.name: getattr(self, p.name).unsqueeze(-1) for p in self.parameters_spec}

    def _face_viscosity(self, shear: Tensor, grid: HalfChannel) -> Tensor:
        return self._eddy(LocalFlow(grid.faces, grid.faces / grid.height, shear), grid)

    def _rates(self, x: Tensor) -> Tensor:
        """Time derivatives of the unknowns (..., N, M) = U, ln k, ln epsilon~; or U alone."""
        grid, velocity = self.grid(), x[..., 0]
        if self.model == "k-epsilon":
            return k_epsilon.rates(
                grid, velocity, x[..., 1:], self._constants(), lambda flow: self._eddy(flow, grid)
            )
        shear = grid.gradient(with_wall(velocity))
        flux = (1 + self._face_viscosity(shear, grid)) * shear
        return (grid.divergence(flux) + 1 / grid.height).unsqueeze(-1)

    def _in_float64(self, method: str, *arguments: Any, live: bool = True) -> Any:
        """The method with parameters, buffers and arguments in float64; `live` keeps graphs."""
        values = {f"simulator.{n}": p for n, p in (*self.named_parameters(), *self.named_buffers())}
        for name, value in values.items():
            value = value if live else value.detach().clone()  # no inference tensor
            values[name] = value.double() if value.is_floating_point() else value
        double = [a.double() if isinstance(a, Tensor) else a for a in arguments]
        return torch.func.functional_call(_Call(self), values, (method, *double))

    # --- the solve ----------------------------------------------------------------------------

    def forward(self, state: ChannelState, steps: int = 1) -> ChannelState:
        """The steady state, searched from `state` (0 steps: `state` itself).

        Raises:
            InputError: the state has another grid or belongs to another model.
            RunError: Newton's method found no steady state.
        """
        if steps == 0:
            return state
        guess = self._unknowns(state)
        solution = steady_state(
            lambda x: self._in_float64("_rates", x, live=False),
            guess,
            where=self.part,
            logarithmic=guess.shape[-1] - 1,
        )
        x = follow(lambda y: self._in_float64("_rates", y), solution, where=self.part)
        velocity = with_wall(x[..., 0]).to(self.dtype)
        iterations = state.iterations + solution.iterations
        if self.model != "k-epsilon":
            return ChannelState(velocity, None, None, iterations)
        k, e = (with_wall(x[..., i].exp()).to(self.dtype) for i in (1, 2))
        return ChannelState(velocity, k, e, iterations)

    def _unknowns(self, state: ChannelState) -> Tensor:
        if state.velocity.shape[-1] != self.cells + 1:
            raise InputError(
                f"{self.part}: the state has {state.velocity.shape[-1]} nodes, the grid "
                f"{self.cells + 1}"
            )
        fields = [state.velocity]
        if self.model == "k-epsilon":
            if state.kinetic_energy is None or state.dissipation is None:
                raise InputError(f"{self.part}: the state has no k and epsilon; use state()")
            tiny = 1e-30
            fields += [x.clamp_min(tiny).log() for x in (state.kinetic_energy, state.dissipation)]
        x = torch.stack([f[..., 1:].detach().double() for f in fields], -1)
        return x.expand(*torch.broadcast_shapes(x.shape[:-2], self._batch()), *x.shape[-2:])

    # --- observables --------------------------------------------------------------------------

    def observe(self, state: ChannelState) -> dict[str, Shaped[Tensor, " ..."]]:
        """Profiles (..., N + 1) at the nodes, and bulk_velocity, friction_coefficient (...)."""
        profiles = self._in_float64(
            "_observe", state.velocity, state.kinetic_energy, state.dissipation
        )
        return {name: value.to(self.dtype) for name, value in profiles.items()}

    def _observe(self, u: Tensor, k: Tensor | None, e: Tensor | None) -> dict[str, Tensor]:
        grid = self.grid()
        y = grid.nodes.expand(u.shape)
        shear = grid.gradient(u)
        if k is None or e is None:
            face = self._face_viscosity(shear, grid).expand(shear.shape)
            nu_t = with_wall(grid.at_nodes(face, centre=face[..., -1:]))
        else:
            node_shear, inner = grid.at_nodes(shear), (..., slice(1, None))
            flow = LocalFlow(y[inner], (y / grid.height)[inner], node_shear, k[inner], e[inner])
            nu_t = with_wall(self._eddy(flow, grid))
            face = (nu_t[..., 1:] + nu_t[..., :-1]) / 2
        viscous = self._slope(u, grid)
        bulk = grid.mean(u, viscous)
        profiles = {
            "wall_distance": y,
            "velocity_profile": u,
            "turbulent_viscosity": nu_t,
            "viscous_shear_stress": viscous,
            "reynolds_shear_stress": with_wall(grid.at_nodes(face * shear)),
            "bulk_velocity": bulk,
            "friction_coefficient": 2 / bulk.square(),
        }
        if k is not None and e is not None:
            extra = k_epsilon.wall_term(k[..., 1:], y[..., 1:])
            extra = torch.cat([extra[..., :1], extra], -1)
            profiles |= {"turbulent_kinetic_energy": k, "turbulent_dissipation": e + extra}
        return profiles

    @staticmethod
    def _slope(u: Tensor, grid: HalfChannel) -> Tensor:
        """(..., N + 1) dU+/dy+ at the nodes; 1 at the wall, by the definition of u_tau."""
        return torch.cat([torch.ones_like(u[..., :1]), grid.at_nodes(grid.gradient(u))], -1)

    def velocity_at(
        self, state: ChannelState, wall_distance: Float[Tensor, "... P"]
    ) -> Float[Tensor, "*flows P"]:
        """U+ at y+ (..., P), by cubic Hermite interpolation between nodes."""
        grid = self.grid()
        nodes = grid.nodes.expand(state.velocity.shape).contiguous()
        y = wall_distance.to(nodes).expand(*nodes.shape[:-1], -1).contiguous()
        slope = self._slope(state.velocity, grid)
        left = (torch.searchsorted(nodes.detach(), y.detach(), right=True) - 1).clamp(
            0, self.cells - 1
        )
        y0, y1 = nodes.gather(-1, left), nodes.gather(-1, left + 1)
        u0, u1 = state.velocity.gather(-1, left), state.velocity.gather(-1, left + 1)
        s0, s1 = slope.gather(-1, left) * (y1 - y0), slope.gather(-1, left + 1) * (y1 - y0)
        t = (y - y0) / (y1 - y0)
        a, b = s0 - (u1 - u0), (u1 - u0) - s1
        return (1 - t) * u0 + t * u1 + t * (1 - t) * ((1 - t) * a + t * b)

    def converged(self, state: ChannelState) -> bool:
        """Whether one more iteration of Newton's method would change nothing, to 1e-4."""
        x = self._unknowns(state)
        rates, slopes = jacobian(lambda y: self._in_float64("_rates", y, live=False), x)
        step, info = torch.linalg.solve_ex(slopes, rates.flatten(-2))
        change = step.reshape(x.shape) / x.abs().amax(-2, keepdim=True).clamp_min(1)
        return not bool(info.any()) and bool((change.abs() <= 1e-4).all())

    def time(self, state: ChannelState) -> float:
        """Iterations of Newton's method."""
        return float(state.iterations.max())

    def warnings(self, state: ChannelState) -> tuple[str, ...]:
        """A first node above y+ = 1."""
        first = float(self.grid().nodes[..., 1].detach().max())
        if self.model == "laminar" or first <= 1:
            return ()
        return (f"the first node is at y+ = {first:.2f}: give more cells or stretching",)

    # --- files --------------------------------------------------------------------------------

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Velocity over ln y+ with the law of the wall, stresses, eddy viscosity, k and epsilon."""
        from sfm_fluids.figures.rans_channel import draw

        draw(trajectory, Path(path))

    def read_observations(self, path: Path) -> Observations:
        """A velocity profile for `sfm fit`: see `sfm_fluids.rans.observations.read`."""
        from sfm_fluids.rans.observations import read

        return read(self, Path(path))

    def predict_observations(self, observations: Observations) -> dict[str, Float[Tensor, " P"]]:
        """U+ at the observed y+, (P,)."""
        solved = self(observations.state)
        return {"velocity_profile": self.velocity_at(solved, observations.options["wall_distance"])}


class _Call(nn.Module):
    """A method of a simulator as a module's forward, for `functional_call`."""

    def __init__(self, simulator: RansChannel) -> None:
        super().__init__()
        self.simulator = simulator

    def forward(self, method: str, *arguments: Any) -> Any:
        return getattr(self.simulator, method)(*arguments)
