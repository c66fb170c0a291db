"""`crystals/quasi-harmonic`: expansion of crystals with temperature."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.errors import InputError, RunError
from sfm.quantity import Quantity
from sfm.simulate.base import Setting, Trajectory
from sfm.simulate.statics.harmonic import mesh, thermal
from sfm_crystals import quantities
from sfm_crystals.cells import Cells
from sfm_crystals.data.prototypes import diamond
from sfm_crystals.figures.phonons import plot_expansion
from sfm_crystals.simulators import classical, vibrating
from sfm_crystals.simulators.answering import RELAX
from sfm_crystals.statics import equation_of_state
from sfm_crystals.statics.fire import LatticeState


class QuasiHarmonic(vibrating.Vibrating):
    """Volume, bulk modulus and thermal expansion of a crystal against temperature.

        F(V, T) = E(V) + F_phonons(V, T),   V(T) = arg min_V F(V, T),   alpha = (1/V) dV/dT

    At each of `points` volumes between 1 + `low` and 1 + `high` times that of the relaxed cell,
    atoms relax and phonons follow from exact force constants (`crystals/phonons`); at each
    temperature Birch and Murnaghan's equation is fitted to F. The fit is linear in F, whose slope
    in T is minus the entropy: alpha is exact, whatever the grid of temperatures.

    Good values: `low` -0.02, `high` 0.08 for metals up to half their melting point
    (the argon of Lennard-Jones, without a sample: `high` 0.16, `hottest` 40); 7 to 9 points.

    Units: angstrom^3, eV, GPa, 1/kelvin, of the whole cell. Limits: the shape of the cell is that
    of the minimum; phonons are harmonic at each volume; no electrons.

    Sources: M. T. Dove, Introduction to Lattice Dynamics (1993); A. Togo, I. Tanaka, Scr. Mater.
    108, 1 (2015); F. Birch, Phys. Rev. 71, 809 (1947).

    Raises:
        InputError: fewer than 4 points, or an odd mesh.
    """

    part: ClassVar[str] = "crystals/quasi-harmonic"
    summary: ClassVar[str] = "thermal expansion from phonons at several volumes"
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *classical.SETTINGS,
        *RELAX,
        *vibrating.SETTINGS,
        Setting("points", 7, summary="volumes, at least 4"),
        Setting("low", -0.02, summary="smallest volume, relative to the relaxed one"),
        Setting("high", 0.08, summary="largest volume, relative to the relaxed one"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        quantities.GRID_TEMPERATURE,
        quantities.THERMAL_VOLUME,
        quantities.THERMAL_BULK_MODULUS,
        quantities.THERMAL_EXPANSION,
        quantities.QUASI_HARMONIC_ENERGY,
    )
    citations: ClassVar[tuple[str, ...]] = (
        *classical.CITATIONS,
        "doi:10.1016/j.scriptamat.2015.07.021",
        "doi:10.1103/PhysRev.71.809",
    )

    points: int
    low: float
    high: float

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.points < 4 or not -0.5 < self.low < self.high < 1:
            raise InputError(
                f"{self.part}: points={self.points}, low={self.low}, high={self.high}: at least 4 "
                "points between two different volumes"
            )

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[QuasiHarmonic, LatticeState]:
        """Two atoms of silicon, relaxed, alone in their supercell."""
        small = {"repeat": 1, "mesh": 2, "temperatures": 3, "points": 4, "hottest": 300.0}
        span = {"low": -0.06, "high": 0.06}
        chosen = {"potential": "stillinger-weber", **small, **span, **values}
        simulator = cls(**chosen).requires_grad_(False)
        return simulator, simulator(simulator.state(diamond(14, 5.431, primitive=True)))

    def free_energies(
        self, state: Cells, kelvin: Float[Tensor, " T"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points T"], Float[Tensor, "points T"]]:
        """Volumes (points,) in angstrom^3, at temperatures (T,) F (points, T) in eV and entropies
        (points, T) in eV/kelvin.

        Raises:
            RunError: a phonon is imaginary at one of the volumes.
        """
        volumes, rows, entropies = [], [], []
        for moved in self.at_volumes(state, 1 + self.low, 1 + self.high, self.points, relax=True):
            seen = self.force_constants(moved).frequencies(mesh(self.mesh))
            lowest = float(seen.detach().min())
            if lowest < vibrating.UNSTABLE:
                ratio = float((moved.volume() / state.volume())[0].detach())
                raise RunError(
                    f"{self.part}: a phonon of {-lowest:.2f}i THz at {ratio:.3f} times the "
                    "relaxed volume; take a narrower range (low, high)"
                )
            volumes.append(moved.volume()[0])
            sums = thermal(seen, kelvin)
            rows.append(self.energy(moved)[0] + sums.free_energy)
            entropies.append(sums.entropy)
        return torch.stack(volumes), torch.stack(rows), torch.stack(entropies)

    def observe(self, state: Cells) -> dict[str, Shaped[Tensor, " ..."]]:
        """By temperature (T,): volume, bulk modulus, expansion and free energy of the cell."""
        kelvin = self.kelvin()
        volumes, energies, entropies = self.free_energies(state, kelvin)
        fits, slopes = [], []
        rows = zip(kelvin.tolist(), energies.unbind(1), entropies.unbind(1), strict=True)
        for t, column, entropy in rows:
            try:
                fits.append(equation_of_state.fit(volumes, column))
                slopes.append(_slope(volumes, column, entropy))
            except InputError:
                raise RunError(
                    f"{self.part}: at {t:g} kelvin the free energy has no minimum among the "
                    f"volumes; raise high ({self.high:g}), or lower hottest ({self.hottest:g})"
                ) from None
        volume = torch.stack([f.volume for f in fits])
        return {
            "grid_temperature": kelvin,
            "thermal_volume": volume,
            "thermal_bulk_modulus": torch.stack([f.bulk_modulus for f in fits]),
            "thermal_expansion": torch.stack(slopes) / volume,
            "quasi_harmonic_energy": torch.stack([f.energy for f in fits]),
        }

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Volume, expansion and bulk modulus against temperature."""
        seen = {k: v[-1].detach().cpu() for k, v in trajectory.observables.items()}
        plot_expansion(seen, len(trajectory.states[-1].positions), path)


def _slope(volumes: Tensor, energies: Tensor, entropies: Tensor) -> Tensor:
    """dV/dT in angstrom^3/kelvin of the fit's minimum, with dF/dT = -S."""
    keep = torch.is_grad_enabled() and energies.requires_grad
    with torch.enable_grad():
        place = energies if keep else energies.detach().requires_grad_()
        volume = equation_of_state.fit(volumes if keep else volumes.detach(), place).volume
        (along,) = torch.autograd.grad(volume, place, create_graph=keep)
    return -(along * entropies).sum()
