"""The contract of an exchange-correlation functional."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from sfm_dft.xc.density import GridDensity

Rung = Literal["lda", "gga", "mgga"]


class XcEnergy(NamedTuple):
    """Energies per volume at the grid's points, hartree per bohr^3, (G,) each."""

    exchange: Tensor
    correlation: Tensor


class Functional(nn.Module):
    """E_xc[n] = sum_g w_g (e_x + e_c)(g) + a_x E_x^exact.

    A functional is any module with these attributes and this `forward`, twice differentiable in
    every field of the density that its rung reads. Where the density vanishes both energies and
    their derivatives are zero, never NaN; one spin may be empty. Learned functionals keep their
    weights as parameters; energies are not detached from them.

    Attributes:
        rung: ``lda`` reads rho, ``gga`` its gradient too, ``mgga`` also tau.
        exact_exchange: a_x, the fraction of exact exchange of a global hybrid.
        pointwise: each point's energy depends on the density at that point only; a functional that
            says False reads ``density.grid`` and is never given a part of the points.
        citations: where it was published.
    """

    rung: Rung = "lda"
    exact_exchange: float = 0.0
    pointwise: bool = True
    citations: ClassVar[tuple[str, ...]] = ()

    def forward(self, density: GridDensity) -> XcEnergy:
        raise NotImplementedError
