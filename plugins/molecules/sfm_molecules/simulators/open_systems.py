"""What simulators of molecules share: open boundaries, a molecule by name, a closure's energy.

Units: angstrom, eV.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate.base import Simulator
from sfm_molecules.geometry.conformers import geometry
from sfm_molecules.geometry.embedding import embed


class OpenSystems(Simulator):
    """A simulator of molecules without a cell; it has the settings `molecule` and `seed`."""

    molecule: str
    seed: int

    def named_molecule(self) -> Sample:
        """The molecule of the setting `molecule`, relaxed by RDKit; angstrom."""
        types, positions = geometry(embed(self.molecule, seed=self.seed))
        return Sample(id=self.molecule, domain="molecules", positions=positions, types=types)

    def without_cells(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples without the boxes that open ones may have around them.

        Raises:
            InputError: a periodic sample.
        """
        for one in samples:
            if one.pbc.any():
                raise InputError(
                    f"{one.id}: {self.part} has open boundaries; use a simulator of crystals for "
                    "a periodic cell"
                )
        return [one.replace(cell=None) for one in samples]

    def learned(
        self,
        positions: Float[Tensor, "N 3"],
        types: Int[Tensor, " N"],
        system: Int[Tensor, " N"],
        conditions: Mapping[str, Float[Tensor, " S"]] | None,
    ) -> Float[Tensor, " S"]:
        """(S,) eV of the closure; it gets the conditions if it has an attribute of that name."""
        assert self.closure is not None
        known = getattr(self.closure, "conditions", ())
        given: dict[str, Any] = (
            {"conditions": conditions} if known and conditions is not None else {}
        )
        energies: Tensor = self.closure(positions, types, system, **given)
        return energies.to(positions)
