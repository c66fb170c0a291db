"""OpenMM: `MLPotential("sfm-tiny")` of OpenMM-ML, a force computed by a model.

OpenMM-ML (Eastman et al., J. Phys. Chem. B 128, 109 (2024)) finds it by the entry-point group
`openmmml.potentials`; the force is an `openmm.PythonForce`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import openmm
from openmm import unit
from openmmml.mlpotential import MLPotentialImpl

from sfm.constants import ACCELERATION
from sfm.data.conditions import read_conditions
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.model.potential import Potential

if TYPE_CHECKING:
    from openmm.app import Topology

# an electronvolt in kJ/mol, which are amu nm^2/ps^2
ELECTRONVOLT = 1e4 * ACCELERATION
CONDITIONS = ("charge", "spin", "multiplicity")


class SfmPotential(MLPotentialImpl):  # type: ignore[misc]  # OpenMM-ML is no dependency
    """A model for OpenMM-ML's `createSystem` and `createMixedSystem`.

    Args:
        name: `sfm-tiny`, or `sfm` for the model that `model` names.
        model: bundled name, folder or Hub id, or a model.
        level: level of theory; needed where the model knows several.
        domain: `crystals` for periodic, `molecules` for open systems if None; `molecules` for a
            box of organic molecules at the level of molecules.
        extrapolate: warn of what lies outside the training data instead of refusing it.
        compiled: use compiled kernels on a CPU (`sfm.nn.compiled`), twice as fast.

    Raises:
        HubError: there is no such model.
        InputError: an unknown level or domain; `sfm` without `model`, `sfm-tiny` with one.
    """

    def __init__(
        self,
        name: str,
        *,
        model: str | FoundationModel | None = None,
        level: str | None = None,
        domain: str | None = None,
        extrapolate: bool = False,
        compiled: bool = False,
    ) -> None:
        if (model is None) == (name == "sfm"):
            raise InputError(
                "MLPotential('sfm') needs model=..., a bundled name, a folder or a Hub id"
                if model is None
                else f"MLPotential('{name}') is a model already; say MLPotential('sfm', model=...)"
            )
        self.name = name
        model = name if model is None else model
        if not isinstance(model, FoundationModel):
            model = FoundationModel.from_pretrained(model)
        self.potential = Potential(
            model, level=level, domain=domain, extrapolate=extrapolate, compiled=compiled
        )

    def addForces(
        self,
        topology: Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        **options: Any,
    ) -> None:
        """Add the model's force on `atoms`, or on all, to the system.

        Args:
            topology: elements and box.
            system: that the force is added to.
            atoms: their indices; None: all.
            forceGroup: of the force.
            options: `charge` (e), `spin` (unpaired electrons) or `multiplicity`; `device`.

        Raises:
            InputError: an atom without element, an unknown option, an impossible charge or spin.
        """
        unknown = set(options) - {*CONDITIONS, "device"}
        if unknown:
            raise InputError(
                f"createSystem: unknown option {sorted(unknown)[0]!r}; this potential takes "
                f"{', '.join(CONDITIONS)} and device"
            )
        included = list(topology.atoms())
        indices = None if atoms is None else list(atoms)
        if indices is not None:
            included = [included[i] for i in indices]
        if virtual := [atom.name for atom in included if atom.element is None]:
            raise InputError(f"createSystem: atom {virtual[0]} has no element")
        types = np.array([atom.element.atomic_number for atom in included])
        periodic = topology.getPeriodicBoxVectors() is not None
        periodic = periodic or system.usesPeriodicBoundaryConditions()
        stated = {name: options[name] for name in CONDITIONS if name in options}
        conditions = read_conditions(stated, types, self.name)
        if "device" in options:
            self.potential.model.to(options["device"])
        force = openmm.PythonForce(_Force(self.potential, types, periodic, conditions))
        force.setForceGroup(forceGroup)
        force.setUsesPeriodicBoundaryConditions(periodic)
        if indices is not None:
            force.setParticles(indices)
        system.addForce(force)

    def getMLLongRange(self) -> bool:
        """No: a model's energy is made within its cutoff, a few layers deep."""
        return False


class _Force:
    """`state -> (energy in kJ/mol, forces (n, 3) in kJ/mol/nm)`."""

    def __init__(
        self,
        potential: Potential,
        types: np.ndarray,
        periodic: bool,
        conditions: dict[str, float],
    ) -> None:
        self.potential, self.periodic = potential, periodic
        self.types, self.conditions = types, conditions

    def __call__(self, state: Any) -> tuple[float, np.ndarray]:
        cell = None
        if self.periodic:
            cell = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom)
        sample = Sample(
            id="the system",
            domain=self.potential.domain_of(self.periodic),
            positions=state.getPositions(asNumpy=True).value_in_unit(unit.angstrom),
            types=self.types,
            cell=cell,
            pbc=np.full(3, self.periodic),
            conditions=self.conditions,
        )
        values = self.potential([sample], ("energy", "forces")).values
        forces = values["forces"].double().cpu().numpy()
        return float(values["energy"][0]) * ELECTRONVOLT, forces * 10 * ELECTRONVOLT
