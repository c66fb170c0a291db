"""`molecules/vibrations`: frequencies, normal modes and free energy of a molecule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.quantity import ENERGY, FREQUENCIES, Quantity
from sfm.simulate.base import Parameter, Setting, Trajectory
from sfm.simulate.dynamics.files import SUFFIXES
from sfm.simulate.dynamics.particles import Particles
from sfm.simulate.statics import vibrations as small
from sfm.simulate.statics.harmonic import thermal
from sfm.simulate.statics.ideal_gas import ideal_gas
from sfm.simulate.statics.vibrations import THZ_OF_WAVENUMBER, WAVENUMBER
from sfm_molecules import quantities
from sfm_molecules.data.modes import write_modes
from sfm_molecules.figures import plot_vibrations
from sfm_molecules.potentials import lennard_jones
from sfm_molecules.simulators import classical, resting

UNSTABLE = -1.0  # cm^-1; rounding leaves less


class Vibrations(resting.Resting):
    """Harmonic vibrations of a molecule at rest, and the thermodynamics of its ideal gas.

        m^-1/2 K m^-1/2 q_k = w_k^2 q_k,     E_0 = sum_k h nu_k / 2
        G = E + F_vib + F_trans + F_rot - k_B T ln(2 S + 1)

    The molecule is relaxed first (`molecules/relax`; `relax_first=false` takes the geometry as it
    is). K comes from Hessian-vector products of any potential, rigid motions are projected out, and
    K - 6 frequencies (5 if it is linear) are left. Enthalpy, entropy and Gibbs free energy are
    those of an ideal gas of rigid rotors at `temperature` and `pressure`, with S of the sample's
    `spin` (or the fewest unpaired electrons that there can be) and `symmetry_number` as given.
    Where a sample fixes coordinates only the rest vibrates, and there is no gas.

    Frequencies and free energies follow the parameters of the potential and the closure, through
    the relaxed geometry too: they can be fitted. `modes` has the modes, which carry no gradient.
    Imaginary frequencies are negative, and left out of the sums. Masses are the sample's.

    Units: cm^-1, eV, kelvin, bar.

    Good values: `tolerance` 1e-6 eV/angstrom (1e-5 for gfn1-xtb). `symmetry_number` 1 for C1 and
    Cs, 2 for water, 3 for ammonia, 12 for methane and benzene.

    Limits: one molecule at a time, open boundaries; harmonic, so a hindered rotation counts as a
    vibration; no infrared intensities (`dft/kohn-sham` has them).

    Sources: E. B. Wilson, J. C. Decius, P. C. Cross, Molecular Vibrations (1955); T. L. Hill, An
    Introduction to Statistical Thermodynamics (1960).
    """

    part: ClassVar[str] = "molecules/vibrations"
    summary: ClassVar[str] = "vibrations and free energy of a molecule at rest"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        *resting.PARAMETERS,
        Parameter("temperature", "kelvin", 298.15, 1.0, 1e4, "of the ideal gas"),
        Parameter("pressure", "bar", 1.0, 1e-12, 1e6, "of the ideal gas"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *resting.SETTINGS,
        Setting("relax_first", True, (True, False), summary="relax the molecule first"),
        Setting("symmetry_number", 1, summary="turns that bring the molecule onto itself"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        ENERGY,
        FREQUENCIES,
        quantities.ZERO_POINT_ENERGY,
        quantities.GAS_ENTHALPY,
        quantities.GAS_ENTROPY,
        quantities.GAS_GIBBS_ENERGY,
    )
    citations: ClassVar[tuple[str, ...]] = resting.CITATIONS
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg", ".jpg")

    temperature: Tensor
    pressure: Tensor
    relax_first: bool
    symmetry_number: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._latest: tuple[Particles, Tensor, Tensor] | None = None  # what `observe` saw last
        if self.symmetry_number < 1:
            raise InputError(f"{self.part}: symmetry_number={self.symmetry_number}: 1 or more")

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Vibrations, Particles]:
        """Four argon atoms of different masses, a little too near."""
        simulator = cls(**{"potential": "lennard-jones", "temperature": 20.0, **values})
        places = 0.98 * lennard_jones.icosahedron()[[0, 1, 2, 3]]
        argon = Sample(
            id="Ar4",
            domain="molecules",
            positions=places,
            types=np.full(4, classical.ARGON),
            masses=np.array([36.0, 38.0, 40.0, 41.0]),
        )
        return simulator, simulator.state(argon)

    def state(self, sample: Sample | Sequence[Sample] | None = None) -> Particles:
        """One molecule.

        Raises:
            InputError: several, a periodic one, or one that the force field cannot treat.
        """
        state = super().state(sample)
        if len(state.cell) != 1:
            raise InputError(f"{self.part}: takes one molecule at a time, not {len(state.cell)}")
        return state

    def forward(self, state: Particles, steps: int = 1) -> Particles:
        """The relaxed molecule; the same one with `relax_first=false` or 0 steps.

        Raises:
            RunError: no minimum is reached.
        """
        if self.relax_first or not steps:
            return super().forward(state, steps)
        return state._replace(step=state.step + 1)

    def converged(self, state: Particles) -> bool:
        """Whether the vibrations belong to a place of rest, if they are to."""
        return not self.relax_first or super().converged(state)

    def run(self, state: Particles, steps: int, *, every: int | None = None) -> Trajectory:
        """The relaxed molecule and its vibrations; with `every`, those before it too."""
        if every is not None or steps < 1:
            return super().run(state, steps, every=every)
        last = self(state, steps)
        return self._recorded([last], [self.observe(last)])

    # ------------------------------------------------------------------ what is seen

    def modes(self, state: Particles) -> tuple[Float[Tensor, " K"], Float[Tensor, "K n 3"]]:
        """Frequencies (K,) cm^-1, ascending, and displacements (K, n, 3) per sqrt(amu)."""
        with torch.set_grad_enabled(self._differentiable(state.positions, state.masses)):
            matrix = small.hessian(self._energy(state), state.positions, where=self.part)
            squares, modes = small.normal_modes(
                matrix, state.positions, state.masses[:, 0], state.free
            )
            return WAVENUMBER * small.signed_root(squares), modes

    def observe(self, state: Particles) -> dict[str, Shaped[Tensor, " ..."]]:
        """Energies () eV, entropy () eV/kelvin, frequencies (K,) cm^-1."""
        frequencies, modes = self.modes(state)
        self._latest = (state, frequencies.detach(), modes)
        energy = self.energy_and_forces(state)[0][0]
        cold = energy.new_zeros(1)
        zero_point = thermal(THZ_OF_WAVENUMBER * frequencies[None], cold).free_energy[0]
        seen = {"energy": energy, "frequencies": frequencies, "zero_point_energy": zero_point}
        if not bool(state.free.all()):
            return seen
        gas = ideal_gas(
            energy,
            frequencies,
            state.positions,
            state.masses[:, 0],
            temperature=self.temperature,
            pressure=self.pressure,
            symmetry=self.symmetry_number,
            unpaired=self._unpaired(state),
        )
        return {
            **seen,
            "gas_enthalpy": gas.enthalpy,
            "gas_entropy": gas.entropy,
            "gas_gibbs_energy": gas.gibbs_energy,
        }

    def _unpaired(self, state: Particles) -> Tensor:
        """() electrons: as stated, or 0 or 1 by parity."""
        charge, spin = state.charge.detach()[0], state.spin.detach()[0]
        electrons = int(state.types.sum()) - int(charge.round())
        return spin if float(spin) else spin + electrons % 2

    def _recorded(
        self, states: Sequence[Particles], observed: Sequence[Mapping[str, Tensor]]
    ) -> Trajectory:
        trajectory = super()._recorded(states, observed)
        said = (*trajectory.warnings, *self._remarks(states[-1], observed[-1]))
        return dataclasses.replace(trajectory, warnings=said)

    def _remarks(self, state: Particles, observed: Mapping[str, Tensor]) -> tuple[str, ...]:
        """What the user should know: no minimum, not at rest, no gas."""
        lines = []
        imaginary = [float(f) for f in observed["frequencies"].detach() if f < UNSTABLE]
        if imaginary:
            text = ", ".join(f"{-f:.0f}i" for f in imaginary)
            lines.append(f"no minimum: imaginary frequencies {text} cm^-1, left out of the sums")
        if not self.relax_first and (pull := self.residual(state)) > self.tolerance:
            lines.append(
                f"the geometry is not at rest (largest force {pull:.2g} eV/angstrom): its "
                "frequencies depend on how the forces are projected out"
            )
        if "gas_enthalpy" not in observed:
            lines.append("coordinates are fixed: no ideal gas, so no enthalpy, entropy and Gibbs")
        return tuple(lines)

    # ------------------------------------------------------------------ files

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """A line at each frequency; imaginary ones to the left of zero."""
        plot_vibrations(trajectory.observables["frequencies"][-1].detach().cpu(), path)

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """One frame for each mode: the molecule, its `frequency` in cm^-1 and the array `mode`."""
        if path.suffix.lower() not in SUFFIXES:
            super().write(trajectory, path)
        state = trajectory.states[-1]
        if self._latest is None or self._latest[0] is not state:
            self.observe(state)
        assert self._latest is not None
        _, frequencies, modes = self._latest
        write_modes(
            path,
            types=state.types.cpu().numpy(),
            positions=state.positions.detach().cpu().numpy(),
            frequencies=frequencies.cpu().numpy(),
            modes=modes.cpu().numpy(),
        )
