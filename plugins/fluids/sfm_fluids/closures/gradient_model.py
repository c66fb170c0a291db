"""Clark's gradient model. Any consistent system of units."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm_fluids.closures.calculus import dimensions, pairs, unpacked, velocity_gradient
from sfm_fluids.closures.smagorinsky import per_flow


class GradientModel(nn.Module):
    """Clark's gradient model: tau = Delta^2/12 G G^T, G_ij = du_i/dx_j, Delta = ratio * h.

    The leading term of the exact stress of a Gaussian or top-hat filter. Correlates well with the
    exact stress a priori, and is unstable a posteriori where it scatters energy back. In two
    dimensions it exchanges no energy at all: (G G^T) : G = 0 for a traceless 2 x 2 matrix.

    Args:
        ratio: filter width over grid spacing; 3 in the bundled data. A number or a tensor, () or
            (B,), that may require a gradient.

    R. A. Clark, J. H. Ferziger and W. C. Reynolds, J. Fluid Mech. 91, 1 (1979).
    """

    def __init__(self, ratio: float | Tensor = 3.0) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(
        self, velocity: Float[Tensor, " ..."], spacing: float
    ) -> Float[Tensor, "*B 2 2 H W"] | Float[Tensor, "*B 3 3 D H W"]:
        n = dimensions(velocity)
        g = velocity_gradient(velocity, spacing).unbind(-n - 2)
        products = [(g[i] * g[j]).sum(-n - 1) for i, j in pairs(n)]
        product = torch.stack(products, dim=-n - 1)
        return unpacked(per_flow(self.ratio, n) ** 2 * spacing**2 / 12 * product, n)
