"""The Kohn-Sham simulator of the dft domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import RunError
from sfm.progress import report
from sfm.simulate import Observations, Trajectory, Volume
from sfm.units import factor
from sfm_dft.data.observations import read as read_observations
from sfm_dft.scf.diis import start_state
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.system import KohnShamSystem
from sfm_dft.simulators.convergence import alike, failure
from sfm_dft.simulators.figures import plot_density
from sfm_dft.simulators.kohn_sham_settings import KohnShamSettings
from sfm_dft.simulators.kohn_sham_state import KohnShamState
from sfm_dft.simulators.molecules import molecule_of
from sfm_dft.simulators.observing import observe
from sfm_dft.simulators.volumes import density_volumes

WATER = (
    np.array([8, 1, 1]),
    np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]]),
)


class KohnSham(KohnShamSettings):
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

    summary: ClassVar[str] = "Kohn-Sham density-functional theory of molecules"
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

    def state(self, sample: Sample | Sequence[Sample] | None = None) -> KohnShamState:
        """Molecules with superposed atoms as their first density; water if there is no sample.

        Raises:
            InputError: periodic or without atoms, an impossible spin, an unknown basis.
        """
        if sample is None:
            sample = Sample(id="water", domain="dft", positions=WATER[1], types=WATER[0])
        samples = [sample] if isinstance(sample, Sample) else list(sample)
        molecules = tuple(molecule_of(one, self) for one in samples)
        closed = self.spin == "auto" and not any(molecule.spin for molecule in molecules)
        system = KohnShamSystem(molecules, spins=1 if closed else 2)
        return KohnShamState(system, start_state(system), not isinstance(sample, Sample))

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
        cycles = steps * self.cycles_per_step
        scf = self.scf_solver.advance(self.energy_functional(state), state.scf, cycles)
        return state if scf is state.scf else replace(state, scf=scf)

    def solve(self, sample: Sample | Sequence[Sample] | None = None) -> KohnShamState:
        """The self-consistent state of a molecule, or of several.

        Raises:
            RunError: not converged within `max_cycles`.
        """
        state: KohnShamState = self(self.state(sample), self.max_cycles)
        if not state.converged:
            raise RunError(failure(self, state))
        return state

    def observe(self, state: KohnShamState) -> dict[str, Shaped[Tensor, " ..."]]:
        """Energies, dipole and frontier levels in eV and e angstrom, () and (3,); forces (A, 3).

        A state of several molecules gives (M,), (M, 3) and forces of all atoms (sum of A, 3).

        Raises:
            RunError: the state used up `max_cycles` without converging.
        """
        if not state.converged and float(state.time) >= self.max_cycles:
            raise RunError(failure(self, state))
        observables = observe(self, self.energy_functional(state), state.scf)
        if state.batched:
            return observables
        return {name: x if name == "forces" else x[0] for name, x in observables.items()}

    def converged(self, state: KohnShamState) -> bool:
        return state.converged

    def result(self, trajectory: Trajectory) -> dict[str, Shaped[Tensor, " ..."]]:
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
        plot_density(trajectory.states[-1], path)

    def volumes(self, state: KohnShamState) -> dict[str, Volume]:
        """`density` and its change against free atoms, `density_change`, in e / angstrom^3."""
        return {} if state.batched else density_volumes(state)

    def read_observations(self, path: Path) -> Observations:
        samples, values, units = read_observations(path)
        return Observations(state=[self.state(s) for s in samples], values=values, units=units)

    def predict_observations(self, observations: Observations) -> dict[str, Float[Tensor, "M ..."]]:
        """Quantities of `observations.values` for each molecule, (M,) and (M, 3)."""
        observed = []
        for start in observations.state:
            state = self(start, self.max_cycles)
            if not state.converged:
                raise RunError(failure(self, state))
            observed.append(self.observe(state))
        return {name: torch.stack([f[name] for f in observed]) for name in observations.values}
