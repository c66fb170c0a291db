"""`crystals/free-energy`: Helmholtz energies of crystals, harmonic crystal to model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.constants import BOLTZMANN
from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.errors import InputError
from sfm.quantity import ENERGY, KINETIC_TEMPERATURE, Quantity
from sfm.simulate.base import Parameter, Setting, Simulator, Trajectory
from sfm.simulate.dynamics import barostat, free_energy
from sfm.simulate.dynamics.ensembles import Bath
from sfm.simulate.dynamics.particles import Particles, masses_of
from sfm.simulate.dynamics.simulator import FRICTION, RECOMPUTE, SEED, TEMPERATURE
from sfm_crystals import quantities
from sfm_crystals.cells import Cells
from sfm_crystals.constants import GPA
from sfm_crystals.data.prototypes import fcc, repeated
from sfm_crystals.figures.free_energy import plot_free_energy
from sfm_crystals.simulators import classical, moving
from sfm_crystals.simulators.dynamics import MolecularDynamics
from sfm_crystals.simulators.lattice import LatticeStatics
from sfm_crystals.simulators.reference import Phonons, Reference, crystal

CRYSTALS = ("harmonic", "einstein")
OTHERS = tuple(name for name in classical.POTENTIALS if name != "none")
RESTING = 1e-3  # eV/angstrom; above it atoms are relaxed first
SAME = 1e-2  # angstrom, by which the sites of a state may differ from those of the reference


class FreeEnergy(moving.Moving):
    """The Helmholtz energy of a crystal at a temperature, in the cell that is given.

        A = A_0 + int_0^1 <U - U_0>_s ds,   sampled in U_s = (1 - s) U_0 + s U

    U is a classical potential plus the closure's energy, as everywhere in `crystals`. U_0 is what
    `reference` says: `harmonic`, U's own force constants at its minimum (exact second derivatives);
    `einstein`, equal springs of `spring` eV/angstrom^2 (0: such that atoms move as far as in the
    harmonic crystal); or another potential, with its usual parameters, and then the answer is the
    difference alone. All s are systems of one batch under Langevin dynamics: `nodes` of Gauss and
    Legendre, and s = 1, whose pressure and energy are observed. `estimator=mbar` uses all samples
    at once instead of means at the nodes (`pip install 'sfm-hub[free-energy]'`).

    The cell is given; atoms are relaxed in it. `repeat` copies it along each vector for dynamics.
    What the supercell is too small for is taken from phonons: of the harmonic part the answer has
    that of the infinite crystal (a mesh of `mesh`^3 wave vectors), so that only what is not
    harmonic depends on `repeat`. `nuclei=quantum` gives the harmonic part quantum nuclei.

    Every record has the estimate from what came before it, the first share `discard` left out, with
    its standard error from ten pieces of the run. `following` gives it with a gradient.

    Units: eV, GPa, kelvin, angstrom, fs; energies of one given cell, thermal wavelengths included.

    Good values: `nodes` 5 for `harmonic` (3 when cold), 8 for `einstein`; a supercell of 100 atoms
    and more, each vector longer than twice the cutoff; `friction` near the frequencies of phonons,
    0.003 1/fs for argon, 0.01 for others; 1500 steps of 108 atoms of argon at 84 K leave an error
    of 0.05 meV per atom.

    Limits: phonons must be stable; no vacancies; atoms stay at their sites (a run in which they
    diffuse, or the crystal melts, has no answer, which is said); classical beyond the harmonic
    part; no fixed atoms or bonds. One simulator is for the crystal of its last `state`.

    Sources: J. G. Kirkwood, J. Chem. Phys. 3, 300 (1935); D. Frenkel, A. J. C. Ladd, J. Chem. Phys.
    81, 3188 (1984); J. M. Polson et al., J. Chem. Phys. 112, 5339 (2000); M. R. Shirts, J. D.
    Chodera, J. Chem. Phys. 129, 124105 (2008).

    Raises:
        InputError: potential `none` without a closure; settings that make no way.
    """

    part: ClassVar[str] = "crystals/free-energy"
    summary: ClassVar[str] = "Helmholtz energy of a crystal: harmonic or Einstein crystal to model"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        *classical.PARAMETERS,
        FRICTION,
        TEMPERATURE,
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *classical.SETTINGS,
        Setting("reference", "harmonic", (*CRYSTALS, *OTHERS), summary="where the way begins"),
        Setting("spring", 0.0, unit="eV/angstrom**2", summary="of einstein; 0: from phonons"),
        Setting("nodes", 5, summary="places of Gauss and Legendre on the way"),
        Setting("estimator", "integration", ("integration", "mbar"), summary="how they are used"),
        Setting("discard", 0.2, summary="share of a run that is left out, at its beginning"),
        Setting("mesh", 12, summary="wave vectors along each axis, even, for sums over phonons"),
        Setting("nuclei", "classical", ("classical", "quantum"), summary="in the harmonic part"),
        moving.DT,
        moving.REPEAT,
        moving.SKIN,
        SEED,
        RECOMPUTE,
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        ENERGY,
        KINETIC_TEMPERATURE,
        quantities.PRESSURE,
        quantities.COUPLING_SLOPE,
        quantities.REFERENCE_FREE_ENERGY,
        quantities.FREE_ENERGY_DIFFERENCE,
        quantities.FREE_ENERGY,
        quantities.FREE_ENERGY_ERROR,
        quantities.MEAN_PRESSURE,
        quantities.GIBBS_ENERGY,
    )
    citations: ClassVar[tuple[str, ...]] = (
        *classical.CITATIONS,
        "doi:10.1063/1.1749657",
        "doi:10.1063/1.448024",
        "doi:10.1063/1.481102",
        "doi:10.1063/1.2978177",
        "doi:10.1093/amrx/abs010",
    )
    default_steps: ClassVar[int] = 2000
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg", ".jpg")
    writes_to: ClassVar[tuple[str, ...] | None] = None
    usual: ClassVar[Mapping[str, float]] = {**moving.RAHMAN, "friction": 0.003}
    write = Simulator.write

    ensemble = "langevin"
    reference: str
    spring: float
    nodes: int
    estimator: str
    discard: float
    mesh: int
    nuclei: str
    shares: Tensor

    def __init__(self, *, closure: nn.Module | None = None, **values: Any) -> None:
        super().__init__(closure=closure, **values)
        self._refuse(values)
        places, self.weights = free_energy.nodes(self.nodes)
        shares = torch.tensor([*places, 1.0], dtype=self.dtype)
        self.register_buffer("shares", shares)
        self.start: Reference | None = None

    def _refuse(self, given: Mapping[str, Any]) -> None:
        if not float(self.temperature.detach()) > 0:
            raise InputError(f"{self.part}: temperature must be above 0 kelvin")
        if self.nodes < 1 or self.mesh < 2 or self.mesh % 2:
            raise InputError(
                f"{self.part}: nodes={self.nodes}, mesh={self.mesh}: at least 1, and even from 2 on"
            )
        if self.spring < 0 or not 0 <= self.discard < 1:
            raise InputError(
                f"{self.part}: spring={self.spring}, discard={self.discard}: at least 0, and from "
                "0 to below 1"
            )
        idle = [] if self.reference == "einstein" else ["spring"]
        idle += [] if self.reference in CRYSTALS else ["mesh", "nuclei"]
        self.refuse_idle(given, idle, f"reference={self.reference}")
        if self.reference == self.potential:
            raise InputError(f"{self.part}: reference and potential are both {self.reference}")

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[FreeEnergy, Particles]:
        """Four atoms of solid argon, of which each sees its own images, away from the lattice."""
        small = {"temperature": 20.0, "nodes": 2, "mesh": 2}
        simulator = cls(**{**small, **values})
        state = simulator.state(fcc(classical.ARGON, 5.3))
        moved = 0.05 * torch.randn(
            state.positions.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        return simulator, state._replace(positions=state.positions + moved)

    # ------------------------------------------------------------------ states

    def state(self, sample: Sample | None = None) -> Particles:
        """A supercell at each place of the way, atoms at their sites: of a sample, or the
        potential's own crystal (argon as it is at rest).

        Raises:
            InputError: a cell that is not periodic in three directions, atoms that are fixed, or a
                kind that the potential or the reference is not for.
            RunError: atoms do not come to rest, or a phonon is not stable.
        """
        given = self.known_crystal() if sample is None else sample
        if not isinstance(given, Sample):
            raise InputError(f"{self.part}: takes one cell; the batch is of the way's places")
        self.check([given])
        if given.fixed is not None and given.fixed.any():
            raise InputError(f"{given.id}: {self.part} has no fixed atoms; free them")
        statics = self.statics()
        cells = statics.state(given)
        if statics.residual(cells) > RESTING:
            cells = statics.relax(cells)
        plain = given.replace(
            positions=cells.positions.detach().cpu().double().numpy(),
            velocities=None,
            rigid_pairs=None,
            rigid_lengths=None,
        )
        self.start = self._reference_of(statics, cells, plain)
        return self.particles([repeated(plain, self.repeat)] * len(self.shares))

    def statics(self) -> LatticeStatics:
        """The same energy, to relax the atoms in."""
        potential = classical.POTENTIALS[self.potential]
        values = {name: float(getattr(self, name).detach()) for name in potential.usual}
        values |= {name: getattr(self, name) for name in potential.settings}
        if self.london is not None:
            values |= {name: getattr(self, name) for name in ("dispersion", "dispersion_reach")}
        return (
            LatticeStatics(
                potential=self.potential,
                closure=self.closure,
                dtype=self.dtype,
                relax_cell="fixed",
                tolerance=RESTING,
                **values,
            )
            .requires_grad_(False)
            .to(self.epsilon.device)
        )

    def _reference_of(self, statics: LatticeStatics, cells: Cells, plain: Sample) -> Reference:
        sites = repeated(plain, self.repeat).positions
        if self.reference not in CRYSTALS:
            other = MolecularDynamics(potential=self.reference, skin=self.skin, dtype=self.dtype)
            other.requires_grad_(False).to(self.epsilon.device).check([plain])
            at = torch.from_numpy(sites).to(cells.positions)
            return Reference(at, lambda systems: other.evaluate(systems, False)[:2], None)
        masses = masses_of([plain])[:, 0].to(cells.positions)
        phonons = Phonons.of(statics.energy, cells, masses, self.repeat)
        return crystal(
            phonons,
            float(self.temperature.detach()),
            self.mesh,
            spring=self.spring if self.reference == "einstein" else None,
            quantum=self.nuclei == "quantum",
        )

    def _started(self, systems: Systems) -> Reference:
        if self.start is None or len(systems.positions) != len(self.shares) * len(self.start.sites):
            raise InputError(f"{self.part}: this state is not of the crystal of the last `state`")
        return self.start

    # ------------------------------------------------------------------ energy and forces

    def evaluate(
        self, systems: Systems, virial: bool
    ) -> tuple[Float[Tensor, " S"], Float[Tensor, "N 3"], Float[Tensor, "S 3 3"]]:
        """Of U_s, as `Dynamics.evaluate`; virials are those of s U."""
        here = super().evaluate(systems, virial)
        energy, forces = self._started(systems).forces(systems)
        share = self.shares.to(here[0])
        each = share[systems.system].unsqueeze(1)
        return (
            torch.lerp(energy, here[0], share),
            torch.lerp(forces, here[1], each),
            here[2] * share[:, None, None],
        )

    def bath(self, table: Mapping[str, Float[Tensor, " ..."]]) -> Bath:
        none = torch.zeros_like(table["temperature"])
        return Bath(table["temperature"], table["friction"], none, none, none)

    def forward(self, state: Particles, steps: int = 1) -> Particles:
        """The state after `steps` time steps at every place of the way.

        Raises:
            InputError: a state of another crystal than that of the last call of `state`.
            RunError: positions are no longer finite.
        """
        sites = self._started(state.systems).sites
        first = state.start[: len(sites)].detach()
        if float((first - sites.to(first)).abs().max()) > SAME:
            raise InputError(f"{self.part}: this state is not of the crystal of the last `state`")
        return super().forward(state, steps)

    # ------------------------------------------------------------------ what is seen

    def observe(self, state: Particles) -> dict[str, Shaped[Tensor, " ..."]]:
        """At this instant: U - U_0 at each place (nodes + 1,), and the energy and pressure of the
        last, where s is 1; energies in eV of one given cell."""
        with torch.set_grad_enabled(self._recording(state.positions, state.cell, state.velocities)):
            energy, _, work = super().evaluate(state.systems, True)
            below, _ = self._started(state.systems).forces(state.systems)
            ensemble = self.motion_of(state)
            kinetic = ensemble.kinetic(state.velocities, state.masses)
            count = len(state.positions) // len(state.cell)
            ideal = count * BOLTZMANN * self.temperature
            trace = work[-1].diagonal().sum()
            return {
                "energy": energy[-1] / self.copies,
                "kinetic_temperature": 2 * kinetic / (ensemble.degrees.to(kinetic) * BOLTZMANN),
                "pressure": GPA * (ideal + trace / 3) / barostat.volume(state.cell)[-1],
                "coupling_slope": (energy - below) / self.copies,
            }

    @property
    def copies(self) -> int:
        """Given cells in the supercell."""
        return self.repeat**3

    def _recorded(
        self, states: Sequence[Particles], observed: Sequence[Mapping[str, Tensor]]
    ) -> Trajectory:
        trajectory = super()._recorded(states, observed)
        seen = trajectory.observables
        slopes, pressure = seen["coupling_slope"].detach(), seen["pressure"].detach()
        volume = float(barostat.volume(states[-1].cell)[-1].detach()) / self.copies
        rows = [self._estimate(slopes[self._kept(t) : t + 1]) for t in range(len(slopes))]
        difference = torch.stack([row[0] for row in rows])
        mean = torch.stack([pressure[self._kept(t) : t + 1].mean() for t in range(len(slopes))])
        more = {
            "free_energy_difference": difference,
            "free_energy_error": torch.stack([row[1] for row in rows]),
            "mean_pressure": mean,
        }
        known = None if self.start is None else self.start.energy
        if known is not None:
            whole = known + difference
            more["reference_free_energy"] = torch.full_like(difference, known)
            more["free_energy"] = whole
            more["gibbs_energy"] = whole + mean * volume / GPA
        warned = (*trajectory.warnings, *self._wandered(states[-1]))
        return dataclasses.replace(trajectory, observables={**seen, **more}, warnings=warned)

    def _kept(self, last: int) -> int:
        """The first record that counts for the estimate at record `last`."""
        return math.ceil(self.discard * last)

    def _estimate(self, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """A - A_0 and its standard error, () eV each, from (T, nodes + 1) eV."""
        if self.estimator == "integration":
            inside = slopes[:, :-1]
            error = free_energy.standard_error(inside)
            weight = error.new_tensor(self.weights)
            return free_energy.integrated(inside.mean(0), self.weights), (weight * error).norm()
        heat = BOLTZMANN * float(self.temperature.detach()) / self.copies
        series = [column[free_energy.independent(column)] for column in slopes.unbind(1)]
        drawn = torch.cat(series) / heat
        shares = torch.cat([self.shares.new_zeros(1), self.shares]).unsqueeze(1)
        counts = [0, *[len(one) for one in series]]
        values, errors = free_energy.mbar(shares.to(drawn) * drawn, counts)
        return values[-1] * heat, errors[-1] * heat

    def _wandered(self, state: Particles) -> tuple[str, ...]:
        """Whether an atom is nearer to another's site than to its own."""
        count = len(state.cell)
        sites = state.start.detach().reshape(count, -1, 3)
        moved = state.positions.detach().reshape(count, -1, 3) - sites
        moved = moved - moved.mean(1, keepdim=True)
        apart = torch.cdist(sites[0], sites[0]).fill_diagonal_(torch.inf).min()
        far = moved.norm(dim=2).max(1).values > apart / 2
        if not bool(far.any()):
            return ()
        at = ", ".join(f"{float(s):.2g}" for s in self.shares[far])
        return (f"atoms left their sites at s = {at}: the answer is not that of a crystal",)

    def following(self, trajectory: Trajectory) -> Float[Tensor, ""]:
        """() eV of one cell: the last estimate, with the gradient dA/dtheta = <dU/dtheta>_(s = 1).

        theta are the potential's parameters and the closure's weights, at constant volume; samples
        are those of the run. Differentiates as many energies as the run has records.

        Raises:
            InputError: a run without records besides its first.
        """
        last = len(trajectory.states) - 1
        if last < 1:
            raise InputError(f"{self.part}: a gradient needs records; run more steps")
        name = (
            "free_energy" if "free_energy" in trajectory.observables else "free_energy_difference"
        )
        value = trajectory.observables[name][-1].detach()
        energies = []
        for state in trajectory.states[self._kept(last) :]:
            mine = state.system == len(state.cell) - 1
            conditions = {k: v[-1:] for k, v in state.conditions.items()}
            only = Systems(
                state.positions[mine].detach(),
                state.cell[-1:].detach(),
                state.types[mine],
                torch.zeros_like(state.system[mine]),
                conditions,
            )
            energies.append(super().evaluate(only, False)[0].sum())
        mean = torch.stack(energies).mean() / self.copies
        return value + mean - mean.detach()

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """U - U_0 along the way, and the estimate with its error as the run goes on."""
        plot_free_energy(self, trajectory, path)
