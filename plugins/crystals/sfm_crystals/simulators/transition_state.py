"""`crystals/transition-state`: the barrier between two minima."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.readers import read_file
from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.progress import report
from sfm.quantity import (
    BARRIER,
    JOINED_DISTANCE,
    JOINED_ENERGY,
    LARGEST_FORCE,
    PATH_DISTANCE,
    PATH_ENERGY,
    REVERSE_BARRIER,
    Quantity,
)
from sfm.simulate.base import Parameter, Setting, Trajectory
from sfm.simulate.statics import barriers
from sfm_crystals import quantities
from sfm_crystals.cells import Cells
from sfm_crystals.data.prototypes import fcc, repeated
from sfm_crystals.simulators import classical, descending, relaxing
from sfm_crystals.simulators.climbing import Dimer
from sfm_crystals.simulators.elastic_band import ElasticBand
from sfm_crystals.statics.fire import LatticeState

OF_DIMER = (
    barriers.DISPLACEMENT,
    barriers.TURNS,
    Setting("seed", 0, summary="of the dimer's first direction, without `final`"),
)


class _Way(Protocol):
    """A method: its first state, its steps, and what it says of a state."""

    def start(self, start: Sample, end: Any) -> LatticeState: ...

    def step(self, state: Any) -> LatticeState: ...

    def converged(self, state: Any, tolerance: float) -> bool: ...

    def observe(self, state: Any) -> dict[str, Shaped[Tensor, " ..."]]: ...

    def top(self, state: Any) -> tuple[int, Float[Tensor, "n 3"]]: ...

    def plot(self, seen: Any, path: Path) -> None: ...


class TransitionState(relaxing.Relaxing):
    """Saddle points: a nudged elastic band between two minima, or a dimer that climbs from one.

        F_i = f_i - (f_i . t_i) t_i + k (|R_i+1 - R_i| - |R_i - R_i-1|) t_i
        F_i = f_i - 2 (f_i . t_i) t_i        the highest image, which climbs
        F = f - 2 (f . n) n,  n . K n = min  the dimer, along the softest mode n

    `images` copies of the cell between two ends, on a straight line at first, all evaluated as one
    batch; a step of `forward` is one of FIRE down the forces F of every image. The ends are the
    sample and the first structure of `final`, atoms in the same order; each atom takes the shorter
    way through the cell's faces. With `relax_ends` both go to their minima first, in the cell of
    the sample. Fixed atoms and coordinates stay.

    `method=dimer` needs no second end: the sample is relaxed, moved by `displacement` in a random
    direction (`seed`; towards `final`, if that is given), and climbs along the softest mode, which
    Hessian-vector products turn (`sfm.simulate.statics.dimer`). Which saddle it comes to depends on
    where it began.

    Without a sample: a vacancy in a crystal of 32 sites (64 of silicon), into which a neighbour
    hops.

    Which minima the saddle point joins is then seen (`descend`): brought to rest within `tolerance`
    and moved by 0.05 angstrom along its negative mode, forwards and backwards, the crystal relaxes.
    `joined_energy` and `joined_distance` say what a run comes to, energies from the start, and
    distances from the start and the end (of a dimer, both from the start); a warning says if they
    are other minima. They carry no gradient.

    The barrier is E(saddle) - E(start), of the highest image; its derivative to the potential's
    parameters and the model's weights is that of the energies at fixed places, which is exact at a
    saddle point and a minimum.

    Good values: 5 images, spring 1 to 5 eV/angstrom^2, force_tolerance 0.01 eV/angstrom.

    Units: eV, angstrom. Limits: the cell does not change along the way; the way that is found is
    the one nearest to the straight line; intermediate minima want more images.

    Sources: G. Henkelman, H. Jonsson, J. Chem. Phys. 113, 9978 (2000); G. Henkelman, B. P.
    Uberuaga, H. Jonsson, ibid. 9901; dimer: G. Henkelman, H. Jonsson, ibid. 111, 7010 (1999), A.
    Heyden, A. T. Bell, F. J. Keil, ibid. 123, 224101 (2005); FIRE: E. Bitzek et al., Phys. Rev.
    Lett. 97, 170201 (2006).

    Raises:
        InputError: fewer than one image; a band without `final`; ends that do not match; settings
            of the other method.
    """

    part: ClassVar[str] = "crystals/transition-state"
    summary: ClassVar[str] = "saddle points: nudged elastic band with a climbing image, or dimer"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = classical.PARAMETERS
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *classical.SETTINGS,
        Setting("final", "", summary="file of the other end, atoms in the sample's order"),
        barriers.METHOD,
        *barriers.BAND,
        *OF_DIMER,
        Setting("force_tolerance", 0.01, unit="eV/angstrom", summary="largest force at the end"),
        barriers.RELAX_ENDS,
        barriers.DESCEND,
        Setting(
            "tolerance", 1e-4, unit="eV/angstrom", summary="largest force of ends that are relaxed"
        ),
        relaxing.MAX_STEPS,
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        BARRIER,
        REVERSE_BARRIER,
        PATH_ENERGY,
        PATH_DISTANCE,
        LARGEST_FORCE,
        quantities.SADDLE_CURVATURE,
        JOINED_ENERGY,
        JOINED_DISTANCE,
    )
    citations: ClassVar[tuple[str, ...]] = (
        *classical.CITATIONS,
        "doi:10.1063/1.1323224",
        "doi:10.1063/1.1329672",
        "doi:10.1063/1.480097",
        "doi:10.1063/1.2104507",
        "doi:10.1103/PhysRevLett.97.170201",
    )
    default_steps: ClassVar[int] = 500
    writes_to: ClassVar[tuple[str, ...] | None] = (".extxyz", ".xyz", ".traj")  # many cells

    relax_cell: str = "fixed"
    method: str
    final: str
    displacement: float
    turns: int
    seed: int
    images: int
    spring: float
    force_tolerance: float
    relax_ends: bool
    descend: bool

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.images < 1 or not self.spring > 0 or not self.force_tolerance > 0:
            raise InputError(
                f"{self.part}: images={self.images}, spring={self.spring}, "
                f"force_tolerance={self.force_tolerance}: at least 1, and above 0"
            )
        if self.turns < 1 or not self.displacement > 0:
            raise InputError(
                f"{self.part}: turns={self.turns}, displacement={self.displacement} angstrom: at "
                "least 1, and above 0"
            )
        others = OF_DIMER if self.method == "neb" else barriers.BAND
        idle = sorted(one.name for one in others)
        self.refuse_idle(values, idle, f"method={self.method}")
        self.way: _Way = ElasticBand(self) if self.method == "neb" else Dimer(self)
        if self.final and not Path(self.final).is_file():
            raise InputError(f"{self.part}: final={self.final}: no such file")

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[TransitionState, LatticeState]:
        """Three atoms of argon and a hole in their cell, off the symmetric way."""
        simulator = cls(**{"images": 2, "relax_ends": False, **values})
        start, end = hop(fcc(classical.ARGON, 5.3))
        state = simulator.between(start, end)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(state.positions.shape, generator=generator, dtype=torch.float64)
        return simulator, state.replace(positions=state.positions + 0.05 * noise)

    # --- states -------------------------------------------------------------------------------

    def state(self, sample: Sample | None = None) -> LatticeState:
        """The band on the straight line from the sample to `final`; the dimer beside the sample.

        Raises:
            InputError: a band from a sample without `final`, or ends that differ in cell or
                elements.
            RunError: an end does not relax.
        """
        if sample is None:
            crystal = self.known_crystal()
            return self.between(*hop(repeated(crystal, 2)))
        if not self.final and self.method == "dimer":
            return self.between(sample, None)
        if not self.final:
            raise InputError(
                f"{self.part}: set final=FILE, the structure that {sample.id} changes into, or "
                "method=dimer"
            )
        return self.between(sample, read_file(Path(self.final), domain="crystals")[0])

    def between(self, start: Sample, end: Sample | None) -> LatticeState:
        """The first state between two samples, or from one; see `state`.

        Raises:
            InputError: ends that differ in cell or elements.
            RunError: an end does not relax.
        """
        return self.way.start(start, end)

    def ends(self, start: Sample, end: Sample | None) -> LatticeState:
        """Both samples, or one, relaxed with `relax_ends`.

        Raises:
            InputError: they differ in cell or elements.
            RunError: one does not relax.
        """
        both = [start]
        if end is not None:
            self._check_match(start, end)
            both = [start, end.replace(fixed=start.fixed)]
        cells = self.batch(both)
        if not self.relax_ends:
            return cells
        with torch.no_grad():
            return self.relax(cells)

    def _check_match(self, start: Sample, end: Sample) -> None:
        barriers.refuse_other_atoms(self.part, start, end)
        if start.cell is None or end.cell is None or not np.allclose(start.cell, end.cell):
            raise InputError(f"{self.part}: {start.id} and {end.id} have different cells")

    # --- iteration ----------------------------------------------------------------------------

    def differentiable(self, cells: Cells) -> bool:
        """Whether anybody will differentiate what comes from these cells."""
        return self._differentiable(cells)

    def stiffness_of_bonds(self) -> Float[Tensor, ""]:
        """() eV/angstrom^2, the scale of the steps."""
        return self._stiffness()

    def forward(self, state: LatticeState, steps: int = 1) -> LatticeState:
        """`steps` steps of FIRE; those of a band are differentiable as such."""
        for _ in range(steps):
            state = self.way.step(state)
        return state

    def converged(self, state: LatticeState) -> bool:
        """Whether nothing is pulled harder than `force_tolerance`."""
        with torch.no_grad():
            return self.way.converged(state, self.force_tolerance)

    def run(self, state: LatticeState, steps: int, *, every: int | None = None) -> Trajectory:
        """As the base class, every tenth step, until converged."""
        if every is not None:
            return super().run(state, steps, every=every)
        states, done = [state], 0
        while done < steps and not self.converged(state):
            stride = min(10, steps - done)
            state = self(state, stride)
            done += stride
            states.append(state)
            report(f"{self.part}: step", done, steps)
        return self._recorded(states, [self.observe(s) for s in states])

    def _recorded(
        self, states: Sequence[LatticeState], observed: Sequence[Mapping[str, Tensor]]
    ) -> Trajectory:
        """As the base class, with the minima that the saddle point of the last record joins.

        They are one answer of the whole search, and so the same in all its records. A warning says
        if they are others than the ends.
        """
        trajectory = super()._recorded(states, observed)
        if not (self.descend and trajectory.converged):
            return trajectory
        try:
            joined = descending.joined(self, states[-1], *self.way.top(states[-1]))
        except RunError as error:
            line = f"which minima the saddle point joins is not known: {error}"
            return dataclasses.replace(trajectory, warnings=(*trajectory.warnings, line))
        names = ("start",) if self.method == "dimer" else ("start", "end")
        line = barriers.elsewhere(joined.distances.tolist(), names)
        more = {
            name: value.expand(len(states), 2)
            for name, value in (
                ("joined_energy", joined.energies),
                ("joined_distance", joined.distances),
            )
        }
        return dataclasses.replace(
            trajectory,
            observables={**trajectory.observables, **more},
            warnings=(*trajectory.warnings, line) if line else trajectory.warnings,
        )

    def observe(self, state: LatticeState) -> dict[str, Shaped[Tensor, " ..."]]:
        """Barriers () in eV, the largest force () in eV/angstrom; of a band (I,) energies from the
        start in eV and the way in angstrom, of a dimer its curvature () in eV/angstrom^2."""
        return self.way.observe(state)

    def warnings(self, state: LatticeState) -> tuple[str, ...]:
        if self.converged(state):
            return ()
        what = "no image is" if self.method == "neb" else "the cell that climbs is not"
        return (f"{what} at rest yet to {self.force_tolerance} eV/angstrom; take more steps",)

    # --- files --------------------------------------------------------------------------------

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Energy along the way, at first and at the end; of a dimer, record by record."""
        self.way.plot({k: v.detach().cpu() for k, v in trajectory.observables.items()}, path)


def hop(crystal: Sample) -> tuple[Sample, Sample]:
    """A crystal without its first atom, and with that atom's nearest neighbour in its place."""
    assert crystal.cell is not None
    between = (crystal.positions - crystal.positions[0]) @ np.linalg.inv(crystal.cell)
    between -= np.round(between)
    length = np.linalg.norm(between @ crystal.cell, axis=1)
    length[0] = np.inf
    nearest = int(length.argmin()) - 1
    start = crystal.replace(positions=crystal.positions[1:], types=crystal.types[1:])
    moved = start.positions.copy()
    moved[nearest] -= between[nearest + 1] @ crystal.cell
    return start, start.replace(id=f"{start.id} after a hop", positions=moved)
