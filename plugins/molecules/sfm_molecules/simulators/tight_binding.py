"""`molecules/tight-binding`: molecular dynamics on GFN1-xTB, differentiable to its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.errors import InputError
from sfm.simulate.base import Parameter, Setting
from sfm.simulate.dynamics.particles import Particles
from sfm.simulate.dynamics.simulator import (
    CITATIONS,
    ENSEMBLE,
    FRICTION,
    RECOMPUTE,
    SEED,
    TEMPERATURE,
    THERMOSTAT_TIME,
)
from sfm_molecules.potentials.tight_binding import PLACES, TightBinding
from sfm_molecules.simulators.classical import GFN1
from sfm_molecules.simulators.open_dynamics import OpenDynamics


class TightBindingDynamics(OpenDynamics):
    """Newton's equations for atoms on the energy of GFN1-xTB, plus a closure's if there is one.

        E = E_el[charges] + E_rep + E_D3 + E_XB,   H0_(mn) = K_(l l') (h_m + h_n)/2 S_mn Y Pi

    Self-consistent charges of shells, at an electronic temperature of 300 K; repulsion of pairs,
    D3(BJ) dispersion and a correction of halogen bonds (formulas in the first source). A closure
    is the term that the theory lacks: its energy is added, as in `molecules/molecular-dynamics`.

    The global parameters of the method are the simulator's, with their published values as
    defaults: open to `sfm fit --param k_ss`, with energies, forces or trajectories as data. Those
    of single elements stay as they are.

    Charge and spin (unpaired electrons) are the sample's. Boundaries are open.

    Units: angstrom, fs, amu, eV, kelvin.

    Good values: `dt` 0.5 fs with hydrogens. Limits: elements up to radon; a second of computing
    for a few energies of ten atoms, so runs are short; needs the package dxtb (extra
    `tight-binding`, which cannot be installed beside the extra `dft`: they pin different versions
    of tad-dftd3).

    Sources: S. Grimme, C. Bannwarth, P. Shushkov, J. Chem. Theory Comput. 13, 1989 (2017);
    M. Friede, C. Hoelzer, S. Ehlert, S. Grimme, J. Chem. Phys. 161, 062501 (2024).

    Raises:
        PluginError: in a call, dxtb is not installed.
    """

    part: ClassVar[str] = "molecules/tight-binding"
    summary: ClassVar[str] = "molecular dynamics on GFN1-xTB, its parameters open to fits"
    needs: ClassVar[tuple[str, ...]] = ("dxtb",)
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        *GFN1,
        FRICTION,
        TEMPERATURE,
        THERMOSTAT_TIME,
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        ENSEMBLE,
        Setting("dt", 0.5, unit="fs", summary="time step; 0.5 with hydrogens"),
        Setting("molecule", "O", summary="SMILES of the molecule if no sample is given"),
        SEED,
        RECOMPUTE,
    )
    citations: ClassVar[tuple[str, ...]] = (
        "doi:10.1021/acs.jctc.7b00118",
        "doi:10.1063/5.0216715",
        *CITATIONS,
    )
    default_steps: ClassVar[int] = 20

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._gfn1 = TightBinding()

    def state(self, sample: Sample | Sequence[Sample] | None = None) -> Particles:
        """Positions of a sample (or of several, as a batch), with its velocities or thermal ones.

        Raises:
            InputError: a periodic sample.
        """
        sample = self.named_molecule() if sample is None else sample
        samples = [sample] if isinstance(sample, Sample) else sample
        return self.particles(self.without_cells(samples))

    def potential_energy(self, systems: Systems) -> Float[Tensor, " S"]:
        """Energies (S,) in eV, of GFN1-xTB and of the closure; there is no cell."""
        x, _, types, system, conditions = systems
        parameters = {name: getattr(self, name) for name in PLACES}
        energy = self._gfn1(x, types, system, conditions["charge"], conditions["spin"], parameters)
        if self.closure is None:
            return energy
        return energy + self.learned(x, types, system, conditions)

    def baseline(self, systems: Systems) -> Float[Tensor, " S"]:
        """(S,) eV of open systems.

        Raises:
            InputError: a cell.
        """
        if bool(systems.cell.any()):
            raise InputError(f"{self.part}: has open boundaries, and no cell")
        return self.potential_energy(systems)
