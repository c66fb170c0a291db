"""Which energy a simulator of molecules has: the door that its dynamics and statics share."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.errors import InputError, InputWarning
from sfm.simulate import dispersion
from sfm.simulate.base import Parameter, Setting
from sfm_molecules.geometry.conformers import geometry
from sfm_molecules.geometry.embedding import embed
from sfm_molecules.geometry.topology import molecule_from_geometry
from sfm_molecules.potentials import lennard_jones
from sfm_molecules.potentials.bonded import BondedField
from sfm_molecules.potentials.mmff import MerckForceField, StaticMerckForceField
from sfm_molecules.potentials.perceived import PerceivedForceField
from sfm_molecules.potentials.tight_binding import PLACES, TightBinding
from sfm_molecules.potentials.uff import UniversalForceField
from sfm_molecules.simulators.open_systems import OpenSystems

ARGON = 18
FIELDS: Mapping[str, type[BondedField]] = {
    "uff": UniversalForceField,
    "mmff94": MerckForceField,
    "mmff94s": StaticMerckForceField,
}
# what a potential knows of charge and spin: MMFF94's charges are shared out of the formal ones
CONDITIONS: Mapping[str, tuple[str, ...]] = {
    "mmff94": ("charge",),
    "mmff94s": ("charge",),
    "gfn1-xtb": ("charge", "spin"),
}
PARAMETERS = (
    Parameter(
        "epsilon", "eV", lennard_jones.ARGON_EPSILON, 1e-6, 1.0, "well depth of lennard-jones"
    ),
    Parameter(
        "sigma",
        "angstrom",
        lennard_jones.ARGON_SIGMA,
        0.5,
        10.0,
        "zero of the lennard-jones energy of a pair",
    ),
)
GFN1 = (
    Parameter("k_ss", "1", 1.85, 0.5, 4.0, "scale of GFN1's Hamiltonian between s and s shells"),
    Parameter("k_sp", "1", 2.08, 0.5, 4.0, "between s and p shells"),
    Parameter("k_pp", "1", 2.25, 0.5, 4.0, "between p and p shells"),
    Parameter("k_en", "1", -0.007, -0.1, 0.1, "its dependence on electronegativities"),
    Parameter("k_rep", "1", 1.5, 1.0, 2.0, "exponent of the distance in the repulsion"),
    Parameter("s8", "1", 2.4, 0.0, 10.0, "scale of the r^-8 term of the dispersion"),
    Parameter("a1", "1", 0.63, 0.0, 2.0, "damping of the dispersion"),
    Parameter("a2", "bohr", 5.0, 0.0, 20.0, "damping of the dispersion"),
)
POTENTIAL = Setting(
    "potential",
    "auto",
    ("auto", *FIELDS, "lennard-jones", "none"),
    summary="classical part of the energy; a closure is added to it",
)
POTENTIAL_AT_REST = Setting(
    "potential",
    "auto",
    ("auto", *FIELDS, "gfn1-xtb", "lennard-jones", "none"),
    summary="classical part of the energy; a closure is added to it",
)
MOLECULE = Setting("molecule", "CCO", summary="SMILES of the molecule if no sample is given")
CITATIONS = (
    "doi:10.1021/ja00051a040",  # UFF
    "doi:10.1002/(SICI)1096-987X(199604)17:5/6<490::AID-JCC1>3.0.CO;2-P",  # MMFF94
    "doi:10.1103/PhysRev.136.A405",  # argon
    *dispersion.CITATIONS,
)


class Classical(OpenSystems):
    """The part of a simulator that has the classical energy and the closure.

    A simulator has `PARAMETERS` among its parameters (and `GFN1`, if `potential` may be it), and
    `POTENTIAL`, those of `dispersion`, `MOLECULE` and `SEED` among its settings.

    Raises:
        InputError: potential `none` without a closure, or a parameter that the potential has not.
    """

    potential: str
    epsilon: Tensor
    sigma: Tensor
    dispersion: str
    dispersion_reach: float

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.refuse_idle(values, self._idle(), f"potential={self.potential}")
        dispersion.refuse_idle(type(self), values)
        if self.potential == self.dispersion == "none" and self.closure is None:
            raise InputError(
                f"{self.part}: potential=none needs a closure; give one, or set potential=uff "
                "or potential=lennard-jones"
            )
        self.field: BondedField | None = None
        self.perceived = {name: PerceivedForceField(kind) for name, kind in FIELDS.items()}
        # what `auto` means; without a closure it depends on the atoms, so `settled` decides
        automatic = "none" if self.closure is not None else None
        self.classical = automatic if self.potential == "auto" else self.potential
        self._gfn1 = TightBinding()
        attracts = self.classical or "the classical potential"
        self.london = dispersion.term(
            self.dispersion,
            self.dispersion_reach,
            potential="" if attracts == "none" else attracts,  # all others do
            closure=self.closure,
        )

    def _idle(self) -> list[str]:
        """Names of the parameters that the potential does not have."""
        used = {"lennard-jones": PARAMETERS, "gfn1-xtb": GFN1}.get(self.potential, ())
        if self.potential == "auto" and self.closure is None:
            used = PARAMETERS  # of argon
        return sorted({one.name for one in (*PARAMETERS, *GFN1)} - {one.name for one in used})

    # ------------------------------------------------------------------ samples

    def settled(self, sample: Sample | Sequence[Sample] | None) -> list[Sample]:
        """The samples that are given, or the known case, with the force field made for them.

        Raises:
            InputError: a periodic sample, or a molecule that the force field cannot treat.
        """
        if sample is None:
            samples = [self._known_case()]
        else:
            samples = [sample] if isinstance(sample, Sample) else list(sample)
        samples = self.without_cells(samples)
        if self.potential == "auto" and self.closure is None:
            argon = all((one.types == ARGON).all() for one in samples)
            self.classical = "lennard-jones" if argon else "uff"
        kind = FIELDS.get(self.classical or "")
        if kind is not None:
            self.field = kind([self.bonded(one) for one in samples])
        self._say_unused(samples)
        return samples

    def _say_unused(self, samples: Sequence[Sample]) -> None:
        """One line on charge and spin where no part of the energy depends on them."""
        used = (*CONDITIONS.get(self.classical or "", ()), *getattr(self.closure, "conditions", ()))
        names = [
            name
            for name in ("charge", "spin")
            if name not in used and any(one.conditions.get(name) for one in samples)
        ]
        if names:
            what = f"potential={self.classical}" if self.closure is None else "this closure"
            warnings.warn(
                f"{samples[0].id}: {' and '.join(names)} of the sample do not enter the energy of "
                f"{what}",
                InputWarning,
                stacklevel=4,
            )

    def _known_case(self) -> Sample:
        if self.classical == "lennard-jones":
            positions = lennard_jones.icosahedron(float(self.sigma.detach()))
            types = np.full(len(positions), ARGON)
            return Sample(id="Ar13", domain="molecules", positions=positions, types=types)
        return self.named_molecule()

    def bonded(self, sample: Sample) -> Any:
        """The sample's rdkit molecule; that of the setting `molecule` if it is this one.

        Raises:
            InputError: its bonds cannot be told from its geometry.
        """
        if sample.id == self.molecule:
            named = embed(self.molecule, seed=self.seed, relax=False)
            if np.array_equal(geometry(named)[0], sample.types):
                return named
        charge = int(sample.conditions.get("charge", 0))
        return molecule_from_geometry(sample.types, sample.positions, charge=charge, name=sample.id)

    # ------------------------------------------------------------------ energy

    def energy(
        self,
        positions: Float[Tensor, "N 3"],
        types: Int[Tensor, " N"],
        system: Int[Tensor, " N"],
        conditions: Mapping[str, Float[Tensor, " S"]] | None = None,
    ) -> Float[Tensor, " S"]:
        """Potential energies (S,) in eV at `positions` (N, 3).

        `conditions` are charge and spin of each system, (S,), zero if None.

        Raises:
            InputError: the force field was not set up for these atoms; call `state` first.
        """
        parts = []
        if self.classical == "lennard-jones":
            parts.append(lennard_jones.energy(positions, system, self.epsilon, self.sigma))
        elif self.classical == "gfn1-xtb":
            parts.append(self._tight_binding(positions, types, system, conditions))
        elif self.classical != "none":
            field = self.field_of(int(system[-1]) + 1).to(positions.device)
            parts.append(field(positions, types, system))
        if self.closure is not None:
            parts.append(self.learned(positions, types, system, conditions))
        if self.london is not None:
            open_cells = positions.new_zeros(int(system[-1]) + 1, 3, 3)
            parts.append(self.london(Systems(positions, open_cells, types, system, {})))
        return torch.stack(parts).sum(0)

    def field_of(self, count: int) -> BondedField:
        """The force field of a state's molecules, of which there are `count`.

        Raises:
            InputError: no state was made yet.
        """
        if self.field is None:
            raise InputError(f"{self.part}: make the state with `state(sample)` first")
        return self.field

    def _tight_binding(
        self,
        positions: Tensor,
        types: Tensor,
        system: Tensor,
        conditions: Mapping[str, Tensor] | None,
    ) -> Tensor:
        none = positions.new_zeros(int(system[-1]) + 1)
        known = {"charge": none, "spin": none, **(conditions or {})}
        parameters = {name: getattr(self, name) for name in PLACES}
        return self._gfn1(positions, types, system, known["charge"], known["spin"], parameters)

    def potential_energy(self, systems: Systems) -> Float[Tensor, " S"]:
        """(S,) eV: `energy`; there is no cell."""
        return self.energy(systems.positions, systems.types, systems.system, systems.conditions)

    def baseline(self, systems: Systems) -> Float[Tensor, " S"]:
        """(S,) eV of a force field of bonds, lennard-jones or dispersion alone, open systems.

        Bonds are those of each geometry: the energy is smooth as long as no bond forms or breaks,
        and jumps there. Terms are kept by bonding pattern.

        Raises:
            InputError: another potential, a cell, several kinds of atom with lennard-jones; with
                a force field, a molecule whose bonds cannot be told or that it has no type for.
        """
        perceived = self.perceived.get(self.classical or "")
        alone = self.classical == "none" and self.london is not None
        if self.classical != "lennard-jones" and perceived is None and not alone:
            known = ", ".join(("lennard-jones", *FIELDS))
            raise InputError(
                f"{self.part}: a baseline is a potential: {known}; or none with dispersion"
            )
        if bool(systems.cell.any()):
            raise InputError(f"{self.part}: has open boundaries, and no cell")
        if perceived is not None:
            energies = perceived(systems)
            return energies if self.london is None else energies + self.london(systems)
        if not alone and len(systems.types.unique()) > 1:
            raise InputError(f"{self.part}: lennard-jones is for one kind of atom")
        return self.energy(systems.positions, systems.types, systems.system)
