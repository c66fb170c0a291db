"""`method=neb` of `crystals/transition-state`: images between two ends, pulled to a lowest way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.simulate.statics.elastic_band import band_forces, distances, tangents
from sfm_crystals.cells import derivatives
from sfm_crystals.figures.barrier import plot_barrier
from sfm_crystals.statics.fire import LatticeState, fire_step

if TYPE_CHECKING:
    from sfm_crystals.simulators.transition_state import TransitionState


class ElasticBand:
    """The band of a simulator; its states hold the images one after another, with both ends."""

    def __init__(self, simulator: TransitionState) -> None:
        self.simulator = simulator

    def start(self, start: Sample, end: Sample) -> LatticeState:
        """The band on the straight line between two samples that match.

        Raises:
            RunError: an end does not relax.
        """
        simulator = self.simulator
        ends = simulator.ends(start, end)
        first, last = ends.positions.detach().reshape(2, -1, 3)
        way = shorter(last - first, ends.cell[0].detach())
        count = simulator.images + 2
        places = torch.stack([first + k / (count - 1) * way for k in range(count)])
        images = simulator.batch([start] * count)
        return LatticeState.at_rest(dataclasses.replace(images, positions=places.reshape(-1, 3)))

    def _seen(self, state: LatticeState) -> tuple[Tensor, Tensor, Tensor]:
        """Energies (I,), places (I, n, 3) and forces of the band (I, n, 3)."""
        simulator = self.simulator
        energies, forces, _ = derivatives(
            simulator.energy, state, create_graph=simulator.differentiable(state)
        )
        count = state.n_systems
        places = state.positions.reshape(count, -1, 3)
        free = state.moving(forces).reshape(count, -1, 3)
        return energies, places, band_forces(energies, places, free, simulator.spring)

    def step(self, state: LatticeState) -> LatticeState:
        """One step of FIRE down the forces of the band; differentiable as such."""
        _, _, pulls = self._seen(state)
        flat = state.moving(pulls.reshape(-1, 3))
        return fire_step(
            state, flat / self.simulator.stiffness_of_bonds(), torch.zeros_like(state.cell)
        )

    def converged(self, state: LatticeState, tolerance: float) -> bool:
        """Whether no image is pulled harder than `tolerance`, eV/angstrom."""
        return float(self._seen(state)[2].abs().max()) <= tolerance

    def observe(self, state: LatticeState) -> dict[str, Shaped[Tensor, " ..."]]:
        """Barriers () in eV; along the band (I,) energies from the start in eV and the way in
        angstrom; the largest force () in eV/angstrom."""
        energies, places, pulls = self._seen(state)
        top = energies[1 + energies.detach()[1:-1].argmax()]
        gaps = distances(places)
        return {
            "barrier": top - energies[0],
            "reverse_barrier": top - energies[-1],
            "path_energy": energies - energies[0],
            "path_distance": torch.cat([gaps.new_zeros(1), gaps.cumsum(0)]),
            "largest_force": pulls.abs().max(),
        }

    def top(self, state: LatticeState) -> tuple[int, Float[Tensor, "n 3"]]:
        """The highest image, and the direction of the way there (n, 3), without unit."""
        energies, places, _ = self._seen(state)
        top = 1 + int(energies.detach()[1:-1].argmax())
        return top, tangents(energies.detach(), places.detach())[top]

    def plot(self, seen: Mapping[str, Float[Tensor, " ..."]], path: Path) -> None:
        """Energy along the way in eV, at first and at the end."""
        plot_barrier(seen, path)


def shorter(way: Float[Tensor, "n 3"], box: Float[Tensor, "3 3"]) -> Float[Tensor, "n 3"]:
    """(n, 3) angstrom, each atom through the faces of the box (3, 3) angstrom that are nearest."""
    inside = way @ torch.linalg.inv(box)
    nearest: Tensor = (inside - inside.round()) @ box
    return nearest
