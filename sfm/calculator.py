"""An ASE calculator around a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.data.sample import Sample
from sfm.errors import InputError, PluginError

if TYPE_CHECKING:
    from sfm.model import FoundationModel


def calculator(
    model: FoundationModel, *, level: str | None = None, domain: str | None = None
) -> Any:
    """An `ase.calculators.calculator.Calculator` with energy, forces and (periodic) stress.

    Args:
        model: a model with an energy head for molecules or crystals.
        level: level of theory; needed where the model knows several.
        domain: `crystals` for periodic, `molecules` for open atoms if None.

    Raises:
        PluginError: ASE is not installed.
    """
    try:
        from ase.calculators.calculator import Calculator, all_changes
        from ase.stress import full_3x3_to_voigt_6_stress
    except ModuleNotFoundError:
        raise PluginError(
            "the calculator needs ASE; install it with: pip install 'sfm-hub[molecules]'"
        ) from None

    class SfmCalculator(Calculator):
        """Energy (eV), forces (eV/angstrom), stress (eV/angstrom^3, ASE's sign) of a model."""

        implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

        def calculate(
            self,
            atoms: Any = None,
            properties: Any = ("energy",),
            system_changes: Any = all_changes,
        ) -> None:
            super().calculate(atoms, properties, system_changes)
            own_atoms: Any = self.atoms
            periodic = bool(own_atoms.pbc.any())
            own = domain or ("crystals" if periodic else "molecules")
            part = model.encoder_for(own, "energy")
            chosen = model.level(part, level, "energy")
            sample = Sample(
                id=own_atoms.get_chemical_formula(),
                domain=own,
                positions=own_atoms.get_positions(),
                types=own_atoms.get_atomic_numbers(),
                cell=np.asarray(own_atoms.cell.array) if periodic else None,
                pbc=own_atoms.pbc,
                conditions={"charge": float(own_atoms.info.get("charge", 0.0))},
            )
            names = ["energy", "forces"]
            if "stress" in properties:
                if not own_atoms.pbc.all():
                    raise InputError("stress needs a cell that is periodic in three directions")
                names.append("stress")
            values = model({part: model.tokenize(part, [sample], chosen)}, {part: names})[part]
            self.results["energy"] = float(values["energy"][0].detach())
            self.results["forces"] = values["forces"].detach().cpu().numpy().astype(np.float64)
            if "stress" in names:
                stress = values["stress"][0].detach().cpu().numpy().astype(np.float64)
                self.results["stress"] = full_3x3_to_voigt_6_stress(stress)

    return SfmCalculator()
