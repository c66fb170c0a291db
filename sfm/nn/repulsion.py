"""Atoms that come nearer than any in the training data: held off from the network, and repelled.

With d the closest approach of two elements in the data (`sfm.data.covering`), a pair at distance r

- adds V_ZBL(r) w(r / 0.9 d) to the energy, which vanishes smoothly at 0.9 d (`sfm.nn.zbl`);
- is shown to the trunk at f(r), which equals r from 0.9 d on and 0.8 d below 0.7 d. A network that
  has never seen two nuclei at 0.3 angstrom says anything there: -24 eV for H2. So it is not asked.

Both act beyond the data only: whatever lies within 0.9 of the closest approach keeps its
prediction to the last bit, and references that are fitted to the data have no repulsion in them.
Below 0.7 d the energy of two atoms rises as ZBL does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.tokens import Tokens
from sfm.nn.known import LINE, ClosePairs
from sfm.nn.zbl import envelope, zbl

HELD = 0.7


def shown_length(length: Float[Tensor, " P"], approach: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """(P,) the distance that the trunk sees: f with f' = 10 t^3 - 15 t^4 + 6 t^5.

    t runs from 0 at 0.7 d to 1 at 0.9 d; f has three smooth derivatives.
    """
    width = (LINE - HELD) * approach
    t = ((length - HELD * approach) / width).clamp(0.0, 1.0)
    # integral of f' from 0 to t; it is 1/2 at t = 1
    area = t**4 * (2.5 - 3 * t + t**2)
    return LINE * approach - width * (0.5 - area)


def held(tokens: Tokens, close: ClosePairs | None) -> Tokens:
    """The tokens as the trunk is to see them: close pairs stretched, all others untouched."""
    if close is None:
        return tokens
    factors = shown_length(close.length, close.approach) / close.length
    ones = close.length.new_ones(tokens.n_edges)
    return tokens.replace(stretch=ones.index_put((close.index,), factors))


def repulsion(tokens: Tokens, close: ClosePairs | None) -> Float[Tensor, " S"] | None:
    """(S,) float64 energy in eV of the close pairs of each system; None if there is none."""
    if close is None:
        return None
    sender, receiver = tokens.edges[:, close.index]
    length = close.length.double()
    pair = zbl(tokens.types[sender], tokens.types[receiver], length)
    pair = pair * envelope(length / (LINE * close.approach.double()))
    # every pair is there twice, once in each direction
    zeros = torch.zeros(tokens.n_systems, dtype=torch.float64, device=length.device)
    return zeros.index_add(0, tokens.system[receiver], 0.5 * pair)
