"""`crystals/atoms`: atoms of a periodic cell as tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from sfm.nn.encoder import PointEncoder
from sfm_crystals.model.closure import CrystalClosure

if TYPE_CHECKING:
    from sfm.model import FoundationModel


class CrystalEncoder(PointEncoder):
    """Atoms with the images of their neighbours inside the cutoff, 5 angstrom by default."""

    part: ClassVar[str] = "crystals/atoms"
    domain: ClassVar[str] = "crystals"
    length_unit: ClassVar[str] = "angstrom"
    default_cutoff: ClassVar[float] = 5.0

    def closure(
        self, model: FoundationModel, *, level: str | None = None, **options: Any
    ) -> nn.Module:
        """The model's energy, for `crystals/lattice`; see `CrystalClosure`."""
        return CrystalClosure(model, self.part, level=level, **options)
