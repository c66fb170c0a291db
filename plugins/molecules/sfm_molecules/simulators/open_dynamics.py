"""What dynamics of molecules share: what is conserved, figures, observations.

Units: angstrom, fs, eV.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.simulate.base import Observations, Trajectory
from sfm.simulate.dynamics.ensembles import THERMAL
from sfm.simulate.dynamics.particles import Particles
from sfm.simulate.dynamics.simulator import Dynamics
from sfm_molecules.figures import plot_energies
from sfm_molecules.simulators.observations import predict_observations, read_observations
from sfm_molecules.simulators.open_systems import OpenSystems


class OpenDynamics(OpenSystems, Dynamics):
    """Newton's equations for molecules without a cell; a subclass says their energy."""

    resting: ClassVar[tuple[str, ...]] = THERMAL
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg", ".jpg")
    order: ClassVar[tuple[str, int] | None] = ("dt", 2)
    conserved: ClassVar[Mapping[str, float]] = {"conserved_energy": 1e-3}

    @abstractmethod
    def state(self, sample: Sample | Sequence[Sample] | None = None) -> Particles:
        """Positions of a sample (or of several, as a batch), with its velocities or thermal ones.

        Raises:
            InputError: a periodic sample, or one that the energy is not for.
        """

    def energy_and_forces(
        self,
        positions: Float[Tensor, "N 3"],
        types: Int[Tensor, " N"],
        system: Int[Tensor, " N"],
        conditions: Mapping[str, Float[Tensor, " S"]] | None = None,
    ) -> tuple[Float[Tensor, " S"], Float[Tensor, "N 3"]]:
        """Potential energies (S,) in eV and forces -dE/dx (N, 3) in eV/angstrom.

        Differentiable where gradients are recorded. Forces on fixed atoms are there, too. Charge
        and spin are zero where no `conditions` are given.
        """
        none = positions.new_zeros(int(system[-1]) + 1)
        conditions = {"charge": none, "spin": none} if conditions is None else conditions
        cell = none[:, None, None].expand(-1, 3, 3)
        systems = Systems(positions, cell, types, system, conditions)
        with torch.set_grad_enabled(self._recording(positions)):
            energy, forces, _ = self.evaluate(systems, False)
        return energy, forces

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Energies against time, of each system."""
        plot_energies(trajectory, path)

    def read_observations(self, path: Path) -> Observations:
        """Frames with energies and forces, or a trajectory with times and velocities.

        See `sfm_molecules.data.trajectories.read_frames` for the files.
        """
        return read_observations(self, path)

    def predict_observations(self, observations: Observations) -> dict[str, Shaped[Tensor, " ..."]]:
        """Energies (T,) and forces (T, n, 3) of the frames, or positions (T - 1, n, 3) at times."""
        return predict_observations(self, observations)
