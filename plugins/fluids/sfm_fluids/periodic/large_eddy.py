"""What the large-eddy simulators add to Navier-Stokes: the choice of the subgrid stress.

All in the units of the box.
"""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Shaped
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_fluids.closures.built_in import built_in, mean_flux
from sfm_fluids.periodic.pseudo_spectral import PseudoSpectral
from sfm_fluids.stepping.stateless import Stateless

CITATIONS = (
    "https://doi.org/10.1063/1.857955",  # Germano et al. 1991
    "https://doi.org/10.1063/1.858280",  # Lilly 1992
)


class LargeEddy(PseudoSpectral):
    """Stands before a Navier-Stokes simulator: `class LargeEddy2D(LargeEddy, NavierStokes2D)`.

    A closure replaces the built-in one unless both are named.
    """

    axes: ClassVar[int]

    smagorinsky_constant: Tensor
    filter_ratio: Tensor
    subgrid: str
    grid: Any  # of two or three dimensions

    def __init__(self, *, closure: nn.Module | None = None, **values: Any) -> None:
        """As the Navier-Stokes simulator's.

        Raises:
            InputError: a value out of bounds, cells that are not square or cubic, two closures.
        """
        if closure is not None:
            values = {"subgrid": "none", **values}
        super().__init__(closure=closure, **values)
        if self.closure is not None and self.subgrid != "none":
            raise InputError(f"{self.part}: give a closure or subgrid='{self.subgrid}', not both")
        if self.subgrid != "none":
            _ = self.grid.isotropic_spacing

    def _closure(self) -> Stateless | None:
        if self.closure is not None:
            return Stateless(self.closure)
        return built_in(self.subgrid, self.smagorinsky_constant, self.filter_ratio)

    def observe(self, state: Any) -> dict[str, Shaped[Tensor, " ..."]]:
        """Those of Navier-Stokes, and `subgrid_dissipation` (B,): the mean of -tau_ij S_ij."""
        observed = super().observe(state)  # type: ignore[safe-super]
        velocity, spacing = observed["velocity"], min(self.grid.spacing)
        flux = mean_flux(self._closure(), velocity, spacing, self.axes)
        return {**observed, "subgrid_dissipation": flux}
