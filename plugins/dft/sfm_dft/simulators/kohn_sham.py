"""The Kohn-Sham simulator of the dft domain."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning, RunError
from sfm.model import FoundationModel
from sfm.progress import report
from sfm.quantity import ENERGY, FORCES, Quantity
from sfm.simulate import Observations, Parameter, Setting, Simulator, Trajectory
from sfm.units import factor
from sfm_dft import quantities as q
from sfm_dft.basis import density_basis
from sfm_dft.basis.library import AUXILIARY_BASIS, EXCHANGE_AUXILIARY_BASIS, INTEGRALS
from sfm_dft.gradients.response import attach
from sfm_dft.hessian.properties import polarizabilities, vibrational
from sfm_dft.scf.diis import Orbitals, ScfState, finish, iterate, start_state
from sfm_dft.scf.energy import EnergyFunctional, total_energy
from sfm_dft.scf.molecule import GUESSES, Molecule, prepare
from sfm_dft.scf.newton import newton
from sfm_dft.scf.observables import frontier_levels, spin_squared
from sfm_dft.scf.occupation import entropy_energy
from sfm_dft.scf.stability import stabilise
from sfm_dft.scf.system import KohnShamSystem
from sfm_dft.simulators.convergence import alike, failure
from sfm_dft.simulators.functional_names import find_functional
from sfm_dft.xc import FUNCTIONALS
from sfm_dft.xc.dispersion import PARAMETERS
from sfm_dft.xc.functional import Functional

DIIS_CYCLES = 20  # what an ordinary molecule needs, with room to spare
LOWEST = {
    "cycles_per_step": 1,
    "max_cycles": 1,
    "tolerance": 1e-14,  # rounding ends what can be asked for
    "level_shift": 0.0,
    "smearing": 0.0,
}
SOLVERS = ("auto", "diis", "second-order")
WATER = (
    np.array([8, 1, 1]),
    np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]]),
)


@dataclass(frozen=True)
class KohnShamState:
    """Molecules and how far their self-consistent fields have come.

    ``batched`` says whether observables keep an axis of molecules.
    """

    system: KohnShamSystem
    scf: ScfState
    batched: bool = False

    @property
    def time(self) -> float:
        """Number of Fock matrices built so far, of the slowest molecule."""
        return float(self.scf.cycles.max())

    @property
    def converged(self) -> bool:
        """Whether every molecule is self-consistent."""
        return self.scf.done()

    @property
    def molecule(self) -> Molecule:
        """The molecule of a state that holds one."""
        if len(self.system) != 1:
            raise InputError(f"this takes one molecule, and the state holds {len(self.system)}")
        return self.system.molecules[0]

    def density_matrix(self, index: int = 0) -> Tensor:
        """(n, n) of all electrons of one molecule."""
        return self.system.own(self.system.total(self.scf.density_matrix), index)

    def density_at(self, points: np.ndarray, index: int = 0) -> np.ndarray:
        """Electron density (K,) of one molecule at points (K, 3) in angstrom, e / angstrom^3."""
        bohr = factor("angstrom", "bohr")
        molecule = self.system.molecules[index]
        return molecule.density_at(self.density_matrix(index), points * bohr) * bohr**3

    def density_coefficients(self, index: int = 0) -> np.ndarray:
        """The density fitted by atom-centred functions (A, 45): `sfm_dft.basis.density_basis`."""
        matrix = self.density_matrix(index).detach().cpu().numpy()
        return density_basis.fit(self.system.molecules[index].pyscf(), matrix)


class KohnSham(Simulator):
    """Kohn-Sham theory of molecules in a Gaussian basis, restricted or unrestricted.

        F[D] C = S C e,   D = C f C^T,   F = dE/dD   for each spin,
        E[D] = tr(D h) + 1/2 tr(D J[D]) + a E_x[n] + c E_c[n] + E_closure - eps.mu[D] + E_nn

    One step is one cycle of the self-consistent field, or `cycles_per_step` of them: DIIS first,
    and second order (`sfm_dft.scf.newton`) after 20 cycles. A converged state no longer changes.
    With `stability=True` it is a minimum (`sfm_dft.scf.stability`): the cycle that converges goes
    on by second order where it found a saddle point, such as an unrestricted stretched bond with
    equal spins.
    `functional` names the base functional (`sfm_dft.xc`): local, semilocal, or a global hybrid with
    exact exchange; or a learned one, such as the bundled `sfm-xc-mgga`. The closure is a
    `sfm_dft.xc` `Functional`, evaluated on the grid and added to the base (set `functional='none'`
    to have nothing else), or any module that maps `scf.energy.DensityFeatures` (projections of
    the density on atom-centred s, p, d functions) to an extra exchange-correlation energy in eV;
    its potential follows by autograd. A closure that corrects one functional only names it in its
    attribute `base`.

    Samples with the condition `spin` (number of unpaired electrons; 0 or 1 if not given, whichever
    is possible) other than zero are unrestricted, others restricted unless `spin='unrestricted'`.
    Equal spins start alike and stay so. `charge` is a condition too; in an xyz file both stand in
    the comment line, `charge=-1 spin=2` (or `multiplicity=3`, `-1 3` and the like). Vibrations take
    the masses of a sample.
    Whole electrons fill the lowest levels; with `smearing` (kT) they follow Fermi's distribution
    and `energy` is the free energy, the policy for degenerate open shells.

    Several samples are solved together: `state([a, b])`, `solve([a, b])`; matrices are padded,
    grids laid side by side, and every observable gets an axis of molecules first. Forces then
    follow one another, (sum of atoms, 3).

    Derivatives with respect to the parameters and the closure's weights go through
    self-consistency implicitly: energies by the envelope theorem, dipole, components and orbital
    levels by one linear-response solve, which a `RunError` refuses where the highest filled and
    the lowest empty level coincide. They are first derivatives; orbital levels must not be
    degenerate. Everything lives on the device of the parameters (`simulator.to("cuda")`). Gaussian
    integrals come from PySCF (libcint) or, elsewhere than on a CPU, from `sfm_dft.integrals`, once
    per geometry; everything else is torch. Without PySCF a basis is a dictionary, or a name that
    the Basis Set Exchange package knows, and `guess` is `minao` or `core`.

    With `forces=True`, `observe` adds the forces on the nuclei in eV/angstrom: the derivative of
    the converged energy with Pulay's term, grid points and Becke weights moving with the nuclei
    (`gradients.forces`). They are zero to rounding in their sum, and differentiable once in the
    parameters and the closure's weights. States before self-consistency have none (NaN).

    Limits: open boundaries, float64, all electrons (a basis made for a pseudopotential, such as
    def2-svp of iodine, is refused) without relativity, up to about 150 orbitals.
    `coulomb='fitted'` (the default, as in the bundled data) is off by about 1e-4 hartree; `exact`
    is not, up to 60 orbitals. The auxiliary basis is def2-universal-jfit, and
    def2-universal-jkfit with exact exchange. Grid level 3 is good to about 5e-6 hartree, r2SCAN
    wants level 5 for 1e-5. Good values: both scales 1, fields below 1 V/angstrom.

    `polarizability=True` and `vibrations=True` (one molecule at a time) add second derivatives of
    the energy (`hessian.vibrations`): analytic, at the geometry given, without a gradient of their
    own. `vibrations` of water in def2-TZVP costs three SCFs and holds all integrals: for ten
    atoms or so.

    A state that used up `max_cycles` without converging raises in `observe`. Before that, `observe`
    gives the energy functional at the current density, without gradient, next to `scf_residual`.

    References: Kohn, Sham, Phys. Rev. 140, A1133 (1965); Pople, Gill, Johnson, Chem. Phys. Lett.
    199, 557 (1992); Mermin, Phys. Rev. 137, A1441 (1965).

    Raises:
        InputError: as the base class; a dtype below float64; a setting out of range; a functional
            that nothing is called; D3 without parameters for it; `stability` with `smearing`; a
            closure whose `base` is another functional than this one, whose correction would be
            counted twice.
    """

    part: ClassVar[str] = "dft/kohn-sham"
    summary: ClassVar[str] = "Kohn-Sham density-functional theory of molecules"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("exchange_scale", "1", 1.0, 0.0, 2.0, "a, factor of the exchange energy"),
        Parameter("correlation_scale", "1", 1.0, 0.0, 2.0, "c, factor of the correlation energy"),
        Parameter("field_x", "V/angstrom", 0.0, -5.0, 5.0, "uniform electric field along x"),
        Parameter("field_y", "V/angstrom", 0.0, -5.0, 5.0, "uniform electric field along y"),
        Parameter("field_z", "V/angstrom", 0.0, -5.0, 5.0, "uniform electric field along z"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting(
            "functional",
            "LDA",
            tuple(FUNCTIONALS),
            others="a learned one (bundled, folder or owner/name)",
            summary="base functional",
        ),
        Setting("basis", "def2-svp", summary="Gaussian basis, by PySCF's name"),
        Setting("dispersion", "none", ("none", "d3"), summary="D3(BJ) of the base functional"),
        Setting("spin", "auto", ("auto", "unrestricted"), summary="auto: by unpaired electrons"),
        Setting("coulomb", "fitted", ("fitted", "exact"), summary="density fitting or 4-centre"),
        Setting("grid_level", 3, tuple(range(10)), summary="Becke's grid, 0 coarse to 9 fine"),
        Setting("grid_pruning", "nwchem", ("nwchem", "none"), summary="fewer points near nuclei"),
        Setting("integrals", "auto", INTEGRALS, summary="auto: libcint on the CPU, else torch"),
        Setting("forces", False, (False, True), summary="observe forces too; costs about an SCF"),
        Setting("polarizability", False, (False, True), summary="observe it too; three responses"),
        Setting("vibrations", False, (False, True), summary="observe Hessian, frequencies, IR too"),
        Setting("guess", "minao", summary="first density: minao, atoms, core, or a model's name"),
        Setting("cycles_per_step", 1, summary="cycles that make one step"),
        Setting("max_cycles", 60, summary="give up after so many cycles"),
        Setting("tolerance", 1e-8, unit="hartree", summary="largest residual when converged"),
        Setting("solver", "auto", SOLVERS, summary="auto: DIIS, and second order where it fails"),
        Setting("stability", False, (False, True), summary="leave saddle points for minima"),
        Setting("level_shift", 0.0, unit="hartree", summary="raises empty levels; for small gaps"),
        Setting("smearing", 0.0, unit="hartree", summary="kT of fractional occupation; 0: none"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        ENERGY,
        FORCES,
        q.KINETIC_ENERGY,
        q.EXTERNAL_ENERGY,
        q.HARTREE_ENERGY,
        q.XC_ENERGY,
        q.NUCLEAR_ENERGY,
        q.DISPERSION_ENERGY,
        q.DIPOLE,
        q.HOMO,
        q.LUMO,
        q.SPIN_SQUARED,
        q.SCF_RESIDUAL,
        q.POLARIZABILITY,
        q.POLARIZABILITY_TENSOR,
        q.HESSIAN,
        q.FREQUENCIES,
        q.IR_INTENSITIES,
    )
    time_unit: ClassVar[str] = "1"
    closure_quantity: ClassVar[str | None] = "xc_correction"
    citations: ClassVar[tuple[str, ...]] = (
        "doi:10.1103/PhysRev.140.A1133",
        "doi:10.1103/PhysRevB.45.13244",
        "doi:10.1103/PhysRevLett.77.3865",
        "doi:10.1002/wcms.1340",
    )
    default_steps: ClassVar[int] = 100
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg", ".jpg")

    exchange_scale: Tensor
    correlation_scale: Tensor
    field_x: Tensor
    field_y: Tensor
    field_z: Tensor
    functional: str
    basis: Any
    dispersion: str
    spin: str
    coulomb: str
    grid_level: int
    grid_pruning: str
    integrals: str
    forces: bool
    polarizability: bool
    vibrations: bool
    guess: str
    cycles_per_step: int
    max_cycles: int
    tolerance: float
    solver: str
    stability: bool
    level_shift: float
    smearing: float

    def __init__(self, **values: object) -> None:
        super().__init__(**values)  # type: ignore[arg-type]
        if self.dtype != torch.float64:
            raise InputError(f"{self.part}: dtype {self.dtype} is too coarse; use torch.float64")
        for name, lowest in LOWEST.items():
            if not getattr(self, name) >= lowest:
                raise InputError(f"{self.part}: {name}={getattr(self, name)}: need >= {lowest:g}")
        if not isinstance(self.guess, str | Path):
            raise InputError(
                f"{self.part}: guess={self.guess!r} is neither {', '.join(GUESSES)} nor a model's "
                "name"
            )
        if self.stability and self.smearing > 0.0:
            raise InputError(
                f"{self.part}: stability is that of whole electrons; leave it or smearing out"
            )
        base = getattr(self.closure, "base", self.functional)
        if isinstance(base, str) and base != self.functional:
            raise InputError(
                f"{self.part}: this closure corrects {base}, not {self.functional}, which would "
                f"count the correction twice; set functional={base} or leave the closure out"
            )
        self._base = find_functional(self.functional)
        if self.dispersion == "d3" and self.functional not in PARAMETERS:
            raise InputError(
                f"{self.part}: D3 dispersion has no parameters for {self.functional}; it goes with "
                f"{', '.join(PARAMETERS)}"
            )

    @classmethod
    def conformance_case(cls, **values: object) -> tuple[KohnSham, KohnShamState]:
        """Lithium hydride in a minimal basis, tightly converged in the second step."""
        options = {"basis": "sto-3g", "grid_level": 0, "tolerance": 1e-13, "cycles_per_step": 6}
        simulator = cls(**{**options, **values})
        atoms = Sample(
            id="LiH",
            domain="dft",
            types=np.array([3, 1]),
            positions=np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.6]]),
        )
        return simulator, simulator.state(atoms)

    @property
    def _on_grid(self) -> list[Functional]:
        return [f for f in (self._base, self.closure) if isinstance(f, Functional)]

    def state(self, sample: Sample | Sequence[Sample] | None = None) -> KohnShamState:
        """Molecules with superposed atoms as their first density; water if there is no sample.

        Raises:
            InputError: periodic or without atoms, an impossible spin, an unknown basis.
        """
        if sample is None:
            sample = Sample(id="water", domain="dft", positions=WATER[1], types=WATER[0])
        samples = [sample] if isinstance(sample, Sample) else list(sample)
        molecules = tuple(self._molecule(one) for one in samples)
        closed = self.spin == "auto" and not any(molecule.spin for molecule in molecules)
        system = KohnShamSystem(molecules, spins=1 if closed else 2)
        return KohnShamState(system, start_state(system), not isinstance(sample, Sample))

    def _molecule(self, sample: Sample) -> Molecule:
        if sample.pbc.any():
            raise InputError(f"{sample.id}: {self.part} takes open molecules, not periodic cells")
        if len(sample.positions) == 0 or (sample.types == 0).any():
            raise InputError(f"{sample.id}: {self.part} needs atoms with atomic numbers")
        if self.vibrations and sample.fixed is not None:
            warnings.warn(
                f"{sample.id}: its fixed atoms move in {self.part}'s vibrations",
                InputWarning,
                stacklevel=4,
            )
        exchange = any(f.exact_exchange for f in self._on_grid)
        spin = _whole(sample, "spin")
        return prepare(
            sample.types,
            sample.positions,
            charge=_whole(sample, "charge") or 0,
            spin=spin,
            basis=self.basis,
            coulomb=self.coulomb,
            auxiliary=EXCHANGE_AUXILIARY_BASIS if exchange else AUXILIARY_BASIS,
            grid_level=self.grid_level,
            prune=self.grid_pruning == "nwchem",
            gradient=any(f.rung != "lda" for f in self._on_grid),
            closure=self.closure is not None and not isinstance(self.closure, Functional),
            integrals=self.integrals,
            guess=self.guess if self.guess in GUESSES else self._predicted,
            masses=sample.masses,
            device=self.exchange_scale.device,
        )

    def _predicted(self, molecule: Any, coulomb: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """First density matrix from the model that `guess` names."""
        from sfm_dft.density.guess import density_matrix

        return density_matrix(molecule, _model(self.guess), coulomb=coulomb)

    def energy_functional(self, state: KohnShamState) -> EnergyFunctional:
        """The energy functional of `state`'s molecules with the present parameters and closure."""
        field = torch.stack([self.field_x, self.field_y, self.field_z])
        return EnergyFunctional(
            state.system,
            self._base,
            self.exchange_scale,
            self.correlation_scale,
            field * factor("V/angstrom", "hartree/(e*bohr)"),
            self.closure,
            None if self.dispersion == "none" else self.functional,
        )

    def forward(self, state: KohnShamState, steps: int = 1) -> KohnShamState:
        """`steps` times `cycles_per_step` cycles more; stops when converged and at `max_cycles`."""
        used = 0 if state.converged else int(state.scf.cycles.max())
        wanted = min(steps * self.cycles_per_step, self.max_cycles - used)
        functional = self.energy_functional(state)
        first = max(0, min(wanted, self._diis_cycles - used))
        scf = iterate(
            functional,
            state.scf,
            first,
            tolerance=self.tolerance,
            level_shift=self.level_shift,
            smearing=self.smearing,
        )
        if wanted > first and not scf.done():
            scf = newton(functional, scf, wanted - first, tolerance=self.tolerance)
        if self.stability and scf.done() and scf is not state.scf:
            left = self.max_cycles - int(scf.cycles.max())
            scf = stabilise(functional, scf, left, tolerance=self.tolerance)
        return state if scf is state.scf else replace(state, scf=scf)

    @property
    def _diis_cycles(self) -> int:
        """Cycles of DIIS before the second order takes over."""
        if self.solver == "diis" or self.smearing > 0.0:
            return self.max_cycles
        return 1 if self.solver == "second-order" else DIIS_CYCLES

    def solve(self, sample: Sample | Sequence[Sample] | None = None) -> KohnShamState:
        """The self-consistent state of a molecule, or of several.

        Raises:
            RunError: not converged within `max_cycles`.
        """
        state = self(self.state(sample), self.max_cycles)
        if not state.converged:
            raise RunError(failure(self, state))
        return state

    def observe(self, state: KohnShamState) -> dict[str, Tensor]:
        """Energies, dipole and frontier levels in eV and e angstrom, () and (3,); forces (A, 3).

        A state of several molecules gives (M,), (M, 3) and forces of all atoms (sum of A, 3).

        Raises:
            RunError: the state used up `max_cycles` without converging.
        """
        if not state.converged and float(state.time) >= self.max_cycles:
            raise RunError(failure(self, state))
        functional = self.energy_functional(state)
        total, linked = None, False  # whether there is anything to take derivatives by
        if state.converged and torch.is_grad_enabled():
            total = functional.energy(state.scf.density_matrix)
            linked = total.requires_grad
        solution = finish(functional, state.scf, smearing=self.smearing, create_graph=linked)
        density, fock = solution.density_matrix, solution.fock
        if not state.converged:
            with torch.no_grad():
                found = self._observe(functional, solution, density, fock)
            if self.forces:
                atoms = [molecule.positions for molecule in state.system.molecules]
                found["forces"] = torch.full_like(torch.cat(atoms), torch.nan)
            found.update(self._second_derivatives(functional, None))
            return self._shaped(state, found)
        worst = float(solution.residual.max())
        if worst > 10.0 * self.tolerance:
            raise RunError(
                f"{self.part}: this state is self-consistent for other parameters or another "
                f"closure (residual {worst:.1e} hartree); advance it first"
            )
        if linked:
            density = attach(functional, solution, smearing=self.smearing)
            fock = functional.fock(density, create_graph=True)
        found = self._observe(functional, solution, density, fock, total)
        if self.forces:
            from sfm_dft.gradients.forces import forces

            unit = factor("hartree/bohr", "eV/angstrom")
            found["forces"] = forces(functional, density, fock) * unit
        found.update(self._second_derivatives(functional, solution))
        return self._shaped(state, found)

    def _second_derivatives(
        self, functional: EnergyFunctional, solution: Orbitals | None
    ) -> dict[str, Tensor]:
        """Polarizability and vibrations where they are asked for; NaN without a solution."""
        found: dict[str, Tensor] = {}
        if self.polarizability:
            found.update(polarizabilities(functional, solution, self.smearing))
        if self.vibrations:
            found.update(vibrational(functional, solution, self.smearing))
        return found

    def _shaped(self, state: KohnShamState, found: dict[str, Tensor]) -> dict[str, Tensor]:
        if state.batched:
            return found
        return {name: x if name == "forces" else x[0] for name, x in found.items()}

    def _observe(
        self,
        functional: EnergyFunctional,
        solution: Orbitals,
        d: Tensor,
        fock: Tensor,
        total: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Observables (M, ...) of the density matrix `d`, which may carry a graph, as may `fock`.

        `total` is the energy at fixed density, and needs no graph through `d`, because it is
        stationary there. An orbital level is <i|F|i> with the orbital held fixed
        (Hellmann-Feynman), F depending on `d`.
        """
        parts = functional.components(d)
        total = total_energy(parts) if total is None else total
        if self.smearing > 0.0:
            entropy = entropy_energy(solution.filling, self.smearing)
            total = total + functional.system.share * entropy.sum(-1)
        homo, lumo = frontier_levels(functional.system, solution, fock)
        atomic = {
            "energy": total,
            "kinetic_energy": parts["kinetic"],
            "external_energy": parts["external"],
            "hartree_energy": parts["hartree"],
            "xc_energy": parts["exchange"] + parts["correlation"] + parts["closure"],
            "nuclear_energy": parts["nuclear"],
            "dispersion_energy": parts["dispersion"],
            "homo": homo,
            "lumo": lumo,
            "scf_residual": solution.residual,
        }
        out = {name: value * factor("hartree", "eV") for name, value in atomic.items()}
        out["dipole"] = functional.dipole(d) * factor("e*bohr", "e*angstrom")
        out["spin_squared"] = spin_squared(functional.system, d)
        return out

    def converged(self, state: KohnShamState) -> bool:
        return state.converged

    def result(self, trajectory: Trajectory) -> dict[str, Tensor]:
        """The converged record; NaN beside the residual where the run ended before that."""
        last = super().result(trajectory)
        if trajectory.converged:
            return last
        return {n: x if n == "scf_residual" else x * torch.nan for n, x in last.items()}

    def warnings(self, state: KohnShamState) -> tuple[str, ...]:
        return alike(self, state) if state.converged else (failure(self, state),)

    def run(self, state: KohnShamState, steps: int, *, every: int | None = None) -> Trajectory:
        """As the base class, one record per cycle; stops at self-consistency.

        Raises:
            InputError: `steps` is negative or `every` is not positive.
            RunError: `max_cycles` are used up and the state is not self-consistent.
        """
        every = 1 if every is None else every
        self._check_run(steps, every)
        states, done = [state], 0
        while done < steps and not state.converged and state.time < self.max_cycles:
            stride = min(every, steps - done)
            before, state, done = state, self(state, stride), done + stride
            states.append(state)
            residual = f"residual {float(state.scf.residual.max()):.1e} hartree"
            report(f"{self.part}: cycle", int(state.time), note=residual)
            if torch.equal(before.scf.cycles, state.scf.cycles):
                break  # no molecule moves any more: those that are left are not finite
        return self._recorded(states, [self.observe(s) for s in states])

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """The electron density of the last state in the plane of the molecule, and the change
        that bonding makes to it."""
        from sfm_dft.simulators.figures import plot_density

        plot_density(trajectory.states[-1], path)

    def read_observations(self, path: Path) -> Observations:
        from sfm_dft.data.observations import read

        samples, values, units = read(path)
        return Observations(state=[self.state(s) for s in samples], values=values, units=units)

    def predict_observations(self, observations: Observations) -> dict[str, Tensor]:
        """Quantities of `observations.values` for each molecule, (M,) and (M, 3)."""
        found = []
        for start in observations.state:
            state = self(start, self.max_cycles)
            if not state.converged:
                raise RunError(failure(self, state))
            found.append(self.observe(state))
        return {name: torch.stack([f[name] for f in found]) for name in observations.values}


@lru_cache(maxsize=2)
def _model(name: str) -> FoundationModel:
    """A model by name; not an attribute, or it would be a part of the simulator."""
    import sfm

    return sfm.load(name)


def _whole(sample: Sample, name: str) -> int | None:
    if name not in sample.conditions:
        return None
    value = float(sample.conditions[name])
    if not value.is_integer():
        raise InputError(f"{sample.id}: {name} {value} is not a whole number")
    return int(value)
