"""`crystals/transition-state`: the barrier between two minima."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from sfm.data.readers import read_file
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.progress import report
from sfm.quantity import Quantity
from sfm.simulate.base import Parameter, Setting, Trajectory
from sfm_crystals import quantities
from sfm_crystals.cells import derivatives
from sfm_crystals.data.prototypes import fcc, repeated
from sfm_crystals.figures.barrier import plot_barrier
from sfm_crystals.simulators import classical, relaxing
from sfm_crystals.statics.elastic_band import band_forces, distances
from sfm_crystals.statics.fire import LatticeState, fire_step


class TransitionState(relaxing.Relaxing):
    """The lowest way from one minimum to another, and its saddle point: a nudged elastic band.

        F_i = f_i - (f_i . t_i) t_i + k (|R_i+1 - R_i| - |R_i - R_i-1|) t_i
        F_i = f_i - 2 (f_i . t_i) t_i        the highest image, which climbs

    `images` copies of the cell between two ends, on a straight line at first, all evaluated as one
    batch; a step of `forward` is one of FIRE down the forces F of every image. The ends are the
    sample and the first structure of `final`, atoms in the same order; each atom takes the shorter
    way through the cell's faces. With `relax_ends` both go to their minima first, in the cell of
    the sample. Fixed atoms and coordinates stay.

    Without a sample: a vacancy in a crystal of 32 sites (64 of silicon), into which a neighbour
    hops.

    The barrier is E(saddle) - E(start), of the highest image; its derivative to the potential's
    parameters and the model's weights is that of the energies at fixed places, which is exact at a
    saddle point and a minimum.

    Good values: 5 images, spring 1 to 5 eV/angstrom^2, force_tolerance 0.01 eV/angstrom.

    Units: eV, angstrom. Limits: the cell does not change along the way; the way that is found is
    the one nearest to the straight line; intermediate minima want more images.

    Sources: G. Henkelman, H. Jonsson, J. Chem. Phys. 113, 9978 (2000); G. Henkelman, B. P.
    Uberuaga, H. Jonsson, ibid. 9901; FIRE: E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006).

    Raises:
        InputError: fewer than one image; a sample without `final`; ends that do not match.
    """

    part: ClassVar[str] = "crystals/transition-state"
    summary: ClassVar[str] = "barrier between two minima: nudged elastic band, climbing image"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = classical.PARAMETERS
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *classical.SETTINGS,
        Setting("final", "", summary="file of the other end, atoms in the sample's order"),
        Setting("images", 5, summary="images between the ends"),
        Setting("spring", 2.0, unit="eV/angstrom**2", summary="k between images"),
        Setting("force_tolerance", 0.01, unit="eV/angstrom", summary="largest force at the end"),
        Setting("relax_ends", True, (True, False), summary="relax the ends first"),
        Setting(
            "tolerance", 1e-4, unit="eV/angstrom", summary="largest force of ends that are relaxed"
        ),
        relaxing.MAX_STEPS,
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        quantities.BARRIER,
        quantities.REVERSE_BARRIER,
        quantities.PATH_ENERGY,
        quantities.PATH_DISTANCE,
        quantities.LARGEST_FORCE,
    )
    citations: ClassVar[tuple[str, ...]] = (
        *classical.CITATIONS,
        "doi:10.1063/1.1323224",
        "doi:10.1063/1.1329672",
        "doi:10.1103/PhysRevLett.97.170201",
    )
    default_steps: ClassVar[int] = 500
    writes_to: ClassVar[tuple[str, ...] | None] = (".extxyz", ".xyz", ".traj")  # many cells

    relax_cell: str = "fixed"
    final: str
    images: int
    spring: float
    force_tolerance: float
    relax_ends: bool

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.images < 1 or not self.spring > 0 or not self.force_tolerance > 0:
            raise InputError(
                f"{self.part}: images={self.images}, spring={self.spring}, "
                f"force_tolerance={self.force_tolerance}: at least 1, and above 0"
            )
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
        """The band on the straight line from the sample to `final`.

        Raises:
            InputError: a sample and no `final`, or ends that differ in cell or elements.
            RunError: an end does not relax.
        """
        if sample is None:
            crystal = self.known_crystal()
            return self.between(*hop(repeated(crystal, 2)))
        if not self.final:
            raise InputError(
                f"{self.part}: set final=FILE, the structure that {sample.id} changes into"
            )
        return self.between(sample, read_file(Path(self.final), domain="crystals")[0])

    def between(self, start: Sample, end: Sample) -> LatticeState:
        """The band on the straight line between two samples; see `state`."""
        if len(start.types) != len(end.types) or bool((start.types != end.types).any()):
            raise InputError(
                f"{self.part}: {start.id} and {end.id} hold different atoms, or in another order"
            )
        if start.cell is None or end.cell is None or not np.allclose(start.cell, end.cell):
            raise InputError(f"{self.part}: {start.id} and {end.id} have different cells")
        end = end.replace(fixed=start.fixed)
        ends = self.batch([start, end])
        if self.relax_ends:
            with torch.no_grad():
                ends = self.relax(ends)
        first, last = ends.positions.detach().reshape(2, -1, 3)
        box = ends.cell[0].detach()
        way = (last - first) @ torch.linalg.inv(box)
        way = (way - way.round()) @ box
        count = self.images + 2
        places = torch.stack([first + k / (count - 1) * way for k in range(count)])
        return LatticeState.at_rest(
            dataclasses.replace(self.batch([start] * count), positions=places.reshape(-1, 3))
        )

    # --- iteration ----------------------------------------------------------------------------

    def _seen(self, state: LatticeState) -> tuple[Tensor, Tensor, Tensor]:
        """Energies (I,), places (I, n, 3) and forces of the band (I, n, 3)."""
        energies, forces, _ = derivatives(
            self.energy, state, create_graph=self._differentiable(state)
        )
        count = state.n_systems
        places = state.positions.reshape(count, -1, 3)
        free = state.moving(forces).reshape(count, -1, 3)
        return energies, places, band_forces(energies, places, free, self.spring)

    def forward(self, state: LatticeState, steps: int = 1) -> LatticeState:
        """`steps` steps of FIRE; differentiable as such."""
        still = torch.zeros_like(state.cell)
        for _ in range(steps):
            _, _, pulls = self._seen(state)
            flat = state.moving(pulls.reshape(-1, 3))
            state = fire_step(state, flat / self._stiffness(), still)
        return state

    def converged(self, state: LatticeState) -> bool:
        """Whether no image is pulled harder than `force_tolerance`."""
        with torch.no_grad():
            return float(self._seen(state)[2].abs().max()) <= self.force_tolerance

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

    def warnings(self, state: LatticeState) -> tuple[str, ...]:
        if self.converged(state):
            return ()
        return (f"no image is at rest yet to {self.force_tolerance} eV/angstrom; take more steps",)

    # --- files --------------------------------------------------------------------------------

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Energy along the way, at first and at the end."""
        plot_barrier({k: v.detach().cpu() for k, v in trajectory.observables.items()}, path)


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
