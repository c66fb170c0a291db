"""`molecules/transition-state`: the saddle point between two minima of a molecule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from sfm.data.readers import read_file
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.quantity import (
    BARRIER,
    FREQUENCIES,
    JOINED_DISTANCE,
    JOINED_ENERGY,
    LARGEST_FORCE,
    PATH_DISTANCE,
    PATH_ENERGY,
    REVERSE_BARRIER,
    Quantity,
)
from sfm.simulate.base import Parameter, Setting, Trajectory
from sfm.simulate.dynamics.particles import Particles
from sfm.simulate.statics import barriers
from sfm.simulate.statics import vibrations as small
from sfm.simulate.statics.basin import across_hessian, response
from sfm.simulate.statics.elastic_band import distances
from sfm.simulate.statics.interpolation import straight, superposed
from sfm.simulate.statics.open_basin import OpenBasin
from sfm.simulate.statics.vibrations import WAVENUMBER
from sfm_molecules import quantities
from sfm_molecules.figures import plot_way
from sfm_molecules.potentials import lennard_jones
from sfm_molecules.potentials.bonded import BondedField
from sfm_molecules.simulators import climbing, resting
from sfm_molecules.simulators.classical import ARGON, MOLECULE
from sfm_molecules.simulators.vibrations import UNSTABLE

AMMONIA = "N"
MIRROR = "mirror"
OF_BAND = (
    *barriers.BAND,
    Setting("force_tolerance", 0.05, unit="eV/angstrom", summary="largest force on a band at rest"),
)
OF_DIMER = (barriers.DISPLACEMENT,)


class Way(NamedTuple):
    """Geometries of one molecule, from one minimum over a saddle point to another.

    Attributes:
        molecules: S systems: the start, images, the end; of a dimer the start and what climbs.
        saddle: () which of them is the saddle point, or will be.
        joined: (2, n, 3) angstrom, the minima that one comes to from the saddle point, the one
            that is nearer to the start first; before a search the start and the end.
    """

    molecules: Particles
    saddle: Tensor
    joined: Tensor

    @property
    def places(self) -> Float[Tensor, "S n 3"]:
        """(S, n, 3) angstrom."""
        return self.molecules.positions.view(len(self.molecules.cell), -1, 3)

    @property
    def free(self) -> Bool[Tensor, "n 3"]:
        """(n, 3) false for coordinates (angstrom) that are fixed."""
        return self.molecules.free[: self.places.shape[1]]

    @property
    def step(self) -> Int[Tensor, ""]:
        """() how often it was searched; no unit."""
        return self.molecules.step

    def moved(self, places: Float[Tensor, "S n 3"]) -> Way:
        """The same molecules at places (S, n, 3) angstrom."""
        return self._replace(molecules=self.molecules._replace(positions=places.reshape(-1, 3)))


class TransitionState(resting.Resting):
    """The saddle point over which a molecule goes from one minimum to another, and its barrier.

        F_i = f_i - (f_i . t_i) t_i + k (|R_i+1 - R_i| - |R_i - R_i-1|) t_i      the band
        F = f - 2 (f . n) n,  n . K n = min                                      the climb
        dE/dx = 0,   K has one negative eigenvalue,   dx*/dp = -K^-1 d2E/dx dp   the saddle point

    One step searches; more change nothing. Both ends go to their minima (`relax_ends=false` takes
    them as they are) and are superposed; `images` geometries between them, at first with distances
    between those of the ends, are pulled to a lowest way, the highest one climbing
    (`force_tolerance`). From there the dimer method goes to the saddle point, Newton's method with
    GMRES to `tolerance`. Its vibrations are then counted: a transition state has one negative mode,
    and what has another number is said to be none.

    `final` is the other end: a file with atoms in the same order, or `mirror`, the mirror image of
    the start. Without a sample ammonia turns inside out. `method=dimer` needs no second end: the
    relaxed start, moved by `displacement` towards `final`, if that is given, or in a soft direction
    (`seed`), climbs along its softest mode.

    Which minima the saddle point joins is then seen (`descend`): moved by 0.05 angstrom along its
    negative mode, forwards and backwards, the molecule relaxes. `joined_energy` and
    `joined_distance` say what it comes to, energies from the start, and distances from the start
    and the end (of a dimer, both from the start), superposed; a warning says if they are other
    minima. They carry no gradient.

    The energies are those of `molecules/relax`. The barrier's derivative to the parameters of the
    potential and the closure is that of the energies at fixed places, which is exact at places of
    rest. Frequencies follow through the geometry of the saddle point too (last equation, an
    indefinite system), as do the positions of ends and saddle point in the state. The images
    between, `path_energy` and `path_distance` carry no gradient.

    Units: angstrom, eV, cm^-1; imaginary frequencies are negative among `frequencies`.

    Good values: 5 to 9 images, spring 2 eV/angstrom^2, `tolerance` 1e-6 eV/angstrom (1e-5 for
    gfn1-xtb).

    Limits: one molecule, open boundaries; force fields keep the bonds of the start, so they have
    rotations and inversions, no reactions; the saddle point is the one nearest to the first way,
    and an intermediate minimum wants more images. On a surface with steep walls a dimer can run
    away from a deep minimum; it then says that it has come to no saddle point.

    Sources: G. Henkelman, H. Jonsson, J. Chem. Phys. 113, 9978 (2000); G. Henkelman, B. P.
    Uberuaga, H. Jonsson, ibid. 9901; dimer: G. Henkelman, H. Jonsson, ibid. 111, 7010 (1999); first
    way: S. Smidstrup et al., ibid. 140, 214106 (2014); FIRE: E. Bitzek et al., Phys. Rev. Lett. 97,
    170201 (2006).

    Raises:
        InputError: settings out of range or of the other method; ends that do not match.
    """

    part: ClassVar[str] = "molecules/transition-state"
    summary: ClassVar[str] = "saddle point and barrier between two minima: elastic band, dimer"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = resting.PARAMETERS
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *(one for one in resting.SETTINGS if one.name not in ("molecule", "max_steps")),
        dataclasses.replace(MOLECULE, default=AMMONIA),
        Setting("final", "", summary="the other end: a file, atoms in the same order; or `mirror`"),
        barriers.METHOD,
        *OF_BAND,
        *OF_DIMER,
        barriers.TURNS,
        barriers.RELAX_ENDS,
        barriers.DESCEND,
        Setting("max_steps", 1000, summary="of the ends, of the band and of the climb, at most"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        BARRIER,
        REVERSE_BARRIER,
        quantities.IMAGINARY_FREQUENCY,
        quantities.NEGATIVE_MODES,
        LARGEST_FORCE,
        PATH_ENERGY,
        PATH_DISTANCE,
        FREQUENCIES,
        JOINED_ENERGY,
        JOINED_DISTANCE,
    )
    citations: ClassVar[tuple[str, ...]] = (
        *resting.CITATIONS,
        "doi:10.1063/1.1323224",
        "doi:10.1063/1.1329672",
        "doi:10.1063/1.480097",
        "doi:10.1063/1.4878664",
    )
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg", ".jpg")

    method: str
    final: str
    images: int
    spring: float
    force_tolerance: float
    displacement: float
    turns: int
    relax_ends: bool
    descend: bool

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._copies: dict[int, BondedField] = {}
        others = OF_DIMER if self.method == "neb" else OF_BAND
        self.refuse_idle(values, [one.name for one in others], f"method={self.method}")
        for name in ("images", "turns", "spring", "force_tolerance", "displacement"):
            if not getattr(self, name) > 0:
                raise InputError(f"{self.part}: {name}={getattr(self, name)}: must be above 0")
        if self.final not in ("", MIRROR) and not Path(self.final).is_file():
            raise InputError(f"{self.part}: final={self.final}: no such file, and not `{MIRROR}`")

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[TransitionState, Way]:
        """Four argon atoms of different masses that have climbed from their minimum."""
        given = {"potential": "lennard-jones", "method": "dimer", "tolerance": 1e-15, **values}
        given = {"descend": False, **given}  # what it comes to carries no gradient
        simulator = cls(**given)
        tetrahedron, rhombus = four_argon()
        start = tetrahedron.replace(masses=np.array([36.0, 38.0, 40.0, 41.0]))
        with torch.no_grad():
            return simulator, simulator(simulator.between(start, rhombus))

    # ------------------------------------------------------------------ states

    def _known_case(self) -> Sample:
        return four_argon()[0] if self.classical == "lennard-jones" else self.named_molecule()

    def state(self, sample: Sample | Sequence[Sample] | None = None) -> Way:  # type: ignore[override]
        """The straight way from a sample to `final`; of a dimer, the sample and where it goes.

        Raises:
            InputError: several samples, a periodic one, no `final` where one is needed, ends that
                do not match, a molecule that the force field cannot treat.
        """
        (start,) = self._one(sample)
        known = sample is None and start.id == AMMONIA
        if self.final not in ("", MIRROR):
            return self.between(start, read_file(Path(self.final), domain="molecules")[0])
        if self.final == MIRROR or (known and self.method == "neb"):
            return self.between(start, mirrored(start))
        if self.method == "neb":
            raise InputError(
                f"{self.part}: set final=FILE, the geometry that {start.id} changes into, "
                f"final={MIRROR}, its mirror image, or method=dimer"
            )
        return self.between(start, None)

    def _one(self, sample: Sample | Sequence[Sample] | None) -> list[Sample]:
        samples = self.settled(sample)
        if len(samples) != 1:
            raise InputError(f"{self.part}: takes one molecule at a time, not {len(samples)}")
        return samples

    def between(self, start: Sample, end: Sample | None) -> Way:
        """The way between two samples, or the climb from one; see `state`.

        Raises:
            InputError: they differ in elements, or in what is fixed.
        """
        (start,) = self._one(start)
        first = torch.from_numpy(np.array(start.positions)).to(self.epsilon)
        last = first
        if end is not None:
            last = torch.from_numpy(np.array(end.positions)).to(first)
            self._check_match(start, end)
            if start.fixed is None:
                last = superposed(last, first)
        count = 2 if self.method == "dimer" else self.images + 2
        molecules = super().state([start] * count)
        saddle = torch.tensor(1 if self.method == "dimer" else (count - 1) // 2)
        way = Way(molecules, saddle, torch.stack([first, last]))
        return way.moved(straight(first, last, count))

    def stiffness_of_bonds(self) -> float:
        """eV/angstrom^2, the scale of the steps."""
        return self._stiffness()

    def settled(self, sample: Sample | Sequence[Sample] | None) -> list[Sample]:
        """As any simulator of molecules; the force field of copies of a molecule is made once."""
        self._copies = {}
        if sample is not None and not isinstance(sample, Sample):
            samples = list(sample)
            if len(samples) > 1 and all(one is samples[0] for one in samples):
                return super().settled(samples[0]) * len(samples)
        return super().settled(sample)

    def field_of(self, count: int) -> BondedField:
        """The force field of `count` geometries of the molecule."""
        if count not in self._copies:
            self._copies[count] = super().field_of(1).copies(count)
        return self._copies[count]

    def _check_match(self, start: Sample, end: Sample) -> None:
        barriers.refuse_other_atoms(self.part, start, end)
        if start.fixed is None:
            return
        apart = np.abs(start.positions - end.positions)[start.fixed]
        if apart.max(initial=0.0) > 1e-3:
            raise InputError(
                f"{self.part}: what is fixed in {start.id} is elsewhere in {end.id}, by up to "
                f"{apart.max():.3g} angstrom"
            )

    # ------------------------------------------------------------------ the search

    def forward(self, state: Way, steps: int = 1) -> Way:  # type: ignore[override]
        """The way over the saddle point (0 steps: `state` itself); a known one is refined.

        Raises:
            RunError: an end, the band or the climb does not come to rest.
        """
        if not steps:
            return state
        with torch.no_grad():
            # a refusal of these is no search's fault; nobody goes the straight way between them
            ends = climbing.part_of(state.molecules, [0, len(state.places) - 1])
            self.potential_energy(ends.systems)
            way = climbing.searched(self, state)
        way = way._replace(molecules=way.molecules._replace(step=state.step + 1))
        return way.moved(self._responding(state, way))

    def _responding(self, before: Way, way: Way) -> Float[Tensor, "S n 3"]:
        """(S, n, 3) angstrom, places of which ends and saddle point follow the parameters."""
        places = torch.where(way.free, way.places, before.places)
        if not self._differentiable(places):
            return places.detach()
        rows = list(places.detach())
        ends = (0,) if self.method == "dimer" else (0, len(rows) - 1)
        for index in ends if self.relax_ends else ():
            rows[index] = places[index] + response(self.basin(way, places[index]))
        top = int(way.saddle)
        rows[top] = places[top] + response(self.basin(way, places[top]), across_hessian)
        return torch.stack(rows)

    def basin_of(self, molecules: Particles) -> OpenBasin:
        """Around some geometries of the molecule."""
        x, system, free = molecules.positions, molecules.system, molecules.free
        return OpenBasin(self._energy(molecules), x, system, free)

    def basin(self, way: Way, places: Float[Tensor, "n 3"]) -> OpenBasin:
        """Around one geometry (n, 3) angstrom of the way's molecule."""
        return self.basin_of(climbing.part_of(way.molecules, [0])._replace(positions=places))

    def energy_of_one(self, way: Way) -> Any:
        """(1,) eV of positions (n, 3), for the molecule of a way."""
        return self._energy(climbing.part_of(way.molecules, [0]))

    def residual(self, state: Way) -> float:  # type: ignore[override]
        """Largest component of the force on the saddle point that is free to act, eV/angstrom."""
        return super().residual(climbing.part_of(state.molecules, [int(state.saddle)]))

    def time(self, state: Way) -> float:  # type: ignore[override]
        """How often it was searched."""
        return float(state.step)

    def converged(self, state: Way) -> bool:  # type: ignore[override]
        """Whether a search has come to a place of rest; `run` counts its negative modes too."""
        return bool(state.step) and self.residual(state) <= self.tolerance

    # ------------------------------------------------------------------ what is seen

    def observe(self, state: Way) -> dict[str, Shaped[Tensor, " ..."]]:
        """Barriers () eV, the imaginary frequency () and frequencies (K,) in cm^-1, how many are
        negative, the largest force () eV/angstrom on the saddle point; of a band (S,) energies
        from the start in eV and the way in angstrom."""
        molecules, top = state.molecules, int(state.saddle)
        places = state.places.detach() if bool(state.step) else state.places  # at rest: no slope
        with torch.set_grad_enabled(self._differentiable(state.places, molecules.masses)):
            energies = self._energy(molecules)(places.reshape(-1, 3))
            frequencies = self._frequencies(state)
        lowest = frequencies[0] if len(frequencies) else energies.new_zeros(())
        seen = {
            "barrier": energies[top] - energies[0],
            "imaginary_frequency": (-lowest).clamp(min=0.0),
            "negative_modes": (frequencies.detach() < UNSTABLE).sum().to(energies.dtype),
            "largest_force": energies.new_tensor(self.residual(state)),
            "frequencies": frequencies,
            **(self._joined(state, energies[0].detach()) if self.descend else {}),
        }
        if self.method == "dimer":
            return seen
        return {
            **seen,
            "reverse_barrier": energies[top] - energies[-1],
            "path_energy": (energies - energies[0]).detach(),
            "path_distance": _along(state.places.detach()),
        }

    @torch.no_grad()
    def _joined(self, state: Way, start: Float[Tensor, ""]) -> dict[str, Float[Tensor, " 2"]]:
        """Of the minima that the saddle point joins: (2,) eV from `start` (eV), (2,) angstrom."""
        pair = climbing.part_of(state.molecules, [0, 0])
        energies = self._energy(pair)(state.joined.reshape(-1, 3))
        ends = state.places[0], state.places[0 if self.method == "dimer" else -1]
        away = [climbing.apart(x, y, state.free) for x, y in zip(state.joined, ends, strict=True)]
        return {"joined_energy": energies - start, "joined_distance": energies.new_tensor(away)}

    def _frequencies(self, state: Way) -> Float[Tensor, " K"]:
        """(K,) cm^-1 at the saddle point, ascending."""
        x = state.places[int(state.saddle)]
        masses = state.molecules.masses[: len(x), 0]
        matrix = small.hessian(self.energy_of_one(state), x, where=self.part)
        squares, _ = small.normal_modes(matrix, x, masses, state.free)
        frequencies: Tensor = WAVENUMBER * small.signed_root(squares)
        return frequencies

    def run(self, state: Way, steps: int, *, every: int | None = None) -> Trajectory:
        """The way over the saddle point; with `every`, those before it too."""
        if every is not None or steps < 1:
            return super().run(state, steps, every=every)
        last = self(state, steps)
        return self._recorded([last], [self.observe(last)])

    def _recorded(
        self, states: Sequence[Way], observed: Sequence[Mapping[str, Tensor]]
    ) -> Trajectory:
        """As the base class; a place of rest without exactly one negative mode is no answer.

        A warning says if the saddle point joins other minima than the ends.
        """
        trajectory = super()._recorded(states, observed)
        if self.descend and bool(states[-1].step) and (line := self._elsewhere(observed[-1])):
            trajectory = dataclasses.replace(trajectory, warnings=(*trajectory.warnings, line))
        count = int(observed[-1]["negative_modes"])
        if count == 1 or not trajectory.converged:
            return trajectory
        line = f"no transition state: {count} negative modes at the saddle point, not one"
        said = (*trajectory.warnings, line)
        return dataclasses.replace(trajectory, warnings=said, converged=False)

    def _elsewhere(self, seen: Mapping[str, Tensor]) -> str:
        """What a user should know of the minima that the saddle point joins; or nothing."""
        away = seen["joined_distance"].tolist()
        names = ("start",) if self.method == "dimer" else ("start", "end")
        return barriers.elsewhere(away, names)

    # ------------------------------------------------------------------ files

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Energies along the way, and the saddle point's frequencies."""
        seen = {k: v[-1].detach().cpu() for k, v in trajectory.observables.items()}
        way, energies = seen.get("path_distance"), seen.get("path_energy")
        if way is None or energies is None:  # a dimer has a start and an end
            way = _along(trajectory.states[-1].places.detach()).cpu()
            energies = torch.stack([torch.zeros_like(seen["barrier"]), seen["barrier"]])
        plot_way(way, energies, seen["frequencies"], path)

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """The way with energies and forces, `.extxyz` or `.xyz`: start, images, end.

        A minimum that the saddle point joins and that is no end stands before or after them.
        """
        last = self._from_minimum_to_minimum(trajectory.states[-1])
        super().write(
            dataclasses.replace(trajectory, states=[last], times=trajectory.times[-1:]), path
        )

    def _from_minimum_to_minimum(self, way: Way) -> Particles:
        """The geometries of a way, and the joined minima that are not among them."""
        count = len(way.places)
        if not self.descend:
            return way.molecules
        first, last = (
            all(climbing.apart(joined, end, way.free) > barriers.SAME for end in ends)
            for joined, ends in zip(way.joined, (way.places[:1], way.places[[0, -1]]), strict=True)
        )
        rows = [0] * first + list(range(count)) + [count - 1] * last
        places = [*way.joined[:1][: int(first)], *way.places, *way.joined[1:][: int(last)]]
        return climbing.part_of(way.molecules, rows)._replace(positions=torch.cat(places))


def _along(places: Tensor) -> Tensor:
    """(S,) angstrom along a way (S, n, 3), each geometry superposed on the one before."""
    if len(places) < 2:
        return places.new_zeros(len(places))
    rows = [places[0]]
    for one in places[1:]:
        rows.append(superposed(one, rows[-1]))
    gaps = distances(torch.stack(rows))
    return torch.cat([gaps.new_zeros(1), gaps.cumsum(0)])


def mirrored(sample: Sample) -> Sample:
    """The mirror image of a sample, angstrom."""
    return sample.replace(id=f"{sample.id} mirrored", positions=sample.positions * (1, 1, -1))


def four_argon() -> tuple[Sample, Sample]:
    """Four argon atoms near their minimum, and near the rhombus over which one edge opens."""
    r = 2 ** (1 / 6) * lennard_jones.ARGON_SIGMA
    half, height = r / 2, r * 3**0.5 / 2
    rhombus = np.array([[0, half, 0], [0, -half, 0], [height, 0, 0], [-height, 0, 0.0]])
    rhombus[2:, 2] = 0.3
    folded = r * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 8**0.5
    types = np.full(4, ARGON)
    names = ("Ar4", "Ar4 opened")
    tetrahedron, opened = (
        Sample(id=name, domain="molecules", positions=x, types=types)
        for name, x in zip(names, (folded, rhombus), strict=True)
    )
    return tetrahedron, opened
