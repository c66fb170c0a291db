"""Projections of a density on atoms as raw features of tokens.

Projections in the atomic units of the density basis; features are dimensionless.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm_dft.basis.density_basis import COUNTS, DIM
from sfm_dft.model.irreps import split_irreps

PROJECTIONS = "density_projections"


@cache
def projection_statistics() -> tuple[Float[Tensor, "119 45"], Float[Tensor, " 45"]]:
    """Mean of each scalar projection by element (119, 45) and scale of each projection (45,).

    Fitted on the training split of dft-small and shipped with the plugin (`projections.json`);
    an element that is not in it has mean zero.
    """
    table = json.loads(Path(__file__).with_name("projections.json").read_text())
    mean = torch.zeros(119, DIM, dtype=torch.float64)
    for number, row in table["mean"].items():
        mean[int(number), : COUNTS[0]] = torch.tensor(row, dtype=torch.float64)
    return mean, torch.tensor(table["scale"], dtype=torch.float64)


def standardise(
    projections: Float[Tensor, "N 45"], numbers: Int[Tensor, " N"]
) -> Float[Tensor, "N 45"]:
    """Projections (N, 45) less the mean of their element, over their scale; equivariant."""
    mean, scale = (x.to(projections) for x in projection_statistics())
    return (projections - mean[numbers]) / scale


def raw_features(
    projections: Float[Tensor, "A 45"], numbers: Int[Tensor, " A"]
) -> dict[str, Float[Tensor, "A ..."]]:
    """Raw features of the tokens from projections (A, 45), differentiable."""
    parts = split_irreps(standardise(projections, numbers))
    return dict(zip(("scalars", "vectors", "tensors"), parts, strict=True))
