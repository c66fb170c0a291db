"""What the simulators of flow in a periodic plane share: samples, figures, files, fits.

All in the units of the box.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Observations, Simulator, Trajectory
from sfm_fluids import box
from sfm_fluids.figures.films import MOVING, STILL
from sfm_fluids.spectral.grid_2d import Grid


class PlaneFlow(Simulator):
    """A simulator whose velocity (2, H, W) lives on `points`, periodic along x and y."""

    batched: ClassVar[bool] = True
    plots_to: ClassVar[tuple[str, ...]] = STILL + MOVING
    writes_to: ClassVar[tuple[str, ...] | None] = (".h5", ".hdf5")

    viscosity: Tensor

    @property
    @abstractmethod
    def points(self) -> Grid:
        """Where the velocity of observations is."""

    @abstractmethod
    def from_velocity(self, velocity: Float[Tensor, " ..."]) -> Any:
        """The state of a velocity (2, H, W) or (B, 2, H, W)."""

    @abstractmethod
    def velocity(self, state: Any) -> Float[Tensor, "B 2 H W"]:
        """(B, 2, H, W) on `points`."""

    @abstractmethod
    def restarted(
        self, state: Any, vorticity: Float[Tensor, "H W"], mean: Float[Tensor, " 2"]
    ) -> Any:
        """The one flow of `state` with another vorticity (H, W) and mean flow (2,)."""

    @classmethod
    def stated(cls, sample: Sample, **values: Any) -> dict[str, Any]:
        """Points, box and parameters of a sample."""
        return box.stated(cls, sample, "velocity", 2, values)

    def stating(self) -> dict[str, float]:
        """The box."""
        return box.stating(self)

    def _batch_of(self, velocity: Tensor) -> Tensor:
        """A velocity on `points` with its axis of flows.

        Raises:
            InputError: another shape.
        """
        velocity = velocity[None] if velocity.ndim == 3 else velocity
        if velocity.ndim != 4 or velocity.shape[1] != 2:
            raise InputError(f"{self.part}: velocity {tuple(velocity.shape)} is not (B, 2, H, W)")
        if tuple(velocity.shape[2:]) != self.points.shape:
            height, width = velocity.shape[2:]
            raise InputError(
                f"{self.part}: the velocity has {height} x {width} points, the simulator "
                f"{self.points.height} x {self.points.width}; set height={height} and width={width}"
            )
        return velocity.to(self.viscosity)

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Vorticity at three times with the energy's history; `.gif` and `.mp4` are animations."""
        from sfm_fluids.figures.flow_2d import draw

        draw(trajectory, self.points, Path(path))

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """`.h5`: `velocity` (T, 2, H, W), `times`, box lengths. `.hdf5`: the format of The Well."""
        from sfm_fluids.files.writing import write_periodic

        write_periodic(
            trajectory, self.points, Path(path), name=self.part, scalars=self.written_parameters()
        )

    def written_parameters(self) -> dict[str, float] | None:
        """Parameters that a file of The Well states; None for none."""
        return None

    def read_observations(self, path: Path) -> Observations:
        """Snapshots for `sfm fit`: see `sfm_fluids.periodic.observations.read_plane`."""
        from sfm_fluids.periodic.observations import read_plane

        return read_plane(self, Path(path))

    def predict_observations(
        self, observations: Observations
    ) -> dict[str, Float[Tensor, "T 2 H W"]]:
        """Velocity at the observed times, (T, 2, H, W)."""
        from sfm_fluids.periodic.observations import predict_plane

        return predict_plane(self, observations)
