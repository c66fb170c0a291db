"""`method=dimer` of `crystals/transition-state`: up the softest mode from a minimum to a saddle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.simulate.statics.dimer import Climb, Mode, climb_step
from sfm.simulate.statics.fire import LARGEST_MOVE, Inertia
from sfm_crystals.cells import derivatives
from sfm_crystals.figures.barrier import plot_climb
from sfm_crystals.simulators.descending import picked
from sfm_crystals.simulators.elastic_band import shorter
from sfm_crystals.statics.fire import LatticeState
from sfm_crystals.statics.fixed_point import CellBasin

if TYPE_CHECKING:
    from sfm_crystals.simulators.transition_state import TransitionState


@dataclass(frozen=True, kw_only=True, eq=False)
class ClimbState(LatticeState):
    """The minimum, and the cell that climbs from it.

    Attributes:
        direction: (N, 3) the softest mode, as far as it is known; zero for the minimum.
        curvature: (S,) along it, eV/angstrom^2; zero for the minimum.
    """

    direction: Float[Tensor, "N 3"]
    curvature: Float[Tensor, " S"]


class Dimer:
    """The dimer of a simulator; its states hold the minimum and the cell that climbs."""

    def __init__(self, simulator: TransitionState) -> None:
        self.simulator = simulator

    def start(self, start: Sample, end: Sample | None) -> ClimbState:
        """The minimum near `start`, and it moved by `displacement` towards `end`, or anywhere.

        Raises:
            RunError: the start does not relax.
        """
        simulator = self.simulator
        ends = simulator.ends(start, end)
        n = len(start.types)
        first = ends.positions.detach()[:n]
        if end is None:
            generator = torch.Generator().manual_seed(simulator.seed)
            way = torch.randn(n, 3, generator=generator, dtype=torch.float64).to(first)
        else:
            way = shorter(ends.positions.detach()[n:] - first, ends.cell[0].detach())
        pair = simulator.batch([start, start])
        way = way if pair.free is None else way * pair.free[:n]
        way = way / way.square().sum(1).max().sqrt()
        places = torch.cat([first, first + simulator.displacement * way])
        rest = LatticeState.at_rest(dataclasses.replace(pair, positions=places))
        direction = torch.cat([torch.zeros_like(way), way / way.norm()])
        values = {f.name: getattr(rest, f.name) for f in dataclasses.fields(rest)}
        return ClimbState(**values, direction=direction, curvature=torch.zeros_like(rest.step))

    def step(self, state: ClimbState) -> ClimbState:
        """One step of the climbing cell; it carries no gradient."""
        simulator, n = self.simulator, len(state.positions) // 2
        basin = CellBasin(simulator.energy, picked(state, [1]), "fixed", True)
        still = torch.zeros_like(state.cell[1])  # the lattice does not change
        climb = Climb(
            Mode(torch.cat([state.direction[n:].detach(), still]), state.curvature[1].detach()),
            Inertia(
                torch.cat([state.velocity[n:].detach(), still]),
                *(
                    one[1:].detach()
                    for one in (state.step, state.alpha, state.downhill, state.iteration)
                ),
            ),
        )
        move, climb = climb_step(
            basin,
            climb,
            stiffness=float(simulator.stiffness_of_bonds().detach()),
            largest=still.new_tensor(LARGEST_MOVE * n**0.5),
            turns=simulator.turns,
        )
        mode, inertia = climb
        return dataclasses.replace(
            state,
            positions=torch.cat([state.positions[:n], state.positions[n:] + move[:n]]),
            direction=torch.cat([state.direction[:n], mode.direction[:n]]),
            curvature=torch.stack([state.curvature[0], mode.curvature]),
            velocity=torch.cat([state.velocity[:n], inertia.velocity[:n]]),
            step=torch.cat([state.step[:1], inertia.step]),
            alpha=torch.cat([state.alpha[:1], inertia.alpha]),
            downhill=torch.cat([state.downhill[:1], inertia.downhill]),
            iteration=state.iteration + 1,
        )

    def converged(self, state: ClimbState, tolerance: float) -> bool:
        """Whether nothing pulls harder than `tolerance` eV/angstrom, where the mode is unstable."""
        seen = self.observe(state)
        return float(seen["largest_force"]) <= tolerance and float(state.curvature[1]) < 0

    def observe(self, state: ClimbState) -> dict[str, Shaped[Tensor, " ..."]]:
        """Barrier () in eV; curvature () in eV/angstrom^2 and largest force () in eV/angstrom of
        the cell that climbs."""
        simulator, n = self.simulator, len(state.positions) // 2
        energies, forces, _ = derivatives(
            simulator.energy, state, create_graph=simulator.differentiable(state)
        )
        return {
            "barrier": energies[1] - energies[0],
            "saddle_curvature": state.curvature[1],
            "largest_force": state.moving(forces)[n:].abs().max(),
        }

    def top(self, state: ClimbState) -> tuple[int, Float[Tensor, "n 3"]]:
        """Which cell climbs, and its softest mode (n, 3), without unit."""
        return 1, state.direction[len(state.direction) // 2 :]

    def plot(self, seen: Mapping[str, Float[Tensor, " ..."]], path: Path) -> None:
        """Energy from the minimum in eV, record by record."""
        plot_climb(seen, path)
