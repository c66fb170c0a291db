"""The encoder of molecules: atoms as tokens, total charge and spin as conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from sfm.nn.encoder import PointEncoder
from sfm_molecules.model.closure import MoleculeClosure

if TYPE_CHECKING:
    from sfm.model import FoundationModel


class MoleculeEncoder(PointEncoder):
    """One token per atom; edges between atoms closer than `cutoff` (5 angstrom).

    Conditions: `charge`, the total charge in e, zero where a sample names none; `spin`, the number
    of unpaired electrons, then the fewest that there can be.
    """

    part: ClassVar[str] = "molecules/atoms"
    domain: ClassVar[str] = "molecules"
    conditions: ClassVar[tuple[str, ...]] = ("charge", "spin")

    def closure(
        self, model: FoundationModel, *, level: str | None = None, **options: Any
    ) -> nn.Module:
        """The model's energy, for `molecules/molecular-dynamics`.

        Args:
            model: has an energy head for this encoder.
            level: level of theory; needed where the model knows several.
            options: `charge`, `spin`, `skin` and `extrapolate` of
                `sfm_molecules.model.closure.MoleculeClosure`.

        Raises:
            InputError: the model has no energy, or the level is unknown or ambiguous.
        """
        return MoleculeClosure(model, self.part, level=level, **options)
