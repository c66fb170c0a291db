"""Head of Darcy flow: the trunk puts the medium right between points, a solver does the rest.

    -div(a' grad p) = 1,    a'_x = a exp(A_xx),    a'_y = a exp(A_yy)

What a grid's points do not say of the medium between them is local; what the pressure makes of it
is not. So the trunk says A of every point, and the pressure comes out of the classical solve
(`sfm_fluids.darcy.nodes`), whose adjoint trains the trunk. A starts near 0, at the plain solver.
The equation is Darcy's law with a source of 1, as in `darcy-neuraloperator` (arXiv:2412.10354); the
form of A, the lowest moments of each patch, is this head's ansatz.

Any consistent system of units.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.tokens import Tokens
from sfm.nn.harmonics import to_matrix
from sfm.nn.head import Head, ScalarReadout
from sfm.quantity import Quantity
from sfm_fluids.darcy.nodes import pressure
from sfm_fluids.patches.cell_tensors import offsets
from sfm_fluids.patches.stress_head import on_grid

LARGEST = 2.0  # |A|: a factor of 7 on the permeability


class PressureHead(Head):
    """`pore_pressure`: (points,), row-major, systems one after another; p = 0 on the edge.

        A(point) = (c_0 + c_1 l + v . d + d . Q d) I + D + l E

    with l the logarithm of the point's permeability about its patch's mean, d the point's offset
    from the patch's centre, c scalars, v a vector and Q, D, E tensors of the token. The source is
    1 everywhere, as in `darcy-neuraloperator`.
    """

    normalisation: ClassVar[Any] = "none"
    needs: ClassVar[tuple[str, ...]] = (
        "log_permeability",
        "cell_index",
        "grid_cells",
        "grid_width",
        "spacing",
    )

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.coefficients = ScalarReadout(channels, 2)
        self.gates = ScalarReadout(channels, 2 * channels)
        self.slopes = nn.Linear(channels, 1, bias=False)
        self.shapes = nn.Linear(channels, 3, bias=False)
        for layer in (self.coefficients.outer, self.slopes, self.shapes):
            nn.init.normal_(layer.weight, std=0.1 / channels**0.5)

    def correction(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "N c 2"]:
        """(N, s^2, 2) the diagonal of A at each token's points, in the grid's frame."""
        log = inputs.extras["log_permeability"]
        log = (log - log.mean(1, keepdim=True)).to(features.scalars)
        frame = nn.functional.normalize(inputs.cell[:, :2], dim=-1)[inputs.system].to(log)
        d = offsets(round(log.shape[1] ** 0.5), log)
        vector_gate, tensor_gate = self.gates(features.scalars).unsqueeze(1).chunk(2, dim=-1)
        v = torch.einsum("nai,ni->na", frame, self.slopes(features.vectors * vector_gate)[..., 0])
        solid = to_matrix(self.shapes(features.tensors * tensor_gate))  # (N, 3, 3, 3)
        q, even, odd = torch.einsum("nai,nijk,nbj->nabk", frame, solid, frame).unbind(-1)
        c = self.coefficients(features.scalars).unsqueeze(1)
        same = c[..., 0] + c[..., 1] * log + v @ d.T + torch.einsum("ca,nab,cb->nc", d, q, d)
        each = [t.diagonal(dim1=1, dim2=2).unsqueeze(1) for t in (even, odd)]
        a = same.unsqueeze(-1) + each[0] + log.unsqueeze(-1) * each[1]
        return LARGEST * torch.tanh(a / LARGEST)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " points"]:
        added = self.correction(features, inputs).double()
        log = on_grid(inputs.extras["log_permeability"].double().unsqueeze(-1) + added, inputs)
        cells, width = inputs.extras["grid_cells"].tolist(), inputs.extras["grid_width"].tolist()
        media = [x.unflatten(0, (-1, w)) for x, w in zip(log.split(cells), width, strict=True)]
        solved = _pressures(media)
        squares = inputs.extras["spacing"].double().square()
        rows = [p.flatten() * h2 for p, h2 in zip(solved, squares, strict=True)]
        return torch.cat(rows).to(features.scalars.dtype)


def _pressures(media: list[Tensor]) -> list[Tensor]:
    """(H, W) each, from (H, W, 2) logarithms of the permeability along x and y; unit spacing.

    Media of one grid are solved together; NaN where one is not finite, which stops no other.
    """
    solved = [torch.full_like(medium[..., 0], torch.nan) for medium in media]
    finite = [i for i, medium in enumerate(media) if bool(medium.isfinite().all())]
    for shape in dict.fromkeys(media[i].shape for i in finite):
        chosen = [i for i in finite if media[i].shape == shape]
        along = torch.stack([media[i] for i in chosen]).exp()
        for i, p in zip(chosen, pressure(along[..., 0], along[..., 1], 1.0), strict=True):
            solved[i] = p
    return solved
