"""What encoders of fields in the plane share: one token for each square patch of the grid.

Lengths of tokens are in cells of the grid.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sfm.errors import InputError
from sfm.nn.encoder import Encoder


class SquarePatches(Encoder):
    """Fields (H, W) -> (H/s) (W/s) tokens; a subclass says what they are made of.

    Args:
        channels: width of the trunk.
        cutoff: interaction range in cells; default 2.5 patches.
        patch: s, cells along a patch's side.

    Raises:
        InputError: the patch is smaller than one cell, or larger than 256.
    """

    domain: ClassVar[str] = "fluids"
    length_unit: ClassVar[str] = "1"
    default_cutoff: ClassVar[float] = 5.0
    largest_cutoff: ClassVar[float] = 1000.0
    token: ClassVar[str] = "patch"

    def __init__(self, *, channels: int, cutoff: float | None = None, patch: int = 2) -> None:
        if not 1 <= patch <= 256:
            raise InputError(f"encoder '{self.part}': patch={patch} is not from 1 to 256")
        super().__init__(channels=channels, cutoff=2.5 * patch if cutoff is None else cutoff)
        self.patch = int(patch)

    @property
    def options(self) -> dict[str, Any]:
        return {"cutoff": self.cutoff, "patch": self.patch}

    def check_divides(self, name: str, height: int, width: int) -> None:
        """Refuse a grid of cells that is no multiple of the patch.

        Raises:
            InputError: it is none.
        """
        if height % self.patch or width % self.patch:
            raise InputError(
                f"{name + ': ' if name else ''}a field of {height} x {width} cells does not divide "
                f"into patches of {self.patch} x {self.patch}; crop or interpolate it"
            )
