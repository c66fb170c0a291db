"""The Kohn-Sham simulator of the dft domain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.quantity import ENERGY, FORCES, Quantity
from sfm.simulate import Observations, Parameter, Setting, Simulator, Trajectory
from sfm.units import factor
from sfm_dft import quantities as q
from sfm_dft.energy import EnergyFunctional, total_energy
from sfm_dft.forces import forces
from sfm_dft.response import attach
from sfm_dft.scf import Orbitals, ScfState, finish, iterate, start_state
from sfm_dft.system import KohnShamSystem, prepare

WATER = (
    np.array([8, 1, 1]),
    np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]]),
)


@dataclass(frozen=True)
class KohnShamState:
    """A molecule and how far its self-consistent field has come."""

    system: KohnShamSystem
    scf: ScfState

    @property
    def time(self) -> float:
        """Number of Fock matrices built so far."""
        return float(self.scf.cycle)

    @property
    def converged(self) -> bool:
        return self.scf.converged


class KohnSham(Simulator):
    """Restricted Kohn-Sham theory of a closed-shell molecule in a Gaussian basis.

        F[D] C = S C e,   D = 2 C_occ C_occ^T,   F = dE/dD,
        E[D] = tr(D h) + 1/2 tr(D J[D]) + a E_x[rho] + c E_c[rho] + E_closure[p] - eps.mu[D] + E_nn

    One step is one cycle of the self-consistent field (DIIS), or `cycles_per_step` of them; a
    converged state no longer changes. The base functional is LDA (Slater exchange, PW92
    correlation) or PBE. The closure is any module that maps `sfm_dft.energy.DensityFeatures`
    (projections of the density on atom-centred s, p, d functions) to an extra
    exchange-correlation energy in eV; its potential follows by autograd. A closure that corrects
    one functional only names it in its attribute `base`.

    Derivatives with respect to the parameters and the closure's weights go through
    self-consistency implicitly: energies by the envelope theorem, dipole, components and orbital
    levels by one linear-response solve. They are first derivatives; orbital levels must not be
    degenerate. Gaussian integrals come from PySCF (libcint) or, with `integrals='torch'`, from
    `sfm_dft.integrals`, grid and orbital values from PySCF, once per geometry; everything after
    that is torch.

    With `forces=True`, `observe` adds the forces on the nuclei in eV/angstrom: the derivative of
    the converged energy with Pulay's term, grid points and Becke weights moving with the nuclei
    (`sfm_dft.forces`). They are zero to rounding in their sum, and differentiable once in the
    parameters and the closure's weights. States before self-consistency have none (NaN).

    Limits: closed shells, one molecule at a time, open boundaries, float64, H to the end of what
    the basis covers, up to about 150 orbitals. `coulomb='fitted'` (the default, as in the bundled
    data) is off by about 1e-4 hartree; `exact` is not, up to 60 orbitals. Grid level 3 is good to
    about 5e-6 hartree. Good values: both scales 1, fields below
    1 V/angstrom.

    A state that used up `max_cycles` without converging raises in `observe`. Before that, `observe`
    gives the energy functional at the current density, without gradient, next to `scf_residual`.

    References: Kohn, Sham, Phys. Rev. 140, A1133 (1965); Pople, Gill, Johnson, Chem. Phys. Lett.
    199, 557 (1992).

    Raises:
        InputError: as the base class; a dtype below float64; a closure whose `base` is another
            functional than this one, whose correction would be counted twice.
    """

    part: ClassVar[str] = "dft/kohn-sham"
    summary: ClassVar[str] = "restricted Kohn-Sham density-functional theory of a molecule"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("exchange_scale", "1", 1.0, 0.0, 2.0, "a, factor of the exchange energy"),
        Parameter("correlation_scale", "1", 1.0, 0.0, 2.0, "c, factor of the correlation energy"),
        Parameter("field_x", "V/angstrom", 0.0, -5.0, 5.0, "uniform electric field along x"),
        Parameter("field_y", "V/angstrom", 0.0, -5.0, 5.0, "uniform electric field along y"),
        Parameter("field_z", "V/angstrom", 0.0, -5.0, 5.0, "uniform electric field along z"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("functional", "LDA", ("LDA", "PBE"), summary="base functional"),
        Setting("basis", "def2-svp", summary="Gaussian basis, by PySCF's name"),
        Setting("coulomb", "fitted", ("fitted", "exact"), summary="density fitting or 4-centre"),
        Setting("grid_level", 3, tuple(range(10)), summary="PySCF's Becke grid, 0 coarse, 9 fine"),
        Setting("grid_pruning", "nwchem", ("nwchem", "none"), summary="fewer points near nuclei"),
        Setting("integrals", "libcint", ("libcint", "torch"), summary="who computes them"),
        Setting("forces", False, (False, True), summary="observe forces too; costs about an SCF"),
        Setting("cycles_per_step", 1, summary="cycles that make one step"),
        Setting("max_cycles", 60, summary="give up after so many cycles"),
        Setting("tolerance", 1e-8, unit="hartree", summary="largest residual when converged"),
        Setting("level_shift", 0.0, unit="hartree", summary="raises empty levels; for small gaps"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        ENERGY,
        FORCES,
        q.KINETIC_ENERGY,
        q.EXTERNAL_ENERGY,
        q.HARTREE_ENERGY,
        q.XC_ENERGY,
        q.NUCLEAR_ENERGY,
        q.DIPOLE,
        q.HOMO,
        q.LUMO,
        q.SCF_RESIDUAL,
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

    exchange_scale: Tensor
    correlation_scale: Tensor
    field_x: Tensor
    field_y: Tensor
    field_z: Tensor
    functional: str
    basis: str
    coulomb: str
    grid_level: int
    grid_pruning: str
    integrals: str
    forces: bool
    cycles_per_step: int
    max_cycles: int
    tolerance: float
    level_shift: float

    def __init__(self, **values: object) -> None:
        super().__init__(**values)  # type: ignore[arg-type]
        if self.dtype != torch.float64:
            raise InputError(f"{self.part}: dtype {self.dtype} is too coarse; use torch.float64")
        base = getattr(self.closure, "base", self.functional)
        if base != self.functional:
            raise InputError(
                f"{self.part}: this closure corrects {base}, not {self.functional}, which would "
                f"count the correction twice; set functional={base} or leave the closure out"
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

    def state(self, sample: Sample | None = None) -> KohnShamState:
        """A molecule with superposed atoms as its first density; water if there is no sample.

        Raises:
            InputError: periodic or without atoms, an odd number of electrons, an unknown basis.
        """
        if sample is None:
            sample = Sample(id="water", domain="dft", positions=WATER[1], types=WATER[0])
        if sample.pbc.any():
            raise InputError(f"{sample.id}: {self.part} takes open molecules, not periodic cells")
        if len(sample.positions) == 0 or (sample.types == 0).any():
            raise InputError(f"{sample.id}: {self.part} needs atoms with atomic numbers")
        system = prepare(
            sample.types,
            sample.positions,
            charge=_whole(sample),
            basis=self.basis,
            coulomb=self.coulomb,
            grid_level=self.grid_level,
            prune=self.grid_pruning == "nwchem",
            gradient=self.functional == "PBE",
            closure=self.closure is not None,
            integrals=self.integrals,
        )
        return KohnShamState(system, start_state(system))

    def energy_functional(self, state: KohnShamState) -> EnergyFunctional:
        """The energy functional of `state`'s molecule with the present parameters and closure."""
        field = torch.stack([self.field_x, self.field_y, self.field_z])
        return EnergyFunctional(
            state.system,
            self.functional,
            self.exchange_scale,
            self.correlation_scale,
            field * factor("V/angstrom", "hartree/(e*bohr)"),
            self.closure,
        )

    def forward(self, state: KohnShamState, steps: int = 1) -> KohnShamState:
        """`steps` times `cycles_per_step` cycles more; stops when converged and at `max_cycles`."""
        left = self.max_cycles - (0 if state.converged else state.scf.cycle)
        scf = iterate(
            self.energy_functional(state),
            state.scf,
            min(steps * self.cycles_per_step, left),
            tolerance=self.tolerance,
            level_shift=self.level_shift,
        )
        return replace(state, scf=scf)

    def solve(self, sample: Sample | None = None) -> KohnShamState:
        """The self-consistent state of a molecule.

        Raises:
            RunError: not converged within `max_cycles`.
        """
        state = self(self.state(sample), self.max_cycles)
        if not state.converged:
            raise RunError(self._failure(state))
        return state

    def _failure(self, state: KohnShamState) -> str:
        return (
            f"{self.part}: not self-consistent after {state.scf.cycle} cycles (residual "
            f"{state.scf.residual:.1e} hartree, wanted {self.tolerance:.1e}); "
            "try level_shift=0.3 or more max_cycles"
        )

    def observe(self, state: KohnShamState) -> dict[str, Tensor]:
        """Energies, dipole and frontier levels in eV and e angstrom, () and (3,); forces (A, 3).

        Raises:
            RunError: the state used up `max_cycles` without converging.
        """
        if not state.converged and state.scf.cycle >= self.max_cycles:
            raise RunError(self._failure(state))
        functional = self.energy_functional(state)
        solution = finish(functional, state.scf)
        if not state.converged:
            with torch.no_grad():
                found = _observe(functional, solution, solution.density_matrix)
            if self.forces:
                found["forces"] = torch.full_like(state.system.positions, torch.nan)
            return found
        if solution.residual > 10.0 * self.tolerance:
            raise RunError(
                f"{self.part}: this state is self-consistent for other parameters or another "
                f"closure (residual {solution.residual:.1e} hartree); advance it first"
            )
        density = attach(functional, solution)
        found = _observe(functional, solution, density)
        if self.forces:
            unit = factor("hartree/bohr", "eV/angstrom")
            found["forces"] = forces(functional, density) * unit
        return found

    def warnings(self, state: KohnShamState) -> tuple[str, ...]:
        return () if state.converged else (self._failure(state),)

    def run(self, state: KohnShamState, steps: int, *, every: int | None = None) -> Trajectory:
        """As the base class, one record per cycle; stops at self-consistency.

        Raises:
            InputError: `steps` is negative or `every` is not positive.
            RunError: `max_cycles` are used up and the state is not self-consistent.
        """
        every = 1 if every is None else every
        self._check_run(steps, every)
        states, done = [state], 0
        while done < steps and not state.converged and state.scf.cycle < self.max_cycles:
            stride = min(every, steps - done)
            state, done = self(state, stride), done + stride
            states.append(state)
        observed = [self.observe(s) for s in states]
        return Trajectory(
            times=torch.tensor([s.time for s in states], dtype=torch.float64),
            time_unit=self.time_unit,
            states=states,
            observables={name: torch.stack([o[name] for o in observed]) for name in observed[0]},
            units={quantity.name: quantity.unit for quantity in self.observables},
            warnings=self.warnings(state),
        )

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """The electron density of the last state in the plane of the molecule, and the change
        that bonding makes to it."""
        from sfm_dft.plotting import plot_density

        plot_density(trajectory.states[-1], path)

    def read_observations(self, path: Path) -> Observations:
        from sfm_dft.observations import read

        samples, values, units = read(path)
        return Observations(state=[self.state(s) for s in samples], values=values, units=units)

    def predict_observations(self, observations: Observations) -> dict[str, Tensor]:
        """Quantities of `observations.values` for each molecule, (M,) and (M, 3)."""
        found = []
        for start in observations.state:
            state = self(start, self.max_cycles)
            if not state.converged:
                raise RunError(self._failure(state))
            found.append(self.observe(state))
        return {name: torch.stack([f[name] for f in found]) for name in observations.values}


def _whole(sample: Sample) -> int:
    charge = float(sample.conditions.get("charge", 0.0))
    if not charge.is_integer():
        raise InputError(f"{sample.id}: charge {charge} is not a whole number")
    return int(charge)


def _observe(functional: EnergyFunctional, solution: Orbitals, d: Tensor) -> dict[str, Tensor]:
    """Observables of the density matrix `d`, which may carry a graph.

    The total energy needs no graph through `d`, because it is stationary there. An orbital level is
    <i|F|i> with the orbital held fixed (Hellmann-Feynman), F depending on `d`.
    """
    parts = functional.components(d)
    # where d carries a graph, the energy must not follow it: a second pass, at the same d
    total = functional.energy(d.detach()) if d.requires_grad else total_energy(parts)
    fock = functional.fock(d, create_graph=d.requires_grad)
    highest = functional.system.occupied - 1

    def level(index: int) -> Tensor:
        orbital = solution.coefficients[:, index]
        return orbital @ fock @ orbital

    atomic = {
        "energy": total,
        "kinetic_energy": parts["kinetic"],
        "external_energy": parts["external"],
        "hartree_energy": parts["hartree"],
        "xc_energy": parts["exchange"] + parts["correlation"] + parts["closure"],
        "nuclear_energy": parts["nuclear"],
        "homo": level(highest),
        "lumo": level(highest + 1),
        "scf_residual": d.new_tensor(solution.residual),
    }
    out = {name: value * factor("hartree", "eV") for name, value in atomic.items()}
    out["dipole"] = functional.dipole(d) * factor("e*bohr", "e*angstrom")
    return out
