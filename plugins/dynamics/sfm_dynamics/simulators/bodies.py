"""`dynamics/bodies`: bodies in space under springs, gravity or a learned energy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning, RunError
from sfm.quantity import ENERGY, FORCES, Quantity
from sfm.simulate import Parameter, Setting, Simulator, Trajectory
from sfm.simulate.rollout import rollout
from sfm.simulate.step import AutogradStep
from sfm_dynamics.quantities import ANGULAR_MOMENTUM, BODY_KINETIC_ENERGY, BODY_TOTAL_ENERGY
from sfm_dynamics.simulators import symplectic
from sfm_dynamics.simulators.slope import slope

# acceleration of 1 amu by 1 eV/angstrom in angstrom/fs^2, CODATA 2018
ACCELERATION = 9.648533212331e-3
TIME = ACCELERATION**-0.5  # fs: unit of time in reduced units, sqrt(amu angstrom^2 / eV)


class Bodies(NamedTuple):
    """n bodies; any leading batch axes.

    positions (..., n, 3) angstrom; velocities (..., n, 3) angstrom/fs; masses (..., n) amu; free
    (..., n, 3), whether a coordinate may change; time (...) fs.
    """

    positions: Float[Tensor, "*B n 3"]
    velocities: Float[Tensor, "*B n 3"]
    masses: Float[Tensor, "*B n"]
    free: Shaped[Tensor, "*B n 3"]
    time: Float[Tensor, "*B"]


class BodiesInSpace(Simulator):
    """Newton's equations for bodies that attract each other or hang on springs.

        m_i d2x_i/dt2 = -dE/dx_i
        spring:   E = sum_{i<j} k (|x_i - x_j| - length)^2 / 2
        gravity:  E = -sum_{i<j} G m_i m_j / sqrt(|x_i - x_j|^2 + softening^2)

    plus the closure's energy, if there is one; `potential=none` is the closure alone. A closure is
    a module from positions (N, 3), types (N,) (zeros), system (N,), and masses (N,) as keyword, to
    energies (S,) in eV: `model.closure("dynamics")`.

    Units are those of molecules (angstrom, fs, amu, eV), so that one model holds both. Reduced
    units are 1 angstrom, 1 amu, 1 eV and the time sqrt(amu angstrom^2 / eV) = 10.18 fs.

    Good values: k 1, G 1, masses about 1, distances about 1, dt 0.5 fs; yoshida4 for long runs.

    Limits: open boundaries; a chain of springs joins every pair.

    Source: I. Newton, Principia (1687); H. Goldstein, Classical Mechanics (2002).
    """

    stiffness: Tensor
    length: Tensor
    gravity: Tensor
    softening: Tensor
    part: ClassVar[str] = "dynamics/bodies"
    summary: ClassVar[str] = "bodies in space under springs, gravity or a learned energy"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("stiffness", "eV/angstrom**2", 1.0, 0.0, 1e4, "k of springs; 1"),
        Parameter("length", "angstrom", 1.0, 0.0, 1e3, "of a spring at rest; 1"),
        Parameter("gravity", "eV*angstrom/amu**2", 1.0, 0.0, 1e4, "G; 1"),
        Parameter("softening", "angstrom", 0.1, 0.0, 10.0, "of gravity at close range; 0.1"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("potential", "gravity", ("gravity", "spring", "none"), summary="known energy"),
        Setting("method", "leapfrog", tuple(symplectic.COMPOSITIONS), summary="order 2 and 4"),
        Setting("dt", 0.5, unit="fs", summary="time step; 0.5"),
        Setting("recompute", True, (True, False), summary="redo steps in the backward pass"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        ENERGY,
        FORCES,
        BODY_KINETIC_ENERGY,
        BODY_TOTAL_ENERGY,
        ANGULAR_MOMENTUM,
    )
    time_unit: ClassVar[str] = "fs"
    closure_quantity: ClassVar[str | None] = "energy"
    citations: ClassVar[tuple[str, ...]] = ("Goldstein, Classical Mechanics, 3rd ed. (2002)",)
    default_steps: ClassVar[int] = 400
    order: ClassVar[tuple[str, int] | None] = ("dt", 2)
    conserved = {"body_total_energy": 1e-3, "angular_momentum": 1e-10}  # noqa: RUF012
    batched: ClassVar[bool] = True
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg")

    potential: str
    method: str
    dt: float
    recompute: bool

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.potential == "none" and self.closure is None:
            raise InputError(
                f"{self.part}: potential=none needs a closure; or set potential=gravity or spring"
            )
        if not self.dt > 0:
            raise InputError(f"{self.part}: dt={self.dt} fs must be positive")

    # ------------------------------------------------------------------ states

    def state(self, sample: Sample | None = None) -> Bodies:
        """The sample's bodies, at rest where it states no velocities; else a sun with two planets.

        Masses are 1 amu where the sample states none.

        Charge, spin and elements are said not to count.

        Raises:
            InputError: no bodies, or a periodic cell.
        """
        if sample is None:
            positions = np.array([[0.0, 0, 0], [1.5, 0, 0.1], [-2.5, 0.3, 0]])
            velocities = np.array([[0.0, -0.065, 0], [0, 0.25, 0], [0, -0.185, 0.02]])
            sample = Sample(
                id="planets",
                domain="dynamics",
                positions=positions,
                types=np.zeros(3, dtype=np.int64),
                velocities=velocities,
                masses=np.array([3.0, 0.5, 0.4]),
            )
        if sample.pbc.any():
            raise InputError(f"{sample.id}: {self.part} has open boundaries, the sample a cell")
        n = len(sample.positions)
        if n == 0:
            raise InputError(f"{sample.id}: no bodies, which {self.part} needs")
        self._say_unused(sample)

        def tensor(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(values)).to(self.stiffness)

        free = np.ones((n, 3)) if sample.fixed is None else ~sample.fixed
        velocities = np.zeros((n, 3)) if sample.velocities is None else sample.velocities
        masses = np.ones(n) if sample.masses is None else sample.masses
        moves = tensor(free.astype(float))
        return Bodies(
            tensor(sample.positions),
            moves * tensor(velocities),
            tensor(masses),
            moves.bool(),
            self.stiffness.new_zeros(()),
        )

    def _say_unused(self, sample: Sample) -> None:
        """One line on what the sample states and no force between bodies depends on."""
        unused = [f"{k}={v:g}" for k, v in sample.conditions.items() if v]
        if sample.masses is None and sample.types.any():
            unused.append("elements (the masses are 1 amu: state a column `masses`)")
        if sample.rigid_pairs is not None:
            unused.append("lengths of bonds that are to be kept")
        if unused:
            line = f"{sample.id}: {', '.join(unused)} not used by {self.part}"
            warnings.warn(line, InputWarning, stacklevel=3)

    # ------------------------------------------------------------------ energy and time

    def energy(
        self, x: Float[Tensor, "*B n 3"], masses: Float[Tensor, "*B n"]
    ) -> Float[Tensor, "*B"]:
        """Potential energies (...) in eV at positions (..., n, 3)."""
        total = x.new_zeros(x.shape[:-2])
        i, j = torch.tril_indices(x.shape[-2], x.shape[-2], -1, device=x.device)
        square = (x[..., i, :] - x[..., j, :]).square().sum(-1)
        if self.potential == "spring":
            stretch = square.clamp_min(1e-24).sqrt() - self.length
            total = total + 0.5 * self.stiffness * stretch.square().sum(-1)
        elif self.potential == "gravity":
            pairs = masses[..., i] * masses[..., j] / (square + self.softening**2).sqrt()
            total = total - self.gravity * pairs.sum(-1)
        if self.closure is not None:
            total = total + self._learned(x, masses)
        return total

    def _learned(self, x: Tensor, masses: Tensor) -> Tensor:
        assert self.closure is not None
        n, batch = x.shape[-2], x.shape[:-2]
        flat = x.reshape(-1, 3)
        system = torch.arange(len(flat) // n, device=x.device).repeat_interleave(n)
        types = torch.zeros(len(flat), dtype=torch.long, device=x.device)
        each_mass = masses.expand(x.shape[:-1]).reshape(-1)
        energies = self.closure(flat, types, system, masses=each_mass)
        energy: Tensor = energies.to(x).reshape(batch)
        return energy

    def _surface(self, masses: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: self.energy(x, masses)

    def forward(self, state: Bodies, steps: int = 1) -> Bodies:
        """The state after `steps` time steps.

        Raises:
            RunError: positions are no longer finite.
        """
        named = dict(self.named_parameters())
        free = state.free.to(state.positions)

        def advance(moving: Any, number: int, masses: Tensor, *given: Tensor) -> Any:
            table = dict(zip(named, given, strict=True))
            weight = masses.unsqueeze(-1)

            def kick(q: Tensor, v: Tensor) -> Tensor:
                def surface(x: Tensor) -> Tensor:
                    held = {f"simulator.{name}": value for name, value in table.items()}
                    energy: Tensor = torch.func.functional_call(_Energy(self), held, (x, masses))
                    return energy

                return free * slope(surface, q) * ACCELERATION / weight

            q, v = moving
            return symplectic.step(self.method, kick, lambda q, v: v, q, v, self.dt)

        moving = (state.positions, free * state.velocities)
        tensors = (state.masses, *named.values())
        x, v = rollout(AutogradStep(advance), moving, tensors, steps, recompute=self.recompute)
        if not bool(torch.isfinite(x).all()):
            raise RunError(f"{self.part}: positions are not finite; use a smaller dt")
        return state._replace(positions=x, velocities=v, time=state.time + steps * self.dt)

    # ------------------------------------------------------------------ what is seen

    def observe(self, state: Bodies) -> dict[str, Shaped[Tensor, " ..."]]:
        """Energies (...), forces (..., n, 3), angular momentum about the mean (..., 3)."""
        surface = self._surface(state.masses)
        weight = state.masses.unsqueeze(-1)
        energy = surface(state.positions)
        kinetic = 0.5 * (weight * state.velocities.square()).sum((-1, -2)) / ACCELERATION
        centre = (weight * state.positions).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True)
        spin = torch.linalg.cross(state.positions - centre, weight * state.velocities)
        return {
            "energy": energy,
            "forces": -slope(surface, state.positions),
            "body_kinetic_energy": kinetic,
            "body_total_energy": energy + kinetic,
            "angular_momentum": spin.sum(-2),
        }

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Paths in the plane of x and y, and energies against time."""
        from sfm_dynamics.figures import plot_bodies

        plot_bodies(trajectory, path)


class _Energy(torch.nn.Module):
    """`simulator.energy` as a forward method, which `torch.func.functional_call` needs."""

    def __init__(self, simulator: BodiesInSpace) -> None:
        super().__init__()
        self.simulator = simulator

    def forward(self, x: Tensor, masses: Tensor) -> Tensor:
        return self.simulator.energy(x, masses)
