"""Heads of molecules: partial charges that add up, and the multipoles that belong to them."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.tokens import Tokens, system_sum
from sfm.nn.harmonics import to_matrix
from sfm.nn.head import Head, Normalisation, ScalarReadout
from sfm.quantity import Quantity

CHARGE = 0  # its place among the encoder's conditions


class ChargeFlow(nn.Module):
    """Charges that flow along edges, so that every connected cluster stays neutral.

        q_i = sum_j w(r_ij) (p_i - p_j + a_i . b_j - a_j . b_i),   w(r) = (1 - (r/c)^2)^3

    with p, a, b functions of each atom's invariant features. The flow from i to j is minus that
    from j to i: the sum is zero exactly, charges are smooth at the cutoff c, and clusters that do
    not see each other exchange nothing. By definition; charges in units of e.
    """

    def __init__(self, channels: int, rank: int = 8) -> None:
        super().__init__()
        self.potential = ScalarReadout(channels)
        self.pairing = nn.Linear(channels, 2 * rank, bias=False)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " N"]:
        """(N,) charges, zero in sum for each system."""
        sender, receiver = inputs.edges
        cutoff = inputs.cutoff[inputs.system[receiver]]
        u = inputs.edge_vectors().square().sum(-1) / cutoff.square()
        weight = (1 - u).clamp_min(0) ** 3
        p = self.potential(features.scalars).squeeze(-1)
        a, b = self.pairing(features.scalars).chunk(2, dim=-1)
        flow = p[receiver] - p[sender]
        flow = flow + (a[receiver] * b[sender]).sum(-1) - (a[sender] * b[receiver]).sum(-1)
        charges: Tensor = p.new_zeros(p.shape).index_add(0, receiver, weight * flow)
        return charges


def spread_charge(inputs: Tokens) -> Float[Tensor, " N"]:
    """(N,) in units of e: a system's total charge, spread evenly over its atoms."""
    return (inputs.conditions[:, CHARGE] / inputs.counts())[inputs.system]


def arms(inputs: Tokens) -> Float[Tensor, "N 3"]:
    """(N, 3) angstrom: from the mean of a system's positions to each of its atoms."""
    centre = system_sum(inputs.positions, inputs.system, inputs.n_systems)
    return inputs.positions - (centre / inputs.counts().unsqueeze(-1))[inputs.system]


class Charges(Head):
    """Partial charges in e. (N,) They add up to the total charge (condition `charge`) exactly.

    The total charge of an ion is spread evenly over its atoms before charge flows.
    """

    normalisation: ClassVar[Normalisation] = "none"

    def __init__(self, quantity: Quantity, channels: int, **options: object) -> None:
        super().__init__(quantity, channels, **options)
        self.flow = ChargeFlow(channels)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " N"]:
        charges: Tensor = self.flow(features, inputs) + spread_charge(inputs)
        return charges


class Dipole(Head):
    """Dipole moment (S, 3): charges at the atoms and a vector on each.

        mu = sum_i q_i (r_i - r_mean) + sum_i m_i

    By definition. The charges add up to zero, so mu does not depend on the origin. For an ion it is
    the moment about the mean of the positions.
    """

    normalisation: ClassVar[Normalisation] = "rms"

    def __init__(self, quantity: Quantity, channels: int, **options: object) -> None:
        super().__init__(quantity, channels, **options)
        self.flow = ChargeFlow(channels)
        self.gate = ScalarReadout(channels, channels)
        self.outer = nn.Linear(channels, 1, bias=False)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "S 3"]:
        gated = features.vectors * self.gate(features.scalars).unsqueeze(1)
        local = self.outer(gated).squeeze(-1)
        charges = self.flow(features, inputs).unsqueeze(-1)
        return system_sum(charges * arms(inputs) + local, inputs.system, inputs.n_systems)


class Quadrupole(Head):
    """Traceless quadrupole moment (S, 3, 3): charges at the atoms, a vector and a tensor on each.

        Theta = sum_i traceless(3/2 (q_i a_i a_i^T + a_i m_i^T + m_i a_i^T)) + t_i,  a = r - r_mean

    A. D. Buckingham, Q. Rev. Chem. Soc. 13, 183 (1959). It is about the mean of the positions: of
    an ion, and of a molecule with a dipole, it depends on the origin.
    """

    normalisation: ClassVar[Normalisation] = "rms"
    dim: ClassVar[int] = 9

    def __init__(self, quantity: Quantity, channels: int, **options: object) -> None:
        super().__init__(quantity, channels, **options)
        self.flow = ChargeFlow(channels)
        self.gate = ScalarReadout(channels, 2 * channels)
        self.vector = nn.Linear(channels, 1, bias=False)
        self.tensor = nn.Linear(channels, 1, bias=False)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "S 3 3"]:
        arm = arms(inputs)
        of_vectors, of_tensors = self.gate(features.scalars).unsqueeze(1).chunk(2, dim=-1)
        local = self.vector(features.vectors * of_vectors).squeeze(-1)
        of_atoms = to_matrix(self.tensor(features.tensors * of_tensors)).squeeze(-1)
        charges = (self.flow(features, inputs) + spread_charge(inputs)).unsqueeze(-1)
        half = 1.5 * torch.einsum("ni,nj->nij", arm, 0.5 * charges * arm + local)
        moment = half + half.mT
        trace = moment.diagonal(dim1=1, dim2=2).sum(-1).reshape(-1, 1, 1)
        eye = torch.eye(3, dtype=moment.dtype, device=moment.device)
        return system_sum(moment - trace / 3 * eye + of_atoms, inputs.system, inputs.n_systems)
