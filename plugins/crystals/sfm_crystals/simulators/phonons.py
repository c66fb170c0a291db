"""`crystals/phonons`: lattice vibrations of a relaxed cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.errors import InputError
from sfm.quantity import ENERGY, Quantity
from sfm.simulate.base import Setting, Trajectory
from sfm.simulate.statics.harmonic import density_of_states, mesh, thermal
from sfm_crystals import quantities
from sfm_crystals.cells import Cells
from sfm_crystals.data.phonopy_files import to_phonopy, write_phonopy
from sfm_crystals.data.prototypes import diamond
from sfm_crystals.figures.phonons import plot_phonons
from sfm_crystals.simulators import classical, vibrating
from sfm_crystals.simulators.answering import RELAX, Answering
from sfm_crystals.statics.fire import LatticeState
from sfm_crystals.statics.force_constants import ForceConstants


class Phonons(vibrating.Vibrating):
    """Phonons of a cell at the minimum of its energy, and its harmonic thermodynamics.

        D(q) e = (2 pi nu)^2 e,   D(q)_ab = 1/sqrt(m_a m_b) sum_R Phi_(0a)(Rb) exp(i q (R + b - a))

    Force constants Phi are exact second derivatives of the energy of a supercell of `repeat`^3
    cells: no displacement has to be chosen. Frequencies follow the potential's parameters and the
    model's weights under differentiation. Bands go along the path of ase for the lattice; density
    of states (Gaussians of `dos_width`), free energy, entropy and heat capacity are sums over a
    mesh of `mesh`^3 wave vectors that avoids the origin.

    `--output FILE.yaml` writes phonopy's file with the force constants, for `phonopy.load`;
    `--input FILE.yaml` takes the unit cell of phonopy's files.

    Good values: a supercell of twice the potential's reach (10 angstrom and more); `mesh` 8 for
    heat capacities to a percent, 20 for densities of states of narrow `dos_width`. A primitive cell
    is fastest.

    Units: THz, eV and eV/kelvin per cell. Limits: harmonic; no polar splitting at the origin
    (charges' long range is that of the supercell); masses are the sample's or the elements'.

    Sources: K. Parlinski et al., Phys. Rev. Lett. 78, 4063 (1997); A. Togo, I. Tanaka, Scr. Mater.
    108, 1 (2015); M. T. Dove, Introduction to Lattice Dynamics (1993).

    Raises:
        InputError: potential `none` without a closure, an odd mesh.
    """

    part: ClassVar[str] = "crystals/phonons"
    summary: ClassVar[str] = "phonon bands, density of states, harmonic thermodynamics"
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *classical.SETTINGS,
        *RELAX,
        *vibrating.SETTINGS,
        Setting("band_points", 121, summary="wave vectors of the path"),
        Setting("dos_points", 201, summary="frequencies of the density of states"),
        Setting("dos_width", 0.25, unit="THz", summary="Gaussian of each phonon"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        ENERGY,
        quantities.VOLUME,
        quantities.PHONON_FREQUENCIES,
        quantities.BAND_DISTANCE,
        quantities.PHONON_DOS,
        quantities.DOS_FREQUENCY,
        quantities.GRID_TEMPERATURE,
        quantities.HELMHOLTZ_ENERGY,
        quantities.VIBRATIONAL_ENTROPY,
        quantities.HEAT_CAPACITY,
    )
    citations: ClassVar[tuple[str, ...]] = (
        *classical.CITATIONS,
        "doi:10.1103/PhysRevLett.78.4063",
        "doi:10.1016/j.scriptamat.2015.07.021",
    )
    writes_to: ClassVar[tuple[str, ...] | None] = (*Answering.writes_to, ".yaml")  # type: ignore[misc]

    band_points: int
    dos_points: int
    dos_width: float

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._latest: tuple[Cells, ForceConstants] | None = None  # what `observe` saw last
        if min(self.band_points, self.dos_points) < 2 or not self.dos_width > 0:
            raise InputError(
                f"{self.part}: band_points and dos_points must be 2 or more, dos_width above 0 THz"
            )

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Phonons, LatticeState]:
        """Two atoms of silicon, relaxed, alone in their supercell."""
        small = {"repeat": 1, "mesh": 2, "temperatures": 2, "band_points": 4, "dos_points": 5}
        chosen = {"potential": "stillinger-weber", "dos_width": 3.0, **small, **values}
        simulator = cls(**chosen).requires_grad_(False)
        return simulator, simulator(simulator.state(diamond(14, 5.431, primitive=True)))

    def frequencies(self, state: Cells, points: Float[Tensor, "Q 3"]) -> Float[Tensor, "Q B"]:
        """(Q, 3 n) THz at wave vectors (Q, 3) in units of the cell's reciprocal vectors."""
        return self.force_constants(state).frequencies(points)

    def observe(self, state: Cells) -> dict[str, Shaped[Tensor, " ..."]]:
        """Bands (Q, 3 n) THz, density of states (F,) 1/THz, thermal properties (T,) per cell."""
        constants = self.force_constants(state)
        self._latest = (state, constants.detached())
        points, distance = band_path(state, self.band_points)
        bands = constants.frequencies(points)
        seen = constants.frequencies(mesh(self.mesh))
        grid = self.kelvin()
        sums = thermal(seen, grid)
        low, top = seen.min().clamp(max=0.0) - 3 * self.dos_width, seen.max() + 3 * self.dos_width
        places = low + (top - low) * torch.linspace(0, 1, self.dos_points).to(seen)
        return {
            "energy": self.energy(state)[0],
            "volume": state.volume()[0],
            "phonon_frequencies": bands,
            "band_distance": distance,
            "phonon_dos": density_of_states(seen, places, self.dos_width),
            "dos_frequency": places,
            "grid_temperature": grid,
            "helmholtz_energy": sums.free_energy,
            "vibrational_entropy": sums.entropy,
            "heat_capacity": sums.heat_capacity,
        }

    def remarks(self, observed: Mapping[str, Shaped[Tensor, " ..."]]) -> tuple[str, ...]:
        """Whether any of the phonons (Q, 3 n) is imaginary, THz."""
        lowest = float(observed["phonon_frequencies"].detach().min())
        if lowest > vibrating.UNSTABLE:
            return ()
        return (
            f"the crystal is not stable: a phonon of {-lowest:.2f}i THz; sums over phonons leave "
            "imaginary ones out",
        )

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Bands with the names of points, density of states, heat capacity and free energy."""
        state = trajectory.states[-1]
        marks = band_marks(state, self.band_points)
        seen = {k: v[-1].detach().cpu() for k, v in trajectory.observables.items()}
        plot_phonons(seen, marks, len(state.positions), path)

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """The relaxed cell, or with `.yaml` phonopy's file of the cell and its force constants."""
        if path.suffix.lower() != ".yaml":
            super().write(trajectory, path)
            return
        state = trajectory.states[-1]
        if self._latest is None or self._latest[0] is not state:
            self.observe(state)
        assert self._latest is not None
        write_phonopy(path, to_phonopy(state, (self.repeat,) * 3, self._latest[1]))


def _path(state: Cells, points: int) -> Any:
    from ase.cell import Cell

    return Cell(state.cell[0].detach().cpu().double().numpy()).bandpath(npoints=points, eps=1e-3)


def band_path(state: Cells, points: int) -> tuple[Float[Tensor, "Q 3"], Float[Tensor, " Q"]]:
    """Wave vectors (Q, 3) in reciprocal vectors, and the way along them, (Q,) 1/angstrom.

    The path of ase for the cell's lattice: W. Setyawan, S. Curtarolo, Comput. Mater. Sci. 49, 299
    (2010). Lengths leave out 2 pi.
    """
    path = _path(state, points)
    vectors = torch.from_numpy(path.kpts).to(state.cell)
    goes_on = torch.from_numpy(np.diff(path.get_linear_kpoint_axis()[0]) > 0).to(vectors.device)
    steps = (vectors[1:] - vectors[:-1]) @ torch.linalg.inv(state.cell[0]).mT
    lengths = torch.where(goes_on, torch.where(goes_on, steps.square().sum(1), 1.0).sqrt(), 0.0)
    return vectors, torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def band_marks(state: Cells, points: int) -> list[tuple[float, str]]:
    """Where on the way (1/angstrom) points with names are."""
    _, places, names = _path(state, points).get_linear_kpoint_axis()
    return [(float(p) / (2 * torch.pi), n) for p, n in zip(places, names, strict=True)]
