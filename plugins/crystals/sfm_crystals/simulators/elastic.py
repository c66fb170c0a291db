"""`crystals/elastic`: elastic constants and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Shaped
from torch import Tensor

from sfm.quantity import ENERGY, Quantity
from sfm.simulate.base import Setting, Trajectory
from sfm_crystals import quantities
from sfm_crystals.cells import Cells
from sfm_crystals.data.prototypes import diamond
from sfm_crystals.figures.statics import plot_elastic
from sfm_crystals.simulators import classical
from sfm_crystals.simulators.answering import RELAX, Answering
from sfm_crystals.statics.elasticity import moduli, relaxed_and_clamped
from sfm_crystals.statics.fire import LatticeState

UNSTABLE = 1e-3  # GPa


class Elastic(Answering):
    """Elastic constants of a cell at zero pressure and temperature.

        C_IJ = (1/V) [E_ee - E_eu (E_uu)^+ E_ue],   Voigt order xx, yy, zz, yz, xz, xy

    with e the strain, u the displacements of the atoms, and all second derivatives exact, by
    differentiation of the energy: no finite strains, nothing to converge but the relaxation. The
    second term is the relaxation of the atoms inside the strained cell; without it stands
    `clamped_elastic_constants`. From C follow Hill's averages for grains in all directions and the
    universal anisotropy.

    Axes are those of the cell as given. A crystal is mechanically stable if `stability`, the
    smallest eigenvalue of C, is positive (M. Born, Proc. Camb. Philos. Soc. 36, 160, 1940); if not,
    the run says so.

    Good values: silicon of Stillinger and Weber C11 151.4, C12 76.4, C44 56.4 GPa. Every potential
    and every closure will do; a primitive cell is fastest.

    Units: GPa. Limits: at the minimum of the energy; no temperature, no pressure.

    Raises:
        InputError: potential `none` without a closure; a cell that is not periodic.
    """

    part: ClassVar[str] = "crystals/elastic"
    summary: ClassVar[str] = "elastic constants and moduli, by exact second derivatives"
    settings_spec: ClassVar[tuple[Setting, ...]] = (*classical.SETTINGS, *RELAX)
    observables: ClassVar[tuple[Quantity, ...]] = (
        ENERGY,
        quantities.VOLUME,
        quantities.ELASTIC_CONSTANTS,
        quantities.CLAMPED_ELASTIC_CONSTANTS,
        quantities.BULK_MODULUS,
        quantities.SHEAR_MODULUS,
        quantities.YOUNGS_MODULUS,
        quantities.POISSON_RATIO,
        quantities.ANISOTROPY,
        quantities.STABILITY,
    )
    citations: ClassVar[tuple[str, ...]] = (
        *classical.CITATIONS,
        "doi:10.1088/0370-1298/65/5/307",  # Hill
        "doi:10.1103/PhysRevLett.101.055504",  # universal anisotropy
        "doi:10.1017/S0305004100017138",  # Born
    )

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Elastic, LatticeState]:
        """Two atoms of silicon, relaxed."""
        simulator = cls(**{"potential": "stillinger-weber", **values}).requires_grad_(False)
        return simulator, simulator(simulator.state(diamond(14, 5.431, primitive=True)))

    def observe(self, state: Cells) -> dict[str, Shaped[Tensor, " ..."]]:
        """Constants (6, 6) and moduli () in GPa, energy () in eV, volume () in angstrom^3."""
        with torch.set_grad_enabled(self._differentiable(state)):
            constants, clamped = relaxed_and_clamped(self.energy, state)
        means = moduli(constants)
        return {
            "energy": self.energy(state)[0],
            "volume": state.volume()[0],
            "elastic_constants": constants,
            "clamped_elastic_constants": clamped,
            "bulk_modulus": means.bulk,
            "shear_modulus": means.shear,
            "youngs_modulus": means.young,
            "poisson_ratio": means.poisson,
            "elastic_anisotropy": means.anisotropy,
            "stability": torch.linalg.eigvalsh(constants)[0],
        }

    def remarks(self, observed: Mapping[str, Shaped[Tensor, " ..."]]) -> tuple[str, ...]:
        """Whether the crystal is unstable: `stability` (), GPa."""
        if float(observed["stability"].detach()) > UNSTABLE:
            return ()
        return ("the crystal is not stable: its elastic constants are not positive definite",)

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Young's modulus in the planes xy, yz and zx, and the table of constants."""
        plot_elastic(trajectory.observables["elastic_constants"][-1], path)
