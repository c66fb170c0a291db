"""Forces and stress from an energy, in one place for all domains.

forces = -dE/dx, and stress = (1/V) dE/dstrain at zero strain, where positions and cell are deformed
together, x -> x (1 + e), with e symmetric (Knuth et al., Comput. Phys. Commun. 190, 33 (2015)).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.tokens import Tokens

DERIVED = ("forces", "stress")


@dataclass(frozen=True)
class Handle:
    """What to differentiate with respect to, and what is needed to make units of it.

    Attributes:
        positions: (N, 3), in the domain's length unit.
        strain: (S, 3, 3) zeros, dimensionless; None where no stress is asked for.
        volume: (S,) of the cells, in the cube of the length unit; None likewise.
    """

    positions: Float[Tensor, "N 3"]
    strain: Float[Tensor, "S 3 3"] | None = None
    volume: Float[Tensor, " S"] | None = None


def attach(tokens: Tokens, *, stress: bool) -> tuple[Tokens, Handle]:
    """Tokens whose positions (and strain) the energy can be differentiated by."""
    positions = tokens.positions
    if not positions.requires_grad:
        positions = positions.detach().requires_grad_()
    cell = tokens.cell
    if not stress:
        return tokens.replace(positions=positions), Handle(positions)
    volume = torch.linalg.det(cell).abs()
    strain = cell.new_zeros(cell.shape).requires_grad_()
    symmetric = 0.5 * (strain + strain.transpose(1, 2))
    moved = positions + torch.einsum("ni,nij->nj", positions, symmetric[tokens.system])
    return (
        tokens.replace(positions=moved, cell=cell + cell @ symmetric),
        Handle(positions, strain, volume),
    )


def derive(
    energies: list[Float[Tensor, " ..."]], handles: list[Handle], *, create_graph: bool
) -> list[dict[str, Float[Tensor, " ..."]]]:
    """Forces (N, 3) and stress (S, 3, 3) of several batches by one backward pass.

    In the energy's unit per length unit, and per its cube. Stress is zero for a system without
    volume.
    """
    inputs = [h.positions for h in handles] + [h.strain for h in handles if h.strain is not None]
    total = torch.stack([e.sum() for e in energies]).sum()
    grads = torch.autograd.grad(total, inputs, create_graph=create_graph, retain_graph=True)
    results = [{"forces": -g} for g in grads[: len(handles)]]
    rest = iter(grads[len(handles) :])
    for result, handle in zip(results, handles, strict=True):
        if handle.volume is not None:
            volume = torch.where(handle.volume > 0, handle.volume, torch.inf)
            result["stress"] = next(rest) / volume.reshape(-1, 1, 1)
    return results
