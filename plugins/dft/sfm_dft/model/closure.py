"""A model's exchange-correlation energy as the closure of `dft/kohn-sham`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.model.guard import Guard
from sfm_dft.basis.density_basis import DIM
from sfm_dft.model.projections import PROJECTIONS, raw_features
from sfm_dft.scf.energy import DensityFeatures

if TYPE_CHECKING:
    from sfm.model import FoundationModel


class DensityClosure(nn.Module):
    """A model's `xc_correction` as a functional of the density: the closure of `dft/kohn-sham`.

    Maps `sfm_dft.scf.energy.DensityFeatures` to an energy in eV, (), differentiable in the
    projections and in the model's weights. The base functional is LDA:
    that is what the correction corrects.

    Args:
        model: trained on `xc_correction` with encoder `dft/density`.
        part: the encoder's name. level: level of theory; the only one there is if None.
        extrapolate: warn of what lies outside the training data instead of refusing it.

    Raises:
        InputError: the model has no such target, or the level is ambiguous.
        OutsideError: in a call, elements, charge or distances outside the training data.
    """

    base: ClassVar[str] = "LDA"

    def __init__(
        self,
        model: FoundationModel,
        part: str,
        level: str | None,
        *,
        extrapolate: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.part = part
        self.level = model.level(part, level, "xc_correction")
        self.guard = Guard(model, part, self.level, extrapolate=extrapolate)

    def tokens(self, density: DensityFeatures) -> Tokens:
        """Tokens in float64; features depend on the projections, edges on the positions."""
        blank = Sample(
            id="density",
            domain="dft",
            positions=density.positions.detach().cpu().numpy(),
            types=density.numbers.cpu().numpy(),
            fields={PROJECTIONS: np.zeros((len(density.numbers), DIM))},
            conditions={"charge": density.charge},
        )
        tokens = self.model.encoder(self.part).tokenize(blank)
        context = self.model.context(self.part, self.level)
        tokens = tokens.replace(context=torch.full_like(tokens.context, context))
        tokens = tokens.to(density.projections.device, density.projections.dtype)
        return tokens.replace(
            positions=density.positions.to(tokens.positions),
            **raw_features(density.projections, density.numbers),
        )

    def forward(self, density: DensityFeatures) -> Float[Tensor, ""]:
        tokens = self.tokens(density)
        self.guard.check(tokens, [{"charge": density.charge}], ["xc_correction"])
        # a float32 network is too noisy for self-consistency to 1e-8: its weights are cast for the
        # call, and gradients still reach the originals
        values = self.model.in_precision(
            density.projections.dtype,
            {self.part: tokens},
            {self.part: ["xc_correction"]},
        )
        return values[self.part]["xc_correction"].to(density.projections).reshape(())
