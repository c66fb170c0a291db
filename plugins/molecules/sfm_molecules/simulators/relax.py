"""`molecules/relax`: the nearest minimum of molecules, differentiable."""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Shaped
from torch import Tensor

from sfm.quantity import ENERGY, FORCES, Quantity
from sfm.simulate.base import Parameter, Setting, Trajectory
from sfm.simulate.dynamics.particles import Particles
from sfm_molecules.simulators import resting


class Relax(resting.Resting):
    """The minimum of an energy surface that is nearest to a geometry.

        dE/dx = 0,    dx*/dp = -K^-1 d2E/dx dp

    FIRE goes down until the forces are small, Newton's method (conjugate gradients on
    Hessian-vector products) to the minimum. E is that of `molecules/molecular-dynamics`:
    `potential=uff`, `mmff94`, `mmff94s`, `lennard-jones`, `none`, or `gfn1-xtb` (needs the extra
    `tight-binding`), plus the closure's. `auto` is the closure alone if there is one,
    `lennard-jones` for argon, else `uff`.

    One step relaxes; more change nothing. The relaxed geometry follows the parameters of the
    potential and the closure (second line above), so that bond lengths or energies at minima can be
    fitted; it does not follow the geometry that the search began with, but for coordinates that a
    sample fixes, which stay.

    Units: angstrom, eV.

    Good values: `tolerance` 1e-6 eV/angstrom; 1e-3 for a closure in float32, 1e-5 for gfn1-xtb.

    Limits: open boundaries (`crystals/lattice` has a cell); a search that starts with a symmetry
    keeps it, and may end at a saddle point (`molecules/vibrations` tells); the bonds of a force
    field are those of the start; the energy must not change when a molecule turns.

    Sources: FIRE: E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006). UFF: Rappé et al. (1992).
    MMFF94: Halgren (1996). GFN1-xTB: Grimme, Bannwarth, Shushkov (2017).
    """

    part: ClassVar[str] = "molecules/relax"
    summary: ClassVar[str] = "nearest minimum on UFF, MMFF94, GFN1-xTB, Lennard-Jones or a model"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = resting.PARAMETERS
    settings_spec: ClassVar[tuple[Setting, ...]] = resting.SETTINGS
    observables: ClassVar[tuple[Quantity, ...]] = (ENERGY, FORCES)
    citations: ClassVar[tuple[str, ...]] = resting.CITATIONS

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Relax, Particles]:
        """Thirteen argon atoms, a little too near."""
        simulator = cls(**{"potential": "lennard-jones", **values})
        state = simulator.state()
        return simulator, state._replace(positions=0.98 * state.positions)

    def observe(self, state: Particles) -> dict[str, Shaped[Tensor, " ..."]]:
        """Energies (S,) eV and forces (N, 3) eV/angstrom."""
        energy, forces = self.energy_and_forces(state)
        return {"energy": energy, "forces": forces}

    def result(self, trajectory: Trajectory) -> dict[str, Shaped[Tensor, " ..."]]:
        """The last record; without an axis of systems, if there is one system."""
        last = super().result(trajectory)
        if len(last["energy"]) == 1:
            last["energy"] = last["energy"][0]
        return last
